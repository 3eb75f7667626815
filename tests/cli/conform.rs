//! A vendor asks whether a plugin keeps to the header: a sound one passes, and each fault is found.

mod mutants;

use crate::common::{Bench, mock};
use predicates::prelude::*;
use serde_json::Value;

/// Runs `conform` on the mock backend with these arguments; the exit code and the JSON report.
fn conform(arguments: &[&str]) -> (i32, Value) {
    let mock = mock().to_str().unwrap();
    let words = [&["conform", mock, "--json"], arguments].concat();
    let out = Bench::new().edgebench(&words).output().unwrap();
    let report = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out:?}"));
    (out.status.code().unwrap_or(-1), report)
}

/// Ids of the checks with this status, and their messages.
fn with_status<'a>(report: &'a Value, status: &str) -> Vec<(&'a str, &'a str)> {
    let checks = report["checks"].as_array().unwrap();
    let chosen = checks.iter().filter(|c| c["status"] == status);
    chosen.map(|c| (c["id"].as_str().unwrap(), c["message"].as_str().unwrap())).collect()
}

/// A fault of the contract is found by some check, in these words.
fn found(fault: &str, status: &str, words: &str) {
    let (code, report) = conform(&["--timeout", "1", "--param", &format!("fault={fault}")]);
    assert_eq!(code, 1, "{fault}: {report:#}");
    let bad = with_status(&report, status);
    assert!(bad.iter().any(|(_, message)| message.contains(words)), "{fault}: {report:#}");
    for check in report["checks"].as_array().unwrap() {
        let failed = check["status"] == "failed" || check["status"] == "crashed";
        assert!(!failed || !check["rule"].as_str().unwrap().is_empty(), "{check}");
    }
}

/// A sound plugin passes; gives the ids of what was skipped.
fn passes(arguments: &[&str]) -> Vec<String> {
    let (code, report) = conform(arguments);
    assert_eq!((code, &report["failed"], &report["warnings"]), (0, &0.into(), &0.into()), "{report:#}");
    assert!(report["passed"].as_u64().unwrap() > 30, "{report:#}");
    with_status(&report, "skipped").into_iter().map(|(id, _)| id.to_owned()).collect()
}

#[test]
fn a_sound_plugin_passes_every_check_that_applies() {
    // No sampling and no model in the mock; with 100 µs per token its prompts are long enough to be aborted.
    let skipped = passes(&["--param", "prefill_us=100"]);
    let expected =
        ["open-missing-model", "open-malformed-model", "open-truncated-model", "seed", "power", "lora-scale"];
    assert_eq!(skipped, expected);
}

#[test]
fn what_a_plugin_does_not_offer_is_skipped() {
    let skipped = passes(&["--param", "tokenizer=false"]);
    assert!(skipped.contains(&"tokenize-round-trip".to_owned()), "{skipped:?}");
    let skipped = passes(&["--param", "score=false"]);
    assert!(skipped.contains(&"score-events".to_owned()), "{skipped:?}");
    let skipped = passes(&["--param", "adapters=false"]);
    assert!(skipped.contains(&"lora-empty".to_owned()), "{skipped:?}");
}

#[test]
fn adapters_are_checked_with_one_that_is_given() {
    let bench = Bench::new();
    let adapter = bench.write("a.lora", "mock-lora a");
    let skipped = passes(&["--param", &format!("lora={}", adapter.display())]);
    assert!(!skipped.iter().any(|id| id.starts_with("lora")), "{skipped:?}");
}

#[test]
fn a_crash_is_told_with_its_signal_and_its_place() {
    found("segv-open", "crashed", "signal 11 (SIGSEGV) during open()");
    found("segv", "crashed", "signal 11 (SIGSEGV) during generate()");
    found("segv-close", "crashed", "signal 11 (SIGSEGV) during close()");
    found("abort", "crashed", "signal 6 (SIGABRT) during generate()");
    found("exit", "crashed", "left with exit(0) during generate()");
}

#[test]
fn a_call_that_does_not_return_fails_and_three_of_them_end_the_run() {
    for fault in ["loop", "ignore-abort", "sleep"] {
        found(fault, "failed", "no answer within 1 s during generate()");
    }
    let (_, report) = conform(&["--timeout", "1", "--param", "fault=ignore-abort"]);
    assert_eq!(report["failed"], 3, "{report:#}");
}

#[test]
fn broken_rules_of_events_are_found() {
    found("endless", "failed", "without end");
    found("token-after-done", "failed", "an event after the request's DONE");
    found("no-done", "failed", "without a DONE event");
    found("two-dones", "failed", "a second DONE event");
    found("wrong-id", "failed", "which was not asked for");
    found("foreign-thread", "failed", "another thread");
    found("no-prefill", "failed", "before the request's PREFILL");
    found("error", "failed", "EB_ERR_DEVICE (the device is on fire: call the fire brigade)");
}

#[test]
fn damage_to_the_caller_is_found() {
    found("error-overrun", "failed", "bytes behind the caller's eb_error were overwritten");
    found("close-fds", "failed", "was closed");
}

#[test]
fn what_is_allowed_but_bad_is_a_warning() {
    let (code, report) = conform(&["--param", "fault=spam", "--param", "fault_at=1"]);
    assert_eq!((code, with_status(&report, "warning")[0].0), (0, "quiet"), "{report:#}");
    let (code, report) = conform(&["--param", "fault=alloc", "--only", "memory-growth"]);
    assert_eq!((code, with_status(&report, "warning")[0].0), (0, "memory-growth"), "{report:#}");
    let (code, report) = conform(&["--param", "fault=bad-utf8", "--param", "fault_at=1", "--only", "unicode-output"]);
    assert_eq!((code, with_status(&report, "warning")[0].0), (0, "unicode-output"), "{report:#}");
}

#[test]
fn the_table_has_a_row_for_each_check_the_rule_behind_a_failure_and_a_summary() {
    let mock = mock().to_str().unwrap();
    let bench = Bench::new();
    let ok = bench.edgebench(&["conform", mock, "--only", "open-*"]).assert().code(0);
    ok.stdout(
        predicate::str::contains("ok       open-unknown-param")
            .and(predicate::str::contains("skipped  open-missing-model"))
            .and(predicate::str::ends_with("2 passed, 0 failed, 3 skipped, 0 warnings\n")),
    );
    let arguments = ["conform", mock, "--only", "open-close", "--param", "fault=segv-close"];
    bench.edgebench(&arguments).assert().code(1).stdout(
        predicate::str::contains("CRASHED  open-close")
            .and(predicate::str::contains("the rule: open/close may be repeated in one process"))
            .and(predicate::str::ends_with("0 passed, 1 failed (1 crashed), 0 skipped, 0 warnings\n")),
    );
}

#[test]
fn what_cannot_be_checked_is_refused_before_anything_runs() {
    let bench = Bench::new();
    let mock = mock().to_str().unwrap();
    let refused = |arguments: &[&str], words: &'static str| {
        bench.edgebench(arguments).assert().code(2).stdout("").stderr(predicate::str::contains(words));
    };
    refused(&["conform"], "plugin");
    refused(&["conform", "./none.so"], "./none.so: No such file");
    refused(&["conform", "none"], "no built-in backend has this name");
    refused(&["conform", mock, "--model", "none.gguf"], "none.gguf: No such file");
    refused(&["conform", mock, "--param", "colour"], "--param colour: not of the form key=value");
    refused(&["conform", mock, "--only", "none"], "no check has this in its id");
}

#[test]
fn what_is_no_plugin_fails_with_the_reason() {
    let bench = Bench::new();
    bench.write("empty.so", "");
    let out = bench.edgebench(&["conform", "./empty.so"]).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("FAILED   table") && text.contains("empty.so"), "{text}");
    assert!(text.contains("0 passed, 1 failed"), "the others are skipped: {text}");
}

/// `plugin` has no failed and no crashed check.
pub fn passes_conform(bench: &Bench, plugin: &str) {
    passes_conform_with(bench, plugin, &[]);
}

/// The same with a model, or parameters.
pub fn passes_conform_with(bench: &Bench, plugin: &str, arguments: &[&str]) {
    let out = bench.edgebench(&[&["conform", plugin, "--json"], arguments].concat()).output().unwrap();
    let report: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out:?}"));
    assert_eq!((out.status.code(), &report["failed"]), (Some(0), &0.into()), "{report:#}");
}
