//! Hand-written histories, one for each anomaly: each has exactly that one.

use super::{Metric, Model, Report, Settings, check, check_imported, render};
use crate::import::{read_edn, read_log};
use crate::ledger::Ledger;
use std::fs::File;
use std::io::BufReader;

fn open(name: &str) -> BufReader<File> {
    BufReader::new(File::open(format!("{}/tests/histories/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap())
}

fn checked(name: &str, settings: &Settings) -> Report {
    check(&Ledger::read(open(&format!("{name}.jsonl"))).unwrap(), settings)
}

/// The anomalies found: name and operations.
fn found(report: &Report) -> Vec<(Metric, Vec<u64>)> {
    let listed = report.anomalies.listed.iter();
    listed.map(|anomaly| (anomaly.name, anomaly.operations.clone())).collect()
}

#[test]
fn each_history_has_exactly_the_anomaly_it_is_named_after() {
    let expected: [(Metric, &[u64]); 10] = [
        (Metric::Stale, &[2, 1]),
        (Metric::LostUpdate, &[1, 4]),
        (Metric::ReadYourWrites, &[2, 1]),
        (Metric::MonotonicReads, &[3, 1, 2]),
        (Metric::MonotonicWrites, &[4, 1, 2]),
        (Metric::WritesFollowReads, &[5, 1, 3]),
        (Metric::Causal, &[7, 1]),
        (Metric::FalseConcurrency, &[4, 1, 3]),
        (Metric::FalseDominance, &[3, 1]),
        (Metric::UnwrittenValue, &[3, 2]),
    ];
    for (name, operations) in expected {
        let report = checked(name.name(), &Settings::new(Model::Siblings));
        assert_eq!(found(&report), [(name, operations.to_vec())], "{}", render(&report));
        let only = Settings { only: Some([name].into()), ..Settings::new(Model::Siblings) };
        assert_eq!(found(&checked(name.name(), &only)).len(), 1, "{name}");
    }
}

#[test]
fn a_register_that_goes_back_is_not_linearizable() {
    let report = checked("linearizability", &Settings::new(Model::Register));
    assert_eq!(found(&report), [(Metric::Linearizability, vec![1, 2, 3, 4])], "{}", render(&report));
    // Nobody who reads siblings was promised a register.
    let siblings = checked("linearizability", &Settings::new(Model::Siblings));
    assert_eq!(siblings.anomalies.counts.get(&Metric::Linearizability), None);
}

#[test]
fn a_clean_history_has_none_by_either_model() {
    for model in [Model::Siblings, Model::Register] {
        let report = checked("clean", &Settings::new(model));
        assert!(report.anomalies.is_empty(), "{}", render(&report));
        assert!(render(&report).ends_with("no anomaly\n"));
    }
}

#[test]
fn a_rate_counts_what_a_more_telling_name_hides() {
    let report = checked("read-your-writes", &Settings::new(Model::Siblings));
    let level = report.level("one".parse().unwrap()).unwrap();
    assert_eq!(level.stale.as_ref().unwrap().acknowledged.rate.count, 1);
    let only = Settings { only: Some([Metric::Stale].into()), ..Settings::new(Model::Siblings) };
    assert_eq!(found(&checked("read-your-writes", &only)), [(Metric::Stale, vec![2, 1])]);
}

#[test]
fn logs_of_other_tools_are_judged() {
    let settings = Settings::new(Model::Register);
    let report = check_imported(&read_edn(open("jepsen.edn")).unwrap(), &settings);
    assert_eq!(found(&report), [(Metric::Linearizability, vec![8])], "{}", render(&report));
    let report = check_imported(&read_edn(open("porcupine.txt")).unwrap(), &settings);
    assert!(report.anomalies.is_empty() && !report.is_plain, "{}", render(&report));
    let report = check_imported(&read_log(open("jepsen.log")).unwrap(), &settings);
    // A plain register: the read that went back has a more telling name.
    assert_eq!(found(&report), [(Metric::MonotonicReads, vec![5, 1, 2])], "{}", render(&report));
}
