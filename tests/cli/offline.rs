//! The scenario `offline`: the same answers as one at a time, prompts that begin alike evaluated once, several at once
//! where the backend can, and figures of all records together.

use crate::common::{Bench, CHOICE, GENERATE, choices, questions};
use edgebench::results::CaseRow;

const OFFLINE: &str = "scenario = \"offline\"\n";

/// Runs a task on the mock backend in both scenarios: one after the other, and offline.
fn both(bench: &Bench, params: &str, task: &str) -> (CaseRow, CaseRow) {
    let name = |name: &str| task.replacen("name = \"", &format!("name = \"{name}-"), 1);
    bench.mock_job("", params, &format!("{}\n{}{OFFLINE}", name("one"), name("all")));
    let (code, stderr) = bench.run();
    assert_eq!(code, 0, "{stderr}");
    let [one, all] = &bench.cases()[..] else { panic!("two cases") };
    assert_eq!((one.get("scenario"), all.get("scenario")), ("single-stream", "offline"));
    (one.clone(), all.clone())
}

/// What was predicted in each case, without the case's name.
fn predictions(bench: &Bench) -> [Vec<serde_json::Value>; 2] {
    ["one", "all"].map(|name| {
        let of_case = |p: &serde_json::Value| p["case"].as_str().unwrap().contains(&format!("/{name}-"));
        let mut all: Vec<_> = bench.predictions().into_iter().filter(of_case).collect();
        all.iter_mut().for_each(|p| p["case"] = "".into());
        all
    })
}

/// The sum of a column of samples.csv over the timed records of a case.
fn sum(bench: &Bench, case: &CaseRow, column: &str) -> f64 {
    let rows = bench.rows("samples.csv");
    let of_case = rows.iter().filter(|r| r.get("case") == case.get("case") && r.get("pass") == "1");
    of_case.map(|r| r.number(column).unwrap()).sum()
}

#[test]
fn a_choice_is_scored_to_the_same_digits_with_its_examples_evaluated_once() {
    let bench = Bench::new();
    // More than a window, of two subjects in turns, in another order than their alphabet's.
    let lines: Vec<String> = choices(300).lines().map(str::to_owned).collect();
    let subject = |i: usize| ["zoology", "art"][i % 2];
    let with_subject =
        |(i, line): (usize, &String)| line.replacen('{', &format!("{{\"subject\":\"{}\",", subject(i)), 1);
    bench.write("pick.jsonl", lines.iter().enumerate().map(with_subject).collect::<Vec<_>>().join("\n"));
    bench.write("dev.jsonl", lines[..8].iter().enumerate().map(with_subject).collect::<Vec<_>>().join("\n"));
    let task = format!("{CHOICE}shots = {{ n = 3, from = \"dev.jsonl\" }}\n");
    let (one, all) = both(&bench, "", &task);
    assert_eq!((one.get("n"), one.get("n_failed"), all.get("n_failed")), ("300", "0", "0"));
    assert_eq!(one.get("acc"), all.get("acc"));
    let [expected, got] = predictions(&bench);
    assert_eq!(expected, got, "in the same order, with the same scores");
    assert_eq!(sum(&bench, &one, "cached_tokens"), 0.0, "a timed prompt is evaluated in full");
    assert_eq!(sum(&bench, &one, "prompt_tokens"), sum(&bench, &all, "prompt_tokens"));
    let share = sum(&bench, &all, "cached_tokens") / sum(&bench, &all, "prompt_tokens");
    assert!(share > 0.6, "{share} of the prompts' tokens were kept");
}

#[test]
fn records_wait_since_the_pass_began() {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(6));
    let (one, all) = both(&bench, "text = \"abc\", token_us = 2000", GENERATE);
    let column = |case: &CaseRow, column: &str| -> Vec<f64> {
        let rows = bench.rows("samples.csv");
        let of_case = rows.iter().filter(|r| r.get("case") == case.get("case") && r.get("pass") == "1");
        of_case.map(|r| r.number(column).unwrap()).collect()
    };
    assert_eq!(column(&one, "queue_ms"), [0.0; 6]);
    let queue = column(&all, "queue_ms");
    assert!(queue.is_sorted() && queue[5] > 5.0 * 8.0, "four steps of 2 ms each: {queue:?}");
    for (queue, e2e) in queue.iter().zip(column(&all, "e2e_ms")) {
        assert!(e2e >= queue + 6.0, "{e2e} ms counts from the beginning, {queue} ms before");
    }
    assert!(all.number("e2e_ms_p99") > one.number("e2e_ms_p99"));
    // Three tokens a record.
    let (tokens, records) = (all.number("output_tok_s").unwrap(), all.number("records_s").unwrap());
    assert!((tokens / records - 3.0).abs() < 0.01, "{tokens} tokens/s and {records} records/s");
}

#[test]
fn what_a_backend_runs_together_comes_back_in_order() {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(40));
    let task = GENERATE.replace("max_tokens = 8", "max_tokens = 6");
    let (one, all) = both(&bench, "batch = 8, token_us = 3000", &task);
    let [expected, got] = predictions(&bench);
    assert_eq!(expected, got);
    assert!(all.number("records_s") > one.number("records_s"), "8 at a time");
    assert_eq!(all.get("prefill_tok_s"), "", "nobody knows whose prefill it was");
    assert_ne!(all.get("decode_tok_s"), "");
    assert!(sum(&bench, &all, "cached_tokens") > 0.0, "they all begin alike");
}

#[test]
fn a_record_that_fails_fails_alone() {
    for params in ["n_ctx = 60", "n_ctx = 60, batch = 4"] {
        let bench = Bench::new();
        let long = format!("{{\"id\":\"long\",\"question\":\"{}\",\"answer\":\"1\"}}\n", "x".repeat(80));
        bench.write("gen.jsonl", questions(3) + &long + "{\"id\":\"last\",\"question\":\"What?\",\"answer\":\"2\"}\n");
        let (one, all) = both(&bench, params, GENERATE);
        assert_eq!((one.get("n"), one.get("n_failed")), ("5", "1"));
        assert_eq!((all.get("n"), all.get("n_failed"), all.get("status")), ("5", "1", "ok"), "{}", all.get("reason"));
        let [expected, got] = predictions(&bench);
        assert_eq!(expected, got);
        assert!(all.get("reason").contains("long: the prompt does not fit n_ctx"), "{}", all.get("reason"));
    }
}

#[test]
fn a_host_that_dies_in_a_call_is_a_crashed_case() {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(10));
    bench.mock_job("", "batch = 4, fault = \"segv\"", &format!("{GENERATE}{OFFLINE}"));
    assert_eq!(bench.run().0, 1);
    assert_eq!(bench.case("mock/gen").get("status"), "crashed");
}

#[test]
fn how_many_run_together_is_asked_only_where_it_matters() {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(1));
    bench.write("pick.jsonl", choices(1));
    for (task, words) in [
        (format!("{GENERATE}batch = 4\n"), "set scenario = \"offline\""),
        (format!("{CHOICE}{OFFLINE}batch = 4\n"), "`batch` is for answers that are generated offline"),
        (format!("{GENERATE}{OFFLINE}batch = 0\n"), "give a number from 1 to 128"),
        (format!("{GENERATE}{OFFLINE}batch = \"many\"\n"), "use auto"),
    ] {
        bench.mock_job("", "", &task);
        let out = bench.edgebench(&["check", "job.toml"]).output().unwrap();
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("job.toml:") && stderr.contains(words), "{stderr}");
    }
    bench.mock_job("", "", &format!("{GENERATE}{OFFLINE}batch = \"auto\"\n"));
    bench.edgebench(&["check", "job.toml"]).assert().code(0);
}

#[test]
fn batch_1_asks_one_by_one() {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(8));
    bench.mock_job("", "batch = 8", &format!("{GENERATE}{OFFLINE}batch = 1\n"));
    assert_eq!(bench.run().0, 0);
    assert_ne!(bench.case("mock/gen").get("prefill_tok_s"), "", "each prompt is evaluated in a call of its own");
}
