//! Nothing is lost: runs that are killed, refused or disturbed go on where they were, with the same results.

use crate::common::{Bench, CHOICE, GENERATE, choices, mock, questions};
use crate::faults::leftover;
use predicates::prelude::*;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A job of 4 cases, about a second in all.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(20));
    bench.write("pick.jsonl", choices(40));
    bench.mock_job("", "seed = [1, 2], token_us = 2000, prefill_us = 200", &format!("{GENERATE}{CHOICE}"));
    bench
}

fn start(bench: &Bench) -> Child {
    Command::new(assert_cmd::cargo::cargo_bin("edgebench"))
        .args(["run", "job.toml", "--out", "out", "--resume", "--trace", "--quiet"])
        .current_dir(bench.path())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(bench.path().join("stderr")).unwrap())
        .spawn()
        .unwrap()
}

/// Everything that must not depend on how often a run was cut short.
fn quality(bench: &Bench) -> Vec<Vec<String>> {
    let columns = ["case", "task", "method", "status", "n", "n_failed", "acc", "acc_lo", "acc_hi"];
    bench.cases().iter().map(|r| columns.map(|c| r.get(c).to_owned()).to_vec()).collect()
}

/// Cases that the trace has a span of, in their order.
fn traced_cases(bench: &Bench) -> Vec<String> {
    let events: Vec<serde_json::Value> = serde_json::from_str(&bench.out("trace.json")).unwrap();
    let cases = events.iter().filter(|e| e["cat"] == "case");
    cases.map(|e| e["name"].as_str().unwrap().to_owned()).collect()
}

/// `case id pass` of every sample.
fn samples(bench: &Bench) -> Vec<String> {
    bench.rows("samples.csv").iter().map(|r| ["case", "id", "pass", "correct"].map(|c| r.get(c)).join(" ")).collect()
}

#[test]
fn a_run_that_is_killed_at_any_moment_ends_with_the_same_results() {
    killed_at_random(12, bench);
}

/// Kills so many runs of a job three times each, and holds what they come to against a run that nobody disturbed. More
/// on request; each takes about three seconds.
pub fn killed_at_random(runs: u32, bench: impl Fn() -> Bench) {
    let whole = bench();
    assert_eq!(whole.run().0, 0);
    let runs = std::env::var("EDGEBENCH_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(runs);
    let mut seed = 88172645463325252u64;
    for _ in 0..runs {
        let bench = bench();
        for _ in 0..3 {
            // xorshift64: a moment in the first 1.5 s.
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let mut child = start(&bench);
            std::thread::sleep(Duration::from_millis(seed % 1500));
            let _ = child.kill();
            child.wait().unwrap();
        }
        let code = start(&bench).wait().unwrap().code();
        assert_eq!(code, Some(0), "{}", std::fs::read_to_string(bench.path().join("stderr")).unwrap());
        assert_eq!(quality(&bench), quality(&whole));
        assert_eq!(bench.out("predictions.jsonl"), whole.out("predictions.jsonl"));
        assert_eq!(samples(&bench), samples(&whole));
        assert_eq!(traced_cases(&bench), whole.cases().iter().map(|r| r.get("case").to_owned()).collect::<Vec<_>>());
    }
}

#[test]
fn an_interrupted_case_is_run_again_and_the_manifest_tells() {
    use rustix::process::Signal;
    interrupted(Signal::TERM, 143, false);
    interrupted(Signal::INT, 130, false);
    // As a service manager does, and a board that is switched off.
    interrupted(Signal::TERM, 143, true);
}

/// Signals a run in its third case, or every process of it.
fn interrupted(signal: rustix::process::Signal, code: i32, all: bool) {
    let bench = bench();
    let mut child = start(&bench);
    let until = Instant::now() + Duration::from_secs(30);
    let rows = || std::fs::read_to_string(bench.path().join("out/cases.csv")).map_or(0, |t| t.lines().count());
    while rows() < 3 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    // The third case takes about half a second.
    std::thread::sleep(Duration::from_millis(150));
    let hosts = if all { leftover(bench.path()) } else { Vec::new() };
    let hosts = hosts.into_iter().filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().unwrap()));
    for pid in hosts.chain([rustix::process::Pid::from_child(&child)]).collect::<std::collections::HashSet<_>>() {
        rustix::process::kill_process(pid, signal).unwrap();
    }
    assert_eq!(child.wait().unwrap().code(), Some(code));
    let before = bench.cases();
    assert_eq!(before.last().unwrap().get("status"), "interrupted");
    let last = bench.rows("samples.csv").pop().unwrap();
    assert_eq!(last.get("status"), "ok", "the record that was being answered is finished");
    let manifest = || serde_json::from_str::<serde_json::Value>(&bench.out("manifest.json")).unwrap();
    assert!(manifest()["end"].is_null());

    assert_eq!(start(&bench).wait().unwrap().code(), Some(0));
    let after = bench.cases();
    assert_eq!(after.len(), 4);
    assert!(after.iter().all(|r| r.get("status") == "ok"));
    assert_eq!(after[0], before[0], "what was complete is left alone, times included");
    assert!(manifest()["end"].is_string());
    assert_eq!(manifest()["resumed"].as_array().unwrap().len(), 1);
    // Once more there is nothing to do.
    bench.edgebench(&["run", "job.toml", "--out", "out", "--resume"]).assert().code(0);
    assert_eq!(bench.cases(), after);
}

#[test]
fn a_second_signal_ends_the_run_at_once() {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(1));
    // The one record would take two and a half minutes.
    bench.mock_job("warmup = 0\ntimeout = \"600s\"", "token_us = 20000000", GENERATE);
    let mut child = start(&bench);
    let until = Instant::now() + Duration::from_secs(60);
    while leftover(bench.path()).len() < 2 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(300));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "the record is being answered");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut code = None;
    while code.is_none() && Instant::now() < until {
        code = child.try_wait().unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(code.and_then(|c| c.code()), Some(130));
    while !leftover(bench.path()).is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(leftover(bench.path()).is_empty(), "its host has left, too");
}

#[test]
fn a_file_that_a_parameter_names_belongs_to_the_run() {
    let bench = bench();
    let job = std::fs::read_to_string(bench.path().join("job.toml")).unwrap();
    bench.write("job.toml", job.replace("seed = [1, 2]", "text = \"./said.txt\""));
    bench.write("said.txt", "one");
    assert_eq!(bench.run().0, 0);
    bench.write("said.txt", "other");
    bench
        .edgebench(&["run", "job.toml", "--out", "out", "--resume"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("the file ").and(predicate::str::contains("said.txt has changed")));
}

#[test]
fn another_job_or_other_data_cannot_go_on() {
    let bench = bench();
    assert_eq!(bench.run().0, 0);
    bench.write("gen.jsonl", questions(21));
    bench
        .edgebench(&["run", "job.toml", "--out", "out", "--resume"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("the dataset").and(predicate::str::contains("gen.jsonl has changed")));
    bench.write("gen.jsonl", questions(20));
    let job = std::fs::read_to_string(bench.path().join("job.toml")).unwrap();
    bench.write("job.toml", job.replace("seed = [1, 2]", "seed = [1, 3]"));
    bench
        .edgebench(&["run", "job.toml", "--out", "out", "--resume"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("the job file has changed; start a new run"));
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let bench = bench();
    let mut first = start(&bench);
    let until = Instant::now() + Duration::from_secs(30);
    while !bench.path().join("out/samples.csv").exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    bench.edgebench(&["run", "job.toml", "--out", "out", "--resume"]).assert().code(3).stderr(
        predicate::str::contains(format!("process {} (", first.id()))
            .and(predicate::str::contains("is writing into it")),
    );
    assert_eq!(first.wait().unwrap().code(), Some(0), "the first is not disturbed");
}

#[test]
fn a_folder_that_cannot_be_made_is_the_machines_refusal() {
    let bench = bench();
    bench.write("file", "");
    bench
        .edgebench(&["run", "job.toml", "--out", "file/out"])
        .assert()
        .code(3)
        .stderr(predicate::str::contains("file/out: Not a directory"));
}

#[test]
fn a_folder_that_cannot_be_written_is_the_machines_refusal() {
    let bench = bench();
    let edgebench = assert_cmd::cargo::cargo_bin("edgebench");
    let script = format!(
        "mkdir small/old && mount -o remount,ro small && {0} run job.toml --out small/out --quiet; echo code $?; \
         {0} run job.toml --out small/old --quiet; echo code $?",
        edgebench.display()
    );
    let Some(out) = in_small_tmpfs(&bench, "20m", &script) else { return };
    assert_eq!(String::from_utf8_lossy(&out.stdout), "code 3\ncode 3\n");
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(
        stderr.contains("small/out: Read-only") && stderr.contains("small/old/manifest.json: Read-only"),
        "{stderr}"
    );
}

/// A shell in a mount namespace of its own, where that is allowed.
fn in_small_tmpfs(bench: &Bench, size: &str, script: &str) -> Option<std::process::Output> {
    let script = format!("mount -t tmpfs -o size={size} none small || exit 77\n{script}");
    std::fs::create_dir_all(bench.path().join("small")).unwrap();
    let out = Command::new("unshare").args(["-rm", "sh", "-c", &script]).current_dir(bench.path()).output().ok()?;
    if out.status.code() == Some(77) || String::from_utf8_lossy(&out.stderr).contains("unshare") {
        println!("skipped: no mount namespaces here");
        return None;
    }
    Some(out)
}

#[test]
fn a_full_disk_stops_the_run_before_it_tears_a_file_and_it_goes_on_when_there_is_room() {
    let bench = bench();
    let edgebench = assert_cmd::cargo::cargo_bin("edgebench");
    let edgebench = edgebench.display();
    let script = format!(
        "{edgebench} run job.toml --out small/out --quiet >/dev/null & \
         while ! grep -q mock.1/gen small/out/cases.csv 2>/dev/null; do sleep 0.02; done; \
         head -c 14000000 /dev/zero > small/fill; wait $!; echo code $?; wc -l < small/out/cases.csv; \
         rm small/fill; {edgebench} run job.toml --out small/out --resume --quiet >/dev/null; echo code $?; \
         cp -r small/out out"
    );
    let Some(out) = in_small_tmpfs(&bench, "20m", &script) else { return };
    let text = String::from_utf8_lossy(&out.stdout);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines[2]), ("code 3", "code 0"), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stderr).contains("MiB are free on its disk"));
    assert_eq!(bench.cases().len(), 4);
    let whole = self::bench();
    assert_eq!(whole.run().0, 0);
    assert_eq!(quality(&bench), quality(&whole));
}

#[test]
fn the_newest_unfinished_run_is_found() {
    let bench = bench();
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("edgebench"))
        .args(["run", "job.toml", "--quiet"])
        .current_dir(bench.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while !bench.path().join("runs").exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(500));
    let _ = child.kill();
    child.wait().unwrap();
    bench.edgebench(&["run", "job.toml", "--resume", "--quiet"]).assert().code(0);
    assert_eq!(std::fs::read_dir(bench.path().join("runs")).unwrap().count(), 1);
    assert!(mock().exists());
}
