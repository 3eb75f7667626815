//! `history` over nights, one of which brought a change.

use crate::common::{Bench, CHOICE, choices};
use crate::report::copy;
use predicates::prelude::*;
use predicates::str::contains;

/// `n` nights of one case whose accuracy falls with night 10, and rises and falls a little by itself; night 3 is not valid.
fn nights(bench: &Bench, n: usize) {
    bench.write("pick.jsonl", choices(8));
    bench.mock_job("", "", CHOICE);
    assert_eq!(bench.run().0, 0);
    let row = bench.case("mock/pick");
    let columns = bench.out("cases.csv").lines().next().unwrap().to_owned();
    std::fs::create_dir(bench.path().join("runs")).unwrap();
    for night in 0..n {
        let run = format!("runs/n{night:02}");
        copy(bench, "out", &run);
        let mut row = row.clone();
        let level = if night < 10 { 0.8 } else { 0.7 };
        row.set("acc", format!("{:.4}", level + [0.004, -0.006, 0.0, 0.008, -0.003][night % 5]));
        row.set("valid", if night == 3 { "no" } else { "yes" });
        if night == 3 {
            row.set("acc", "0.1000");
        }
        let mut table = csv::Writer::from_path(bench.path().join(&run).join("cases.csv")).unwrap();
        table.write_record(columns.split(',')).unwrap();
        table.write_record(row.fields(&columns.split(',').collect::<Vec<_>>())).unwrap();
        table.flush().unwrap();
        let manifest = std::fs::read_to_string(bench.path().join(&run).join("manifest.json")).unwrap();
        let mut manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        manifest["start"] = format!("2026-03-{:02}T02:00:00Z", night + 1).into();
        bench.write(&format!("{run}/manifest.json"), manifest.to_string());
    }
    std::os::unix::fs::symlink("n00", bench.path().join("runs/latest")).unwrap();
}

#[test]
fn a_change_is_marked_where_it_came_and_an_invalid_night_does_not_count() {
    let bench = Bench::new();
    nights(&bench, 20);
    let out = bench.edgebench(&["history", "runs", "--format", "csv"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    let mut reader = csv::Reader::from_reader(out.stdout.as_slice());
    let columns = reader.headers().unwrap().clone();
    let field = |row: &csv::StringRecord, name: &str| row[columns.iter().position(|c| c == name).unwrap()].to_owned();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 20, "the link is not a night of its own");
    let changed: Vec<String> = rows.iter().filter(|r| field(r, "change") == "yes").map(|r| field(r, "start")).collect();
    assert_eq!(changed, ["2026-03-11T02:00:00Z"]);
    let change = &rows[10];
    let number = |name: &str| field(change, name).parse::<f64>().unwrap();
    assert!((number("before") - 0.8).abs() < 0.005 && (number("after") - 0.7).abs() < 0.005 && number("p") < 0.01);
    bench
        .edgebench(&["history", "runs"])
        .assert()
        .code(0)
        .stdout(contains("2026-03-11: 0.8").and(contains("mock/pick")));
    bench
        .edgebench(&["history", "runs", "--format", "svg"])
        .assert()
        .code(0)
        .stdout(contains("xmlns=").and(contains("2026-03-01")));
    bench.edgebench(&["history", "runs", "--format", "html", "-o", "h.html"]).assert().code(0);
    let page = std::fs::read_to_string(bench.path().join("h.html")).unwrap();
    assert!(page.contains("default-src 'none'") && page.contains("mock/pick"));
}

#[test]
fn what_is_no_history_is_told() {
    let bench = Bench::new();
    nights(&bench, 2);
    bench
        .edgebench(&["history", "runs", "--metric", "speed"])
        .assert()
        .code(2)
        .stderr(contains("a column of cases.csv"));
    std::fs::create_dir(bench.path().join("empty")).unwrap();
    bench.edgebench(&["history", "empty"]).assert().code(2).stderr(contains("no runs in it"));
    bench.write("runs/n00/manifest.json", "{\"torn");
    bench.edgebench(&["history", "runs"]).assert().code(0).stderr(contains("left out: runs/n00/manifest.json"));
}
