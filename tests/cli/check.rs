//! What `run` would refuse is found before anything runs, all at once, with the place and the way out.

use crate::common::{Bench, CHOICE, choices, mock};
use predicates::prelude::*;

/// The lines of stderr of `edgebench check job.toml`, which must end with exit code 2.
fn refused(bench: &Bench) -> Vec<String> {
    let out = bench.edgebench(&["check", "job.toml"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(out.stdout.is_empty());
    let lines: Vec<String> = String::from_utf8(out.stderr).unwrap().lines().map(str::to_owned).collect();
    assert!(lines.last().unwrap().contains("nothing was run"));
    lines[..lines.len() - 1].to_vec()
}

#[test]
fn a_sound_job_is_said_to_be_sound() {
    let bench = Bench::new();
    bench.write("pick.jsonl", choices(7));
    bench.mock_job("", "seed = [1, 2, 3]", CHOICE);
    bench.edgebench(&["check", "job.toml"]).assert().code(0).stdout(
        predicate::str::contains("3 test cases (3 object instances × 1 task)")
            .and(predicate::str::contains("24 records to ask")),
    );
}

#[test]
fn ten_defects_of_a_dataset_are_ten_messages_and_nothing_is_written() {
    let bench = Bench::new();
    let good = choices(1).replace("\"id\":\"q0\",", "");
    let bad = [
        r#"{"question":"a","choices":["x","y"]"#,
        r#"{"question":"a","choices":["x","y"],"answer":"C"}"#,
        r#"{"question":"a","choices":["x","y"]}"#,
        r#"{"choices":["x","y"],"answer":"A"}"#,
        r#"{"question":"a","answer":"A"}"#,
        r#"{"question":"","choices":["x","y"],"answer":"A"}"#,
        r#"{"question":"\ud800","choices":["x","y"],"answer":"A"}"#,
        r#"{"question":"a","choices":["x","x"],"answer":"x"}"#,
        r#"["question"]"#,
        r#"{"question":"a","choices":["x","y"],"answer":"A"} trailing"#,
    ];
    let text: String = bad.iter().map(|line| format!("{good}{line}\n")).collect();
    bench.write("pick.jsonl", text);
    bench.mock_job("", "", CHOICE);
    let lines = refused(&bench);
    assert_eq!(lines.len(), 10, "{lines:#?}");
    for (i, line) in lines.iter().enumerate() {
        assert!(line.contains(&format!("pick.jsonl:{}: ", 2 * (i + 1))), "{line}");
        assert!(line.contains("; "), "says what to do: {line}");
    }
    let (code, _) = bench.run();
    assert_eq!(code, 2);
    assert!(!bench.path().join("out").exists(), "nothing is written");
}

#[test]
fn every_mistake_in_a_job_is_told_with_its_line() {
    let bench = Bench::new();
    bench.write("bad.jsonl", "{\"question\": 1}\n");
    let job = format!(
        r#"[job]
timeuot = "60s"
repeat = 0
[[object]]
name = "a"
backend = "nope"
[[object]]
name = "b"
backend = "{}"
model = "missing.gguf"
params = {{ threads = [], deep = {{ x = 1 }} }}
[[task]]
name = "t"
dataset = "missing.jsonl"
method = "choise"
[[task]]
name = "u"
dataset = "bad.jsonl"
method = "choice"
prompt = "{{{{ question"
[rank]
by = ["acc dsc", "decode_toks desc"]
"#,
        mock().display()
    );
    bench.write("job.toml", job);
    let lines = refused(&bench);
    for (line, word) in [
        (2, "did you mean `timeout`"),
        (3, "`repeat` is 0"),
        (6, "no built-in backend is called \"nope\""),
        (10, "\"missing.gguf\" cannot be found"),
        (11, "`threads` is an empty list"),
        (11, "`deep` is a table"),
        (14, "\"missing.jsonl\" cannot be found"),
        (15, "did you mean \"choice\""),
        (20, "not Jinja"),
        (22, "\"dsc\" is no order"),
        (22, "did you mean `decode_tok_s`"),
    ] {
        let place = format!("job.toml:{line}: ");
        assert!(lines.iter().any(|l| l.starts_with(&place) && l.contains(word)), "{place}{word} in {lines:#?}");
    }
    assert!(lines.iter().any(|l| l.contains("bad.jsonl:1: ")), "the dataset too: {lines:#?}");
    assert_eq!(lines.len(), 12, "{lines:#?}");
}

#[test]
fn broken_toml_is_told_with_its_line() {
    let bench = Bench::new();
    bench.write("job.toml", "[job]\nname = \"x\n");
    assert!(refused(&bench)[0].starts_with("job.toml:2: not TOML"));
}

#[test]
fn a_job_without_objects_or_tasks_is_refused() {
    let bench = Bench::new();
    bench.write("job.toml", "[job]\nname = \"x\"\n");
    let lines = refused(&bench);
    assert!(lines.iter().any(|l| l.contains("`object` is missing")), "{lines:#?}");
    assert!(lines.iter().any(|l| l.contains("`task` is missing")), "{lines:#?}");
}

#[test]
fn a_missing_job_and_bad_usage_are_exit_code_2() {
    let bench = Bench::new();
    bench.edgebench(&["run", "none.toml"]).assert().code(2).stderr(predicate::str::contains("cannot be read"));
    bench.edgebench(&["fly"]).assert().code(2);
    bench.edgebench(&[]).assert().code(2);
    bench.edgebench(&["run", "--help"]).assert().code(0).stdout(predicate::str::contains("--only"));
}

#[test]
fn more_examples_than_there_are_is_a_problem() {
    let bench = Bench::new();
    bench.write("pick.jsonl", choices(2));
    bench.write("dev.jsonl", choices(3));
    bench.mock_job("", "", &format!("{CHOICE}shots = {{ n = 5, from = \"dev.jsonl\" }}\n"));
    let lines = refused(&bench);
    assert!(lines[0].contains("dev.jsonl: the task \"pick\" wants 5 examples, this file has 3"), "{lines:#?}");
}
