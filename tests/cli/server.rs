//! The scenarios `server` and `multi-stream` on the mock backend: when requests arrive, what waiting counts, and which rate
//! holds. How long anything takes is the machine's affair; what has to come after what is not.

use crate::common::{Bench, CHOICE, GENERATE, choices, questions};
use edgebench::results::CaseRow;
use rustix::process::{Pid, Signal};
use std::time::{Duration, Instant};

/// A task of `generate` over `n` records of 4 tokens, 5 ms each, with these lines.
fn bench(n: usize, params: &str, task: &str) -> Bench {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(n));
    let params = format!("text = \"1234\", token_us = 5000{params}");
    bench.mock_job("", &params, &format!("{GENERATE}{task}\n"));
    bench
}

/// What a record takes at least, ms: sleeps are never short.
const RECORD_MS: f64 = 20.0;

fn samples(bench: &Bench, case: &str) -> Vec<CaseRow> {
    let timed = |row: &CaseRow| row.get("case") == case && row.get("pass") == "1";
    bench.rows("samples.csv").into_iter().filter(timed).collect()
}

fn numbers(rows: &[CaseRow], column: &str) -> Vec<f64> {
    rows.iter().map(|r| r.number(column).unwrap_or_else(|| panic!("{column} is empty"))).collect()
}

#[test]
fn latency_counts_from_the_arrival_whatever_the_backend_does() {
    let bench = bench(10, "", "scenario = \"server\"\nrate = 1000000");
    assert_eq!(bench.run().0, 0);
    let rows = samples(&bench, "mock/gen");
    let (queue, ttft, e2e) = (numbers(&rows, "queue_ms"), numbers(&rows, "ttft_ms"), numbers(&rows, "e2e_ms"));
    assert_eq!(rows.len(), 10);
    for k in 0..10 {
        // All have arrived before the first is answered: the last waits for nine others.
        assert!(queue[k] > k as f64 * RECORD_MS - 1.0, "{queue:?}");
        assert!(ttft[k] > queue[k] + 4.9 && e2e[k] > ttft[k] + 14.9, "{ttft:?} {e2e:?}");
    }
    let row = bench.case("mock/gen");
    assert_eq!((row.get("scenario"), row.get("rate_s"), row.get("concurrency")), ("server", "1000000.0000", "1"));
    assert_eq!(row.get("within_limits"), "", "there are none");
    assert!(row.number("queue_ms_p99") >= Some(9.0 * RECORD_MS - 1.0));
    assert!(row.number("ttft_ms_p99") > row.number("queue_ms_p99"));
    assert!(!row.get("warnings").contains("unstable"));
    let load = bench.rows("load.csv");
    assert_eq!((load.len(), load[0].get("pass"), load[0].get("records")), (1, "1", "10"));
}

#[test]
fn answers_are_those_of_single_stream() {
    let tasks = |scenario: &str| format!("{CHOICE}{scenario}\n{GENERATE}{scenario}\n");
    let mut predictions = Vec::new();
    for scenario in
        ["", "scenario = \"server\"\nrate = 10000\nconcurrency = 3", "scenario = \"multi-stream\"\nconcurrency = 3"]
    {
        let bench = Bench::new();
        bench.write("pick.jsonl", choices(8));
        bench.write("gen.jsonl", questions(8));
        bench.mock_job("", "batch = 4", &tasks(scenario));
        assert_eq!(bench.run().0, 0);
        predictions.push(bench.out("predictions.jsonl"));
    }
    assert!(predictions[0].lines().count() == 16 && predictions.iter().all(|p| *p == predictions[0]));
}

#[test]
fn requests_that_wait_go_together_where_a_backend_can() {
    let together = bench(9, ", batch = 4", "scenario = \"server\"\nrate = 1000000\nconcurrency = 4");
    assert_eq!(together.run().0, 0);
    let queue = numbers(&samples(&together, "mock/gen"), "queue_ms");
    // Four, four, one.
    assert!(queue[..4].iter().all(|q| *q < queue[4]) && queue[4..8].iter().all(|q| *q < queue[8]), "{queue:?}");
    assert!(queue[4] > RECORD_MS - 1.0 && queue[8] > 2.0 * RECORD_MS - 1.0, "{queue:?}");
    let apart = bench(9, "", "scenario = \"server\"\nrate = 1000000\nconcurrency = 4");
    assert_eq!(apart.run().0, 0);
    assert!(numbers(&samples(&apart, "mock/gen"), "queue_ms")[3] > 3.0 * RECORD_MS - 1.0, "one at a time");
}

#[test]
fn concurrency_is_swept_and_a_query_lasts_until_its_last_answer() {
    let bench = bench(6, "", "scenario = \"multi-stream\"\nconcurrency = [1, 3]");
    assert_eq!(bench.run().0, 0);
    let ids: Vec<String> = bench.cases().iter().map(|r| r.get("case").to_owned()).collect();
    assert_eq!(ids, ["mock/gen.c1", "mock/gen.c3"]);
    let queue = numbers(&samples(&bench, "mock/gen.c3"), "queue_ms");
    for query in queue.chunks(3) {
        assert!(query[1] > RECORD_MS - 1.0 && query[2] > query[1] + RECORD_MS - 1.0, "{queue:?}");
    }
    assert!(queue[3] < queue[2], "the next query begins when the last is answered: {queue:?}");
    let (one, three) = (bench.case("mock/gen.c1"), bench.case("mock/gen.c3"));
    assert_eq!(one.get("query_ms_p50"), one.get("e2e_ms_p50"), "a query of one is its sample");
    assert!(three.number("query_ms_p50") > Some(3.0 * RECORD_MS - 1.0));
    assert_eq!((three.get("concurrency"), three.get("rate_s")), ("3", ""));
}

#[test]
fn the_highest_rate_within_the_limits_is_searched() {
    let loose =
        bench(5, "", "scenario = \"server\"\nrate = \"max\"\nrate_bounds = [10, 1000]\nlimits = { ttft = \"60s\" }");
    assert_eq!(loose.run().0, 0);
    let row = loose.case("mock/gen");
    assert_eq!((row.get("rate_s"), row.get("within_limits")), ("1000.0000", "yes"), "the upper bound holds");
    let load = loose.rows("load.csv");
    assert_eq!(load.iter().map(|r| r.get("pass")).collect::<Vec<_>>(), ["0", "1"]);

    let strict =
        bench(5, "", "scenario = \"server\"\nrate = \"max\"\nrate_bounds = [100, 200]\nlimits = { itl = \"1ms\" }");
    assert_eq!(strict.run().0, 0);
    let row = strict.case("mock/gen");
    assert_eq!((row.get("rate_s"), row.get("within_limits")), ("100.0000", "no"), "a token takes 5 ms at any rate");
    let load = strict.rows("load.csv");
    assert!(load.len() > 3 && load.iter().all(|r| r.get("within_limits") == "no"), "{load:?}");
    let rates = numbers(&load, "rate_s");
    assert!(rates[0] == 200.0 && rates[1] < 142.0 && rates[1] > 141.0 && rates.last() == Some(&100.0), "{rates:?}");
}

#[test]
fn without_bounds_the_backend_shows_what_it_can_do() {
    let bench = bench(5, "", "scenario = \"server\"\nrate = \"max\"\nlimits = { e2e = \"60s\", percentile = 90 }");
    assert_eq!(bench.run().0, 0);
    let row = bench.case("mock/gen");
    assert_eq!(row.get("within_limits"), "yes");
    assert!(row.number("rate_s").is_some_and(|rate| rate > 0.0 && rate < 1e3 / RECORD_MS), "{}", row.get("rate_s"));
}

#[test]
fn a_run_that_waits_for_an_arrival_can_be_interrupted() {
    let bench = bench(5, "", "scenario = \"server\"\nrate = 0.0001");
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("edgebench"))
        .args(["run", "job.toml", "--out", "out", "--quiet"])
        .current_dir(bench.path())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let is_warm = || std::fs::read_to_string(bench.path().join("out/samples.csv")).is_ok_and(|s| s.lines().count() > 1);
    while !is_warm() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    rustix::process::kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(bench.case("mock/gen").get("status"), "interrupted");
}

#[test]
fn keys_that_do_not_fit_are_told() {
    for (task, text) in [
        ("rate = 2", "this key belongs to scenario = \"server\""),
        ("concurrency = 2", "this key belongs to scenario = \"server\" or \"multi-stream\""),
        ("scenario = \"multi-stream\"\nrate = 2", "this key belongs to scenario = \"server\""),
        ("scenario = \"server\"", "needs a `rate`"),
        ("scenario = \"server\"\nrate = \"max\"", "rate = \"max\" needs limits"),
        ("scenario = \"server\"\nrate = \"most\"", "neither a number nor \"max\""),
        ("scenario = \"server\"\nrate = 1\nlimits = {}", "`limits` holds none"),
        ("scenario = \"server\"\nrate = \"max\"\nrate_bounds = [5, 1]\nlimits = { e2e = 1 }", "not two rising numbers"),
        ("scenario = \"server\"\nrate = 1\nconcurrency = 0", "`concurrency` is 0"),
    ] {
        let bench = bench(2, "", task);
        let (code, err) = bench.run();
        assert_eq!(code, 2, "{task}");
        assert!(err.contains(text), "{task}: {err}");
    }
    let bench = Bench::new();
    bench.write("pick.jsonl", choices(2));
    bench.mock_job("", "", &format!("{CHOICE}scenario = \"server\"\nrate = 1\nlimits = {{ ttft = \"1s\" }}\n"));
    assert!(bench.run().1.contains("there are no new tokens to wait for"));
}
