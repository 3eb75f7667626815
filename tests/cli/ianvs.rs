//! Jobs of KubeEdge Ianvs: read as they are in its LLM examples, and leaderboards in its files.

use crate::common::{Bench, mock};
use predicates::prelude::*;

const JOB: &str = r#"
benchmarkingjob:
  name: "benchmarkingjob"
  workspace: "./workspace"
  testenv: "./examples/edge/testenv/testenv.yaml"
  test_object:
    type: "algorithms"
    algorithms:
      - name: "llama-cpp"
        url: "./examples/edge/testalgorithms/algorithm.yaml"
  rank:
    sort_by:
      - { "latency": "descend" }
      - { "acc": "descend" }
      - { "shine": "ascend" }
    visualization: { mode: "selected_only", method: "print_table" }
    selected_dataitem:
      paradigms: [ "all" ]
      modules: [ "all" ]
      hyperparameters: [ "all" ]
      metrics: [ "acc", "latency", "prefill_latency" ]
    save_mode: "selected_and_all"
"#;

const TESTENV: &str = r#"
testenv:
  dataset:
    train_data: "dataset/government/train_data/data.jsonl"
    test_data: "dataset/government/test_data/data.jsonl"
  metrics:
    - name: "acc"
      url: "./examples/edge/testenv/acc.py"
    - name: "rougeL"
      url: "./examples/edge/testenv/rouge.py"
    - name: "latency"
      url: "./examples/edge/testenv/latency.py"
    - name: "llm_judgement"
      url: "./examples/edge/testenv/judge.py"
"#;

const ALGORITHM: &str = r#"
algorithm:
  paradigm_type: "singletasklearning"
  initial_model_url: "models/qwen.gguf"
  modules:
    - type: "basemodel"
      name: "LlamaCppModel"
      url: "./examples/edge/testalgorithms/basemodel.py"
      hyperparameters:
        - n_ctx: {values: [1024, 2048]}
        - n_threads:
            values:
              - 2
        - max_tokens: {values: [32]}
        - shininess: {values: [high]}
        - other_hyperparameters: {values: [examples/edge/more.yaml]}
"#;

/// A checkout with one LLM example.
fn checkout() -> Bench {
    let bench = Bench::new();
    for folder in ["examples/edge/testenv", "examples/edge/testalgorithms", "dataset/government/test_data", "models"] {
        std::fs::create_dir_all(bench.path().join(folder)).unwrap();
    }
    bench.write("examples/edge/benchmarkingjob.yaml", JOB);
    bench.write("examples/edge/testenv/testenv.yaml", TESTENV);
    bench.write("examples/edge/testalgorithms/algorithm.yaml", ALGORITHM);
    bench.write("examples/edge/more.yaml", "seed: 7\n");
    bench.write("models/qwen.gguf", "GGUF");
    let line = |(question, answer)| format!("{{\"question\":\"{question}\",\"answer\":\"{answer}\"}}\n");
    let lines = [("What is right?", "A"), ("What is left?", "B")].map(line).concat();
    bench.write("dataset/government/test_data/data.jsonl", lines + "\n");
    bench
}

fn read(bench: &Bench, name: &str) -> String {
    std::fs::read_to_string(bench.path().join(name)).unwrap()
}

const SOURCE: &str = "examples/edge/benchmarkingjob.yaml";

fn import(bench: &Bench, more: &[&str]) -> assert_cmd::assert::Assert {
    bench.edgebench(&[&["import", "ianvs-job", SOURCE, "-o", "job.toml"], more].concat()).assert()
}

#[test]
fn a_job_of_ianvs_becomes_a_job_here() {
    let bench = checkout();
    let said = import(&bench, &[]).code(0).get_output().stdout.clone();
    let said = String::from_utf8(said).unwrap();
    for words in [
        "\"llm_judgement\" (./examples/edge/testenv/judge.py) has no counterpart",
        "shininess = high means nothing here",
        "sort_by shine: there is no such figure",
        "sort_by latency puts the slowest or largest first",
        "--column acc --column e2e_ms_p50 --column ttft_ms_p50 --out rank",
    ] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    let job = read(&bench, "job.toml");
    let table: toml::Table = job.parse().unwrap();
    let object = &table["object"][0];
    assert_eq!(object["model"].as_str(), Some("models/qwen.gguf"));
    let params = "n_ctx = [1024, 2048]\nthreads = 2\nseed = 7\n".parse::<toml::Table>().unwrap();
    assert_eq!(object["params"].as_table(), Some(&params));
    let task = &table["task"][0];
    assert_eq!((task["name"].as_str(), task["max_tokens"].as_integer()), (Some("government"), Some(32)));
    assert_eq!(task["dataset"].as_str(), Some("dataset/government/test_data/data.jsonl"));
    assert_eq!(task["metrics"].as_array().unwrap(), &["rouge_l".into()]);
    assert_eq!(task["extract"][1].as_str(), Some("last_option:ABCD"), "all answers are letters");
    assert_eq!(table["rank"]["by"].as_array().unwrap(), &["e2e_ms_p50 desc".into(), "acc desc".into()]);

    // It runs: with the plugin in place of llama.cpp, and without a parameter that this one does not know.
    let job = job.replace("\"llama\"", &format!("{:?}", mock().display().to_string()));
    let params = job.lines().find(|line| line.starts_with("params")).unwrap().to_owned();
    bench.write("job.toml", job.replace(&params, "params = { text = \"I take B.\" }"));
    bench.edgebench(&["run", "job.toml", "--out", "out", "--quiet"]).assert().code(0);
    assert_eq!(bench.cases()[0].number("acc"), Some(0.5));
}

#[test]
fn the_job_of_the_integration_asks_the_same_in_both() {
    let bench = checkout();
    let yaml = |key: &str, values: &str| {
        let with = format!("hyperparameters:\n        - {key}: {{values: [{values}]}}");
        bench.write("examples/edge/testalgorithms/algorithm.yaml", ALGORITHM.replacen("hyperparameters:", &with, 1));
    };
    let task = || read(&bench, "job.toml").parse::<toml::Table>().unwrap()["task"][0].clone();
    yaml("prompt", r#""{{ question }}\nAnswer:""#);
    import(&bench, &[]).code(0).stdout(predicate::str::contains("prompt").not());
    assert_eq!(task()["prompt"].as_str(), Some("{{ question }}\nAnswer:"));
    assert_eq!(task()["stop"].as_array().map(Vec::len), Some(0));
    yaml("prompt", r#""Answer briefly.""#);
    import(&bench, &["--force"])
        .code(0)
        .stdout(predicate::str::contains("prompt = Answer briefly. means nothing here"));
    assert!(task()["prompt"].as_str().unwrap().ends_with("{{ question }}"));
    yaml("stop", r#"["\n", "Q:"], ["."]"#);
    import(&bench, &["--force"]).code(0).stdout(predicate::str::contains("of `stop` only the first value is asked"));
    assert_eq!(task()["stop"].as_array().unwrap(), &["\n".into(), "Q:".into()]);
}

#[test]
fn models_and_the_compressed_one_are_compared() {
    let bench = checkout();
    let compressed = "paradigm_type: \"singletasklearning_with_compression\"\n  mode: \"with_compression\"\n  \
                      quantization_type: \"q8_0\"\n  llama_quantize_path: \"llama.cpp/llama-quantize\"";
    let algorithm = ALGORITHM.replace("paradigm_type: \"singletasklearning\"", compressed);
    bench.write("examples/edge/testalgorithms/algorithm.yaml", algorithm);
    let make = "llama.cpp/llama-quantize models/qwen.gguf models/qwen_q8_0.gguf q8_0";
    import(&bench, &[]).code(0).stdout(predicate::str::contains(make));
    assert!(read(&bench, "job.toml").contains("model = [\"models/qwen.gguf\", \"models/qwen_q8_0.gguf\"]"));

    import(&bench, &[]).code(2).stderr(predicate::str::contains("is there already; take another name, or --force"));
    import(&bench, &["--force", "--model", "mine.gguf"]).code(0);
    assert!(read(&bench, "job.toml").contains("model = \"mine.gguf\""));
}

#[test]
fn data_in_the_form_of_metadata_is_converted() {
    let bench = checkout();
    let testenv = TESTENV.replace(
        "test_data: \"dataset/government/test_data/data.jsonl\"",
        "test_data_info: \"dataset/government/test_data/metadata.json\"",
    );
    bench.write("examples/edge/testenv/testenv.yaml", testenv);
    bench.write("dataset/government/test_data/metadata.json", "{\"dataset\": \"g\", \"level_1_dim\": \"single\"}");
    let line = "{\"query\":\"What?\",\"response\":\"A\",\"level_3_dim\":\"law\",\"level_4_dim\":\"civil\"}\n";
    bench.write("dataset/government/test_data/data.jsonl", line);
    import(&bench, &[]).code(0);
    let table: toml::Table = read(&bench, "job.toml").parse().unwrap();
    let dataset = table["task"][0]["dataset"].as_str().unwrap();
    assert!(dataset.starts_with("government-data/data"), "{dataset}");
    assert!(bench.path().join(dataset).exists());
}

#[test]
fn an_example_that_was_moved_is_still_found() {
    let bench = checkout();
    bench.write(SOURCE, JOB.replace("./examples/edge/", "./examples/llm/edge/"));
    import(&bench, &[]).code(0);
    assert!(read(&bench, "job.toml").contains("models/qwen.gguf"));
}

#[test]
fn what_cannot_be_imported_is_told_with_its_line_and_nothing_is_written() {
    let refused = [
        (
            "examples/edge/testalgorithms/algorithm.yaml",
            ALGORITHM.replace("singletasklearning", "federatedlearning"),
            "algorithm.yaml:3: the paradigm \"federatedlearning\" trains or needs several nodes",
        ),
        (
            "examples/edge/testalgorithms/algorithm.yaml",
            ALGORITHM.replace("{values: [32]}", "32"),
            "algorithm.yaml:14: the hyperparameter `max_tokens` has no list of `values`",
        ),
        (
            "examples/edge/testalgorithms/algorithm.yaml",
            ALGORITHM.replace("more.yaml", "less.yaml"),
            "algorithm.yaml:16: `other_hyperparameters`: examples/edge/less.yaml cannot be found",
        ),
        (
            SOURCE,
            JOB.replace("testenv/testenv.yaml", "testenv/nowhere.yaml"),
            "benchmarkingjob.yaml:5: `testenv`: \"./examples/edge/testenv/nowhere.yaml\" cannot be found",
        ),
        (SOURCE, JOB.replace("algorithms:\n", "algorithms: []\n    more:\n"), "`test_object` has no `algorithms`"),
        (SOURCE, "benchmarkingjob: [1, 2".to_owned(), "not YAML"),
        (SOURCE, "job: 1\n".to_owned(), "has no `benchmarkingjob:`"),
    ];
    for (file, content, words) in refused {
        let bench = checkout();
        bench.write(file, content);
        import(&bench, &[]).code(2).stderr(predicate::str::contains(words));
        assert!(!bench.path().join("job.toml").exists(), "{words}");
    }
}

#[test]
fn leaderboards_have_the_columns_of_ianvs_and_no_row_twice() {
    let bench = Bench::new();
    bench.write(
        "gen.jsonl",
        "{\"question\":\"What is 1?\",\"answer\":\"x\"}\n{\"question\":\"What is 2?\",\"answer\":\"y\"}\n",
    );
    let object = "backend = \"MOCK\"\nparams = { text = [\"x\\nab\", \"no\\nab\"], token_us = 500 }\n";
    let object = object.replace("MOCK", &mock().display().to_string());
    let task = "[[task]]\nname = \"t\"\ndataset = \"gen.jsonl\"\nmethod = \"generate\"\n";
    bench.write("job.toml", format!("[[object]]\nname = \"mine\"\n{object}{task}"));
    for run in ["monday", "tuesday"] {
        bench.edgebench(&["run", "job.toml", "--out", run, "--quiet"]).assert().code(0);
        // Runs are told apart by their times, to the second.
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    let rank = |more: &[&str]| {
        bench.edgebench(&[&["rank", "monday", "tuesday", "monday", "--format", "ianvs"], more].concat()).assert()
    };
    rank(&["--out", "rank"]).code(0).stdout(predicate::str::contains("written: rank/all_rank.csv"));
    let rows = |text: &str| -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        reader.records().map(|r| r.unwrap().iter().map(str::to_owned).collect()).collect()
    };
    let all = rows(&read(&bench, "rank/all_rank.csv"));
    let header: Vec<&str> = all[0].iter().map(String::as_str).collect();
    assert_eq!(header[..2], ["rank", "algorithm"]);
    assert_eq!(
        header[header.len() - 7..],
        ["paradigm", "basemodel", "basemodel-model", "basemodel-text", "basemodel-token_us", "time", "url"]
    );
    for figure in ["acc", "e2e_ms_p50", "decode_tok_s", "rss_peak_mib"] {
        assert!(header.contains(&figure), "{figure}");
    }
    assert_eq!(all.len(), 1 + 4, "two objects in two runs, of which one was given twice");
    assert_eq!(all[1][..2], ["1", "mine"]);
    assert_eq!(all[1][header.len() - 7], "singletasklearning");
    let time = &all[1][header.len() - 2];
    assert!(predicate::str::is_match(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$").unwrap().eval(time), "{time}");

    let selected = rows(&read(&bench, "rank/selected_rank.csv"));
    assert_eq!(selected.len(), 1 + 2, "of each object the newest");
    assert!(selected[1..].iter().all(|row| row.last().unwrap() == "tuesday"));
    let chosen = rank(&["--column", "acc"]).code(0).get_output().stdout.clone();
    assert!(String::from_utf8(chosen).unwrap().starts_with("rank,algorithm,acc,paradigm,basemodel,"));
    bench
        .edgebench(&["rank", "monday", "--out", "rank"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("--format ianvs"));
}
