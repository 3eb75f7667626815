//! Models that are trained further on the board: steps, quality before and after, what goes wrong.

use crate::common::{Bench, CHOICE, choices, compile, mock, mock_source};
use std::time::{Duration, Instant};

/// A job that trains the mock's model, which has `model` in its file, on ten texts of 64 bytes: 20 steps in two epochs.
fn job(bench: &Bench, model: &str, keys: &str) {
    bench.write("base.model", format!("seed = 3\n{model}"));
    bench.write("pick.jsonl", choices(40));
    let texts: String = (0..10).map(|i| format!("{{\"text\":\"{:064}\"}}\n", i)).collect();
    bench.write("texts.jsonl", texts);
    let mock = mock().display();
    bench.write(
        "job.toml",
        format!(
            "[job]\nname = \"t\"\n[[object]]\nname = \"m\"\nbackend = \"{mock}\"\nmodel = \"base.model\"\n{CHOICE}\
             [[task]]\nname = \"tune\"\ndataset = \"texts.jsonl\"\nmethod = \"finetune\"\nepochs = 2\n{keys}"
        ),
    );
}

fn run(bench: &Bench, arguments: &[&str]) -> (i32, String) {
    let all = [&["run", "job.toml", "--out", "out"], arguments].concat();
    let out = bench.edgebench(&all).output().unwrap();
    (out.status.code().unwrap_or(-1), String::from_utf8(out.stderr).unwrap())
}

#[test]
fn a_model_is_judged_trained_and_judged_again() {
    let bench = Bench::new();
    job(&bench, "token_us = 500\n", "quality = \"pick\"\nvalidation = 0.2\nkeep = true\n");
    let (code, stderr) = run(&bench, &[]);
    assert_eq!(code, 0, "{stderr}");
    let (plain, row) = (bench.case("m/pick"), bench.case("m/tune"));
    assert_eq!([row.get("method"), row.get("paradigm"), row.get("status")], ["finetune", "finetuned", "ok"]);

    // Eight texts of 64 bytes, twice; each validation is a row of its own.
    assert_eq!([row.get("train_steps"), row.get("trained_weights")], ["16", "1000"]);
    assert_eq!([row.get("loss_first"), row.get("val_loss_first")], ["4.000000", "4.125000"]);
    let loss = |column: &str| row.number(column).unwrap();
    assert!(loss("loss_last") < 2.0 && loss("val_loss") < 2.0, "{row:?}");
    let steps = bench.rows("steps.csv");
    let kinds: String = steps.iter().map(|r| if r.get("loss").is_empty() { 'v' } else { '.' }).collect();
    assert_eq!(kinds, "v........v........v");
    let losses: Vec<f64> = steps.iter().filter_map(|r| r.number("loss")).collect();
    assert!(losses.windows(2).all(|w| w[1] < w[0]), "{losses:?}");
    assert_eq!(steps.last().unwrap().get("tokens"), "1024");
    assert_eq!(steps[12].get("epoch"), "2");
    // 64 tokens take 32 ms and a little more.
    assert!((200.0..2_010.0).contains(&loss("train_tok_s")), "{}", row.get("train_tok_s"));
    assert!(loss("rss_peak_mib") > 0.5, "{row:?}");

    // Before, it is the model that the other task has; after, the one that is kept.
    assert_eq!([row.get("n"), row.get("acc_before")], ["40", plain.get("acc")]);
    let samples = bench.rows("samples.csv");
    let right = |case: &str, pass: &str| -> Vec<String> {
        let of = samples.iter().filter(|r| r.get("case") == case && r.get("pass") == pass);
        of.map(|r| format!("{} {}", r.get("id"), r.get("correct"))).collect()
    };
    let (before, after) = (right("m/tune", "0"), right("m/tune", "1"));
    assert_eq!((before.clone(), after.len()), (right("m/pick", "1"), 40));
    let flips = before.iter().zip(&after).filter(|(a, b)| a != b).count();
    assert!(flips > 3, "another model answers otherwise");
    assert!((0.0..=1.0).contains(&loss("acc_p")), "{row:?}");
    assert_eq!(bench.predictions().iter().filter(|p| p["case"] == "m/tune").count(), 40);
    let kept = bench.out("models/m.tune.model");
    assert!(kept.starts_with("trained = ") && kept.contains("seed = 3\n"), "{kept}");

    // The trained model is an object like any other.
    let again = std::fs::read_to_string(bench.path().join("job.toml"))
        .unwrap()
        .replace("base.model", "out/models/m.tune.model");
    bench.write("again.toml", again);
    let out = bench.edgebench(&["run", "again.toml", "--out", "again", "--only", "m/pick"]).output().unwrap();
    assert!(out.status.success());
    let rows = edgebench::results::read_cases(&bench.path().join("again/cases.csv")).unwrap();
    assert_eq!(rows[0].get("acc"), row.get("acc"));
    assert!(bench.rows("telemetry.csv").iter().any(|r| r.get("phase") == "train"));
}

#[test]
fn training_alone_leaves_no_model_and_no_quality() {
    let bench = Bench::new();
    job(&bench, "", "n_ctx = 128\nlearning_rate = 1e-3\n");
    let (code, stderr) = run(&bench, &["--only", "m/tune"]);
    assert_eq!(code, 0, "{stderr}");
    let row = bench.case("m/tune");
    assert_eq!(
        [row.get("train_steps"), row.get("n"), row.get("acc"), row.get("acc_before"), row.get("val_loss")],
        ["10", "", "", "", ""]
    );
    assert!(!bench.path().join("out/models").exists(), "what is not kept is removed");
    let report = bench.out("report.html");
    assert!(report.contains("Loss of the training") && report.contains("nats per token"), "its curve is on the page");
    assert!(!report.contains("id=\"latency\""), "no record has a latency");
}

#[test]
fn energy_is_that_of_the_steps() {
    let bench = Bench::new();
    job(&bench, "token_us = 500\n", "validation = 0.2\n");
    let meter = "exec: while :; do read up _ < /proc/uptime; echo \\\"$up,3.0\\\"; sleep 0.05; done";
    let text = std::fs::read_to_string(bench.path().join("job.toml")).unwrap();
    bench.write("job.toml", text + &format!("[power]\nsource = \"{meter}\"\nidle = \"0.2s\"\n"));
    let (code, stderr) = run(&bench, &["--only", "m/tune"]);
    assert_eq!(code, 0, "{stderr}");
    let row = bench.case("m/tune");
    let watts = row.number("energy_j_per_token").unwrap() * row.number("train_tok_s").unwrap();
    assert!((2.8..3.2).contains(&watts), "{watts} W of 3: {row:?}");
    assert_eq!([row.get("energy_j_per_record"), row.get("energy_j_per_correct")], ["", ""]);
}

#[test]
fn a_training_that_dies_costs_its_own_case_and_what_it_learned_is_told() {
    for (fault, status, words) in [
        ("segv", "crashed", "SIGSEGV"),
        ("error", "failed", "call the fire brigade"),
        ("exit", "crashed", "exited with status 0"),
    ] {
        let bench = Bench::new();
        job(&bench, &format!("fault = {fault}\nfault_at = 5\n"), "");
        let (code, stderr) = run(&bench, &["--only", "m/tune"]);
        assert_eq!(code, 1, "{stderr}");
        let row = bench.case("m/tune");
        assert_eq!(row.get("status"), status, "{row:?}");
        assert!(row.get("reason").contains(words), "{}", row.get("reason"));
        assert_eq!([row.get("train_steps"), row.get("trained_weights")], ["4", ""]);
        assert_eq!(bench.rows("steps.csv").len(), 4);
        assert!(!bench.path().join("out/models").exists());
    }
}

#[test]
fn a_step_without_end_is_ended() {
    let bench = Bench::new();
    job(&bench, "fault = ignore-abort\nfault_at = 3\n", "");
    let text = std::fs::read_to_string(bench.path().join("job.toml")).unwrap();
    bench.write(
        "job.toml",
        text.replace("name = \"t\"\n", "name = \"t\"\ntimeout = \"0.3s\"\nload_timeout = \"0.5s\"\n"),
    );
    let start = Instant::now();
    let (code, stderr) = run(&bench, &["--only", "m/tune"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(start.elapsed() < Duration::from_secs(20));
    let row = bench.case("m/tune");
    assert_eq!(row.get("status"), "timeout");
    assert!(row.get("reason").contains("within 0.5 s to training; it ignored abort"), "{}", row.get("reason"));
}

#[test]
fn a_killed_run_trains_again() {
    let bench = Bench::new();
    job(&bench, "token_us = 500\n", "quality = \"pick\"\nkeep = true\n");
    let whole = Bench::new();
    job(&whole, "token_us = 500\n", "quality = \"pick\"\nkeep = true\n");
    assert_eq!(run(&whole, &[]).0, 0);
    for ms in [250, 500] {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("edgebench"));
        command.current_dir(bench.path()).args(["run", "job.toml", "--out", "out", "--resume", "--quiet"]);
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(ms));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (code, stderr) = run(&bench, &["--resume"]);
    assert_eq!(code, 0, "{stderr}");
    let figures = |bench: &Bench| {
        let columns = ["status", "acc", "acc_before", "acc_p", "loss_first", "loss_last", "train_steps"];
        columns.map(|c| bench.case("m/tune").get(c).to_owned())
    };
    assert_eq!(figures(&bench), figures(&whole));
    let steps = |bench: &Bench| -> Vec<String> {
        bench.rows("steps.csv").iter().map(|r| ["step", "epoch", "loss"].map(|c| r.get(c)).join(" ")).collect()
    };
    assert_eq!(steps(&bench), steps(&whole), "none is there twice");
    assert_eq!(bench.out("models/m.tune.model"), whole.out("models/m.tune.model"));
}

#[test]
fn a_backend_that_cannot_train_says_so_and_what_to_do() {
    let bench = Bench::new();
    bench.write("plain.c", mock_source("if (eb_str_eq(name, EB_EXT_TRAIN)) return &train_v1;", "(void)&train_v1;"));
    compile(bench.path(), &["plain.c", "-o", "plain.so", "-lm", "-lpthread"]);
    job(&bench, "", "");
    let text = std::fs::read_to_string(bench.path().join("job.toml")).unwrap();
    bench.write("job.toml", text.replace(&mock().display().to_string(), "./plain.so"));
    let (code, stderr) = run(&bench, &[]);
    assert_eq!(code, 1, "{stderr}");
    let row = bench.case("m/tune");
    assert_eq!(row.get("status"), "unsupported");
    assert!(row.get("reason").contains("eb.train/1") && row.get("reason").contains("edgebench watch"), "{row:?}");
    assert_eq!(bench.case("m/pick").get("status"), "ok");
}

#[test]
fn mistakes_in_the_job_are_told_before_anything_runs() {
    let bench = Bench::new();
    for (keys, said) in [
        ("quality = \"pik\"\n", "job.toml:16: no task is called \"pik\"; did you mean \"pick\"?"),
        ("quality = \"tune\"\n", "by the task \"tune\", of method = \"finetune\", no answer is right or wrong"),
        ("epochs = 0\n", "job.toml:"),
        ("learning_rate = 0\n", "a learning rate of 0 learns nothing"),
        ("validation = 1.0\n", "job.toml:16"),
        ("scenario = \"offline\"\n", "asks no records"),
        ("metrics = [\"f1_macro\"]\n", "give it to the task of `quality`"),
        ("max_tokens = 3\n", "this key belongs to method"),
    ] {
        job(&bench, "", keys);
        if keys.starts_with("epochs") {
            let text = std::fs::read_to_string(bench.path().join("job.toml")).unwrap();
            bench.write("job.toml", text.replace("epochs = 2\n", ""));
        }
        let (code, stderr) = run(&bench, &[]);
        assert!(code == 2 && stderr.contains(said), "{keys}: {stderr}");
    }
    job(&bench, "", "");
    let text = std::fs::read_to_string(bench.path().join("job.toml")).unwrap();
    bench.write("job.toml", text.replace("model = \"base.model\"\n", ""));
    let (code, stderr) = run(&bench, &[]);
    assert!(code == 2 && stderr.contains("the object \"m\" has no model's file"), "{stderr}");
    bench.write("job.toml", text.replace("method = \"finetune\"\n", "method = \"perplexity\"\n"));
    let (code, stderr) = run(&bench, &[]);
    assert!(code == 2 && stderr.contains("this key belongs to method = \"finetune\""), "{stderr}");
}
