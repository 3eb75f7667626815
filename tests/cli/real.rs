//! Real data, where `EDGEBENCH_DATA` says that it lies: GSM8K is used as it is published.

use crate::common::{Bench, mock};
use predicates::prelude::*;
use std::path::PathBuf;

/// A file below `EDGEBENCH_DATA`; says that the test is skipped where there is none.
fn data(name: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("EDGEBENCH_DATA") else {
        println!("skipped: no EDGEBENCH_DATA");
        return None;
    };
    Some(std::path::absolute(PathBuf::from(folder).join(name)).unwrap())
}

#[test]
fn gsm8k_is_a_dataset_as_it_is() {
    let Some(test) = data("gsm8k/test.jsonl") else { return };
    let Some(train) = data("gsm8k/train_head64.jsonl") else { return };
    let bench = Bench::new();
    let job = format!(
        "[[object]]\nname = \"m\"\nbackend = \"{}\"\nparams = {{ n_ctx = 100000 }}\n\
         [[task]]\nname = \"gsm8k\"\ndataset = \"{}\"\nmethod = \"generate\"\nmax_tokens = 4\n\
         shots = {{ n = 8, from = \"{}\" }}\n",
        mock().display(),
        test.display(),
        train.display()
    );
    bench.write("job.toml", job);
    bench.edgebench(&["check", "job.toml"]).assert().code(0).stdout(predicate::str::contains("1320 records to ask"));
    assert_eq!(bench.run().0, 0);
    let row = bench.case("m/gsm8k");
    assert_eq!((row.get("n"), row.get("n_failed")), ("1319", "0"));
    // The gold answers are those of the file, line by line.
    let lines = std::fs::read_to_string(test).unwrap();
    for (line, prediction) in lines.lines().zip(bench.predictions()) {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["answer"], prediction["gold"]);
    }
}

#[test]
fn imports_of_real_data_are_sound_and_lose_nothing() {
    let Some(folder) = data("") else { return };
    for (kind, source, asked) in [("cmmlu", "cmmlu", "test"), ("gsm8k", "gsm8k", "test.jsonl")] {
        let bench = Bench::new();
        let source = folder.join(source);
        bench.edgebench(&["import", kind, source.to_str().unwrap(), "-o", "out"]).assert().code(0);
        let job = std::fs::read_to_string(bench.path().join("out/job.toml")).unwrap();
        let job = job.replace("\"llama\"", &format!("\"{}\"", mock().display()));
        let job: String = job.lines().filter(|l| !l.starts_with("model = ")).map(|l| format!("{l}\n")).collect();
        bench.write("out/job.toml", job);
        bench.edgebench(&["check", "out/job.toml"]).assert().code(0);
        if kind == "cmmlu" {
            for entry in std::fs::read_dir(source.join(asked)).unwrap() {
                let path = entry.unwrap().path();
                let rows = csv::Reader::from_path(&path).unwrap().into_records();
                let name = path.with_extension("jsonl").file_name().unwrap().to_owned();
                let written = std::fs::read_to_string(bench.path().join("out").join(asked).join(name)).unwrap();
                let mut lines = written.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
                for row in rows {
                    let (row, line) = (row.unwrap(), lines.next().unwrap());
                    assert_eq!(
                        (&row[1], &row[6]),
                        (line["question"].as_str().unwrap(), line["answer"].as_str().unwrap())
                    );
                }
                assert!(lines.next().is_none());
            }
        } else {
            let written = std::fs::read_to_string(bench.path().join("out").join(asked)).unwrap();
            assert_eq!(written.lines().count(), 1319);
        }
    }
}

#[cfg(feature = "llama")]
#[test]
fn gsm8k_goes_through_llama_cpp() {
    let Some(test) = data("gsm8k/test.jsonl") else { return };
    let bench = Bench::new();
    let model = crate::common::root().join("datasets/demo/demo-q8_0.gguf");
    let job = format!(
        "[[object]]\nname = \"demo\"\nbackend = \"llama\"\nmodel = \"{}\"\nparams = {{ threads = 1, n_ctx = 2048 }}\n\
         [[task]]\nname = \"gsm8k\"\ndataset = \"{}\"\nmethod = \"generate\"\nmax_tokens = 8\nlimit = 20\n",
        model.display(),
        test.display()
    );
    bench.write("job.toml", job);
    assert_eq!(bench.run().0, 0);
    let row = bench.case("demo/gsm8k");
    assert_eq!((row.get("status"), row.get("n"), row.get("n_failed")), ("ok", "20", "0"));
}
