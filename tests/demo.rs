//! The demo job as it is shipped says what its README says. It runs alone, since it uses every core.
#![cfg(feature = "llama")]

use edgebench::results::{CaseRow, read_cases};
use std::path::Path;

fn number(row: &CaseRow, column: &str) -> f64 {
    row.number(column).unwrap_or_else(|| panic!("{} has no {column}", row.get("case")))
}

#[test]
fn the_demo_answers_right_where_it_can_and_by_chance_where_it_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let job = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/demo/job.toml");
    let out = assert_cmd::Command::cargo_bin("edgebench")
        .unwrap()
        .arg("run")
        .arg(job)
        .arg("--out")
        .arg(dir.path().join("run"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let rows = read_cases(&dir.path().join("run/cases.csv")).unwrap();
    assert_eq!(rows.len(), 3 * 2 * 7, "three models, one and two threads, seven tasks");

    let of = |model: &str, task: &str| -> Vec<&CaseRow> {
        rows.iter().filter(|r| r.get("model").contains(model) && r.get("task") == task).collect()
    };
    for task in ["compare", "alphabet", "zh-compare", "zh-order", "addition"] {
        for row in of("q8_0", task) {
            assert!(number(row, "acc") >= 0.85, "{task}: {}", row.get("acc"));
        }
    }
    for row in rows.iter().filter(|r| r.get("task") == "calendar") {
        let interval = number(row, "acc_lo")..=number(row, "acc_hi");
        assert!(interval.contains(&0.25), "chance is outside of {interval:?} for {}", row.get("model"));
    }
    for (q8, q2) in of("q8_0", "addition").iter().zip(of("q2_k", "addition")) {
        assert!(number(q2, "acc_hi") < number(q8, "acc_lo"), "two bits cost something that can be seen");
    }
}
