//! The disk fills up at every operation that needs room, and the clock is set back: a run stops with a sentence, and goes
//! on with the same results. `tests/fixtures/machine.c` plays the machine.

use crate::common::{Bench, CHOICE, GENERATE, choices, compile, questions, root};
use std::path::PathBuf;
use std::sync::OnceLock;

/// The library to load before others.
pub fn machine() -> &'static str {
    static MACHINE: OnceLock<PathBuf> = OnceLock::new();
    let path = MACHINE.get_or_init(|| {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("libmachine-{}.so", std::process::id()));
        let source = root().join("tests/fixtures/machine.c");
        compile(root(), &["-O2", source.to_str().unwrap(), "-o", path.to_str().unwrap(), "-ldl"]);
        path
    });
    path.to_str().unwrap()
}

/// Files of every kind that a run leaves.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(2));
    bench.write("pick.jsonl", choices(3).replace("\"answer\"", "\"subject\":\"s\",\"answer\""));
    let more = "sustained = \"10ms\"\n[[suite]]\nname = \"all\"\ntasks = [\"gen\", \"pick\"]\n";
    bench.mock_job("", "seed = 1", &format!("{GENERATE}{CHOICE}{more}"));
    bench
}

/// A run into the absolute `out`, with everything that can be written; exit code and stderr.
fn run(bench: &Bench, environment: &[(&str, &str)]) -> (i32, String) {
    let out = bench.path().join("out");
    let prom = out.join("edgebench.prom");
    let arguments = ["run", "job.toml", "--resume", "--trace", "--quiet", "--out"];
    let mut command = bench.edgebench(&arguments);
    command.arg(&out).arg("--prom").arg(&prom).env("LD_PRELOAD", machine()).envs(environment.iter().copied());
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn quality(bench: &Bench) -> (Vec<[String; 6]>, String, String) {
    let columns = ["case", "status", "n", "acc", "acc_lo", "acc_hi"];
    let cases = bench.cases().iter().map(|r| columns.map(|c| r.get(c).to_owned())).collect();
    (cases, bench.out("predictions.jsonl"), bench.out("subjects.csv") + &bench.out("suites.csv"))
}

#[test]
fn a_disk_that_is_full_at_any_moment_loses_nothing() {
    let whole = bench();
    assert_eq!(run(&whole, &[]).0, 0);
    for room in 0.. {
        let bench = bench();
        let folder = bench.path().join("out");
        let after = room.to_string();
        let (code, stderr) = run(&bench, &[("FULL_FOLDER", folder.to_str().unwrap()), ("FULL_AFTER", &after)]);
        if code == 0 {
            assert!(room > 30, "the last of {room} operations");
            break;
        }
        assert_eq!(code, 3, "room for {room} operations: {stderr}");
        assert!(stderr.contains(folder.to_str().unwrap()) && stderr.contains("No space left"), "{room}: {stderr}");
        let (code, stderr) = run(&bench, &[]);
        assert_eq!(code, 0, "room for {room} operations: {stderr}");
        assert_eq!(quality(&bench), quality(&whole), "room for {room} operations");
        serde_json::from_str::<Vec<serde_json::Value>>(&bench.out("trace.json")).unwrap();
        assert!(bench.out("edgebench.prom").contains("edgebench_run_end_timestamp_seconds"));
        assert!(bench.files().iter().all(|name| !name.ends_with(".part")));
    }
}

#[test]
fn a_clock_that_was_set_back_changes_names_and_dates_only() {
    let whole = bench();
    assert_eq!(run(&whole, &[]).0, 0);
    let bench = bench();
    let folder = bench.path().join("out");
    // In the middle of the run.
    assert_eq!(run(&bench, &[("FULL_FOLDER", folder.to_str().unwrap()), ("FULL_AFTER", "25")]).0, 3);
    let (code, stderr) = run(&bench, &[("CLOCK_BACK_S", "1000000000")]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(quality(&bench), quality(&whole));
    let manifest: serde_json::Value = serde_json::from_str(&bench.out("manifest.json")).unwrap();
    assert!(manifest["end"].as_str() < manifest["start"].as_str(), "the clock was set back");
    let rows = bench.rows("samples.csv");
    assert!(rows.iter().all(|r| r.number("e2e_ms").is_some_and(|ms| (0.0..60e3).contains(&ms))));
    assert_eq!(run(&bench, &[]).0, 0, "there is nothing left to do");
}
