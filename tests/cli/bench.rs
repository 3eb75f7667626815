//! `edgebench bench` on the mock backend: which tests there are, how they are written, and what a failing one costs.

use crate::board::Board;
use crate::common::{Bench, mock};
use serde_json::Value;

/// Exit code, stdout and stderr of `bench` on the mock backend.
fn bench(arguments: &[&str]) -> (i32, String, String) {
    run(&Bench::new(), None, arguments)
}

fn run(bench: &Bench, board: Option<&Board>, arguments: &[&str]) -> (i32, String, String) {
    let mut command = bench.edgebench(&["bench", "--backend", mock().to_str().unwrap()]);
    command.args(arguments).envs(board.map(|board| ("EDGEBENCH_SYSROOT", board.path())));
    let out = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

/// The objects of `-o jsonl`.
fn objects(arguments: &[&str]) -> (i32, Vec<Value>) {
    let (code, out, _) = bench(&[arguments, &["-o", "jsonl"]].concat());
    (code, out.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn texts<'v>(rows: &'v [Value], key: &str) -> Vec<&'v str> {
    rows.iter().map(|row| row[key].as_str().unwrap()).collect()
}

#[test]
fn the_usual_tests_are_llama_benchs() {
    let (code, rows) = objects(&["-r", "2"]);
    assert_eq!((code, texts(&rows, "test")), (0, vec!["pp512", "tg128"]));
    assert_eq!(texts(&rows, "status"), ["ok", "ok"]);
    let (prefill, decode) = (&rows[0], &rows[1]);
    assert_eq!(prefill["tok_s_each"].as_array().unwrap().len(), 2);
    let between = |row: &Value| {
        row["tok_s_min"].as_f64() <= row["tok_s"].as_f64() && row["tok_s"].as_f64() <= row["tok_s_max"].as_f64()
    };
    assert!(between(prefill) && between(decode));
    assert!(prefill["ttft_ms_p50"].is_number() && prefill["itl_ms_p50"].is_null(), "a prompt has one token: {prefill}");
    assert!(decode["itl_ms_p99"].is_number() && decode["ttft_ms_p50"].is_null(), "{decode}");
    assert!(decode["rss_peak_mib"].as_f64() > Some(0.5));
}

#[test]
fn lists_ranges_and_pairs_are_swept_at_each_depth() {
    let arguments = ["-p", "8,16", "-n", "0", "-pg", "4,2", "-d", "0-32*2"];
    let refused = bench(&[&arguments[..], &["-r", "1"]].concat());
    assert_eq!(refused.0, 2, "0 times 2 goes nowhere: {}", refused.2);
    let (code, rows) =
        objects(&["-p", "8,16", "-n", "0", "-pg", "4,2", "-d", "0,32", "-r", "1", "--param", "seed=1-2"]);
    assert_eq!(code, 0);
    let tests = ["pp8", "pp16", "pp4+tg2", "pp8 @ d32", "pp16 @ d32", "pp4+tg2 @ d32"];
    assert_eq!(texts(&rows, "test"), [tests, tests].concat());
    assert_eq!(texts(&rows, "params")[5..7], ["seed=1", "seed=2"]);
}

#[test]
fn what_is_in_the_cache_already_is_not_counted() {
    let (code, rows) =
        objects(&["-p", "8", "-n", "4", "-pg", "8,4", "-d", "100", "-r", "2", "--param", "prefill_us=1000"]);
    assert_eq!((code, texts(&rows, "test")), (0, vec!["pp8 @ d100", "tg4 @ d100", "pp8+tg4 @ d100"]));
    // Sleeps are never short: 8 tokens take 8 ms or more, whatever stands before them.
    assert!(rows[0]["tok_s_max"].as_f64() <= Some(1000.0), "{}", rows[0]);
    assert!(rows[2]["tok_s_max"].as_f64() <= Some(1500.0), "{}", rows[2]);
    assert!(rows[0]["ttft_ms_p50"].as_f64() >= Some(8.0));
}

#[test]
fn a_failing_combination_has_its_row_and_the_others_stand() {
    // The third request of a host crashes it: the second repetition of the first test.
    let (code, rows) =
        objects(&["-p", "8", "-n", "4,5", "-r", "2", "--param", "fault=segv,none-such,", "--param", "fault_at=3"]);
    assert_eq!(code, 1);
    assert_eq!(texts(&rows, "status")[..3], ["crashed", "crashed", "crashed"]);
    assert_eq!(rows[0]["tok_s_each"].as_array().unwrap().len(), 1, "what was measured before is kept");
    assert!(rows[0]["reason"].as_str().unwrap().contains("SIGSEGV"));
    assert_eq!(texts(&rows, "status")[3..6], ["failed", "failed", "failed"]);
    assert!(rows[5]["reason"].as_str().unwrap().contains("none-such"));
    assert_eq!(texts(&rows, "status")[6..], ["ok", "ok", "ok"]);
}

#[test]
fn what_does_not_fit_fails_alone() {
    let (code, out, err) = bench(&["-p", "8,100", "-n", "8", "-r", "1", "--param", "n_ctx=64"]);
    assert_eq!(code, 1);
    let status: Vec<&str> = out.lines().skip(2).map(|l| l.rsplit('|').nth(1).unwrap().trim()).collect();
    // A busy machine makes others "not valid", which is no failure.
    assert_eq!(status.iter().map(|s| *s == "failed").collect::<Vec<_>>(), [false, true, false], "{out}");
    assert!(err.contains("pp100: failed: the prompt does not fit n_ctx"), "{err}");
}

#[test]
fn an_output_that_ends_early_is_no_figure() {
    let (code, rows) = objects(&["-p", "0", "-n", "100", "-r", "1", "--param", "n_ctx=64"]);
    assert_eq!((code, texts(&rows, "status")), (1, vec!["failed"]));
    assert!(rows[0]["reason"].as_str().unwrap().contains("63 of 101 tokens"), "{}", rows[0]["reason"]);
    assert!(rows[0]["tok_s"].is_null());
}

#[test]
fn tables_have_one_width_and_csv_has_a_header() {
    let (code, out, _) =
        bench(&["-p", "8", "-n", "4", "-r", "1", "--param", "prefill_us=500", "--param", "token_us=500"]);
    assert_eq!(code, 0);
    let bars = |line: &str| line.match_indices('|').map(|(i, _)| line[..i].chars().count()).collect::<Vec<_>>();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4);
    // The last column, what is wrong, may be of any width.
    assert!(lines.iter().all(|l| bars(l)[..12] == bars(lines[0])[..12]), "{out}");
    let (_, csv, _) = bench(&["-p", "8", "-n", "4", "-r", "1", "-o", "csv"]);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let columns = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    let test = columns.iter().position(|c| c == "test").unwrap();
    assert_eq!(rows.iter().map(|r| r.get(test).unwrap()).collect::<Vec<_>>(), ["pp8", "tg4"]);
}

#[test]
fn energy_comes_from_the_boards_rail_and_from_timed_work_only() {
    let board = Board::fixture("rk3588");
    board.set("sys/class/hwmon/hwmon9/name", "ina226\n");
    board.set("sys/class/hwmon/hwmon9/power1_input", "5000000\n");
    // A prompt of 100 ms and 20 tokens of 20 ms, three times and once before: only the tokens count, 1.2 s.
    let slow = ["--param", "prefill_us=100000", "--param", "token_us=20000"];
    let arguments = ["-p", "0", "-n", "20", "-r", "3", "-o", "jsonl"];
    let (code, out, err) = run(&Bench::new(), Some(&board), &[&arguments[..], &slow].concat());
    assert_eq!(code, 0, "{err}");
    let row: Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(row["power_w_avg"].as_f64(), Some(5.0), "{row}");
    let (joules, seconds) = (row["energy_j"].as_f64().unwrap(), 60.0 / row["tok_s_mean"].as_f64().unwrap());
    assert!((joules / 5.0 - seconds).abs() < 0.1 * seconds, "{joules} J in {seconds} s of 5 W");
    assert_eq!(row["energy_j_per_token"].as_f64().map(|j| (j * 60.0 * 100.0).round()), Some((joules * 100.0).round()));
    assert!(row["warnings"].as_str().unwrap().contains("short-energy-window"));
}

#[test]
fn wrong_usage_says_what_to_do() {
    for (arguments, text) in [
        (&["-p", "0", "-n", "0"][..], "nothing to measure"),
        (&["-p", "many"], "-p many: give a number"),
        (&["-pg", "12"], "-pg 12: write it like 512,128"),
        (&["-o", "xml"], "-o xml: there is md, csv, jsonl"),
        (&["-m", "nowhere.gguf"], "nowhere.gguf: No such file"),
        (&["--param", "seed"], "write it like"),
    ] {
        let (code, out, err) = bench(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(err.contains(text), "{arguments:?}: {err}");
    }
}
