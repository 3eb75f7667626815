//! `rank` over runs: like boards with like, ties, the Pareto front, and its four forms.

use crate::board::Board;
use crate::common::{Bench, mock};
use predicates::prelude::*;

/// A run named `name` on a board whose governor is `governor`: a right and a wrong object.
fn run(bench: &Bench, name: &str, governor: &str) {
    let board = Board::fixture("rk3588");
    board.set("proc/stat", "cpu  1000 0 0 9000 0 0 0 0\n");
    for core in ["policy0", "policy4", "policy6"] {
        board.set(&format!("sys/devices/system/cpu/cpufreq/{core}/scaling_governor"), governor);
    }
    board.set("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", governor);
    let line = |i| format!("{{\"question\":\"What is {i}?\",\"answer\":\"x\"}}\n");
    bench.write("gen.jsonl", (0..40).map(line).collect::<String>());
    let object = |name: &str, text: &str, us: u32| {
        format!(
            "[[object]]\nname = \"{name}\"\nbackend = \"{}\"\nparams = {{ text = \"{text}\", token_us = {us} }}\n",
            mock().display()
        )
    };
    let task = "[[task]]\nname = \"t\"\ndataset = \"gen.jsonl\"\nmethod = \"generate\"\nmax_tokens = 6\n";
    bench.write(
        "job.toml",
        format!(
            "{}{}{}{task}",
            object("good", "x\\nabcd", 6000),
            object("fast", "y\\nabcd", 1000),
            object("poor", "y\\nabcd", 12000)
        ),
    );
    bench
        .edgebench(&["run", "job.toml", "--out", name, "--quiet"])
        .env("EDGEBENCH_SYSROOT", board.path())
        .assert()
        .code(0);
}

fn rank(bench: &Bench, arguments: &[&str]) -> String {
    let out = bench.edgebench(&[&["rank"], arguments].concat()).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn unlike_boards_have_leaderboards_of_their_own_unless_asked() {
    let bench = Bench::new();
    run(&bench, "monday", "performance");
    run(&bench, "tuesday", "performance");
    run(&bench, "sunday", "powersave");
    let boards: serde_json::Value =
        serde_json::from_str(&rank(&bench, &["monday", "tuesday", "sunday", "--format", "json"])).unwrap();
    let boards = boards.as_array().unwrap();
    assert_eq!(boards.len(), 2);
    assert!(boards[0]["fingerprint"].as_str().unwrap().ends_with("performance"));
    let places = boards[0]["places"].as_array().unwrap();
    assert_eq!(places.len(), 6, "three objects on two days");
    assert_eq!((&places[0]["object"], &places[0]["acc"], &places[0]["rank"]), (&"good".into(), &1.0.into(), &1.into()));
    assert_eq!(places[1]["rank"], 1, "the same object on another day is tied");
    assert_eq!(places[2]["object"], "fast");
    let front = |object: &str| places.iter().any(|p| p["object"] == object && p["pareto"] == true);
    assert!(front("good") && front("fast") && !front("poor"));

    let across: serde_json::Value =
        serde_json::from_str(&rank(&bench, &["monday", "sunday", "--across", "--format", "json"])).unwrap();
    assert_eq!(across.as_array().unwrap().len(), 1);
    assert!(
        across[0]["places"].as_array().unwrap().iter().any(|p| p["board"].as_str().unwrap().ends_with("powersave"))
    );

    let table = rank(&bench, &["monday", "--filter", "object=good", "--column", "object", "--column", "acc"]);
    assert!(table.contains("100.0 %") && !table.contains("fast"), "{table}");
    assert!(rank(&bench, &["monday", "--format", "md"]).contains("| #"));
    let csv = rank(&bench, &["monday", "sunday", "--format", "csv", "--by", "decode_tok_s desc"]);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let object = reader.headers().unwrap().iter().position(|c| c == "object").unwrap();
    let objects: Vec<String> = reader.records().map(|r| r.unwrap()[object].to_owned()).collect();
    assert_eq!(objects, ["fast", "good", "poor", "fast", "good", "poor"]);
}

#[test]
fn what_is_no_run_or_no_order_is_told() {
    let bench = Bench::new();
    bench.edgebench(&["rank"]).assert().code(2).stderr(predicate::str::contains("give the folders of runs"));
    bench.edgebench(&["rank", "none"]).assert().code(2).stderr(predicate::str::contains("none/manifest.json"));
    run(&bench, "out", "performance");
    let refused = [
        (["--by", "acc"], "acc desc"),
        (["--filter", "task"], "task=compare"),
        (["--format", "pdf"], "table, md, csv, json"),
    ];
    for (arguments, words) in refused {
        bench
            .edgebench(&[&["rank", "out"], &arguments[..]].concat())
            .assert()
            .code(2)
            .stderr(predicate::str::contains(words));
    }
}
