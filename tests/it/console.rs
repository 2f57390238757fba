//! The console, with its commands piped in.

use crate::cluster::Cluster;

/// A member whose quorum is itself.
async fn alone() -> Cluster {
    Cluster::start(&["a"], &["--n", "1"]).await
}

#[tokio::test]
async fn piped_commands_do_what_they_say() {
    let cluster = alone().await;
    let script = "\
# A comment, then two values that do not know of each other.
put cart tea
put --blind cart 'milk and sugar'
get cart
siblings cart
resolve cart 2
get cart
consistency one
members
ring cart
delete cart
get cart
quit
put cart 'after the end'
";
    let ran = cluster.run_with("a", &["console"], script.as_bytes()).await;
    assert_eq!(ran.stderr, "");
    let mut lines = ran.text().lines();
    let mut line = || lines.next().unwrap_or_default();
    assert_eq!(line(), "ok on a: replaced nothing, other values stay as siblings");
    assert_eq!(line(), "ok on a: replaced nothing, other values stay as siblings");
    assert_eq!(line(), "sibling 1  tea");
    assert_eq!(line(), "sibling 2  milk and sugar");
    assert_eq!(line(), "`resolve cart N|VALUE` replaces them");
    assert!(line().ends_with("value"));
    assert!(line().ends_with(":1  tea"));
    assert!(line().ends_with(":2  milk and sugar"));
    assert!(line().starts_with("ok on a: replaced what you read"));
    assert_eq!(line(), "milk and sugar");
    assert_eq!(line(), "consistency is one");
    assert!(line().starts_with("name"));
    assert!(line().starts_with(&format!("a     {}  alive", cluster.address("a"))));
    let ring: Vec<&str> = [line(), line(), line(), line()].into();
    assert!(ring[0].starts_with("partition ") && ring[2] == "owners     a", "{ring:?}");
    assert!(line().starts_with("ok on a: deleted what you"));
    assert_eq!(line(), "cart has no value");
    assert_eq!(lines.next(), None);

    let after = cluster.run("a", &["get", "cart"]).await;
    after.assert_failed(1, &["cart has no value"]);
}

#[tokio::test]
async fn a_script_is_told_of_its_worst_failure_and_goes_on() {
    let cluster = alone().await;
    let script = "nonsense\nresolve cart 1\nput cart 2 x tea\nput cart tea\n";
    let ran = cluster.run_with("a", &["console"], script.as_bytes()).await;
    ran.assert_failed(2, &["no command `nonsense`", "nothing is known of cart", "needs quotes"]);
    assert_eq!(
        cluster.run("a", &["get", "cart", "--raw"]).await.text(),
        "tea",
        "the last line was carried out"
    );
}
