//! A run with the mock backend: which files it leaves, and what the numbers in them are.

use crate::common::{Bench, CHOICE, GENERATE, both_tasks, choices, questions};
use edgebench::results::case_columns;
use predicates::prelude::*;

#[test]
fn a_run_leaves_its_four_files_and_prints_the_leaderboard() {
    let bench = Bench::new();
    let tasks = both_tasks(&bench);
    bench.mock_job("", "seed = [1, 2]", &tasks);
    bench
        .edgebench(&["run", "job.toml", "--out", "out"])
        .assert()
        .code(0)
        .stdout(predicate::str::contains("mean acc %").and(predicate::str::contains("seed=2")))
        .stderr(predicate::str::contains("[4/4] mock.2/pick: ok").and(predicate::str::contains("results: out")));

    let header = bench.out("cases.csv").lines().next().unwrap().to_owned();
    assert_eq!(header, case_columns(&[]).join(","));
    let ids: Vec<String> = bench.cases().iter().map(|r| r.get("case").to_owned()).collect();
    assert_eq!(ids, ["mock.1/gen", "mock.1/pick", "mock.2/gen", "mock.2/pick"]);
    assert_eq!(bench.predictions().len(), 4 * 5);
    assert_eq!(bench.rows("samples.csv").len(), 4 * (1 + 5), "the warm-up is pass 0");

    let manifest: serde_json::Value = serde_json::from_str(&bench.out("manifest.json")).unwrap();
    assert_eq!(manifest["n_cases"], 4);
    assert_eq!(manifest["instances"]["mock.1"]["backend"], "mock");
    assert_eq!(manifest["instances"]["mock.1"]["devices"][0]["driver"], "none 1.0");
    assert!(manifest["end"].is_string());
    assert_eq!(manifest["datasets"].as_object().unwrap().len(), 2);
}

#[test]
fn columns_of_cases_are_those_of_the_design() {
    let design = "case,object,backend,model,params,task,method,scenario,status,reason,valid,warnings,n,n_failed,\
acc,acc_lo,acc_hi,f1_macro,load_ms,ttft_ms_p50,ttft_ms_p95,ttft_ms_p99,itl_ms_p50,itl_ms_p95,itl_ms_p99,e2e_ms_p50,e2e_ms_p95,e2e_ms_p99,\
prefill_tok_s,decode_tok_s,output_tok_s,records_s,rss_peak_mib,rss_avg_mib,cpu_pct_prefill,cpu_pct_decode,bandwidth_util,\
energy_j,energy_j_net,energy_j_per_token,power_w_avg,power_w_peak,temp_c_max,freq_mhz_min,wall_s,";
    assert!(case_columns(&["acc", "f1_macro"]).join(",").starts_with(design), "what came later stands behind");
}

#[test]
fn timings_come_from_the_backends_own_pace() {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(4));
    // 10 tokens of text, 2 ms each; 1 ms for each prompt token.
    bench.mock_job("", "text = \"0123456789\", token_us = 2000, prefill_us = 1000", &GENERATE.replace("= 8", "= 10"));
    assert_eq!(bench.run().0, 0);
    let row = bench.case("mock/gen");
    let between = |column: &str, low: f64, high: f64| {
        let value = row.number(column).unwrap_or_else(|| panic!("{column} is empty"));
        assert!((low..high).contains(&value), "{column} = {value}");
    };
    // Sleeps are never short; how much longer they are is the machine's affair.
    between("itl_ms_p50", 2.0, 20.0);
    between("decode_tok_s", 50.0, 500.0);
    between("prefill_tok_s", 100.0, 1000.0);
    between("ttft_ms_p50", 20.0, 400.0);
    assert!(row.number("e2e_ms_p50") > row.number("ttft_ms_p50"));
    assert!(row.number("rss_peak_mib").unwrap() > 0.5);
    let sample = &bench.rows("samples.csv")[1];
    assert_eq!(sample.get("output_tokens"), "10");
    assert_eq!(sample.get("cached_tokens"), "0");
    assert_eq!(sample.get("prompt_tokens"), "19", "a byte a token, and BOS");
}

#[test]
fn what_is_not_measured_is_an_empty_field() {
    let bench = Bench::new();
    bench.write("pick.jsonl", choices(5));
    bench.mock_job("", "", CHOICE);
    assert_eq!(bench.run().0, 0);
    let row = bench.case("mock/pick");
    for column in ["ttft_ms_p50", "decode_tok_s", "energy_j", "power_w_avg", "temp_c_max"] {
        assert_eq!(row.get(column), "", "{column}");
    }
    assert_ne!(row.get("e2e_ms_p50"), "");
}

#[test]
fn a_text_answer_is_right_when_it_is_the_gold_answer() {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(4));
    bench.mock_job("", "text = \" 2\"", &format!("{GENERATE}metrics = [\"exact_match\"]\n"));
    assert_eq!(bench.run().0, 0);
    let row = bench.case("mock/gen");
    assert_eq!((row.get("n"), row.get("acc"), row.get("exact_match")), ("4", "0.2500", "0.2500"));
    assert_eq!((row.get("acc_lo"), row.get("acc_hi")), ("0.0456", "0.6994"), "Wilson, 1 of 4");
    let right: Vec<bool> = bench.predictions().iter().map(|p| p["correct"].as_bool().unwrap()).collect();
    assert_eq!(right, [false, false, true, false]);
}

#[test]
fn output_ends_before_a_stop_string() {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(1));
    let task = GENERATE.replace("max_tokens = 8", "max_tokens = 20\nstop = [\"##\", \"\\n\"]");
    bench.mock_job("", "text = \"ab#c##d\"", &task);
    assert_eq!(bench.run().0, 0);
    assert_eq!(bench.predictions()[0]["prediction"], "ab#c");
}

#[test]
fn repeats_are_timed_but_judged_once() {
    let bench = Bench::new();
    bench.write("pick.jsonl", choices(3));
    bench.mock_job("repeat = 2\nwarmup = 2", "", CHOICE);
    assert_eq!(bench.run().0, 0);
    let passes: Vec<String> = bench.rows("samples.csv").iter().map(|r| r.get("pass").to_owned()).collect();
    assert_eq!(passes, ["0", "0", "1", "1", "1", "2", "2", "2"]);
    assert_eq!(bench.case("mock/pick").get("n"), "3");
    assert_eq!(bench.predictions().len(), 3);
}

#[test]
fn examples_and_templates_make_the_prompt() {
    let bench = Bench::new();
    bench.write("pick.jsonl", choices(2));
    bench.write("dev.jsonl", choices(4));
    let shots = "shots = { n = 2, from = \"dev.jsonl\" }\n";
    bench.mock_job("", "", &format!("{CHOICE}{shots}"));
    assert_eq!(bench.run().0, 0);
    // One question: "What is 0?\nA. w\nB. x\nC. y\nD. z\nAnswer:" is 38 bytes; an example adds " A\n\n".
    let first = &bench.rows("samples.csv")[0];
    assert_eq!(first.get("prompt_tokens"), (1 + 2 * (38 + 4) + 38).to_string());

    let bench = Bench::new();
    bench.write("pick.jsonl", choices(2));
    bench.mock_job("", "", &format!("{CHOICE}prompt = \"{{{{ question }}}} {{{{ choices | length }}}}\"\n"));
    assert_eq!(bench.run().0, 0);
    assert_eq!(bench.rows("samples.csv")[0].get("prompt_tokens"), (1 + "What is 0? 4".len()).to_string());
}

#[test]
fn limit_and_several_files_make_one_task() {
    let bench = Bench::new();
    bench.write("a.jsonl", choices(3));
    bench.write("b.jsonl", choices(3));
    bench.mock_job("", "", &format!("{}limit = 5\n", CHOICE.replace("\"pick.jsonl\"", "[\"a.jsonl\", \"b.jsonl\"]")));
    assert_eq!(bench.run().0, 0);
    let ids: Vec<String> = bench.predictions().iter().map(|p| p["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, ["a:q0", "a:q1", "a:q2", "b:q0", "b:q1"]);
    assert_eq!(bench.rows("samples.csv")[5].get("subject"), "b");
}

#[test]
fn only_picks_cases_by_name() {
    let bench = Bench::new();
    let tasks = both_tasks(&bench);
    bench.mock_job("", "seed = [1, 2]", &tasks);
    bench.edgebench(&["run", "job.toml", "--out", "out", "--only", "*.2/p*", "--quiet"]).assert().code(0).stderr("");
    assert_eq!(bench.cases().len(), 1);
    bench
        .edgebench(&["run", "job.toml", "--only", "nope"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("mock.1/gen"));
}

#[test]
fn a_folder_with_a_run_is_not_written_over() {
    let bench = Bench::new();
    bench.write("pick.jsonl", choices(1));
    bench.mock_job("", "", CHOICE);
    assert_eq!(bench.run().0, 0);
    let before = bench.out("cases.csv");
    let (code, stderr) = bench.run();
    assert_eq!((code, stderr.contains("holds a run already")), (2, true), "{stderr}");
    assert_eq!(bench.out("cases.csv"), before);
}

#[test]
fn results_do_not_depend_on_the_run() {
    let files: Vec<String> = (0..2)
        .map(|_| {
            let bench = Bench::new();
            let tasks = both_tasks(&bench);
            bench.mock_job("", "", &tasks);
            assert_eq!(bench.run().0, 0);
            bench.out("predictions.jsonl")
        })
        .collect();
    assert_eq!(files[0], files[1]);
}

#[test]
fn a_field_with_a_comma_or_a_quote_survives_csv() {
    let bench = Bench::new();
    bench.write(
        "gen.jsonl",
        "{\"id\":\"a,\\\"b\\\"\\nc\",\"question\":\"q\",\"answer\":\"x\",\"subject\":\"数学, 代数\"}\n",
    );
    bench.mock_job("", "", GENERATE);
    assert_eq!(bench.run().0, 0);
    let row = &bench.rows("samples.csv")[0];
    assert_eq!((row.get("id"), row.get("subject")), ("a,\"b\"\nc", "数学, 代数"));
}

#[test]
fn an_interrupt_keeps_what_was_measured() {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(200));
    bench.mock_job("", "token_us = 20000, text = \"abcdefgh\"", GENERATE);
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("edgebench"))
        .args(["run", "job.toml", "--out", "out"])
        .current_dir(bench.path())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !bench.path().join("out/samples.csv").exists() && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // A record takes 160 ms, and the warm-up comes first.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let row = bench.case("mock/gen");
    assert_eq!(row.get("status"), "interrupted");
    let n: usize = row.get("n").parse().unwrap();
    assert!((1..200).contains(&n), "{n}");
    assert_eq!(bench.predictions().len(), n);
}
