//! Which program a backend runs in. Hosts inside the program are tested where there are some: cross/test.sh.

use crate::common::{Bench, both_tasks};
use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

/// Runs a job on the mock backend with `variables`; exit code, stderr, and what the manifest says of the host.
fn host(variables: &[(&str, &str)]) -> (i32, String, Value) {
    let bench = Bench::new();
    let tasks = both_tasks(&bench);
    bench.mock_job("", "", &tasks);
    let mut command = bench.edgebench(&["run", "job.toml", "--out", "out"]);
    let out = command.envs(variables.iter().copied()).output().unwrap();
    let manifest: Value = serde_json::from_str(&bench.out("manifest.json")).unwrap();
    let stderr = String::from_utf8(out.stderr).unwrap();
    (out.status.code().unwrap(), stderr, manifest["instances"]["mock"]["host"].clone())
}

#[test]
fn an_ordinary_build_is_its_own_host() {
    let (code, stderr, host) = host(&[]);
    assert_eq!((code, host), (0, Value::from("this program directly")), "{stderr}");
    let probe = Bench::new().edgebench(&["probe", "--json"]).output().unwrap();
    let probe: Value = serde_json::from_slice(&probe.stdout).unwrap();
    let first = &probe["hosts"]["hosts"][0];
    assert_eq!((&first["name"], &first["starts"]), (&Value::from("this program"), &Value::from(true)), "{first}");
}

#[test]
fn a_host_of_ones_own_is_used_instead() {
    let own = cargo_bin("edgebench-host");
    let own = own.to_str().unwrap();
    let (code, stderr, told) = host(&[("EDGEBENCH_HOST", own)]);
    assert_eq!((code, told), (0, Value::from(format!("{own} directly"))), "{stderr}");
    let (code, stderr, _) = host(&[("EDGEBENCH_HOST", "/nonexistent/host")]);
    assert_eq!(code, 1);
    assert!(stderr.contains("the host process cannot be started: No such file"), "{stderr}");
}

#[test]
fn a_runner_starts_the_host() {
    let (code, stderr, _) = host(&[("EDGEBENCH_HOST_RUNNER", "env SOME=THING")]);
    assert_eq!(code, 0, "{stderr}");
    let (code, stderr, _) = host(&[("EDGEBENCH_HOST_RUNNER", "false")]);
    assert_eq!(code, 1);
    assert!(stderr.contains("the host exited with status 1 during the start of its host"), "{stderr}");
}
