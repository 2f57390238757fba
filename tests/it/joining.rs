//! Members that are told of one seed only, and what each then knows of the cluster.

use std::collections::BTreeSet;

use crate::cluster::Cluster;
use crate::process::{satisfied, wait_until};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[tokio::test]
async fn four_members_find_each_other_through_one_seed() {
    let cluster = Cluster::start(&NAMES, &[]).await;
    for observer in NAMES {
        let answer = cluster.run(observer, &["members", "--json"]).await.json();
        let members = answer["members"].as_array().unwrap();
        assert_eq!(members.len(), NAMES.len());
        for (member, name) in members.iter().zip(NAMES) {
            assert_eq!(member["name"], name);
            assert_eq!(member["address"], cluster.address(name).to_string());
            assert_eq!(member["state"], "alive");
            assert!(member["incarnation"].is_u64(), "{member}");
        }
    }

    let text = cluster.run("c", &["members"]).await;
    let lines: Vec<Vec<&str>> = text.text().lines().map(|it| it.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..4], ["name", "address", "state", "incarnation"]);
    for (line, name) in lines[1..].iter().zip(NAMES) {
        assert_eq!(line[..3], [name, &cluster.address(name).to_string(), "alive"]);
    }

    every_member_knows_the_same_ring(&cluster).await;
    let refused = cluster.run("b", &["ring", "--keys"]).await;
    refused.assert_failed(2, &["not the integers 0 to 255"]);
    assert!(refused.stdout.is_empty());
}

async fn every_member_knows_the_same_ring(cluster: &Cluster) {
    let ring = cluster.run("a", &["ring", "--json"]).await.json();
    for other in &NAMES[1..] {
        assert_eq!(cluster.run(other, &["ring", "--json"]).await.json(), ring, "{other} sees another ring");
    }
    let mut next = 0;
    for range in ring["partitions"].as_array().unwrap() {
        assert_eq!(range["first"], next, "partitions follow each other: {ring}");
        next = range["last"].as_u64().unwrap() + 1;
        let owners: BTreeSet<&str> =
            range["owners"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        assert!(owners.len() == 3 && owners.iter().all(|it| NAMES.contains(it)), "{range}");
    }
    assert_eq!(next, 256);
    let text = cluster.run("d", &["ring"]).await;
    assert!(text.text().starts_with("256 partitions on 4 members, 3 replicas per key, placed by md5\n"));
}

#[tokio::test]
async fn a_member_joins_through_a_seed_that_comes_later() {
    let mut cluster = Cluster::empty().await;
    // A port on which nobody answers, until somebody does.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let seed = socket.local_addr().unwrap();
    cluster.add("early", &["--seed", &seed.to_string()]).await;
    wait_until("the member says that it keeps trying", async || {
        let log = cluster.log("early");
        let says = |line: &str| line.contains("keep trying") && line.contains(&seed.to_string());
        satisfied(log.lines().any(says), log)
    })
    .await;
    assert!(!cluster.log("early").contains('\x1b'), "a log in a file has no colours");
    // Alone, it serves what one replica can serve.
    cluster.run("early", &["put", "k", "v", "--consistency", "one"]).await.text();

    drop(socket);
    cluster.add_at("late", seed, &[]).await;
    assert_eq!(cluster.address("late"), seed);
    cluster.all_alive().await;
}
