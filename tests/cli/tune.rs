//! `edgebench tune` on the mock backend: what is tried, which wins, and an object that a job takes.

use crate::board::Board;
use crate::common::{Bench, CHOICE, choices, mock};

/// Exit code, stdout and stderr of `tune` on the mock backend.
fn tune(board: Option<&Board>, arguments: &[&str]) -> (i32, String, String) {
    let bench = Bench::new();
    let mut command = bench.edgebench(&["tune", "--backend", mock().to_str().unwrap()]);
    command.args(arguments).envs(board.map(|board| ("EDGEBENCH_SYSROOT", board.path())));
    let out = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

/// Cells of the table's rows, the heading's first.
fn rows(out: &str) -> Vec<Vec<&str>> {
    let rows = out.lines().filter(|l| l.starts_with('│'));
    rows.map(|l| l.trim_matches('│').split('┆').map(str::trim).collect()).collect()
}

#[test]
fn the_fastest_wins_and_its_object_goes_into_a_job() {
    // Tokens of 0, 20, 40 and 60 ms, and one that no host survives.
    let (code, out, err) = tune(None, &["-n", "4", "--param", "token_us=40000,20000,0,60000,bad", "--param", "seed=7"]);
    assert_eq!(code, 0, "{err}");
    let rows = rows(&out);
    assert_eq!(rows.len(), 7, "a heading, what it does by itself, five to choose from: {out}");
    let rounds = |row: &Vec<&str>| row[8].parse::<u32>().unwrap();
    assert!(rows[2..].windows(2).all(|w| rounds(&w[0]) >= rounds(&w[1])), "who came furthest stands above: {out}");
    let failed = rows.iter().find(|r| r[1].contains("token_us=bad")).unwrap();
    assert_eq!((failed[9], failed[8]), ("failed", "1"));
    assert!(err.contains("bad value `bad`"), "{err}");
    // Both take no time at all: with the parameter at 0, and without it.
    assert!(["token_us=0 seed=7", "seed=7"].contains(&rows[1][1]), "{out}");
    let object = &out[out.find("[[object]]").unwrap()..];
    assert!(object.contains("seed = 7"), "{object}");

    let bench = Bench::new();
    bench.write("pick.jsonl", choices(2));
    bench.write("job.toml", format!("{object}{CHOICE}"));
    let (code, stderr) = bench.run();
    assert_eq!(code, 0, "{object}: {stderr}");
    assert!(bench.cases()[0].get("params").contains("seed=7"));
}

#[test]
fn a_budget_that_is_too_short_still_names_one() {
    let values: Vec<String> = (0..40).map(|i| (20_000 + i).to_string()).collect();
    let (code, out, err) =
        tune(None, &["--budget", "1s", "-n", "4", "--param", &format!("token_us={}", values.join(","))]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("the time is used up"), "{err}");
    assert!(rows(&out).iter().any(|r| r[9] == "not tried") && out.contains("[[object]]"), "{out}");
}

#[test]
fn energy_needs_a_rail() {
    let list = ["--for", "energy", "-p", "4", "-n", "4", "--param", "token_us=20000,100000"];
    let (code, out, err) = tune(Some(&Board::empty()), &list);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("no power rail is visible"), "{err}");
    // The mock's own rail.
    let (code, out, err) = tune(Some(&Board::empty()), &[&list[..], &["--param", "power=NPU:2.5"]].concat());
    assert_eq!(code, 0, "{err}");
    let best = rows(&out)[1].clone();
    assert!(best[6].parse::<f64>().is_ok_and(|joules| joules > 0.0), "{out}");
    assert!(out.contains("[[object]]"), "{out}");
}

#[test]
fn wrong_usage_says_what_to_do() {
    for (arguments, text) in [
        (&["--param", "seed=1"][..], "nothing to choose from"),
        (&["--for", "fun", "--param", "seed=1,2"], "--for fun: there is prefill, decode, energy"),
        (&["--budget", "soon", "--param", "seed=1,2"], "--budget soon: write it like 120s"),
        (&["-m", "a.gguf", "--param", "seed=1,2"], "a.gguf: No such file"),
        (&["-n", "0", "--param", "seed=1,2"], "-p, -n, -d: give"),
    ] {
        let (code, out, err) = tune(None, arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(err.contains(text), "{arguments:?}: {err}");
    }
}

#[test]
fn nothing_that_works_is_a_failure() {
    let (code, out, _) = tune(None, &["--param", "token_us=bad,worse", "--param", "seed=none"]);
    assert_eq!(code, 1);
    assert!(!out.contains("[[object]]") && rows(&out).len() == 4, "{out}");
}
