//! Following a training run: checkpoints are "models" of the mock backend, files that say which letter is answered.

use crate::browser::Browser;
use crate::common::Bench;
use edgebench::results::{CaseRow, read_cases};
use std::path::Path;
use std::time::Duration;

const TASK: &str =
    "[[task]]\nname = \"t\"\ndataset = \"q.jsonl\"\nmethod = \"generate\"\nextract = \"trim\"\nmax_tokens = 8\n";

/// A folder with a job whose model is a checkpoint, and 100 questions: 70 want A, 50 B (some both), 20 C.
fn bench(watch: &str) -> Bench {
    let bench = Bench::new();
    let answers = |i: usize| {
        let wanted = [("A", i < 70), ("B", (30..80).contains(&i)), ("C", i >= 80)];
        wanted.into_iter().filter(|w| w.1).map(|w| format!("\"{0}\",\"{0}{0}\"", w.0)).collect::<Vec<_>>().join(",")
    };
    let lines = (0..100).map(|i| format!("{{\"question\":\"q{i}\",\"answers\":[{}]}}\n", answers(i)));
    bench.write("q.jsonl", lines.collect::<String>());
    bench.mock_job("warmup = 0", "", &format!("{TASK}[watch]\nsettle = \"0.05s\"\n{watch}"));
    let job = std::fs::read_to_string(bench.path().join("job.toml")).unwrap();
    bench.write("job.toml", job.replace("params = {", "model = \"@checkpoint\"\nparams = {"));
    std::fs::create_dir(bench.path().join("ckpt")).unwrap();
    bench
}

fn checkpoint(bench: &Bench, step: u32, letter: &str) {
    bench.write(&format!("ckpt/step-{step}.gguf"), format!("text = {letter}\n"));
}

fn watch(bench: &Bench, arguments: &[&str]) -> (i32, String) {
    let words = [&["watch", "ckpt", "--job", "job.toml", "--out", "w", "--poll", "20"], arguments].concat();
    let out = bench.edgebench(&words).output().unwrap();
    (out.status.code().unwrap_or(-1), String::from_utf8(out.stderr).unwrap())
}

fn curve(bench: &Bench) -> Vec<CaseRow> {
    read_cases(&bench.path().join("w/curve.csv")).unwrap()
}

fn column<'r>(rows: &'r [CaseRow], name: &str) -> Vec<&'r str> {
    rows.iter().map(|r| r.get(name)).collect()
}

#[test]
fn each_checkpoint_is_put_on_the_curve_and_the_best_is_kept() {
    let hooks = "on_best = \"echo best $EDGEBENCH_STEP $EDGEBENCH_VALUE >> told\"\non_regression = \"echo worse $EDGEBENCH_STEP >> told\"\n";
    let bench = bench(hooks);
    for (step, letter) in [(100, "C"), (200, "A"), (1000, "B")] {
        checkpoint(&bench, step, letter);
    }
    bench.write("ckpt/notes.txt", "not one");
    let (code, stderr) = watch(&bench, &["--once"]);
    assert_eq!(code, 0, "{stderr}");
    let rows = curve(&bench);
    assert_eq!(column(&rows, "step"), ["100", "200", "1000"]);
    assert_eq!(column(&rows, "value"), ["0.2", "0.7", "0.5"]);
    assert_eq!(column(&rows, "verdict"), ["first", "better", "worse"]);
    assert_eq!(column(&rows, "best"), ["true", "true", "false"]);
    assert_eq!(rows[2].get("reference"), "step-200.gguf");
    assert_eq!(std::fs::read_to_string(bench.path().join("w/best.gguf")).unwrap(), "text = A\n");
    let told = std::fs::read_to_string(bench.path().join("told")).unwrap();
    assert_eq!(told, "best 100 0.2\nbest 200 0.7\nworse 1000\n");
    let status: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(bench.path().join("w/status.json")).unwrap()).unwrap();
    assert_eq!((&status["state"], &status["stop"]), (&"ended".into(), &false.into()));
    assert_eq!(status["best"]["checkpoint"], "step-200.gguf");
    assert!(bench.path().join("w/runs/step-200.gguf/cases.csv").exists());
    assert!(!bench.path().join("w/current.gguf").exists());

    // Nothing new: nothing is asked again. A checkpoint that is written anew is new.
    assert_eq!(watch(&bench, &["--once"]).0, 0);
    assert_eq!(curve(&bench).len(), 3);
    checkpoint(&bench, 1000, "A");
    assert_eq!(watch(&bench, &["--once"]).0, 0);
    assert_eq!(column(&curve(&bench), "verdict"), ["first", "better", "worse", "same"]);
}

#[test]
fn a_plateau_ends_it_and_tells_the_trainer() {
    let bench = bench("patience = 2\non_plateau = \"echo stop > told\"\n");
    for (step, letter) in [(1, "A"), (2, "A"), (3, "A"), (4, "A")] {
        checkpoint(&bench, step, letter);
    }
    let (code, stderr) = watch(&bench, &[]);
    assert_eq!(code, 4, "{stderr}");
    assert_eq!(curve(&bench).len(), 3, "the fourth is not needed any more");
    assert_eq!(std::fs::read_to_string(bench.path().join("told")).unwrap(), "stop\n");
    assert!(std::fs::read_to_string(bench.path().join("w/status.json")).unwrap().contains("\"stop\": true"));
}

#[test]
fn it_follows_a_training_until_the_trainer_is_gone() {
    // What it starts has its priority and its processors.
    let bench = bench("patience = 0\nnice = 5\ncpus = \"0\"\non_best = \"nice > nice; nproc > cores\"\n");
    let script = "sleep 0.3; echo 'text = B' > ckpt/.part && mv ckpt/.part ckpt/s-1.gguf; sleep 0.3; printf 'text = ' > ckpt/s-2.gguf; sleep 0.02; echo A >> ckpt/s-2.gguf; sleep 0.4";
    let mut trainer = std::process::Command::new("sh").current_dir(bench.path()).args(["-c", script]).spawn().unwrap();
    let pid = trainer.id().to_string();
    let reaper = std::thread::spawn(move || trainer.wait());
    let (code, stderr) = watch(&bench, &["--pid", &pid]);
    reaper.join().unwrap().unwrap();
    assert_eq!(code, 0, "{stderr}");
    let rows = curve(&bench);
    assert_eq!(column(&rows, "value"), ["0.5", "0.7"], "{stderr}");
    let cases = read_cases(&bench.path().join("w/runs/s-2.gguf/cases.csv")).unwrap();
    assert_eq!((cases[0].get("valid"), cases[0].get("model")), ("no", "s-2.gguf"));
    assert!(cases[0].get("warnings").contains("low-priority"));
    assert_eq!(column(&rows, "valid"), ["no", "no"]);
    let told = ["nice", "cores"].map(|file| std::fs::read_to_string(bench.path().join(file)).unwrap());
    assert_eq!(told.each_ref().map(|text| text.trim()), ["5", "1"]);
    assert!(rows[0].get("warnings").contains("low-priority"));
}

#[test]
fn a_trainer_that_dies_while_it_writes_is_not_waited_for() {
    let bench = bench("patience = 0\n");
    checkpoint(&bench, 1, "A");
    let script = ": > ckpt/step-2.gguf; exec sleep 60";
    let mut trainer = std::process::Command::new("sh").current_dir(bench.path()).args(["-c", script]).spawn().unwrap();
    let pid = trainer.id().to_string();
    let reaper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        trainer.kill().unwrap();
        trainer.wait()
    });
    let (code, stderr) = watch(&bench, &["--pid", &pid]);
    reaper.join().unwrap().unwrap();
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("step-2.gguf: it is not whole"), "{stderr}");
    assert_eq!(column(&curve(&bench), "checkpoint"), ["step-1.gguf"]);
    // Trained again, from its last checkpoint.
    checkpoint(&bench, 2, "B");
    let (code, stderr) = watch(&bench, &["--once"]);
    assert_eq!((code, column(&curve(&bench), "verdict")), (0, vec!["first", "worse"]), "{stderr}");
}

#[test]
fn what_the_training_deletes_or_writes_anew_stays_on_the_curve_and_its_files_are_as_they_were() {
    let bench = bench("patience = 0\n");
    for (step, letter) in [(1, "C"), (2, "A"), (5, "B")] {
        bench.write(&format!("ckpt/step-{step}.gguf"), format!("text = {letter}\ntoken_us = 2000\n"));
    }
    let file = |step: u32| bench.path().join(format!("ckpt/step-{step}.gguf"));
    let state =
        |step: u32| (std::fs::read(file(step)).unwrap(), std::fs::metadata(file(step)).unwrap().modified().unwrap());
    let (first, last) = (state(1), state(5));
    // The second goes away as soon as it is being evaluated.
    let (run, second) = (bench.path().join("w/runs/step-2.gguf/samples.csv"), file(2));
    let remover = std::thread::spawn(move || {
        while !run.exists() {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::fs::remove_file(second).unwrap();
    });
    let (code, stderr) = watch(&bench, &["--once"]);
    remover.join().unwrap();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(column(&curve(&bench), "verdict"), ["first", "better", "worse"], "{stderr}");
    assert!(std::fs::read_to_string(bench.path().join("w/best.gguf")).unwrap().contains("text = A"));
    assert_eq!((state(1), state(5)), (first, last));
    // The training began again: what comes is held against what the second was, not against itself.
    checkpoint(&bench, 2, "C");
    let (code, stderr) = watch(&bench, &["--once"]);
    let rows = curve(&bench);
    assert_eq!((code, rows[3].get("verdict"), rows[3].get("reference")), (0, "worse", "step-2.gguf"), "{stderr}");
    assert_eq!(column(&rows, "run"), ["step-1.gguf", "step-2.gguf", "step-5.gguf", "step-2.gguf.2"]);
}

#[test]
fn the_report_of_its_folder_shows_the_learning_curve() {
    let bench = bench("patience = 2\nnice = 3\n");
    let text = "[[task]]\nname = \"words\"\ndataset = \"words.jsonl\"\nmethod = \"perplexity\"\n";
    let job = std::fs::read_to_string(bench.path().join("job.toml")).unwrap();
    bench.write("job.toml", job.replace("[watch]", &format!("{text}[watch]")));
    bench.write("words.jsonl", (0..8).map(|i| format!("{{\"text\":\"number {i} of them\"}}\n")).collect::<String>());
    for (step, letter) in [(10, "CC"), (20, "BB"), (30, "AA"), (40, "AA"), (50, "AA"), (60, "AA")] {
        // Slow enough for a speed that can be told.
        bench.write(&format!("ckpt/step-{step}.gguf"), format!("text = {letter}\ntoken_us = 500\n"));
    }
    bench.write("ckpt/step-25.gguf", "fault = segv\n");
    assert_eq!(watch(&bench, &["--once"]).0, 4);
    let rows = curve(&bench);
    assert_eq!(column(&rows, "status"), ["ok", "ok", "crashed", "ok", "ok", "ok"]);
    assert!(rows[0].number("perplexity").zip(rows[0].number("perplexity_lo")).is_some_and(|(value, lo)| lo <= value));
    assert!(rows[0].number("decode_tok_s_lo").zip(rows[0].number("decode_tok_s_hi")).is_some_and(|(lo, hi)| lo <= hi));
    bench.edgebench(&["report", "w"]).assert().code(0).stdout("w/report.html\n");
    let page = std::fs::read_to_string(bench.path().join("w/report.html")).unwrap();
    for words in ["id=\"learning\"", "Accuracy, %", "Perplexity", "Decode, tok/s", "stopped: plateau", "crashed: "] {
        assert!(page.contains(words), "{words}");
    }
    assert!(page.contains("The best is step-30.gguf: Accuracy 70.0 % ("));
    assert!(page.contains("It stopped after step-50.gguf: 2 checkpoints in a row"));
    let runs =
        ["step-10.gguf", "step-30.gguf", "step-50.gguf"].map(|name| page.contains(&format!("w&#x2f;runs&#x2f;{name}")));
    assert_eq!((runs, page.contains("w&#x2f;runs&#x2f;step-20.gguf")), ([true; 3], false));

    // Two settings side by side; one whose runs are no more still has its curve.
    std::fs::create_dir(bench.path().join("v")).unwrap();
    std::fs::copy(bench.path().join("w/curve.csv"), bench.path().join("v/curve.csv")).unwrap();
    bench.edgebench(&["report", "w", "v", "--lang", "zh", "-o", "both.html"]).assert().code(0);
    let page = std::fs::read_to_string(bench.path().join("both.html")).unwrap();
    assert!(
        page.contains("学习曲线") && page.contains("停止：不再提升") && page.contains("目前最后一个为 step-50.gguf")
    );
    bench.edgebench(&["report", "v"]).assert().code(0);
    let Some(mut browser) = Browser::start() else { return };
    for (width, file) in [(1280, "w/report.html"), (390, "w/report.html"), (1280, "both.html"), (1280, "v/report.html")]
    {
        browser.resize(width, 900);
        browser.open(&bench.path().join(file));
        assert_eq!(browser.complaints(), [""; 0], "{file}");
        assert_eq!(browser.value("document.documentElement.scrollWidth <= innerWidth"), true, "{file} at {width}");
        let rings = browser.value("document.querySelectorAll('#learning figure circle[r=\"9\"]').length");
        assert_eq!(rings, if file == "both.html" { 6 } else { 3 }, "the best, in each panel");
        browser.screenshot(&format!("learning-{width}-{}", file.replace('/', "-")));
    }
}

#[test]
fn what_cannot_be_evaluated_is_told_and_the_rest_goes_on() {
    let bench = bench("convert = \"cp {in}/weights {out}\"\npattern = \"c-*\"\n");
    for (name, text) in
        [("c-1", Some("text = B\n")), ("c-2", None), ("c-3", Some("fault = segv\n")), ("c-4", Some("text = A\n"))]
    {
        std::fs::create_dir(bench.path().join("ckpt").join(name)).unwrap();
        bench.write(&format!("ckpt/{name}/config.json"), "{}");
        text.map(|text| bench.write(&format!("ckpt/{name}/weights"), text));
    }
    let (code, stderr) = watch(&bench, &["--once"]);
    assert_eq!(code, 1, "{stderr}");
    let rows = curve(&bench);
    assert_eq!(column(&rows, "status"), ["ok", "not-converted", "crashed", "ok"]);
    assert_eq!(column(&rows, "verdict"), ["first", "", "", "better"]);
    assert!(rows[1].get("reason").contains("`cp {in}/weights {out}` ended with"), "{}", rows[1].get("reason"));
}

#[test]
fn commands_run_in_the_jobs_folder() {
    let bench = bench("convert = \"sh convert.sh {in} {out}\"\non_best = \"echo $EDGEBENCH_STEP > told\"\n");
    bench.write("convert.sh", "cp \"$1\" \"$2\"\n");
    checkpoint(&bench, 7, "A");
    let job = bench.path().join("job.toml");
    let mut command = bench.edgebench(&["watch", ".", "--out", "../w", "--once", "-q", "--job"]);
    command.arg(job).current_dir(bench.path().join("ckpt")).assert().code(0);
    assert_eq!(std::fs::read_to_string(bench.path().join("told")).unwrap(), "7\n");
}

#[test]
fn a_budget_bounds_an_evaluation_and_each_task_has_its_part() {
    let bench = bench("budget = \"2s\"\n");
    let job = std::fs::read_to_string(bench.path().join("job.toml")).unwrap();
    bench.write("job.toml", job.replace("[watch]", &format!("{}[watch]", TASK.replace("\"t\"", "\"u\""))));
    for (step, letter) in [(1, "C"), (2, "A")] {
        bench.write(&format!("ckpt/step-{step}.gguf"), format!("text = {letter}\ntoken_us = 40000\n"));
    }
    let (code, stderr) = watch(&bench, &["--once"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(column(&curve(&bench), "status"), ["ok", "ok"]);
    for step in [1, 2] {
        let cases = read_cases(&bench.path().join(format!("w/runs/step-{step}.gguf/cases.csv"))).unwrap();
        let asked: Vec<f64> = cases.iter().filter_map(|r| r.number("n")).collect();
        assert!(asked.len() == 2 && asked.iter().all(|n| *n > 0.0 && *n < 100.0), "{asked:?}");
    }
}

#[test]
fn a_killed_watch_goes_on_where_it_was() {
    let bench = bench("patience = 0\n");
    for step in 1..=6 {
        bench.write(&format!("ckpt/step-{step}.gguf"), format!("text = {}\ntoken_us = 1000\n", ["A", "B"][step % 2]));
    }
    let binary = assert_cmd::cargo::cargo_bin("edgebench");
    for ms in [150, 300, 450, 600] {
        let mut command = std::process::Command::new(&binary);
        command
            .current_dir(bench.path())
            .args(["watch", "ckpt", "--job", "job.toml", "--out", "w", "--poll", "20", "-q"]);
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(ms));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (code, stderr) = watch(&bench, &["--once"]);
    assert_eq!(code, 0, "{stderr}");
    let rows = curve(&bench);
    assert_eq!(column(&rows, "step"), ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(column(&rows, "value"), ["0.5", "0.7", "0.5", "0.7", "0.5", "0.7"]);
    assert!(column(&rows, "n").iter().all(|n| *n == "100"));
    assert!(!Path::new(&bench.path().join("w/current.gguf")).exists());
}

#[test]
fn a_job_that_does_not_fit_is_refused() {
    let bench = bench("patience = -1\nconvert = \"cp {in} x\"\ncpus = \"z\"\n");
    let (code, stderr) = watch(&bench, &["--once"]);
    assert_eq!(code, 2);
    for words in ["{in} or {out}", "no list of CPUs", "patience"] {
        assert!(stderr.contains(words), "{stderr}");
    }
    let out = bench.edgebench(&["run", "job.toml"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    let plain = self::bench("");
    let out = plain.edgebench(&["run", "job.toml"]).output().unwrap();
    assert!(String::from_utf8_lossy(&out.stderr).contains("edgebench watch FOLDER --job JOB"));
    assert_eq!(plain.edgebench(&["check", "job.toml"]).output().unwrap().status.code(), Some(0));
    let (code, stderr) = watch(&plain, &["--once", "--out2"]);
    assert_eq!(code, 2, "{stderr}");
}
