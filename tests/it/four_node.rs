//! The preset of four nodes, started from a file of replicas: its table of keys, and the keys it refuses.

use std::net::UdpSocket;

use crate::cluster::Cluster;

const NAMES: [&str; 4] = ["replica0", "replica1", "replica2", "replica3"];

/// The table of DESIGN.md section 3.
const TABLE: &str = "\
keys     first replica  second    third
0-63     replica0       replica1  replica2
64-127   replica1       replica2  replica3
128-191  replica2       replica3  replica0
192-255  replica3       replica0  replica1
";

/// Four members that know each other from a file of lines `name ip port` alone.
async fn start() -> Cluster {
    let mut cluster = Cluster::empty().await;
    let sockets = NAMES.map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let addresses = sockets.each_ref().map(|it| it.local_addr().unwrap());
    drop(sockets);
    let line = |(name, address): (&str, std::net::SocketAddr)| {
        format!("{name} {} {}\n", address.ip(), address.port())
    };
    let file = cluster.path("replicas.txt");
    std::fs::write(&file, NAMES.into_iter().zip(addresses).map(line).collect::<String>()).unwrap();
    for (name, address) in NAMES.into_iter().zip(addresses) {
        let flags = ["--preset", "four-node", "--replicas", file.to_str().unwrap()];
        cluster.add_at(name, address, &flags).await;
        assert_eq!(cluster.address(name), address, "the file says where {name} listens");
    }
    cluster.all_alive().await;
    cluster
}

#[tokio::test]
async fn the_preset_has_its_table_and_its_keys() {
    let cluster = start().await;
    for name in NAMES {
        assert_eq!(cluster.run(name, &["ring", "--keys"]).await.text(), TABLE);
    }
    for key in ["0", "255"] {
        reads_and_writes_through_every_member(&cluster, key).await;
    }
    for key in ["256", "-1", "x"] {
        for name in NAMES {
            let refused = cluster.run(name, &["put", key, "v"]).await;
            refused.assert_failed(2, &[key, "0 to 255"]);
        }
        cluster.run("replica2", &["get", key]).await.assert_failed(2, &[key, "0 to 255"]);
    }
    for name in NAMES {
        for entry in cluster.dump(name).await {
            assert!(entry.key == "0" || entry.key == "255", "{name} holds {entry:?}");
        }
    }
}

async fn reads_and_writes_through_every_member(cluster: &Cluster, key: &str) {
    let mut context: Option<String> = None;
    for writer in NAMES {
        let value = format!("{key} by {writer}");
        let mut put = vec!["put", key, &value, "--json"];
        put.extend(context.iter().flat_map(|it| ["--context", it.as_str()]));
        cluster.run(writer, &put).await.text();
        for reader in NAMES {
            let read = cluster.run(reader, &["get", key, "--json"]).await.json();
            assert_eq!(read["siblings"].as_array().unwrap().len(), 1, "{read}");
            assert_eq!(read["siblings"][0]["value"], value.as_str(), "read through {reader}");
            context = Some(read["context"].as_str().unwrap().to_owned());
        }
    }
}
