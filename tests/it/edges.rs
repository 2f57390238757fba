//! Which crate may name which: the manifests must say what the drawing in ARCHITECTURE.md says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The drawing, as (crate, crates it may name).
const DRAWING: &[(&str, &[&str])] = &[
    ("chinwag", &["observer", "node", "client", "fuzz-net"]),
    ("observer", &["node", "client", "fuzz-net"]),
    ("node", &["membership", "storage", "merkle", "client"]),
    ("storage", &["merkle"]),
    ("membership", &[]),
    ("merkle", &[]),
    ("fuzz-net", &[]),
    ("client", &[]),
];

/// The chinwag crates that a manifest depends on, tests included.
fn named(manifest: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(manifest).expect("every crate has a manifest");
    let manifest: toml::Table = text.parse().expect("cargo has read this manifest before");
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .into_iter()
        .filter_map(|section| manifest.get(section)?.as_table())
        .flat_map(toml::Table::keys)
        .filter_map(|name| name.strip_prefix("chinwag-").map(str::to_owned))
        .collect()
}

#[test]
fn manifests_follow_the_drawing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders: BTreeSet<String> = std::fs::read_dir(root.join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let drawing: BTreeMap<&str, BTreeSet<String>> =
        DRAWING.iter().map(|(name, may)| (*name, may.iter().map(|it| (*it).to_owned()).collect())).collect();
    let drawn: BTreeSet<String> =
        drawing.keys().filter(|name| **name != "chinwag").map(|name| (*name).to_owned()).collect();
    assert_eq!(folders, drawn, "every crate is in the drawing and nothing else is");
    for (name, may) in &drawing {
        let manifest = match *name {
            "chinwag" => root.join("Cargo.toml"),
            folder => root.join("crates").join(folder).join("Cargo.toml"),
        };
        let forbidden: Vec<_> = named(&manifest).difference(may).cloned().collect();
        assert!(forbidden.is_empty(), "{name} may not name {forbidden:?}");
    }
}

#[test]
fn seeded_handshakes_are_for_the_observer_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in DRAWING {
        let manifest = match *name {
            "chinwag" => root.join("Cargo.toml"),
            folder => root.join("crates").join(folder).join("Cargo.toml"),
        };
        let text = std::fs::read_to_string(manifest).expect("every crate has a manifest");
        let turns_on = text.contains("features = [\"pinned\"]");
        assert_eq!(turns_on, *name == "observer", "{name}");
    }
}
