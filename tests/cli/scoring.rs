//! From an output to a figure: extraction, what counts as right, the tasks' own metrics and their intervals.

use crate::common::{Bench, CHOICE, choices};
use predicates::prelude::*;

/// A `generate` task over `q.jsonl` that reads the whole output.
fn task(keys: &str) -> String {
    format!(
        "[[task]]\nname = \"t\"\ndataset = \"q.jsonl\"\nmethod = \"generate\"\nmax_tokens = 64\nstop = []\n{keys}\n"
    )
}

/// Questions with these answers, each as JSON.
fn answers(answers: &[&str]) -> String {
    answers.iter().map(|a| format!("{{\"question\":\"q\",\"answer\":{a}}}\n")).collect()
}

/// Runs `keys` over `data`, all of it answered by `text`.
fn run(text: &str, data: &str, keys: &str) -> Bench {
    let bench = Bench::new();
    bench.write("q.jsonl", data);
    bench.mock_job("", &format!("text = {text:?}"), &task(keys));
    let (code, stderr) = bench.run();
    assert_eq!(code, 0, "{stderr}");
    bench
}

#[test]
fn the_answer_is_taken_out_of_the_output_and_compared_as_what_it_is() {
    let data = answers(&["\"1234\"", "1234.0", "\"so it is\\n#### 1,234\"", "\"234\""]);
    let bench = run("<think>5?</think> It is 1,234.", &data, "extract = [\"strip_think\", \"last_number\"]");
    let row = bench.case("mock/t");
    assert_eq!((row.get("acc"), row.get("n"), row.get("n_failed"), row.get("unextracted")), ("0.7500", "4", "0", "0"));
    let first = &bench.predictions()[0];
    assert_eq!(first["prediction"], "1234");
    assert_eq!(first["output"], "<think>5?</think> It is 1,234.");

    let same = run("It is 1,234.", &data, "extract = \"last_number\"\ncompat = \"opencompass\"");
    assert_eq!(same.case("mock/t").get("acc"), "0.2500", "which takes 234 out of 1,234");
    let gold =
        run("It is 1,234.", &data, "extract = \"last_number\"\ngold = [\"after:####\"]\ncorrect = \"exact_match\"");
    assert_eq!(gold.case("mock/t").get("acc"), "0.0000", "1234 is not to the letter 1,234, and three have no ####");
    let within = run("about 1230", &data, "extract = \"first_number\"\ntolerance = \"1 %\"");
    assert_eq!(within.case("mock/t").get("acc"), "0.7500");
}

#[test]
fn an_output_without_an_answer_is_wrong_and_counted() {
    let bench = run("no idea", &answers(&["1", "2"]), "extract = [\"last_number\"]\nmetrics = [\"number_match\"]");
    let row = bench.case("mock/t");
    assert_eq!((row.get("acc"), row.get("n_failed"), row.get("unextracted")), ("0.0000", "0", "2"));
    assert_eq!((row.get("status"), row.get("number_match")), ("ok", "0.0000"));
    let first = &bench.predictions()[0];
    assert!(first["prediction"].is_null() && first["output"] == "no idea" && first["correct"] == false, "{first}");
}

#[test]
fn options_that_are_written_are_classes() {
    let keys = "metrics = [\"f1_macro\", \"recall_weighted\", \"balanced_acc\", \"mcc\"]";
    let bench = run("The answer is (B).", &choices(8), keys);
    let row = bench.case("mock/t");
    // scikit-learn: one of four classes is always predicted.
    assert_eq!((row.get("acc"), row.get("f1_macro"), row.get("mcc")), ("0.2500", "0.1000", "0.0000"));
    assert_eq!((row.get("recall_weighted"), row.get("balanced_acc")), ("0.2500", "0.2500"));
    assert_eq!(bench.predictions()[1]["prediction"], "B");
    for (metric, lo, hi) in [("acc", "acc_lo", "acc_hi"), ("f1_macro", "f1_macro_lo", "f1_macro_hi")] {
        let number = |column: &str| row.number(column).unwrap_or_else(|| panic!("{column} is empty"));
        assert!(number(lo) <= number(metric) && number(metric) <= number(hi), "{metric}");
    }
    // A choice by its text is the same choice.
    assert_eq!(run("x", &choices(8), "extract = \"trim\"").case("mock/t").get("acc"), "0.2500");
}

#[test]
fn texts_have_the_metrics_of_their_field_over_all_answers() {
    let data = "{\"question\":\"q\",\"answers\":[\"a red fox\",\"the brown fox jumps over it\"]}\n";
    let keys = "metrics = [\"squad_em\", \"squad_f1\", \"rouge_l\", \"bleu\", \"chrf\", \"exact_match\"]\ncorrect = \"squad_em\"";
    let row = run("The Red Fox.", data, keys).case("mock/t");
    assert_eq!((row.get("acc"), row.get("squad_em"), row.get("squad_f1")), ("1.0000", "1.0000", "1.0000"));
    assert_eq!((row.get("rouge_l"), row.get("exact_match")), ("0.6667", "0.0000"));
    assert!(row.number("bleu") < Some(100.0) && row.number("chrf") > Some(10.0), "case counts: {row:?}");
    assert_eq!((row.get("chrf_lo"), row.get("acc_hi")), ("", "1.0000"), "one record cannot be resampled");
    let row = run(
        "东京是日本的首都",
        &answers(&["\"日本的首都是东京。\""]),
        "metrics = [\"cmrc_f1\", \"rouge_l_zh\", \"bleu_zh\"]",
    )
    .case("mock/t");
    // 日本的首都 is the longest run, and the longest subsequence, of 8 and 8 characters.
    assert_eq!((row.get("cmrc_f1"), row.get("rouge_l_zh")), ("0.6250", "0.6250"));
    assert!(row.number("bleu_zh") > Some(30.0));
}

#[test]
fn a_calibration_error_is_that_of_the_options_log_likelihoods() {
    let bench = Bench::new();
    bench.write("pick.jsonl", choices(40));
    bench.mock_job("", "", &format!("{CHOICE}metrics = [\"ece\", \"f1_weighted\"]\n"));
    assert_eq!(bench.run().0, 0);
    let ece = bench.case("mock/pick").number("ece").unwrap();
    let mut bins = [(0.0, 0.0); 15];
    for p in bench.predictions() {
        let exp: Vec<f64> = p["scores"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap().exp()).collect();
        let confidence = exp.iter().copied().fold(0.0, f64::max) / exp.iter().sum::<f64>();
        let bin = &mut bins[((confidence * 15.0).ceil() as usize).clamp(1, 15) - 1];
        *bin = (bin.0 + f64::from(p["correct"] == true), bin.1 + confidence);
    }
    let expected = bins.iter().map(|(right, confidence)| (right - confidence).abs()).sum::<f64>() / 40.0;
    assert!((ece - expected).abs() < 1e-4, "{ece} {expected}");
}

#[test]
fn the_same_records_give_the_same_intervals_and_subjects_widen_them() {
    let data = |subject: fn(usize) -> usize| -> String {
        let word = |i: usize| ["fox", "cat", "dog"][i % 3];
        (0..60)
            .map(|i| format!("{{\"question\":\"q\",\"answer\":\"the {}\",\"subject\":\"s{}\"}}\n", word(i), subject(i)))
            .collect()
    };
    let keys = "metrics = [\"squad_f1\", \"chrf\"]\ncorrect = \"squad_em\"";
    let figures = |bench: &Bench| {
        let row = bench.case("mock/t");
        ["acc_lo", "acc_hi", "squad_f1_lo", "squad_f1_hi", "chrf_lo", "chrf_hi"].map(|c| row.number(c).unwrap())
    };
    let one = figures(&run("the fox", &data(|_| 1), keys));
    assert_eq!(one, figures(&run("the fox", &data(|_| 1), keys)));
    let three = figures(&run("the fox", &data(|i| i % 3), keys));
    for pair in [0, 2, 4] {
        assert!(three[pair] < one[pair] && three[pair + 1] > one[pair + 1], "{one:?} {three:?}");
    }
}

#[test]
fn leaderboards_sort_by_a_tasks_own_metric_and_show_it() {
    let bench = Bench::new();
    bench.write("q.jsonl", answers(&["\"the red fox\"", "\"a fox\""]));
    let rank = "[rank]\nby = [\"squad_f1 desc\", \"squad_f1_lo desc\"]\n";
    bench.mock_job("", "text = [\"dog\", \"red fox\"]", &format!("{}{rank}", task("metrics = [\"squad_f1\"]")));
    let text = bench.edgebench(&["run", "job.toml", "--out", "out"]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what} in {text}"));
    assert!(place("squad_f1") < place("red fox") && place("red fox") < place("dog"), "{text}");
    bench
        .edgebench(&["rank", "out", "--by", "squad_f1 asc", "--format", "csv"])
        .assert()
        .code(0)
        .stdout(predicate::str::is_match("squad_f1.*\n.*dog.*\n.*red fox").unwrap());
}

#[test]
fn what_does_not_fit_is_refused_with_the_way_out() {
    let told = |method: &str, keys: &str, data: &str| {
        let bench = Bench::new();
        bench.write("q.jsonl", data);
        bench.mock_job("", "", &task(keys).replace("generate\"\nmax_tokens = 64\nstop = []", &format!("{method}\"")));
        let out = bench.edgebench(&["check", "job.toml"]).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{keys}");
        String::from_utf8(out.stderr).unwrap()
    };
    for (method, keys, wanted) in [
        (
            "choice",
            "metrics = [\"bleu\"]",
            "bleu compares texts, and `choice` gives letters; use method = \"generate\", or acc",
        ),
        ("generate", "metrics = [\"ece\"]", "ece needs the log-likelihoods of options; use method = \"choice\""),
        ("generate", "metrics = [\"blue\"]", "\"blue\" is not known here; did you mean \"bleu\"?"),
        ("generate", "metrics = [\"perfection\"]", "use acc, exact_match, number_match, squad_em"),
        ("generate", "extract = [\"trim\", \"digits\"]", "no step is called `digits`; there are first_option, "),
        ("generate", "gold = [\"after:\"]", "the step `after:` lacks its argument; write it like \"after:####\""),
        (
            "generate",
            "correct = \"bleu\"",
            "\"bleu\" is not known here; use exact_match, number_match, squad_em, cmrc_em",
        ),
        ("generate", "tolerance = \"some\"", "`tolerance` is no number; write 0.01, or \"1 %\""),
        ("choice", "compat = \"opencompass\"", "this key belongs to method = \"generate\""),
        ("generate", "extract = [\"regex:(\"]", "`(` is no regular expression"),
    ] {
        let data = if method == "choice" { choices(2) } else { answers(&["1"]) };
        let stderr = told(method, keys, &data);
        assert!(stderr.contains(wanted), "{keys}: {stderr}");
        assert!(stderr.contains("job.toml:"), "{stderr}");
    }
    let stderr = told("generate", "metrics = [\"mcc\"]", &answers(&["1"]));
    assert!(
        stderr.contains("mcc needs classes, and the records of task \"t\" have no choices; give the records `choices`"),
        "{stderr}"
    );
}

#[test]
fn a_style_knows_how_its_tool_reads_an_answer_and_a_task_may_differ() {
    let data = answers(&["\"18 / 2 = 9\\n#### 1,234\"", "\"#### 9\""]);
    let with = |style: &str, keys: &str, text: &str| {
        let bench = run(text, &data, &format!("style = \"{style}\"\n{keys}"));
        (bench.case("mock/t").get("acc").to_owned(), bench.predictions()[0]["prediction"].clone())
    };
    assert_eq!(with("lm-eval:gsm8k", "", "It makes $1,234."), ("0.5000".into(), "1234".into()));
    assert_eq!(with("opencompass:gsm8k", "", "\\boxed{1,234} or 5"), ("0.5000".into(), "1234".into()));
    assert_eq!(with("lm-eval:gsm8k", "extract = [\"first_number\"]", "9, or $1,234."), ("0.5000".into(), "9".into()));
    let bbh = run("  False.", &answers(&["\"false\"", "\"no\""]), "style = \"lm-eval:bbh\"");
    assert_eq!(bbh.case("mock/t").get("acc"), "0.5000");
    let letter = run("Sure: B", &choices(4), "style = \"opencompass:mmlu\"");
    assert_eq!(letter.predictions()[0]["prediction"], "B");
}
