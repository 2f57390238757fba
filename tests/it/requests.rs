//! Single requests as scripts make them: bytes go in and out unchanged, and exit codes say what happened.

use crate::cluster::Cluster;
use crate::process::{Ran, chinwag};

#[tokio::test]
async fn bytes_come_back_as_they_were_put() {
    let cluster = Cluster::start(&["a"], &["--n", "1"]).await;
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    cluster.run_with("a", &["put", "picture", "-"], &bytes).await.text();
    let raw = cluster.run("a", &["get", "picture", "--raw"]).await;
    assert!(raw.code == Some(0) && raw.stdout == bytes, "{} bytes came back", raw.stdout.len());
    cluster.run("a", &["put", "empty", ""]).await.text();
    assert_eq!(cluster.run("a", &["get", "empty", "--raw"]).await.text(), "");

    let over = vec![b'x'; (1 << 20) + 1];
    cluster.run_with("a", &["put", "long", "-"], &over).await.assert_failed(2, &["1048577 bytes", "1048576"]);
    cluster.run("a", &["put", "", "v"]).await.assert_failed(2, &["the key is empty"]);
    let long_key = "k".repeat(4097);
    cluster.run("a", &["put", &long_key, "v"]).await.assert_failed(2, &["4096"]);
    cluster.run("a", &["get", "absent"]).await.assert_failed(1, &["absent has no value"]);
    assert_eq!(cluster.dump("a").await.len(), 2, "what was refused is not stored");
}

#[tokio::test]
async fn a_context_is_for_its_key_alone_and_cannot_be_made_up() {
    let cluster = Cluster::start(&["a"], &["--n", "1"]).await;
    let context = cluster.run("a", &["put", "k", "v", "--json"]).await.json()["context"].clone();
    let context = context.as_str().unwrap();
    let other_end = if context.ends_with('A') { "B" } else { "A" };
    let forged = format!("{}{other_end}", &context[..context.len() - 1]);
    for (key, context) in [("other", context), ("k", &forged), ("k", "!"), ("k", "abc")] {
        let put = cluster.run("a", &["put", key, "w", "--context", context]).await;
        put.assert_failed(2, &["context"]);
    }
    assert_eq!(cluster.run("a", &["get", "k", "--raw"]).await.text(), "v");
    cluster.run("a", &["get", "other"]).await.assert_failed(1, &[]);
}

#[tokio::test]
async fn a_level_that_cannot_be_reached_is_refused_and_changes_nothing() {
    // One member of a cluster whose keys have three replicas.
    let cluster = Cluster::start(&["a"], &[]).await;
    for command in [&["put", "k", "v"][..], &["get", "k"]] {
        cluster
            .run("a", command)
            .await
            .assert_failed(2, &["2 replicas must answer and 1", "chinwag members"]);
    }
    let four = cluster.run("a", &["put", "k", "v", "--consistency", "4"]).await;
    four.assert_failed(2, &["consistency 4", "N = 3"]);
    cluster.run("a", &["put", "k", "v", "--consistency", "most"]).await.assert_failed(2, &["`most`"]);
    assert_eq!(cluster.dump("a").await, []);
    cluster.run("a", &["put", "k", "v", "--consistency", "one"]).await.text();
}

#[tokio::test]
async fn members_are_tried_in_order_until_one_answers() {
    let cluster = Cluster::start(&["a"], &["--n", "1"]).await;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = socket.local_addr().unwrap().to_string();
    let both = format!("{silent},{}", cluster.address("a"));
    let command = |connect: &str| {
        let mut command = chinwag();
        command.env("CHINWAG_SECRET", cluster.secret()).args(["put", "k", "v", "--connect", connect]);
        command
    };
    // Side by side: the client gives a silent address some seconds.
    let (mut first_silent, mut all_silent) = (command(&both), command(&silent));
    let (put, unreachable) =
        tokio::join!(Ran::to_end(&mut first_silent, b""), Ran::to_end(&mut all_silent, b""));
    put.text();
    unreachable.assert_failed(2, &["cannot reach", &silent, "--connect"]);
    Ran::to_end(&mut command("127.0.0.1"), b"").await.assert_failed(2, &["not an address", "HOST:PORT"]);
}
