//! `run --trace`: spans that nest, add up to samples.csv, and can be read however the run ended.

use crate::board::Board;
use crate::common::{Bench, CHOICE, GENERATE, choices, questions};
use edgebench::results::CaseRow;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(6).replace("q1", "q \\\" \u{5b57}"));
    bench.write("pick.jsonl", choices(6));
    let offline = GENERATE.replace("\"gen\"", "\"all\"") + "scenario = \"offline\"\n";
    let params = "token_us = 2000, prefill_us = 200, batch = 3";
    bench.mock_job("repeat = 2", params, &format!("{GENERATE}{CHOICE}{offline}"));
    bench
}

fn run(bench: &Bench) -> Vec<Value> {
    let board = Board::fixture("rk3588");
    bench
        .edgebench(&["run", "job.toml", "--out", "out", "--trace", "--quiet"])
        .env("EDGEBENCH_SYSROOT", board.path())
        .assert()
        .code(0);
    serde_json::from_str(&bench.out("trace.json")).unwrap()
}

/// Beginning and end in ns.
fn span(event: &Value) -> (i64, i64) {
    let ns = |key: &str| (event[key].as_f64().unwrap() * 1e3).round() as i64;
    (ns("ts"), ns("ts") + ns("dur"))
}

fn spans(events: &[Value]) -> impl Iterator<Item = &Value> {
    events.iter().filter(|e| e["ph"] == "X")
}

#[test]
fn spans_of_a_track_nest() {
    let bench = bench();
    let events = run(&bench);
    let mut tracks: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
    spans(&events).for_each(|e| tracks.entry(e["tid"].as_i64().unwrap()).or_default().push(span(e)));
    assert_eq!(tracks.len(), 7, "cases, and calls: one after the other, or all six at once");
    for spans in tracks.values_mut() {
        spans.sort_by_key(|(from, to)| (*from, -to));
        let mut open: Vec<(i64, i64)> = Vec::new();
        for &(from, to) in spans.iter() {
            open.retain(|(_, end)| *end > from);
            assert!(open.iter().all(|(_, end)| to <= *end), "{from}..{to} in {open:?}");
            open.push((from, to));
        }
    }
    let names: Vec<&str> = spans(&events).filter(|e| e["tid"] == 1).map(|e| e["name"].as_str().unwrap()).collect();
    let case = ["load", "warmup", "pass 1", "pass 2"];
    assert_eq!(names, [&case[..], &["mock/gen"], &case[..], &["mock/pick"], &case[..], &["mock/all"]].concat());
}

#[test]
fn sums_are_those_of_the_samples() {
    let bench = bench();
    let events = run(&bench);
    let calls: Vec<&Value> = spans(&events).filter(|e| e["name"] == "call").collect();
    let rows = bench.rows("samples.csv");
    assert_eq!(calls.len(), rows.len());
    for (call, row) in calls.iter().zip(&rows) {
        let args = &call["args"];
        let number = |column: &str| row.get(column).parse::<u64>().ok();
        assert_eq!((args["case"].as_str(), args["id"].as_str()), (Some(row.get("case")), Some(row.get("id"))));
        for column in ["pass", "prompt_tokens", "cached_tokens", "output_tokens"] {
            assert_eq!(args[column].as_u64(), number(column), "{column}");
        }
        let (from, to) = span(call);
        let within: Vec<&Value> =
            spans(&events).filter(|e| e["tid"] == call["tid"] && (from..=to).contains(&span(e).0)).collect();
        let named = |name: &str| -> Vec<(i64, i64)> {
            within.iter().filter(|e| e["name"] == name).map(|e| span(e)).filter(|s| s.1 <= to).collect()
        };
        let queue = (args["queue_ms"].as_f64().unwrap() * 1e6).round() as i64;
        let ms = |ns: i64| format!("{:.3}", ns as f64 / 1e6);
        let tokens = named("token");
        assert_eq!(tokens.len() as u64, number("output_tokens").unwrap_or(0));
        if let [first, later @ ..] = &tokens[..] {
            assert_eq!(ms(first.1 - from + queue), row.get("ttft_ms"));
            assert_eq!(ms(later.iter().map(|t| t.1 - t.0).sum()), row.get("decode_ms"));
            assert_eq!(ms(tokens.last().unwrap().1 - from + queue), row.get("e2e_ms"));
        } else {
            assert_eq!(ms(to - from + queue), row.get("e2e_ms"));
            assert_eq!(named("score").len(), 1);
        }
        let prefill = named("prefill");
        assert!(prefill.first().map_or(row.get("case") == "mock/all", |p| p.0 == from));
    }
    let looks = bench.rows("telemetry.csv");
    for (column, counter) in [("rss_mib", "memory of the host"), ("freq_mhz", "clock"), ("temp_c", "temperature")] {
        let traced: Vec<f64> =
            events.iter().filter(|e| e["name"] == counter).map(|e| e["args"][column].as_f64().unwrap()).collect();
        let seen: Vec<f64> = looks.iter().filter_map(|r: &CaseRow| r.number(column)).collect();
        assert_eq!(traced, seen, "{column}");
        assert!(!seen.is_empty(), "{column}");
    }
}

#[test]
fn a_run_that_was_killed_leaves_a_trace_that_can_be_read() {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(400));
    bench.mock_job("", "token_us = 1000", GENERATE);
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("edgebench"))
        .args(["run", "job.toml", "--out", "out", "--trace", "--quiet"])
        .current_dir(bench.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let length = || std::fs::metadata(bench.path().join("out/trace.json")).map_or(0, |m| m.len());
    let until = Instant::now() + Duration::from_secs(60);
    while length() < 20_000 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let torn = bench.out("trace.json");
    // Readers take whole events as long as they come, and do not ask for the array's end.
    let whole = torn.rfind(",\n").unwrap();
    let events: Vec<Value> = serde_json::from_str(&format!("{}]", &torn[..whole])).unwrap();
    assert!(spans(&events).filter(|e| e["name"] == "token").count() > 50);
}
