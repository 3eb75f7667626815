//! A backend that misbehaves costs its own test case and nothing else.

use crate::common::{Bench, CHOICE, GENERATE, both_tasks, mock, questions};

/// Runs a misbehaving object before a sound one; gives the statuses and reasons of the former's two cases.
fn with_fault(params: &str) -> Vec<(String, String)> {
    with_fault_within("1s", params)
}

/// The same with a timeout of its own.
fn with_fault_within(timeout: &str, params: &str) -> Vec<(String, String)> {
    let bench = Bench::new();
    let tasks = both_tasks(&bench);
    let mock = mock().display();
    bench.write(
        "job.toml",
        format!(
            "[job]\ntimeout = \"{timeout}\"\nload_timeout = \"5s\"\n\
             [[object]]\nname = \"bad\"\nbackend = \"{mock}\"\nparams = {{ {params} }}\n\
             [[object]]\nname = \"good\"\nbackend = \"{mock}\"\n{tasks}"
        ),
    );
    let (code, stderr) = bench.run();
    let cases = bench.cases();
    assert_eq!(cases.len(), 4, "every case has its row");
    for row in &cases[2..] {
        assert_eq!((row.get("status"), row.get("n")), ("ok", "5"), "the sound object is not touched");
    }
    let bad: Vec<_> = cases[..2].iter().map(|r| (r.get("status").to_owned(), r.get("reason").to_owned())).collect();
    let ok = bad.iter().all(|(status, _)| status == "ok");
    assert_eq!(code, i32::from(!ok), "{stderr}");
    assert!(leftover(bench.path()).is_empty(), "processes are left: {:?}", leftover(bench.path()));
    assert_eq!(bench.files(), ["gen.jsonl", "job.toml", "out", "pick.jsonl"], "{stderr}");
    bad
}

/// Hosts that still run in `folder`.
pub fn leftover(folder: &std::path::Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|p| std::fs::read_link(p.path().join("cwd")).is_ok_and(|cwd| cwd == folder))
        .map(|p| p.file_name().to_string_lossy().into_owned())
        .collect()
}

/// One row of the matrix: both methods end with this status, for a reason with this word in it.
fn matrix(fault: &str, status: &str, reason: &str) {
    for (got, why) in with_fault(&format!("fault = \"{fault}\"")) {
        assert_eq!(got, status, "{fault}: {why}");
        assert!(why.contains(reason), "{fault}: {why}");
    }
}

#[test]
fn a_segfault_while_loading() {
    matrix("segv-open", "crashed", "signal 11 (SIGSEGV) during loading");
}

#[test]
fn a_segfault_in_a_call() {
    matrix("segv", "crashed", "signal 11 (SIGSEGV)");
}

#[test]
fn a_segfault_while_closing() {
    matrix("segv-close", "crashed", "during close");
}

#[test]
fn abort() {
    matrix("abort", "crashed", "signal 6 (SIGABRT)");
}

#[test]
fn exit_0_in_the_middle() {
    matrix("exit", "crashed", "exited with status 0");
}

#[test]
fn a_call_that_takes_too_long_but_can_be_aborted() {
    matrix("loop", "timeout", "no answer within 1 s");
}

#[test]
fn a_call_that_ignores_abort() {
    matrix("ignore-abort", "timeout", "ignored abort and was killed");
}

#[test]
fn tokens_without_end() {
    let bad = with_fault("fault = \"endless\"");
    assert_eq!(bad[0].0, "failed", "{bad:?}");
    assert!(bad[0].1.contains("more tokens than max_new = 8"), "{bad:?}");
    assert!(bad[1].1.contains("a TOKEN event while scoring"), "{bad:?}");
}

#[test]
fn a_token_after_done() {
    let bad = with_fault("fault = \"token-after-done\"");
    assert_eq!((bad[0].0.as_str(), bad[1].0.as_str()), ("failed", "failed"));
    assert!(bad[0].1.contains("an event after the request's DONE"), "{bad:?}");
    // A DONE without scores comes first there.
    assert!(bad[1].1.contains("without one SCORE event"), "{bad:?}");
}

#[test]
fn no_done() {
    matrix("no-done", "failed", "without a DONE event");
}

#[test]
fn no_prefill() {
    matrix("no-prefill", "failed", "before the request's PREFILL");
}

#[test]
fn two_dones() {
    let bad = with_fault("fault = \"two-dones\"");
    assert!(bad[0].1.contains("a second DONE"), "{bad:?}");
    assert_eq!((bad[0].0.as_str(), bad[1].0.as_str()), ("failed", "failed"));
}

#[test]
fn an_event_for_a_request_that_nobody_made() {
    matrix("wrong-id", "failed", "request 1000, which was not asked for");
}

#[test]
fn an_event_from_another_thread() {
    matrix("foreign-thread", "failed", "another thread");
}

#[test]
fn an_error_message_over_the_buffers_end() {
    for (status, why) in with_fault("fault = \"error-overrun\"") {
        assert_eq!(status, "crashed", "{why}");
    }
}

#[test]
fn descriptors_closed_under_the_host() {
    for (status, why) in with_fault("fault = \"close-fds\"") {
        assert_eq!(status, "crashed", "{why}");
    }
}

#[test]
fn an_honest_error_ends_the_case_with_its_words() {
    matrix("error", "failed", "the device is on fire: call the fire brigade");
}

#[test]
fn what_is_odd_but_allowed_does_no_harm() {
    for fault in ["spam", "alloc"] {
        for (status, why) in with_fault_within("60s", &format!("fault = \"{fault}\"")) {
            assert_eq!(status, "ok", "{fault}: {why}");
        }
    }
}

#[test]
fn output_that_is_no_utf_8_is_kept_as_replacement_characters() {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(2));
    bench.mock_job("", "fault = \"bad-utf8\", fault_at = 1", GENERATE);
    assert_eq!(bench.run().0, 0);
    assert_eq!(bench.predictions()[0]["prediction"], "\u{FFFD}".repeat(8));
}

#[test]
fn memory_that_is_not_there_ends_the_case_with_a_status_of_its_own() {
    let bench = Bench::new();
    let tasks = both_tasks(&bench);
    bench.mock_job("", "fault = \"alloc\"", &tasks);
    // Less address space than the 2 GiB that it wants.
    let binary = assert_cmd::cargo::cargo_bin("edgebench");
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -v 2000000 && exec \"$0\" run job.toml --out out"]).arg(binary);
    let out = limited.current_dir(bench.path()).output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
    for row in bench.cases() {
        assert_eq!(row.get("status"), "out-of-memory", "{}", row.get("reason"));
        assert!(row.get("reason").contains("needs 2 GiB"), "{}", row.get("reason"));
    }
}

#[test]
fn a_sleep_beyond_the_timeout() {
    matrix("sleep", "timeout", "no answer within 1 s");
}

#[test]
fn an_unknown_parameter_is_named() {
    for (status, why) in with_fault("colour = \"red\"") {
        assert_eq!(status, "failed");
        assert!(why.contains("unknown parameter `colour`"), "{why}");
    }
}

#[test]
fn a_backend_without_scores_is_asked_to_write_the_letter() {
    let bench = Bench::new();
    let tasks = both_tasks(&bench);
    let text = CHOICE.replace("pick\"\n", "text\"\n") + "options = \"text\"\n";
    let norm = CHOICE.replace("pick\"\n", "norm\"\n") + "metrics = [\"acc_norm\"]\n";
    bench.mock_job("", "score = [true, false]", &format!("{tasks}{text}{norm}"));
    assert_eq!(bench.run().0, 1);
    let by = |id: &str| bench.case(id).get("scored_by").to_owned();
    assert_eq!([by("mock.1/pick"), by("mock.2/pick"), by("mock.2/gen")], ["logits", "generation", ""]);
    let row = bench.case("mock.2/pick");
    assert_eq!((row.get("status"), row.get("n"), row.get("n_failed")), ("ok", "5", "0"));
    for id in ["mock.2/text", "mock.2/norm"] {
        assert_eq!(bench.case(id).get("status"), "unsupported", "{id}");
        assert!(bench.case(id).get("reason").contains("eb.score/1"), "{}", bench.case(id).get("reason"));
    }
}

#[test]
fn a_prompt_that_is_too_long_costs_its_record() {
    let bench = Bench::new();
    let long = "x".repeat(500);
    bench.write(
        "gen.jsonl",
        format!("{{\"question\":\"{long}\",\"answer\":\"1\"}}\n{{\"question\":\"q\",\"answer\":\"1\"}}\n"),
    );
    bench.mock_job("warmup = 0", "n_ctx = 100", GENERATE);
    assert_eq!(bench.run().0, 0);
    let row = bench.case("mock/gen");
    assert_eq!((row.get("status"), row.get("n"), row.get("n_failed")), ("ok", "2", "1"));
    assert!(row.get("warnings").starts_with("failed-records"), "{}", row.get("warnings"));
    assert_eq!(bench.predictions()[0]["prediction"], serde_json::Value::Null);
    assert_eq!(bench.predictions()[0]["error"], "the prompt does not fit n_ctx: raise it");
}
