//! What goes wrong at a start: each a message that names the cause, and an exit code that is not zero.

use std::fs::File;
use std::net::UdpSocket;
use std::process::Stdio;

use crate::cluster::Cluster;
use crate::process::{Process, Ran, chinwag, satisfied, wait_until};

#[tokio::test]
async fn another_secret_opens_nothing() {
    let cluster = Cluster::start(&["a"], &["--n", "1"]).await;
    let mut stranger = Cluster::empty().await;
    let address = cluster.address("a").to_string();
    for arguments in [&["put", "k", "v"][..], &["get", "k"], &["members"], &["dump"]] {
        let mut command = chinwag();
        command.env("CHINWAG_CONNECT", &address).env("CHINWAG_SECRET", stranger.secret()).args(arguments);
        let refused = Ran::to_end(&mut command, b"").await;
        refused.assert_failed(2, &[&address, "is it the same cluster secret?"]);
    }

    stranger.add("b", &["--n", "1", "--seed", &address]).await;
    let (status, log) = stranger.end("b").await;
    assert_eq!(status.code(), Some(2), "{log}");
    assert_last_line(&log, &["error: ", &address, "is it the same cluster secret?"]);
    assert_eq!(cluster.states("a").await.into_keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(cluster.dump("a").await, []);
}

#[tokio::test]
async fn a_stranger_at_a_seeds_address_stops_nobody() {
    let mut cluster = Cluster::start(&["a", "b"], &[]).await;
    cluster.kill("a");
    let mut stranger = Cluster::empty().await;
    stranger.add_at("x", cluster.address("a"), &[]).await;
    wait_until("the member says whom it has met", async || {
        let log = cluster.log("b");
        satisfied(log.contains("is it the same cluster secret?"), log)
    })
    .await;
    cluster.run("b", &["put", "k", "v", "--consistency", "one"]).await.text();
    assert_eq!(cluster.states("b").await.len(), 2, "the stranger is no member");

    stranger.kill("x");
    cluster.restart(&["a"]).await;
    cluster.all_alive().await;
}

/// What a member says last must have all of these `words`.
#[track_caller]
fn assert_last_line(log: &str, words: &[&str]) {
    let last = log.lines().last().unwrap_or_default();
    for word in words {
        assert!(last.contains(word), "nothing is said of `{word}`: {log}");
    }
}

#[tokio::test]
async fn a_member_that_was_founded_otherwise_is_refused() {
    let mut cluster = Cluster::start(&["a"], &[]).await;
    let seed = cluster.address("a").to_string();
    for (name, flag, value, theirs) in [
        ("b", "--partitions", "128", "256"),
        ("c", "--n", "2", "3"),
        ("d", "--partitioner", "byte-ordered", "md5"),
    ] {
        cluster.add(name, &["--seed", &seed, flag, value]).await;
        let (status, log) = cluster.end(name).await;
        assert_eq!(status.code(), Some(2), "{log}");
        assert_last_line(&log, &["error: ", &flag[2..], value, theirs, &seed]);
    }
    assert_eq!(cluster.states("a").await.into_keys().collect::<Vec<_>>(), ["a"]);
}

#[tokio::test]
async fn a_member_with_another_table_of_buckets_is_refused() {
    let mut cluster = Cluster::empty().await;
    let file = |cluster: &Cluster, name: &str, text: &str| {
        let path = cluster.path(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let carts = file(&cluster, "carts.toml", "[buckets.carts]\nn = 1\n[buckets.seen]\nkind = \"lww\"\n");
    let ttl =
        file(&cluster, "ttl.toml", "[buckets.carts]\nn = 1\nttl = \"1h\"\n[buckets.seen]\nkind = \"lww\"\n");
    cluster.add("a", &["--config", &carts]).await;
    let seed = cluster.address("a").to_string();
    for (name, flags, ours, theirs) in [
        ("b", &["--config", &ttl][..], "`carts: siblings, n 1, ttl 3600000ms`", "`carts: siblings, n 1`"),
        ("c", &[], "nothing", "`carts: siblings, n 1; seen: lww, n 3`"),
    ] {
        cluster.add(name, &[&["--seed", &seed], flags].concat()).await;
        let (status, log) = cluster.end(name).await;
        assert_eq!(status.code(), Some(2), "{log}");
        let says = format!("buckets = {ours}, the cluster has {theirs}");
        assert_last_line(&log, &["error: ", &says, "the same [buckets]", &seed]);
    }
    cluster.add("d", &["--config", &carts, "--seed", &seed]).await;
    cluster.seen_as("d", "alive").await;

    let run = async |arguments: &[&str]| cluster.run("d", arguments).await;
    run(&["put", "k", "v", "--bucket", "carts"]).await.text();
    let got = run(&["get", "k", "--bucket", "carts"]).await;
    assert!(got.text().starts_with("value    v\ncontext  "), "{got:?}");
    assert_eq!(run(&["get", "k"]).await.code, Some(1), "in another bucket it is another key");
    let refused = run(&["put", "k", "v", "--bucket", "cart"]).await;
    refused.assert_failed(2, &["there is no bucket \"cart\"", "carts, default, seen"]);
    let written = run(&["put", "k", "v", "--bucket", "seen", "--consistency", "one"]).await;
    assert!(!written.text().contains("context"), "{written:?}");
    run(&["delete", "k", "--bucket", "seen", "--consistency", "one"]).await.text();
    let dumped = run(&["dump"]).await;
    assert!(dumped.text().contains("  seen      k "), "{dumped:?}");
}

#[tokio::test]
async fn a_name_a_directory_and_a_port_have_one_holder() {
    let mut cluster = Cluster::start(&["a", "b"], &[]).await;
    let address = cluster.address("a").to_string();

    let second = cluster.path("second");
    let mut command = cluster.node("b");
    command.args(["--listen", "127.0.0.1:0", "--seed", &address, "--data"]).arg(&second);
    let same_name = Ran::to_end(&mut command, b"").await;
    same_name.assert_failed(2, &["the name b is in use", &cluster.address("b").to_string()]);

    let mut command = cluster.node("c");
    command.args(["--listen", "127.0.0.1:0", "--data"]).arg(cluster.data("a"));
    let same_directory = Ran::to_end(&mut command, b"").await;
    let path = cluster.data("a");
    same_directory.assert_failed(2, &[path.to_str().unwrap(), "in use by another process"]);
    assert!(same_directory.stdout.is_empty());

    let mut command = cluster.node("c");
    command.args(["--listen", &address, "--data"]).arg(cluster.path("third"));
    let same_port = Ran::to_end(&mut command, b"").await;
    same_port.assert_failed(2, &["cannot listen on", &address]);
    assert!(same_port.stdout.is_empty());

    // None of this has disturbed who was there.
    cluster.all_alive().await;
    let status = cluster.interrupt("a").await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_with_their_place() {
    let cluster = Cluster::empty().await;
    let file = |name: &str, text: &str| {
        let path = cluster.path(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let misspelt = file("misspelt.toml", "listen = \"127.0.0.1:0\"\nsede = [\"127.0.0.1:1\"]\n");
    let mistyped = file("mistyped.toml", "listen = \"127.0.0.1:0\"\n\nn = \"three\"\n");
    let broken = file("broken.toml", "listen = \n");
    let bucket = file("bucket.toml", "[buckets.carts]\ntll = \"1h\"\n");
    let buckets = file("buckets.toml", "[buckets.carts]\nn = 8\n");
    let replicas = file("replicas.txt", "replica0 127.0.0.1 7000\nreplica1 127.0.0.1\n");
    let others = file("others.txt", "replica0 127.0.0.1 7000\n");
    let not_a_directory = file("file", "");
    let below_a_file = format!("{not_a_directory}/data");
    let absent = cluster.path("absent").to_str().unwrap().to_owned();
    let nowhere = "/proc/chinwag-data".to_owned();
    for (flags, words) in [
        (&["--config", &misspelt][..], &["misspelt.toml", "line 2", "sede"][..]),
        (&["--config", &mistyped], &["mistyped.toml", "line 3", "three"]),
        (&["--config", &broken], &["broken.toml", "line 1"]),
        (&["--config", &bucket], &["[buckets.carts]", "unknown field `tll`"]),
        (&["--config", &buckets], &["[buckets.carts]", "1 to 7", "8"]),
        (&["--config", &absent], &["cannot read", &absent]),
        (&["--replicas", &replicas], &["replicas.txt", "line 2"]),
        (&["--replicas", &others], &["others.txt", "no line for a member named x"]),
        (&["--data", &not_a_directory], &["cannot use", &not_a_directory]),
        (&["--data", &below_a_file], &["cannot use", &below_a_file]),
        (&["--data", &nowhere], &["cannot use", &nowhere]),
        (&["--partitions", "100"], &["100", "power of two"]),
        (&["--partitioner", "sha"], &["sha", "md5"]),
        (&["--n", "8"], &["8", "1 to 7"]),
        (&["--anti-entropy", "5"], &["--anti-entropy 5", "e.g. 5s"]),
        (&["--preset", "five-node"], &["five-node", "four-node"]),
        (&["--preset", "four-node"], &["replica0"]),
        (&["--listen", "0.0.0.0:0"], &["0.0.0.0", "--advertise"]),
        (&["--listen", "here"], &["--listen", "here"]),
        (&["--seed", "127.0.0.1"], &["`127.0.0.1` is not an address", "HOST:PORT"]),
    ] {
        let mut command = cluster.node("x");
        if !flags.contains(&"--data") {
            command.arg("--data").arg(cluster.data("x"));
        }
        if !flags.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let refused = Ran::to_end(command.args(flags), b"").await;
        refused.assert_failed(2, words);
        assert!(refused.stdout.is_empty(), "{flags:?} were served: {refused:?}");
    }
    secrets_and_names_are_needed(&cluster).await;
}

async fn secrets_and_names_are_needed(cluster: &Cluster) {
    let node = |flags: &[&str]| {
        let mut command = chinwag();
        command.current_dir(cluster.path("")).args(["node", "--listen", "127.0.0.1:0"]).args(flags);
        command
    };
    std::fs::write(cluster.path("no.secret"), "hello\n").unwrap();
    for (flags, words) in [
        (&["--secret", "cluster.secret"][..], &["needs a name", "--name"][..]),
        (&["--secret", "cluster.secret", "--name", "a b"], &["name", "not allowed"]),
        (&["--secret", "absent", "--name", "a"], &["cannot read the cluster secret absent", "secret new"]),
        (&["--secret", "no.secret", "--name", "a"], &["no.secret"]),
    ] {
        Ran::to_end(&mut node(flags), b"").await.assert_failed(2, words);
    }
}

#[tokio::test]
async fn a_file_of_settings_stands_in_for_flags_and_flags_win() {
    let mut cluster = Cluster::start(&["a"], &[]).await;
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let settings = format!(
        "name = \"not-this\"\nsecret = \"/absent\"\nlisten = \"{}\"\ndata = \"/proc/absent\"\nseed = [\"{}\"]\n",
        taken.local_addr().unwrap(),
        cluster.address("a"),
    );
    std::fs::write(cluster.path("half.toml"), settings).unwrap();
    let file = cluster.path("half.toml");
    // Name, secret, directory and address come from flags, the seed from the file.
    cluster.add("b", &["--config", file.to_str().unwrap()]).await;
    cluster.all_alive().await;

    let settings = format!(
        "name = \"c\"\nsecret = \"cluster.secret\"\nlisten = \"127.0.0.1:0\"\ndata = \"c.data\"\n\
         seed = [\"{}\"]\nread-repair = \"off\"\nanti-entropy = \"off\"\nn = 3\n",
        cluster.address("b"),
    );
    std::fs::write(cluster.path("whole.toml"), settings).unwrap();
    let log = cluster.path("c.log");
    let mut command = chinwag();
    command.current_dir(cluster.path("")).args(["node", "--config", "whole.toml"]);
    let _running = Process::spawn(command.stdout(Stdio::null()).stderr(File::create(&log).unwrap()));
    wait_until("the member of the file joins", async || {
        let seen = cluster.states("a").await;
        let log = std::fs::read_to_string(&log).unwrap();
        satisfied(seen.get("c").is_some_and(|state| state == "alive"), (seen, log))
    })
    .await;
    assert!(cluster.data("c").is_dir());
}
