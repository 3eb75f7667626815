//! Ten records through the whole of edgebench, held against prompts written by hand and llama.cpp's own logits.

mod common;

use common::model;
use common::reference::Reference;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The `edgebench` that `cargo build --workspace` leaves beside this test's folder.
fn edgebench() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("edgebench");
    assert!(path.exists(), "{} is missing: cargo build --release --workspace", path.display());
    path
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The question as the README says that it is asked.
fn question(record: &Value) -> String {
    let mut text = format!("{}\n", record["question"].as_str().unwrap());
    for (letter, choice) in "ABCD".chars().zip(record["choices"].as_array().unwrap()) {
        text += &format!("{letter}. {}\n", choice.as_str().unwrap());
    }
    text + "Answer:"
}

#[test]
fn ten_records_score_as_llama_cpps_own_logits_say() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/demo").canonicalize().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let job = format!(
        "[[object]]\nname = \"o\"\nbackend = \"llama\"\nmodel = \"{}\"\nparams = {{ threads = 1, n_ctx = 1024 }}\n\
         [[task]]\nname = \"t\"\ndataset = \"{demo}/alphabet.jsonl\"\nmethod = \"choice\"\nlimit = 10\n\
         shots = {{ n = 3, from = \"{demo}/alphabet.dev.jsonl\" }}\n",
        model().display(),
        demo = demo.display()
    );
    std::fs::write(dir.path().join("job.toml"), job).unwrap();
    let status = Command::new(edgebench())
        .args(["run", "job.toml", "--out", "out", "-q"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));

    let reference = Reference::new();
    let mut examples = String::new();
    for record in &lines(&demo.join("alphabet.dev.jsonl"))[..3] {
        examples += &format!("{} {}\n\n", question(record), record["answer"].as_str().unwrap());
    }
    let predictions = lines(&dir.path().join("out/predictions.jsonl"));
    assert_eq!(predictions.len(), 10);
    for (record, prediction) in lines(&demo.join("alphabet.jsonl")).iter().zip(predictions) {
        assert_eq!(record["id"], prediction["id"]);
        let context = reference.tokenize(&format!("{examples}{}", question(record)));
        for (i, letter) in "ABCD".chars().enumerate() {
            let whole = reference.tokenize(&format!("{examples}{} {letter}", question(record)));
            let (head, continuation) = whole.split_at(context.len());
            assert_eq!((head, continuation.len()), (&context[..], 1), "a letter is one token");
            let (expected, _) = reference.score(&[head], continuation);
            let got = prediction["scores"][i].as_f64().unwrap();
            assert!((got - expected).abs() < 1e-4, "{} {letter}: {got} and {expected}", record["id"]);
        }
    }
}
