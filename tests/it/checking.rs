//! `chinwag check` and `chinwag predict` as people run them: exit codes, names, lines of mistakes.

use std::path::PathBuf;

use serde_json::Value;

use crate::process::{Ran, chinwag};

fn history(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("crates/observer/tests/histories").join(name)
}

async fn checked(name: &str, more: &[&str]) -> Ran {
    Ran::to_end(chinwag().arg("check").arg(history(name)).args(more), b"").await
}

fn text(ran: &Ran) -> String {
    String::from_utf8(ran.stdout.clone()).unwrap()
}

#[tokio::test]
async fn an_anomaly_is_named_with_its_operations_and_exits_with_1() {
    let ran = checked("read-your-writes.jsonl", &[]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let expected = "read-your-writes: 1\n  key k: get 2 missed put 1, which its own session had completed 10 ms before\n";
    assert!(text(&ran).ends_with(expected), "{}", text(&ran));

    let ran = checked("monotonic-writes.jsonl", &["--json"]).await;
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(report["anomalies"]["counts"], serde_json::json!({ "monotonic-writes": 1 }));
    assert_eq!(report["anomalies"]["listed"][0]["operations"], serde_json::json!([4, 1, 2]));
}

#[tokio::test]
async fn a_clean_history_exits_with_0() {
    for model in ["siblings", "register"] {
        let ran = checked("clean.jsonl", &["--model", model]).await;
        assert_eq!(ran.code, Some(0), "{}", text(&ran));
        assert!(text(&ran).ends_with("\nno anomaly\n"), "{}", text(&ran));
    }
    // What is not asked for is not judged.
    assert_eq!(checked("stale.jsonl", &["--only", "causal,lost-update"]).await.code, Some(0));
}

#[tokio::test]
async fn a_malformed_line_is_named_and_exits_with_2() {
    let ran = checked("malformed.jsonl", &[]).await;
    assert_eq!((ran.code, ran.stdout.as_slice()), (Some(2), b"".as_slice()));
    assert!(ran.stderr.contains("malformed.jsonl: line 3: EOF while parsing"), "{}", ran.stderr);

    let edn = b"{:process 0 :type :invoke :f :read}\n{:process 1 :type :ok :f :read}";
    let ran = Ran::to_end(chinwag().args(["check", "-"]), edn).await;
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.starts_with("error: -: line 2: an answer to nothing"), "{}", ran.stderr);

    let ran = Ran::to_end(chinwag().args(["check", "-"]), b"what is this\n").await;
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("no operation found"), "{}", ran.stderr);
    assert_eq!(checked("no-such-file", &[]).await.code, Some(2));
}

#[tokio::test]
async fn logs_of_other_tools_are_judged_as_registers() {
    let ran = checked("jepsen.edn", &[]).await;
    assert_eq!(ran.code, Some(1));
    assert!(text(&ran).contains("linearizability: 1\n"), "{}", text(&ran));
    assert_eq!(checked("porcupine.txt", &[]).await.code, Some(0));
    assert_eq!(checked("jepsen.log", &[]).await.code, Some(1));
}

#[tokio::test]
async fn clocks_that_may_be_apart_excuse_what_they_explain() {
    assert_eq!(checked("stale.jsonl", &["--clock-bound", "1ms"]).await.code, Some(1));
    assert_eq!(checked("stale.jsonl", &["--clock-bound", "5ms"]).await.code, Some(0));
}

#[tokio::test]
async fn a_prediction_is_a_function_of_its_flags_or_of_a_history() {
    let predict = || async {
        let flags = ["predict", "--fit", "lnkd-ssd", "--r", "1", "--w", "1", "--trials", "20000", "--json"];
        Ran::to_end(chinwag().args(flags), b"").await
    };
    let (first, second) = (predict().await, predict().await);
    assert_eq!((first.code, &first.stdout), (Some(0), &second.stdout));
    let document: Value = serde_json::from_slice(&first.stdout).unwrap();
    let fresh = document[0]["predictions"][0]["fresh_at_once"].as_f64().unwrap();
    assert!((fresh - 0.974).abs() < 0.01, "{fresh}");

    let ran = Ran::to_end(chinwag().arg("predict").arg("--from").arg(history("clean.jsonl")), b"").await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(text(&ran).starts_with("no read can be compared with a prediction\n"), "{}", text(&ran));
    let ran = Ran::to_end(chinwag().arg("predict").arg("--from").arg(history("malformed.jsonl")), b"").await;
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("malformed.jsonl: line 3: EOF while parsing"), "{}", ran.stderr);

    let ran = Ran::to_end(chinwag().args(["predict", "--r", "4", "--w", "1"]), b"").await;
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("R is 4; it must be 1 to N, which is 3"), "{}", ran.stderr);
}
