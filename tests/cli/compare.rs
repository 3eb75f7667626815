//! `compare`: a planted regression is found, a quiet night is none, and what cannot be compared is never passed.

use crate::board::Board;
use crate::common::{Bench, mock};
use predicates::prelude::*;

/// One folder with two runs, `base` and `new`, of 60 records whose right answer is `x`.
struct Nights {
    bench: Bench,
    board: Board,
}

impl Nights {
    fn new() -> Nights {
        let nights = Nights { bench: Bench::new(), board: Board::fixture("rk3588") };
        nights.board.set("proc/stat", "cpu  1000 0 0 9000 0 0 0 0\n");
        nights.records(60);
        nights
    }

    fn records(&self, n: usize) {
        let line = |i| format!("{{\"id\":\"q{i}\",\"question\":\"What is {i}?\",\"answer\":\"x\"}}\n");
        self.bench.write("gen.jsonl", (0..n).map(line).collect::<String>());
    }

    /// A run with the mock's parameters and more of a job file.
    fn run(&self, name: &str, params: &str, more: &str) {
        self.bench.write(
            "job.toml",
            format!(
                "[[object]]\nname = \"m\"\nbackend = \"{}\"\nparams = {{ {params} }}\n\
                 [[task]]\nname = \"t\"\ndataset = \"gen.jsonl\"\nmethod = \"generate\"\nmax_tokens = 6\n{more}",
                mock().display()
            ),
        );
        self.bench
            .edgebench(&["run", "job.toml", "--out", name, "--quiet"])
            .env("EDGEBENCH_SYSROOT", self.board.path())
            .assert()
            .code(0);
    }

    fn compare(&self, format: &str) -> (i32, String) {
        let out = self.bench.edgebench(&["compare", "base", "new", "--format", format]).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap();
        (out.status.code().unwrap(), text)
    }
}

/// Six tokens, of which the first is the answer.
const RIGHT: &str = "text = \"x\\nabcd\", token_us = 4000";
/// A machine that is busy with other tests is slower by chance.
const PATIENT: &str = "[gate]\nttft_ms = \"300 %\"\ne2e_ms = \"300 %\"\ndecode_tok_s = \"-90 %\"\n";

#[test]
fn two_quiet_nights_are_no_regression() {
    let nights = Nights::new();
    nights.run("base", RIGHT, PATIENT);
    nights.run("new", RIGHT, PATIENT);
    let (code, text) = nights.compare("text");
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("no regression") && text.contains("-90 %"), "{text}");
    let (code, json) = nights.compare("json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, json["rows"][0]["metric"].as_str(), json["rows"][0]["p"].as_f64()), (0, Some("acc"), Some(1.0)));
}

#[test]
fn a_fall_of_accuracy_is_found() {
    let nights = Nights::new();
    nights.run("base", RIGHT, PATIENT);
    nights.run("new", &RIGHT.replace("x\\n", "y\\n"), PATIENT);
    let (code, text) = nights.compare("text");
    assert_eq!(code, 1, "{text}");
    assert!(
        text.starts_with("REGRESSION: 1 of") && text.contains("-100.0 pp") && text.contains("the job has changed"),
        "{text}"
    );
    let (code, xml) = nights.compare("junit");
    assert_eq!(code, 1);
    assert!(xml.contains("failures=\"1\"") && xml.contains("<failure message=\"100.0 % to 0.0 %"), "{xml}");
    let (_, markdown) = nights.compare("md");
    assert!(markdown.contains("| ✗"), "{markdown}");
}

#[test]
fn a_slower_backend_is_found_with_its_size() {
    let nights = Nights::new();
    nights.run("base", RIGHT, "");
    nights.run("new", &RIGHT.replace("4000", "40000"), "");
    let (code, text) = nights.compare("text");
    assert_eq!(code, 1, "{text}");
    for figure in ["ttft_ms", "e2e_ms", "decode_tok_s"] {
        let line = text.lines().find(|l| l.contains(figure)).unwrap();
        assert!(line.contains('✗'), "{line}");
    }
    // The other way round it is an improvement.
    nights.bench.edgebench(&["compare", "new", "base"]).assert().code(0).stdout(predicate::str::contains("got better"));
}

#[test]
fn what_cannot_be_compared_is_never_passed() {
    let nights = Nights::new();
    nights.run("base", RIGHT, "");
    nights.records(61);
    nights.run("new", RIGHT, "");
    let (code, text) = nights.compare("text");
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("not comparable") && text.contains("gen.jsonl has changed"), "{text}");
    nights
        .bench
        .edgebench(&["compare", "base", "none"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("none/manifest.json"));
    let arguments = ["compare", "base", "new", "--format", "pdf"];
    nights
        .bench
        .edgebench(&arguments)
        .assert()
        .code(2)
        .stderr(predicate::str::contains("there is text, md, json, junit"));
}

#[test]
fn a_case_that_failed_or_was_disturbed_makes_runs_incomparable() {
    let nights = Nights::new();
    nights.run("base", RIGHT, "");
    nights.board.set("sys/class/thermal/thermal_zone0/temp", "99000");
    nights.run("new", RIGHT, "");
    let (code, text) = nights.compare("text");
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("m/t: not valid in the new run: thermal-trip"), "{text}");
}

#[test]
fn a_threshold_that_is_none_is_told_before_a_run() {
    let nights = Nights::new();
    nights.run("base", RIGHT, "");
    let job = std::fs::read_to_string(nights.bench.path().join("job.toml")).unwrap();
    nights.bench.write("job.toml", format!("{job}[gate]\nacc = \"1 %\"\nspeed = \"-5 %\"\n"));
    nights.bench.edgebench(&["check", "job.toml"]).assert().code(2).stderr(
        predicate::str::contains("`acc` is no threshold")
            .and(predicate::str::contains("unknown key `speed` in [gate]")),
    );
}
