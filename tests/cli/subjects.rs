//! Tasks of several subjects, groups of them, suites of tasks, and which records of a task are asked.

use crate::common::{Bench, CHOICE, choices};
use edgebench::results::CaseRow;
use predicates::prelude::*;
use predicates::str::contains;

/// `n` questions whose right answer is always the first choice, which the mock backend picks.
fn easy(n: usize) -> String {
    choices(n * 4).lines().step_by(4).map(|line| format!("{line}\n")).collect()
}

/// Files `data/a.jsonl` to `data/c.jsonl` of 4, 8 and 2 records.
fn tree(bench: &Bench) {
    std::fs::create_dir_all(bench.path().join("data/deep")).unwrap();
    bench.write("data/a.jsonl", easy(4));
    bench.write("data/b.jsonl", choices(8));
    bench.write("data/deep/c.jsonl", choices(2));
    bench.write("data/notes.txt", "not data");
}

fn task(dataset: &str, more: &str) -> String {
    format!("{}\n{more}\n", CHOICE.replace("\"pick.jsonl\"", dataset))
}

fn find<'r>(rows: &'r [CaseRow], level: &str, name: &str, average: &str) -> &'r CaseRow {
    let fits = |r: &&CaseRow| r.get("level") == level && r.get("name") == name && r.get("average") == average;
    rows.iter().find(fits).unwrap_or_else(|| panic!("no row {level} {name} {average}"))
}

#[test]
fn a_folder_of_subjects_has_a_row_for_each_for_groups_and_for_all() {
    let bench = Bench::new();
    tree(&bench);
    bench.mock_job("", "", &task("\"data\"", "groups = { first = [\"a\", \"b\"], none = [\"zzz\"] }"));
    assert_eq!(bench.run().0, 0);
    let rows = bench.rows("subjects.csv");
    let names: Vec<String> = rows.iter().map(|r| [r.get("level"), r.get("name"), r.get("average")].join(" ")).collect();
    let wanted = [
        "subject a ",
        "subject b ",
        "subject c ",
        "group first micro",
        "group first macro",
        "overall all micro",
        "overall all macro",
    ];
    assert_eq!(names, wanted);
    // Right answers as predictions.jsonl tells them, counted by the file in the id.
    let right = |subject: &str| {
        let of = |p: &&serde_json::Value| p["id"].as_str().unwrap().starts_with(subject);
        let all = bench.predictions();
        let of: Vec<_> = all.iter().filter(of).collect();
        (of.iter().filter(|p| p["correct"] == true).count() as f64, of.len() as f64)
    };
    let parts = ["a", "b", "c"].map(right);
    for (name, (correct, n)) in ["a", "b", "c"].iter().zip(parts) {
        let row = find(&rows, "subject", name, "");
        assert_eq!((row.get("n"), row.get("acc")), (&*n.to_string(), &*format!("{:.4}", correct / n)));
    }
    let micro = parts.iter().map(|p| p.0).sum::<f64>() / 14.0;
    let mean = parts.iter().map(|p| p.0 / p.1).sum::<f64>() / 3.0;
    let all = find(&rows, "overall", "all", "micro");
    assert_eq!((all.get("acc"), all.get("n"), all.get("subjects")), (&*format!("{micro:.4}"), "14", "3"));
    assert_eq!(all.get("acc"), bench.case("mock/pick").get("acc"), "the case's own row is the micro average");
    let all = find(&rows, "overall", "all", "macro");
    assert_eq!(all.get("acc"), format!("{mean:.4}"));
    assert!(all.number("acc_lo").unwrap() < mean && mean < all.number("acc_hi").unwrap());
    let group = find(&rows, "group", "first", "micro");
    assert_eq!((group.get("n"), group.get("subjects")), ("12", "2"));
}

#[test]
fn folders_within_the_folder_are_groups_and_patterns_pick_files() {
    let bench = Bench::new();
    tree(&bench);
    bench.mock_job("", "", &task("\"data\"", ""));
    assert_eq!(bench.run().0, 0);
    assert_eq!(find(&bench.rows("subjects.csv"), "group", "deep", "micro").get("n"), "2");

    let bench = Bench::new();
    tree(&bench);
    bench.mock_job("", "", &task("[\"data/[ab].jsonl\", \"data/deep/*\"]", ""));
    bench.edgebench(&["check", "job.toml"]).assert().code(0).stdout(contains("15 records to ask"));

    for (dataset, word) in [
        ("\"data/x*\"", "no file fits"),
        ("[\"data\", \"data/deep/c.jsonl\", \"other/c.jsonl\"]", "two files are called \"c\""),
    ] {
        std::fs::create_dir_all(bench.path().join("other")).unwrap();
        bench.write("other/c.jsonl", choices(1));
        bench.mock_job("", "", &task(dataset, ""));
        bench.edgebench(&["check", "job.toml"]).assert().code(2).stderr(contains(word));
    }
}

#[test]
fn groups_come_from_a_file_with_its_own_lines_in_messages() {
    let bench = Bench::new();
    tree(&bench);
    bench.write("groups.toml", "\"two of them\" = [\"a\", \"c\"]\n");
    bench.mock_job("", "", &task("\"data\"", "groups = \"groups.toml\""));
    assert_eq!(bench.run().0, 0);
    assert_eq!(find(&bench.rows("subjects.csv"), "group", "two of them", "macro").get("subjects"), "2");
    bench.write("groups.toml", "a = [\"a\"]\nb = [1]\n");
    bench.edgebench(&["check", "job.toml"]).assert().code(2).stderr(contains("groups.toml:2: "));
}

#[test]
fn subjects_of_one_file_are_those_of_its_records() {
    let bench = Bench::new();
    let line = |subject: &str| format!("{{\"question\":\"q\",\"answer\":\"a\",\"subject\":\"{subject}\"}}\n");
    bench.write("gen.jsonl", [line("x"), line("y"), line("x")].concat());
    bench.mock_job("", "", crate::common::GENERATE);
    assert_eq!(bench.run().0, 0);
    let rows = bench.rows("subjects.csv");
    assert_eq!(find(&rows, "subject", "x", "").get("n"), "2");
    // Without subjects there is no such file.
    let bench = Bench::new();
    bench.write("pick.jsonl", choices(3));
    bench.mock_job("", "", CHOICE);
    assert_eq!(bench.run().0, 0);
    assert!(!bench.path().join("out/subjects.csv").exists());
}

#[test]
fn examples_follow_the_subject_through_a_folder() {
    let bench = Bench::new();
    for (folder, n) in [("test", 2), ("dev", 3)] {
        std::fs::create_dir_all(bench.path().join(folder)).unwrap();
        for subject in ["law", "art"] {
            let line = |i| {
                format!("{{\"question\":\"{folder} of {subject} {i}\",\"choices\":[\"x\",\"y\"],\"answer\":\"A\"}}\n")
            };
            bench.write(&format!("{folder}/{subject}.jsonl"), (0..n).map(line).collect::<String>());
        }
    }
    bench.mock_job("", "", &task("\"test\"", "shots = { n = 2, from = \"dev\" }"));
    let shown = bench.edgebench(&["check", "job.toml", "--show-prompt", "9"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let prompts: Vec<&str> = shown.split("──── pick, record").skip(1).collect();
    assert_eq!(prompts.len(), 4, "{shown}");
    for prompt in prompts {
        let subject = if prompt.contains("test of law") { ("law", "art") } else { ("art", "law") };
        assert_eq!(prompt.matches(&format!("dev of {}", subject.0)).count(), 2, "{prompt}");
        assert!(!prompt.contains(&format!("dev of {}", subject.1)), "{prompt}");
    }
}

#[test]
fn a_suite_has_a_weighted_score_for_each_object() {
    let bench = Bench::new();
    tree(&bench);
    bench.write("pick.jsonl", easy(10));
    let tasks = format!(
        "{CHOICE}{}[[suite]]\nname = \"s\"\ntasks = [\"pick\", \"trees\"]\nweights = [1, 3]\n\
         [[suite]]\nname = \"m\"\ntasks = [\"trees\"]\naverage = \"macro\"\n",
        task("\"data\"", "").replace("\"pick\"", "\"trees\"")
    );
    bench.mock_job("", "seed = [1, 2]", &tasks);
    bench.edgebench(&["run", "job.toml", "--out", "out"]).assert().code(0).stdout(contains(" s ").and(contains(" m ")));
    let rows = bench.rows("suites.csv");
    assert_eq!(rows.len(), 4, "two suites of two objects");
    for (instance, row) in ["mock.1", "mock.2"].iter().zip(&rows) {
        let acc = |task: &str| bench.case(&format!("{instance}/{task}")).number("acc").unwrap();
        let wanted = (acc("pick") + 3.0 * acc("trees")) / 4.0;
        assert!((row.number("score").unwrap() - wanted).abs() < 1e-4);
        assert!(row.number("score_lo").unwrap() < wanted && wanted < row.number("score_hi").unwrap());
    }
    let subjects = bench.rows("subjects.csv");
    let over_subjects = subjects.iter().find(|r| r.get("level") == "overall" && r.get("average") == "macro").unwrap();
    assert_eq!(rows[2].get("score"), over_subjects.get("acc"));
}

#[test]
fn mistakes_in_a_suite_are_told() {
    let bench = Bench::new();
    bench.write("pick.jsonl", choices(3));
    for (suite, word) in [
        ("name = \"s\"\ntasks = [\"pik\"]", "did you mean \"pick\""),
        ("name = \"s\"\ntasks = [\"pick\"]\nweights = [1, 2]", "2 weights for 1 tasks"),
        ("name = \"s\"\ntasks = [\"pick\"]\nweights = [0]", "all weights are 0"),
        ("name = \"s\"\ntasks = [\"pick\"]\nmetric = \"f1_macro\"", "has no f1_macro"),
        ("name = \"s\"\ntasks = [\"pick\", \"pick\"]", "is there twice"),
        ("tasks = [\"pick\"]", "`name` is missing"),
    ] {
        bench.mock_job("", "", &format!("{CHOICE}[[suite]]\n{suite}\n"));
        bench.edgebench(&["check", "job.toml"]).assert().code(2).stderr(contains(word));
    }
}

/// Ids in the order in which they were asked.
fn asked(tasks: &str, files: &[(&str, String)]) -> Vec<String> {
    let bench = Bench::new();
    files.iter().for_each(|(name, text)| drop(bench.write(name, text)));
    bench.mock_job("", "", tasks);
    assert_eq!(bench.run().0, 0);
    bench.predictions().iter().map(|p| p["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn offset_and_limit_take_a_part_of_the_records() {
    let files = [("a.jsonl", choices(4)), ("b.jsonl", format!("\n\n{}", choices(4)))];
    let two = "[\"a.jsonl\", \"b.jsonl\"]";
    assert_eq!(asked(&task(two, "offset = 3\nlimit = 3"), &files), ["a:q3", "b:q0", "b:q1"]);
    assert_eq!(asked(&task(two, "offset = 6"), &files), ["b:q2", "b:q3"]);
    let bench = Bench::new();
    bench.write("pick.jsonl", choices(4));
    for (words, told) in [("offset = 4", "asks no record"), ("limit = 1\nsample = 1", "exclude each other")] {
        bench.mock_job("", "", &format!("{CHOICE}{words}\n"));
        bench.edgebench(&["check", "job.toml"]).assert().code(2).stderr(contains(told));
    }
}

#[test]
fn a_sample_is_drawn_by_its_seed_in_the_order_of_the_files() {
    // Lines of very different length, so that places in the file have to be found.
    let long = |n: usize| -> String {
        let record = |i: usize| {
            format!(
                "{{\"id\":\"{i}\",\"question\":\"{}\",\"choices\":[\"x\",\"y\"],\"answer\":\"A\"}}\n",
                "x".repeat(1 + i % 7 * 900)
            )
        };
        (0..n).map(|i| if i % 5 == 0 { format!("\r\n{}", record(i)) } else { record(i) }).collect()
    };
    let files = [("a.jsonl", long(900)), ("b.jsonl", long(300))];
    let draw = |seed: u64| {
        let words = format!("sample = {{ n = 25, seed = {seed} }}");
        asked(&task("[\"a.jsonl\", \"b.jsonl\"]", &words), &files)
    };
    let first = draw(1);
    assert_eq!(first.len(), 25);
    let places: Vec<(String, u32)> = first
        .iter()
        .map(|id| id.split_once(':').map(|(file, n)| (file.to_owned(), n.parse().unwrap())).unwrap())
        .collect();
    assert!(places.windows(2).all(|w| w[0] < w[1]), "in order, each once: {places:?}");
    assert!(places.iter().any(|p| p.0 == "b"), "of all files: {places:?}");
    assert_eq!(first, draw(1));
    assert_ne!(first, draw(2));
}

#[test]
fn an_id_that_two_records_have_is_a_problem_with_both_lines() {
    let bench = Bench::new();
    bench.write("pick.jsonl", format!("{}\n{}", choices(3), choices(2)));
    bench.mock_job("", "", CHOICE);
    bench.edgebench(&["check", "job.toml"]).assert().code(2).stderr(
        contains("pick.jsonl:5: the id is that of line 1, too")
            .and(contains("pick.jsonl:6: the id is that of line 2, too")),
    );
}

#[test]
fn rows_by_subject_survive_an_interrupted_run() {
    let bench = Bench::new();
    tree(&bench);
    bench.mock_job("", "seed = [1, 2]", &task("\"data\"", ""));
    assert_eq!(bench.run().0, 0);
    let whole = bench.out("subjects.csv");
    // As if the power had gone in the second case.
    let cases = bench.out("cases.csv");
    let first_two: String = cases.lines().take(2).map(|l| format!("{l}\n")).collect();
    bench.write("out/cases.csv", first_two);
    bench.edgebench(&["run", "job.toml", "--out", "out", "--resume"]).assert().code(0);
    assert_eq!(bench.out("subjects.csv"), whole);
}
