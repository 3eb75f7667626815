//! The built-in llama.cpp with the demo model: right answers, the same through the plugin, and a killed host.

use crate::board::Board;
use crate::common::{Bench, root, workspace_library};
use crate::conform::passes_conform_with;
use crate::resume::killed_at_random;
use std::time::{Duration, Instant};

/// A job over a demo dataset; `backend` is `llama` or a plugin's path.
fn job(backend: &str, model: &str, params: &str, task: &str, method: &str, limit: u32) -> String {
    let demo = root().join("datasets/demo");
    let demo = demo.display();
    format!(
        "[[object]]\nname = \"demo\"\nbackend = \"{backend}\"\nmodel = \"{demo}/{model}\"\nparams = {{ {params} }}\n\
         [[task]]\nname = \"{task}\"\ndataset = \"{demo}/{task}.jsonl\"\nmethod = \"{method}\"\nlimit = {limit}\n\
         shots = {{ n = 3, from = \"{demo}/{task}.dev.jsonl\" }}\n"
    )
}

#[test]
fn the_demo_model_answers_right() {
    for (task, method) in [("compare", "choice"), ("alphabet", "choice"), ("addition", "generate")] {
        let bench = Bench::new();
        bench.write("job.toml", job("llama", "demo-q8_0.gguf", "threads = 1, n_ctx = 1024", task, method, 40));
        let (code, stderr) = bench.run();
        assert_eq!(code, 0, "{stderr}");
        let row = bench.case(&format!("demo/{task}"));
        assert!(row.number("acc").unwrap() >= 0.8, "{task}: {}", row.get("acc"));
        assert_ne!(row.get("prefill_tok_s"), "");
        assert_eq!(!row.get("decode_tok_s").is_empty(), method == "generate");
        assert!(row.number("rss_peak_mib").unwrap() > 2.0);
    }
}

#[test]
fn the_plugin_gives_the_same_bytes_as_the_built_in_backend() {
    for (task, method) in [("zh-order", "choice"), ("addition", "generate")] {
        let predictions = ["llama", workspace_library("edgebench_llama").to_str().unwrap()].map(|backend| {
            let bench = Bench::new();
            bench.write("job.toml", job(backend, "demo-q4_0.gguf", "threads = 1, n_ctx = 1024", task, method, 30));
            let (code, stderr) = bench.run();
            assert_eq!(code, 0, "{stderr}");
            bench.out("predictions.jsonl")
        });
        assert_eq!(predictions[0], predictions[1], "{task}");
        assert_eq!(predictions[0].lines().count(), 30);
    }
}

#[test]
fn offline_gives_the_same_bytes_with_examples_evaluated_once() {
    for (task, method, key) in [
        ("compare", "choice", "options = \"letter\"\n"),
        ("sentiment", "choice", "options = \"text\"\n"),
        ("addition", "generate", "batch = 1\n"),
    ] {
        let offline = format!("scenario = \"offline\"\n{key}");
        let alone = key.replace("batch = 1\n", "");
        let [expected, got] = [alone, offline].map(|keys| {
            let bench = Bench::new();
            let params = "threads = 1, n_ctx = 1024, n_batch = 128";
            bench.write("job.toml", job("llama", "demo-q8_0.gguf", params, task, method, 30) + &keys);
            let (code, stderr) = bench.run();
            assert_eq!(code, 0, "{stderr}");
            let cached: f64 = bench.rows("samples.csv").iter().filter_map(|r| r.number("cached_tokens")).sum();
            (bench.out("predictions.jsonl"), cached)
        });
        assert_eq!(expected.0, got.0, "{task}");
        assert_eq!(expected.1, 0.0, "{task}: what is timed is evaluated in full");
        // All but the first of each group take up a piece or more.
        assert!(got.1 >= 25.0 * 32.0, "{task}: {} tokens were kept", got.1);
    }
}

#[test]
fn answers_that_are_generated_together_are_as_right_as_one_by_one() {
    let bench = Bench::new();
    let params = "threads = 1, n_ctx = 1024";
    let job = job("llama", "demo-q8_0.gguf", params, "addition", "generate", 60);
    bench.write("job.toml", job + "scenario = \"offline\"\n");
    let (code, stderr) = bench.run();
    assert_eq!(code, 0, "{stderr}");
    let row = bench.case("demo/addition");
    assert!(row.number("acc").unwrap() >= 0.8, "{}", row.get("acc"));
    assert_eq!((row.get("n_failed"), row.get("prefill_tok_s")), ("0", ""));
}

#[test]
fn runs_that_are_killed_end_with_the_same_bytes() {
    killed_at_random(3, || {
        let bench = Bench::new();
        let generate = job("llama", "demo-q4_0.gguf", "threads = 1, n_ctx = 1024", "addition", "generate", 60);
        let choice = job("llama", "demo-q4_0.gguf", "threads = 1, n_ctx = 1024", "zh-order", "choice", 60);
        let task = choice.find("[[task]]").map(|at| &choice[at..]).unwrap();
        bench.write("job.toml", format!("{generate}{task}"));
        bench
    });
}

#[test]
fn a_killed_host_is_a_crashed_case_and_the_next_one_runs() {
    let bench = Bench::new();
    let demo = root().join("datasets/demo");
    let demo = demo.display();
    let task = |name: &str, extra: &str| {
        format!("[[task]]\nname = \"{name}\"\ndataset = \"{demo}/addition.jsonl\"\nmethod = \"generate\"\n{extra}\n")
    };
    // The first task takes long: its output never stops by itself.
    let tasks = task("long", "max_tokens = 900\nstop = \"never\"\nshots = { n = 1, from = \"SHOTS\" }")
        .replace("SHOTS", &format!("{demo}/addition.dev.jsonl"))
        + &task("short", "limit = 3");
    bench.write(
        "job.toml",
        format!(
            "[job]\nrepeat = 50\n[[object]]\nname = \"demo\"\nbackend = \"llama\"\nmodel = \"{demo}/demo-q8_0.gguf\"\n\
             params = {{ threads = 1, n_ctx = 1024 }}\n{tasks}"
        ),
    );
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("edgebench"))
        .args(["run", "job.toml", "--out", "out"])
        .current_dir(bench.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let host = host_in_the_middle(&bench, child.id());
    rustix::process::kill_process(host, rustix::process::Signal::SEGV).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let code = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status.code(),
            None if Instant::now() > deadline => {
                child.kill().unwrap();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    assert_eq!(code, Some(1));
    let row = bench.case("demo/long");
    assert_eq!(row.get("status"), "crashed", "{}", row.get("reason"));
    assert!(row.get("reason").contains("signal 11"), "{}", row.get("reason"));
    assert!(row.number("n").unwrap() >= 1.0, "what was measured is kept");
    assert_eq!(bench.case("demo/short").get("status"), "ok");
}

/// The host of a run that has answered at least one record.
fn host_in_the_middle(bench: &Bench, controller: u32) -> rustix::process::Pid {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        let lines =
            std::fs::read_to_string(bench.path().join("out/predictions.jsonl")).map_or(0, |t| t.lines().count());
        let children =
            std::fs::read_to_string(format!("/proc/{controller}/task/{controller}/children")).unwrap_or_default();
        if let (true, Some(pid)) = (lines > 0, children.split_whitespace().next()) {
            return rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("no record was answered within a minute");
}

#[test]
fn a_model_that_is_none_is_told_with_a_reason() {
    let bench = Bench::new();
    let good = std::fs::read(root().join("datasets/demo/demo-q8_0.gguf")).unwrap();
    bench.write("cut.gguf", &good[..good.len() / 2]);
    bench.write("text.gguf", "not a model");
    let task = job("llama", "demo-q8_0.gguf", "", "addition", "generate", 2);
    let task = &task[task.find("[[task]]").unwrap()..];
    bench.write(
        "job.toml",
        format!("[[object]]\nname = \"x\"\nbackend = \"llama\"\nmodel = [\"cut.gguf\", \"text.gguf\"]\n{task}"),
    );
    assert_eq!(bench.run().0, 1);
    for (id, word) in [("x.1/addition", "the file is truncated"), ("x.2/addition", "not a GGUF file")] {
        let row = bench.case(id);
        assert_eq!(row.get("status"), "failed");
        assert!(row.get("reason").contains(word), "{id}: {}", row.get("reason"));
    }
}

#[test]
fn more_memory_than_there_is_is_told_in_numbers() {
    let bench = Bench::new();
    // The longest context that is allowed: a KV cache of 64 GiB, and more for computing.
    bench.write(
        "job.toml",
        job(
            "llama",
            "demo-q8_0.gguf",
            "n_ctx = 16777216, type_k = \"f32\", type_v = \"f32\"",
            "addition",
            "generate",
            2,
        ),
    );
    assert_eq!(bench.run().0, 1);
    let row = bench.case("demo/addition");
    assert_eq!(row.get("status"), "out-of-memory", "{}", row.get("reason"));
    assert!(row.get("reason").contains("free"), "{}", row.get("reason"));
}

#[test]
fn it_passes_conform() {
    let model = root().join("datasets/demo/demo-q8_0.gguf");
    let arguments = ["--model", model.to_str().unwrap(), "--param", "threads=1"];
    passes_conform_with(&Bench::new(), "llama", &arguments);
}

/// A board with so many MiB free.
fn board_with(mib: u64) -> Board {
    let board = Board::fixture("vm");
    board.set("proc/meminfo", &format!("MemTotal: 4000000 kB\nMemAvailable: {} kB\n", mib * 1024));
    board
}

#[test]
fn a_model_that_does_not_fit_is_not_started() {
    let bench = Bench::new();
    let sweep = "threads = 1, n_ctx = [256, 16384]";
    bench.write("job.toml", job("llama", "demo-q8_0.gguf", sweep, "addition", "generate", 3));
    let board = board_with(64);
    let edgebench =
        |arguments: &[&str]| bench.edgebench(arguments).env("EDGEBENCH_SYSROOT", board.path()).output().unwrap();

    let check = edgebench(&["check", "job.toml"]);
    let stderr = String::from_utf8(check.stderr).unwrap();
    assert_eq!(check.status.code(), Some(0), "more may be free when it runs: {stderr}");
    let warning = stderr.lines().find(|l| l.starts_with("warning: job.toml: object \"demo.2\" does not fit: needs"));
    let warning = warning.unwrap_or_else(|| panic!("{stderr}"));
    assert!(warning.contains("64.0 MiB free: try") && warning.contains("n_ctx = "), "{warning}");
    assert_eq!(stderr.matches("does not fit").count(), 1, "{stderr}");

    assert_eq!(edgebench(&["run", "job.toml", "--out", "out"]).status.code(), Some(1));
    assert_eq!(bench.case("demo.1/addition").get("status"), "ok");
    let row = bench.case("demo.2/addition");
    assert_eq!((row.get("status"), row.get("valid")), ("out-of-memory", "no"));
    assert!(row.get("reason").starts_with("needs ") && row.get("reason").contains("weights"), "{}", row.get("reason"));
    assert!(row.get("load_ms").is_empty() && row.get("rss_peak_mib").is_empty(), "no host was started");
}

#[test]
fn memory_may_be_forced() {
    for (head, params) in [("force_memory = true", ""), ("", ", force_memory = true")] {
        let bench = Bench::new();
        let params = format!("threads = 1, n_ctx = 256{params}");
        let job = job("llama", "demo-q8_0.gguf", &params, "addition", "generate", 3);
        bench.write("job.toml", format!("[job]\n{head}\n{job}"));
        let board = board_with(1);
        let run = bench.edgebench(&["run", "job.toml", "--out", "out"]).env("EDGEBENCH_SYSROOT", board.path()).output();
        assert_eq!(run.unwrap().status.code(), Some(0), "{head} {params}");
        assert_eq!(bench.case("demo/addition").get("status"), "ok");
    }
}

#[test]
fn probe_tells_what_a_model_needs_by_part() {
    let bench = Bench::new();
    let model = root().join("datasets/demo/demo-q8_0.gguf");
    let fit = |mib: u64, params: &[&str]| -> serde_json::Value {
        let board = board_with(mib);
        let mut command = bench.edgebench(&["probe", "--json", "--model", model.to_str().unwrap()]);
        for param in params {
            command.args(["--param", param]);
        }
        let out = command.env("EDGEBENCH_SYSROOT", board.path()).output().unwrap();
        serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap()["model"].clone()
    };
    let roomy = fit(1000, &["n_ctx=1024"]);
    let part = |fit: &serde_json::Value, name: &str| fit[name].as_f64().unwrap();
    let sum: f64 = ["weights_mib", "kv_mib", "compute_mib", "host_mib"].iter().map(|p| part(&roomy, p)).sum();
    assert!((sum - part(&roomy, "need_mib")).abs() < 1e-6 && part(&roomy, "rss_mib") >= sum - 1e-6);
    assert_eq!(
        (roomy["fits"].as_bool(), roomy["free_mib"].as_f64(), roomy["n_ctx"].as_u64()),
        (Some(true), Some(1000.0), Some(1024))
    );
    let wide = fit(1000, &["n_ctx=2048"]);
    assert!((part(&wide, "kv_mib") - 2.0 * part(&roomy, "kv_mib")).abs() < 1e-6);
    let tight = fit(8, &["n_ctx=1024"]);
    assert_eq!(tight["fits"].as_bool(), Some(false));
    assert!(tight["advice"].as_str().unwrap().contains("smaller"), "{tight}");
}

#[test]
fn perplexity_is_that_of_llama_perplexity() {
    let bench = Bench::new();
    let demo = root().join("datasets/demo");
    let lines = std::fs::read_to_string(demo.join("heldout.jsonl")).unwrap();
    let texts = lines
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["text"].as_str().unwrap().to_owned());
    bench.write("heldout.txt", texts.collect::<Vec<_>>().join("\n\n") + "\n");
    // `llama-perplexity -c WINDOW -b WINDOW -fa off` on the same file: scripts/peer-perplexity.
    let known = [(64, 1.7586), (128, 1.7225), (512, 2.3316)];
    let mut job = format!(
        "[[object]]\nname = \"demo\"\nbackend = \"llama\"\nmodel = \"{}/demo-f16.gguf\"\nparams = {{ threads = 1, n_ctx = 512 }}\n",
        demo.display()
    );
    for (window, _) in known {
        job += &format!(
            "[[task]]\nname = \"w{window}\"\ndataset = \"heldout.txt\"\nmethod = \"perplexity\"\nwindows = {{ style = \"llama.cpp\", size = {window} }}\n"
        );
    }
    bench.write("job.toml", job);
    let (code, stderr) = bench.run();
    assert_eq!(code, 0, "{stderr}");
    for (window, wanted) in known {
        let got = bench.case(&format!("demo/w{window}")).number("perplexity").unwrap();
        assert!((got / wanted - 1.0).abs() < 1e-3, "window {window}: {got} instead of {wanted}");
    }
}

/// A text for each question of the demo's `smallest`, a task that its model has never seen.
fn train_texts() -> String {
    let lines = std::fs::read_to_string(root().join("datasets/demo/smallest.train.jsonl")).unwrap();
    let text = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let choices = record["choices"].as_array().unwrap().iter().zip(["A", "B", "C", "D"]);
        let choices: String = choices.map(|(c, letter)| format!("{letter}. {}\n", c.as_str().unwrap())).collect();
        let (question, answer) = (record["question"].as_str().unwrap(), record["answer"].as_str().unwrap());
        format!("{}\n", serde_json::json!({ "text": format!("{question}\n{choices}Answer: {answer}") }))
    };
    lines.lines().take(40).map(text).collect()
}

#[test]
fn the_demo_model_is_trained_on_the_board() {
    let bench = Bench::new();
    bench.write("texts.jsonl", train_texts());
    let demo = root().join("datasets/demo").display().to_string();
    bench.write(
        "job.toml",
        format!(
            "[[object]]\nname = \"demo\"\nbackend = \"llama\"\nmodel = \"{demo}/demo-f16.gguf\"\nquantize = \"F32\"\n\
             params = {{ threads = 1, n_ctx = 512 }}\n\
             [[task]]\nname = \"smallest\"\ndataset = \"{demo}/smallest.jsonl\"\nmethod = \"choice\"\nlimit = 20\n\
             [[task]]\nname = \"tune\"\ndataset = \"texts.jsonl\"\nmethod = \"finetune\"\nlearning_rate = 1e-4\n\
             n_ctx = 256\nepochs = 2\nvalidation = 0.4\nquality = \"smallest\"\nkeep = true\n"
        ),
    );
    let checked = bench.edgebench(&["check", "job.toml"]).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
    assert!(
        checked.status.success() && said.contains("\"demo.1\" cannot be trained") && said.contains("has F16"),
        "{said}"
    );
    let run = |only: &str, out: &str| {
        let arguments = ["run", "job.toml", "--out", out, "--only", only];
        let out = bench.edgebench(&arguments).env("XDG_CACHE_HOME", bench.path().join("cache")).output().unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    let (code, stderr) = run("*/tune", "out");
    assert_eq!(code, Some(1), "the original cannot be trained: {stderr}");
    let (original, row) = (bench.case("demo.1/tune"), bench.case("demo.2/tune"));
    assert_eq!(original.get("status"), "unsupported");
    assert!(original.get("reason").contains("llama.cpp trains F32 models only, this one has F16"), "{original:?}");
    assert_eq!(row.get("status"), "ok", "{row:?}");
    let number = |column: &str| row.number(column).unwrap();
    assert!(number("val_loss") < 0.8 * number("val_loss_first"), "{row:?}");
    assert!(number("loss_last") < 0.8 * number("loss_first"), "{row:?}");
    assert!((20.0..400.0).contains(&number("rss_peak_mib")) && number("train_tok_s") > 10.0, "{row:?}");
    assert_eq!([row.get("n"), row.get("trained_weights")], ["20", "2361600"]);
    assert!(number("acc_before") > 0.25 && number("acc_p") <= 1.0);
    assert!(bench.path().join("out/models/demo.2.tune.gguf").metadata().unwrap().len() > 9 << 20);
}
