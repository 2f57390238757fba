//! Beliefs made up by hand: the right ones are told from the wrong ones.

use super::*;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn change(at: u64, kind: ChangeKind, name: &str, generation: u64) -> (Duration, MemberChange) {
    let change = MemberChange {
        at_ms: 0,
        kind,
        name: name.to_owned(),
        address: ([127, 0, 0, 1], 1).into(),
        incarnation: 0,
        generation,
        by: None,
    };
    (seconds(at), change)
}

fn life(member: &str, from: u64, until: Option<u64>, generation: u64) -> Life {
    let (from, until) = (seconds(from), until.map(seconds));
    Life { member: member.to_owned(), from, until, generation, changes: Vec::new() }
}

/// Three members that know each other from the start.
fn acquainted() -> [Life; 3] {
    ["a", "b", "c"].map(|member| {
        let mut life = life(member, 0, None, 1);
        let others = ["a", "b", "c"].into_iter().filter(|it| *it != member);
        life.changes.extend(others.map(|other| change(0, ChangeKind::Up, other, 1)));
        life
    })
}

fn scenario(steps: &str) -> Scenario {
    Scenario::parse(&format!("name = \"made up\"\nduration = \"60s\"\n{steps}")).unwrap()
}

const CUT: &str = r#"
[[step]]
at = "10s"
partition = [["a"], ["b", "c"]]
[[step]]
at = "20s"
heal = true
"#;

fn pairs(beliefs: &Beliefs) -> Vec<(&str, &str)> {
    beliefs.wrongly_down.iter().map(|it| (it.who.as_str(), it.whom.as_str())).collect()
}

#[test]
fn who_is_cut_off_may_be_believed_down_and_nobody_else() {
    let [mut a, mut b, mut c] = acquainted();
    a.changes.push(change(15, ChangeKind::Down, "b", 1));
    // Just healed.
    b.changes.push(change(22, ChangeKind::Down, "a", 1));
    assert_eq!(pairs(&Beliefs::new(&[a.clone(), b.clone(), c.clone()], &scenario(CUT))), []);
    c.changes.push(change(16, ChangeKind::Down, "b", 1));
    b.changes.push(change(40, ChangeKind::Down, "a", 1));
    let beliefs = Beliefs::new(&[a, b, c], &scenario(CUT));
    assert_eq!(pairs(&beliefs), [("b", "a"), ("c", "b")]);
}

#[test]
fn a_block_excuses_both_ends_and_a_pause_the_paused() {
    let [mut a, mut b, c] = acquainted();
    a.changes.push(change(12, ChangeKind::Down, "b", 1));
    b.changes.push(change(12, ChangeKind::Down, "a", 1));
    b.changes.push(change(12, ChangeKind::Down, "c", 1));
    let lives = [a, b, c];
    let block = "[[step]]\nat = \"5s\"\nblock = { from = \"a\", to = \"b\" }\n";
    assert_eq!(pairs(&Beliefs::new(&lives, &scenario(block))), [("b", "c")]);
    let pause = "[[step]]\nat = \"5s\"\npause = { node = \"b\", for = \"4s\" }\n";
    assert_eq!(pairs(&Beliefs::new(&lives, &scenario(pause))), []);
    let long_ago = "[[step]]\nat = \"1s\"\npause = { node = \"b\", for = \"1s\" }\n";
    assert_eq!(pairs(&Beliefs::new(&lives, &scenario(long_ago))).len(), 3);
}

#[test]
fn one_that_crashed_is_down_and_a_former_life_is_not_the_present_one() {
    let [mut a, mut b, c] = acquainted();
    b.until = Some(seconds(10));
    a.changes.push(change(15, ChangeKind::Down, "b", 1));
    let again = life("b", 20, None, 2);
    a.changes.push(change(21, ChangeKind::Down, "b", 1));
    let beliefs = Beliefs::new(&[a.clone(), b.clone(), c.clone(), again.clone()], &scenario(""));
    assert_eq!(pairs(&beliefs), []);
    a.changes.push(change(22, ChangeKind::Down, "b", 2));
    assert_eq!(pairs(&Beliefs::new(&[a, b, c, again], &scenario(""))), [("a", "b")]);
}

#[test]
fn one_view_is_when_the_last_believes_the_last_alive() {
    let [mut a, b, mut c] = acquainted();
    let after = |lives: &[Life]| Beliefs::new(lives, &scenario(CUT)).one_view_after_ms;
    assert_eq!(after(&[a.clone(), b.clone(), c.clone()]), Some(0.0), "nobody noticed the cut");
    a.changes.push(change(15, ChangeKind::Down, "b", 1));
    assert_eq!(after(&[a.clone(), b.clone(), c.clone()]), None);
    a.changes.push(change(21, ChangeKind::Up, "b", 1));
    c.changes.push(change(18, ChangeKind::Suspect, "a", 1));
    c.changes.push(change(23, ChangeKind::Refuted, "a", 1));
    assert_eq!(after(&[a, b, c]), Some(3000.0));
}

#[test]
fn a_restart_is_known_when_everyone_has_heard_of_the_new_life() {
    let [mut a, mut b, mut c] = acquainted();
    b.until = Some(seconds(10));
    let mut again = life("b", 20, None, 2);
    again.changes = vec![change(21, ChangeKind::Up, "a", 1), change(21, ChangeKind::Up, "c", 1)];
    // Of the former life, too late.
    a.changes.push(change(20, ChangeKind::Refuted, "b", 1));
    a.changes.push(change(21, ChangeKind::Up, "b", 2));
    c.changes.push(change(24, ChangeKind::Up, "b", 2));
    let steps = "[[step]]\nat = \"10s\"\ncrash = \"b\"\n[[step]]\nat = \"20s\"\nrestart = \"b\"\n";
    let beliefs = Beliefs::new(&[a, b, c, again], &scenario(steps));
    assert_eq!(beliefs.restart_known_after_ms, Some(4000.0));
    assert_eq!(beliefs.one_view_after_ms, Some(4000.0));
}
