//! LoRA adapters as a swept parameter: one load for all of one model, figures of each, and what goes wrong with them.

use crate::common::{Bench, CHOICE, both_tasks, choices};

/// A folder with two adapters and the file of a task.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("a.lora", "mock-lora a");
    bench.write("b.lora", "mock-lora b");
    bench.write("pick.jsonl", choices(12));
    bench
}

/// What was said in one case, record by record: the scores of the options, or the text.
fn said(bench: &Bench, case: &str) -> Vec<serde_json::Value> {
    let of_case = bench.predictions().into_iter().filter(|p| p["case"] == case);
    of_case.map(|p| if p["scores"].is_null() { p["prediction"].clone() } else { p["scores"].clone() }).collect()
}

#[test]
fn adapters_are_swept_on_one_load_and_scale_0_is_the_model_itself() {
    let bench = bench();
    let tasks = both_tasks(&bench);
    let lora = "lora = [\"none\", \"a.lora\", { path = \"a.lora\", scale = 0 }, { path = \"a.lora\", scale = 0.5 }, \
                [\"a.lora\", \"b.lora\"]], seed = 3, load_us = 20000";
    bench.mock_job("", lora, &tasks);
    let (code, stderr) = bench.run();
    assert_eq!(code, 0, "{stderr}");

    let cases = bench.cases();
    let ids: Vec<&str> = cases.iter().map(|c| c.get("case")).collect();
    let of_task = |task: &str| (1..=5).map(|i| format!("mock.{i}/{task}")).collect::<Vec<_>>();
    assert_eq!(ids, [of_task("gen"), of_task("pick")].concat(), "cases that share a load follow each other");
    let texts: Vec<&str> = cases.iter().map(|c| c.get("params").rsplit_once(' ').unwrap().1).collect();
    let wanted = ["lora=none", "lora=a.lora", "lora=a.lora@0", "lora=a.lora@0.5", "lora=a.lora+b.lora"];
    assert_eq!(texts[..5], wanted);
    for case in &cases {
        let first = case.get("params").ends_with("lora=none");
        assert_eq!(case.get("load_ms").is_empty(), !first, "{}: loaded once a task", case.get("case"));
        assert_eq!(case.get("adapter_ms").is_empty(), first, "{}", case.get("case"));
        assert_ne!(case.get("rss_peak_mib"), "", "{}", case.get("case"));
    }
    for task in ["gen", "pick"] {
        let [none, a, zero, half, both] = [1, 2, 3, 4, 5].map(|i| said(&bench, &format!("mock.{i}/{task}")));
        assert_eq!(zero, none, "{task}");
        for (other, name) in [(&a, "a"), (&half, "half of a"), (&both, "both")] {
            assert_ne!(*other, none, "{task}: {name}");
        }
        assert_ne!(a, half);
        assert_ne!(a, both);
    }
    let manifest: serde_json::Value = serde_json::from_str(&bench.out("manifest.json")).unwrap();
    assert_eq!(manifest["adapters"].as_object().unwrap().len(), 2, "{}", manifest["adapters"]);

    // Alone in its own process it is what it was among others.
    let shared = said(&bench, "mock.2/pick");
    std::fs::remove_dir_all(bench.path().join("out")).unwrap();
    bench.mock_job("", "lora = \"a.lora\", seed = 3", CHOICE);
    assert_eq!(bench.run().0, 0);
    let alone = bench.case("mock/pick");
    assert_eq!(said(&bench, "mock/pick"), shared);
    assert!(!alone.get("load_ms").is_empty() && !alone.get("adapter_ms").is_empty());
}

#[test]
fn a_cold_load_is_measured_for_each_adapter() {
    let bench = bench();
    bench.mock_job("cold_load = true", "lora = [\"none\", \"a.lora\"]", CHOICE);
    assert_eq!(bench.run().0, 0);
    assert!(bench.cases().iter().all(|c| !c.get("load_ms").is_empty() && !c.get("load_cold_ms").is_empty()));
}

#[test]
fn a_backend_without_the_extension_runs_the_model_alone() {
    let bench = bench();
    bench.mock_job("", "adapters = false, lora = [\"none\", \"a.lora\"]", CHOICE);
    assert_eq!(bench.run().0, 1);
    assert_eq!(bench.case("mock.1/pick").get("status"), "ok");
    let refused = bench.case("mock.2/pick");
    assert_eq!(refused.get("status"), "unsupported");
    assert!(refused.get("reason").contains("it has no eb.lora/1"), "{}", refused.get("reason"));
}

#[test]
fn what_is_no_adapter_costs_its_own_cases_only() {
    let bench = bench();
    bench.write("c.lora", "something else");
    bench.mock_job("", "lora = [\"none\", \"c.lora\", \"a.lora\"]", CHOICE);
    assert_eq!(bench.run().0, 1);
    let [none, bad, good] = [1, 2, 3].map(|i| bench.case(&format!("mock.{i}/pick")));
    assert_eq!((none.get("status"), bad.get("status"), good.get("status")), ("ok", "failed", "ok"));
    assert!(bad.get("reason").contains("not an adapter"), "{}", bad.get("reason"));
    assert_ne!(good.get("load_ms"), "", "a host that has failed is not kept");
    assert_ne!(said(&bench, "mock.3/pick"), said(&bench, "mock.1/pick"));
}

#[test]
fn what_is_wrong_with_lora_is_told_before_anything_runs() {
    for (lora, told) in [
        ("\"no.lora\"", "job.toml:7: \"no.lora\" cannot be found"),
        ("{ path = \"a.lora\", scale = \"x\" }", "`scale` is a string, not a number"),
        ("{ scale = 0.5 }", "`path` is missing in lora"),
        ("{ path = \"a.lora\", sclae = 0.5 }", "did you mean `scale`?"),
        ("[]", "a sweep over nothing"),
        ("3", "is a integer, not a string"),
    ] {
        let bench = bench();
        bench.mock_job("", &format!("lora = {lora}"), CHOICE);
        let out = bench.edgebench(&["check", "job.toml"]).output().unwrap();
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{lora}");
        assert!(stderr.contains(told), "{lora}: {stderr}");
    }
}

#[test]
fn a_run_with_another_adapter_under_the_same_name_is_not_resumed() {
    let bench = bench();
    bench.mock_job("", "lora = [\"none\", \"a.lora\"]", CHOICE);
    assert_eq!(bench.run().0, 0);
    bench.write("a.lora", "mock-lora of tonight");
    let out = bench.edgebench(&["run", "job.toml", "--out", "out", "--resume"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stderr).contains("the adapter"), "{}", String::from_utf8_lossy(&out.stderr));
}

/// The demo's own job, and a task beside those in it.
#[cfg(feature = "llama")]
#[test]
fn the_demos_adapter_brings_what_its_readme_says_and_a_last_word_is_said() {
    let demo = crate::common::root().join("datasets/demo");
    let bench = Bench::new();
    let mut job = std::fs::read_to_string(demo.join("lora.toml")).unwrap();
    for key in ["dataset = \"", "model = \"", "path = \"", "    \"demo-lora-"] {
        let (before, after) = key.split_once('"').unwrap();
        job = job.replace(key, &format!("{before}\"{}/{after}", demo.display()));
    }
    let heldout = demo.join("heldout.jsonl");
    let heldout = heldout.display();
    let cloze = format!("[[task]]\nname = \"last\"\ndataset = \"{heldout}\"\nmethod = \"cloze\"\n");
    bench.write("job.toml", job + &cloze);
    let (code, stderr) = bench.run();
    assert_eq!(code, 0, "{stderr}");
    let interval = |case: &str| {
        let row = bench.case(case);
        (row.number("acc_lo").unwrap(), row.number("acc_hi").unwrap())
    };
    let (none, half, whole) = (interval("demo.1/smallest"), interval("demo.2/smallest"), interval("demo.3/smallest"));
    assert!(half.0 > none.1 && whole.0 > none.1, "{none:?} {half:?} {whole:?}");
    assert!(whole.0 > 0.9, "{whole:?}");
    let perplexity = |case: &str| bench.case(case).number("perplexity").unwrap();
    assert!(perplexity("demo.1/heldout") < perplexity("demo.3/heldout"), "it was not trained on these");
    let loaded = bench.cases().iter().filter(|c| !c.get("load_ms").is_empty()).count();
    assert_eq!(loaded, 5, "once a task");
    assert!(interval("demo.1/last").0 > 0.5, "the answers that these texts end with: {:?}", interval("demo.1/last"));
}
