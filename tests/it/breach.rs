//! An experiment that breaks an invariant says how to run it again, and what it says can be run as it stands.

use std::path::Path;

use crate::process::{Ran, chinwag};

/// A scenario that leaves a member down: the replicas cannot agree.
const LEFT_DOWN: &str = r#"
name = "left down"
duration = "4s"
[[step]]
at = "500ms"
pause = { node = "node0", for = "300ms" }
[[step]]
at = "1s"
crash = "node2"
[[step]]
at = "2s"
links = { drop = 0.05 }
"#;
const FLAGS: [&str; 6] = ["--members", "4", "--rate", "30", "--sessions", "2"];

/// What a command that breaks an invariant prints, run where its results may go.
async fn breaks(directory: &Path, arguments: &[&str]) -> String {
    let mut command = chinwag();
    command.current_dir(directory).args(arguments);
    let ran = Ran::to_end(&mut command, b"").await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    String::from_utf8(ran.stdout).expect("what is printed here is text")
}

/// The lines that begin with `start`, without it.
fn lines<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(start)).collect()
}

/// Runs every replay that `told` names and sees each break the same; returns how many there were.
async fn replay_all(directory: &Path, told: &str, breach: &str) -> usize {
    let replays = lines(told, "  replay: chinwag ");
    for replay in &replays {
        let mut arguments: Vec<&str> = replay.split(' ').collect();
        arguments.push("--no-shrink");
        let again = breaks(directory, &arguments).await;
        assert_eq!(lines(&again, "seed "), [breach], "{replay}");
    }
    replays.len()
}

#[tokio::test]
async fn a_broken_run_is_replayed_and_shrunk_by_what_it_prints() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    std::fs::write(directory.path().join("down.toml"), LEFT_DOWN).expect("a file can be written");
    let arguments = [&["observe", "down.toml", "--seed", "3"], &FLAGS[..]].concat();
    let told = breaks(directory.path(), &arguments).await;
    let breach = lines(&told, "seed ")[0];
    assert!(breach.starts_with("3 broke converged: node2 "), "{told}");
    assert!(told.contains("1 of 3 faults, 1 of 2 sessions, "), "{told}");

    let whole =
        told.lines().take_while(|line| !line.starts_with("shrunk in ")).collect::<Vec<_>>().join("\n");
    assert_eq!(replay_all(directory.path(), &whole, breach).await, 1);
    let shrunk = lines(&told, "  replay: chinwag ")[1];
    let again = breaks(directory.path(), &shrunk.split(' ').collect::<Vec<_>>()).await;
    assert!(lines(&again, "seed ")[0].starts_with("3 broke converged: node2 "), "{again}");
    assert!(again.contains("1 of 1 faults, 1 of 1 sessions, "), "{again}");
}

#[tokio::test]
async fn a_soak_ends_with_the_first_seed_that_breaks_something() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    std::fs::write(directory.path().join("down.toml"), LEFT_DOWN).expect("a file can be written");
    let arguments = [&["soak", "down.toml", "--minutes", "5", "--no-shrink"], &FLAGS[..]].concat();
    let told = breaks(directory.path(), &arguments).await;
    assert!(told.contains("an invariant broke"), "{told}");
    let breaches = lines(&told, "seed ");
    assert!(breaches[0].contains(" broke converged: node2 "), "{told}");
    assert_eq!(replay_all(directory.path(), &told, breaches[0]).await, 1);
}
