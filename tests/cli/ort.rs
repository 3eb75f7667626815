//! ONNX Runtime GenAI beside llama.cpp, where `EDGEBENCH_ORT_LIB` and `EDGEBENCH_ORT_MODEL` say that its libraries and
//! the exported demo model are (scripts/ort-genai prints both variables); else skipped, with a message.

use crate::common::{Bench, root, workspace_library};
use crate::conform::passes_conform_with;
use predicates::prelude::*;
use std::path::{Path, PathBuf};

/// The folder of the vendor's wheels, and the model's.
fn vendor() -> Option<(PathBuf, PathBuf)> {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    let both = path("EDGEBENCH_ORT_LIB").zip(path("EDGEBENCH_ORT_MODEL"));
    if both.is_none() {
        println!("skipped: no EDGEBENCH_ORT_LIB and EDGEBENCH_ORT_MODEL (scripts/ort-genai install, … export)");
    }
    both
}

/// Two objects with the same weights, F16 in both files, and the same three tasks.
fn job(lib: &Path, model: &Path) -> String {
    let demo = root().join("datasets/demo");
    let demo = demo.display();
    let mut job = format!(
        "[[object]]\nname = \"llama\"\nbackend = \"llama\"\nmodel = \"{demo}/demo-f16.gguf\"\n\
         params = {{ threads = 1, n_ctx = 1024 }}\n\
         [[object]]\nname = \"ort\"\nbackend = \"{}\"\nmodel = \"{}\"\n\
         params = {{ threads = 1, n_ctx = 1024, lib = \"{}\" }}\n",
        workspace_library("edgebench_ort_genai").display(),
        model.display(),
        lib.display()
    );
    for (task, method) in [("compare", "choice"), ("zh-order", "choice"), ("addition", "generate")] {
        job += &format!(
            "[[task]]\nname = \"{task}\"\ndataset = \"{demo}/{task}.jsonl\"\nmethod = \"{method}\"\nlimit = 40\n\
             shots = {{ n = 3, from = \"{demo}/{task}.dev.jsonl\" }}\n"
        );
    }
    job
}

#[test]
fn both_stand_in_one_leaderboard_with_the_same_answers() {
    let Some((lib, model)) = vendor() else { return };
    let bench = Bench::new();
    // One wheel is named, and the other one beside it has to be found from inside the sandbox.
    bench.write("job.toml", job(&lib.join("onnxruntime_genai"), &model));
    let run = bench.edgebench(&["run", "job.toml", "--out", "out"]).env_remove("EDGEBENCH_ORT_LIB").assert().code(0);
    run.stdout(predicate::str::contains("demo-f16.gguf").and(predicate::str::contains("demo-f32")));
    for task in ["compare", "zh-order", "addition"] {
        let (llama, ort) = (bench.case(&format!("llama/{task}")), bench.case(&format!("ort/{task}")));
        assert_eq!((llama.get("n"), ort.get("n")), ("40", "40"));
        assert_eq!(llama.get("acc"), ort.get("acc"), "{task}");
        assert!(ort.number("acc").unwrap() >= 0.8, "{task}: {}", ort.get("acc"));
        assert_ne!(ort.get("prefill_tok_s"), "");
    }
    let of = |case: &str| -> Vec<_> {
        let all = bench.predictions().into_iter().filter(|p| p["case"].as_str().unwrap().starts_with(case));
        all.map(|p| (p["id"].clone(), p["prediction"].clone())).collect()
    };
    assert_eq!(of("llama/").len(), 120);
    assert_eq!(of("llama/"), of("ort/"));
}

#[test]
fn it_passes_conform() {
    let Some((_, model)) = vendor() else { return };
    let plugin = workspace_library("edgebench_ort_genai");
    // The libraries are those of EDGEBENCH_ORT_LIB.
    let arguments = ["--model", model.to_str().unwrap(), "--param", "threads=1"];
    passes_conform_with(&Bench::new(), plugin.to_str().unwrap(), &arguments);
}
