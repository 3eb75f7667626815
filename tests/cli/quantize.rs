//! Smaller models out of one: made by the backend, cached, run beside the original.

use crate::common::{Bench, both_tasks, choices, compile, mock, mock_source};
use std::path::PathBuf;

/// A job whose object is quantised; the cache is in the bench's own folder.
fn job(bench: &Bench, quantize: &str, more: &str) {
    bench.write("big.model", "seed = 3\n");
    let tasks = both_tasks(bench);
    let mock = mock().display();
    bench.write(
        "job.toml",
        format!(
            "[job]\nname = \"t\"\n[[object]]\nname = \"m\"\nbackend = \"{mock}\"\nmodel = \"big.model\"\nquantize = {quantize}\n{more}\n{tasks}"
        ),
    );
}

fn run(bench: &Bench, arguments: &[&str]) -> (i32, String) {
    let all = [&["run", "job.toml"], arguments].concat();
    let out = bench.edgebench(&all).env("XDG_CACHE_HOME", bench.path().join("cache")).output().unwrap();
    (out.status.code().unwrap_or(-1), String::from_utf8(out.stderr).unwrap())
}

fn cached(bench: &Bench) -> Vec<PathBuf> {
    let folder = bench.path().join("cache/edgebench");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn variants_are_made_once_and_run_beside_the_original() {
    let bench = Bench::new();
    job(&bench, "[\"Q8\", \"Q2\"]", "");
    let (code, stderr) = run(&bench, &["--out", "out"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("made big.model Q8: ") && stderr.contains("8.00 bits per weight"), "{stderr}");
    let kinds: Vec<(String, String)> = bench
        .cases()
        .iter()
        .filter(|r| r.get("task") == "pick")
        .map(|r| (r.get("params").to_owned(), r.get("bits_per_weight").to_owned()))
        .collect();
    let expected = [("quantize=none", ""), ("quantize=Q8", "8.000"), ("quantize=Q2", "2.000")];
    assert_eq!(kinds, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    let files = cached(&bench);
    assert_eq!(files.len(), 4, "two models, each with what was told of it: {files:?}");
    // The model that ran is the one of the cache.
    let size =
        std::fs::metadata(files.iter().find(|f| f.display().to_string().contains("-Q2-")).unwrap()).unwrap().len();
    assert_eq!(bench.case("m.3/pick").get("model_bytes"), size.to_string());
    let manifest: serde_json::Value = serde_json::from_str(&bench.out("manifest.json")).unwrap();
    assert!(manifest["models"].as_object().unwrap().keys().any(|path| path.contains("cache/edgebench/big-Q8-")));

    // Another run makes nothing; another original, however it is called, does.
    let (code, stderr) = run(&bench, &["--out", "again"]);
    assert!(code == 0 && !stderr.contains("made "), "{stderr}");
    bench.write("big.model", "seed = 4\n");
    let (code, stderr) = run(&bench, &["--out", "other", "--only", "m.2/*"]);
    assert!(code == 0 && stderr.matches("made ").count() == 1, "only what is asked: {stderr}");
}

#[test]
fn what_cannot_be_made_costs_its_own_cases_only() {
    let bench = Bench::new();
    job(&bench, "[\"Q3\", \"none\", \"odd\"]", "");
    let (code, stderr) = run(&bench, &["--out", "out"]);
    assert_eq!(code, 1, "{stderr}");
    let rows: Vec<_> = bench.cases().iter().map(|r| (r.get("case").to_owned(), r.get("status").to_owned())).collect();
    assert_eq!(rows.iter().map(|r| r.1.as_str()).collect::<Vec<_>>(), ["ok", "ok", "failed", "failed", "ok", "ok"]);
    let failed = bench.case("m.2/pick");
    assert!(failed.get("reason").contains("Q3 cannot be made: no such kind; there is Q8"), "{}", failed.get("reason"));
    let odd = bench.case("m.3/pick");
    assert!(odd.get("warnings").contains("other-type") && odd.get("evidence").contains("1 tensors"), "{odd:?}");
    assert!(cached(&bench).iter().all(|f| !f.display().to_string().ends_with(".part")));
}

#[test]
fn a_backend_that_cannot_quantise_says_so_and_what_to_do() {
    let bench = Bench::new();
    bench.write(
        "plain.c",
        mock_source("if (eb_str_eq(name, EB_EXT_QUANTIZE)) return &quantize_v1;", "(void)&quantize_v1;"),
    );
    compile(bench.path(), &["plain.c", "-o", "plain.so", "-lm", "-lpthread"]);
    job(&bench, "[\"Q8\"]", "");
    let text = std::fs::read_to_string(bench.path().join("job.toml")).unwrap();
    bench.write("job.toml", text.replace(&mock().display().to_string(), "./plain.so"));
    let (code, stderr) = run(&bench, &["--out", "out"]);
    assert_eq!(code, 1, "{stderr}");
    let row = bench.case("m.2/gen");
    assert_eq!(row.get("status"), "unsupported");
    assert!(row.get("reason").contains("eb.quantize/1") && row.get("reason").contains("list them as `model`"));
    assert_eq!(bench.case("m.1/gen").get("status"), "ok");
}

#[test]
fn mistakes_in_the_job_are_told_before_anything_runs() {
    let bench = Bench::new();
    for (quantize, more, said) in [
        ("[\"Q8 \"]", "", "is no kind of quantisation"),
        ("[\"../x\"]", "", "is no kind of quantisation"),
        ("[\"Q8\"]", "imatrix = \"nowhere.dat\"", "cannot be found"),
        ("[]", "", "job.toml"),
    ] {
        job(&bench, quantize, more);
        let (code, stderr) = run(&bench, &["--out", "out"]);
        assert!(code == 2 && stderr.contains(said), "{quantize} {more}: {stderr}");
    }
    job(&bench, "\"Q8\"", "");
    let text = std::fs::read_to_string(bench.path().join("job.toml")).unwrap();
    bench.write("job.toml", text.replace("model = \"big.model\"\n", ""));
    let (code, stderr) = run(&bench, &["--out", "out"]);
    assert!(code == 2 && stderr.contains("`quantize` needs a model's file"), "{stderr}");
}

#[test]
fn two_runs_at_once_make_a_model_once() {
    let bench = Bench::new();
    job(&bench, "[\"Q8\", \"Q4\", \"Q2\"]", "");
    let children: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|out| {
            std::process::Command::new(assert_cmd::cargo::cargo_bin("edgebench"))
                .current_dir(bench.path())
                .args(["run", "job.toml", "--out", out])
                .env("XDG_CACHE_HOME", bench.path().join("cache"))
                .stderr(std::process::Stdio::piped())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let outputs: Vec<_> = children.into_iter().map(|c| c.wait_with_output().unwrap()).collect();
    let said: String = outputs.iter().map(|o| String::from_utf8_lossy(&o.stderr).into_owned()).collect();
    assert!(outputs.iter().all(|o| o.status.success()), "{said}");
    for kind in ["Q8", "Q4", "Q2"] {
        assert_eq!(said.matches(&format!("made big.model {kind}:")).count(), 1, "{said}");
    }
    assert_eq!(cached(&bench).len(), 6);
}

#[test]
fn the_command_writes_one_file_or_none() {
    let bench = Bench::new();
    bench.write("big.model", "seed = 3\n");
    let backend = ["--backend", mock().to_str().unwrap()];
    let quantize = |more: &[&str]| {
        let out = bench.edgebench(&[&["quantize", "big.model"], more, &backend[..]].concat()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (out.status.code().unwrap_or(-1), text(out.stdout), text(out.stderr))
    };
    let (code, stdout, stderr) = quantize(&["q4", "-o", "small.model"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("small.model: ") && stdout.contains("4.00 bits per weight"), "{stdout}");
    let (code, _, stderr) = quantize(&["Q4", "-o", "small.model"]);
    assert!(code == 2 && stderr.contains("is there already"), "{stderr}");
    let (code, _, stderr) = quantize(&["Q5", "-o", "other.model"]);
    assert!(code == 1 && stderr.contains("there is Q8"), "{stderr}");
    assert_eq!(bench.files(), ["big.model", "small.model"]);
}

const TEXTS: &str = "[[task]]\nname = \"kl\"\ndataset = \"texts.jsonl\"\nmethod = \"divergence\"\n";

/// As [`job`], with more records, and a task over texts.
fn job_with_texts(bench: &Bench, quantize: &str) {
    job(bench, quantize, "");
    bench.write("pick.jsonl", choices(120));
    let texts: String =
        (0..20).map(|i| format!("{{\"id\":\"t{i}\",\"text\":\"the cat {i} sat on the mat\"}}\n")).collect();
    bench.write("texts.jsonl", texts);
    let text = std::fs::read_to_string(bench.path().join("job.toml")).unwrap();
    bench.write("job.toml", text + TEXTS);
}

#[test]
fn divergence_from_the_original_grows_as_bits_get_fewer_and_is_none_from_itself() {
    let bench = Bench::new();
    job_with_texts(&bench, "[\"Q8\", \"Q4\", \"Q2\"]");
    let (code, stderr) = run(&bench, &["--out", "out"]);
    assert_eq!(code, 0, "{stderr}");
    let rows: Vec<_> = bench.cases().into_iter().filter(|r| r.get("task") == "kl").collect();
    let kl: Vec<f64> = rows.iter().map(|r| r.number("kl").unwrap()).collect();
    assert_eq!((kl[0], rows[0].number("same_top")), (0.0, Some(1.0)), "the original against itself");
    assert!(kl[0] < kl[1] && kl[1] < kl[2] && kl[2] < kl[3], "{kl:?}");
    for row in &rows[1..] {
        let at = |column: &str| row.number(column).unwrap();
        assert!(at("kl_lo") <= at("kl") && at("kl") <= at("kl_hi") && at("kl_p99") <= at("kl_max"), "{row:?}");
        assert!(at("kl_hi") > at("kl_lo") && row.get("ttft_ms_p50").is_empty() && row.get("acc").is_empty());
    }
    // Each text has its own share of it.
    let predictions = bench.predictions();
    let texts: Vec<_> = predictions.iter().filter(|p| p["case"] == "m.4/kl").collect();
    let tokens: f64 = texts.iter().map(|p| p["tokens"].as_f64().unwrap()).sum();
    let mean = texts.iter().map(|p| p["kl"].as_f64().unwrap()).sum::<f64>() / tokens;
    assert!(texts.len() == 20 && (mean - kl[3]).abs() < 1e-6, "{mean} {}", kl[3]);
    assert!(
        !std::fs::read_dir(bench.path().join("out"))
            .unwrap()
            .any(|f| { f.unwrap().file_name().to_string_lossy().contains("logits") })
    );
}

#[test]
fn a_variant_alone_has_its_original_asked_first_and_another_vocabulary_is_refused() {
    let bench = Bench::new();
    job_with_texts(&bench, "[\"Q4\"]");
    let (code, stderr) = run(&bench, &["--out", "out", "--only", "m.2/kl"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(bench.case("m.2/kl").number("kl").unwrap() > 0.0);

    // A backend that does not show its logits.
    let text = std::fs::read_to_string(bench.path().join("job.toml")).unwrap();
    bench.write("job.toml", text.replacen("model = ", "params = { score = false }\nmodel = ", 1));
    let (code, stderr) = run(&bench, &["--out", "blind", "--only", "*/kl"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("unsupported") && stderr.contains("eb.logits/1"), "{stderr}");
}

#[test]
fn one_table_says_which_to_ship() {
    let bench = Bench::new();
    job_with_texts(&bench, "[\"Q8\", \"Q4\", \"Q2\"]");
    let out = bench
        .edgebench(&["run", "job.toml", "--out", "out", "--quiet"])
        .env("XDG_CACHE_HOME", bench.path().join("cache"))
        .output()
        .unwrap();
    let stdout = String::from_utf8(out.stdout).unwrap();
    assert!(stdout.contains("against the first") && stdout.contains("KL, nats/token"), "{stdout}");

    let shown = |format: &str| {
        let out = bench.edgebench(&["variants", "out", "--format", format]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    bench.write("variants.csv", shown("csv"));
    let rows = edgebench::results::read_cases(&bench.path().join("variants.csv")).unwrap();
    let names: Vec<&str> = rows.iter().map(|r| r.get("variant")).collect();
    assert_eq!(names, ["big.model", "Q8", "Q4", "Q2"]);
    // The figures are those of the records.
    let correct = |case: &str| -> std::collections::BTreeMap<String, bool> {
        let judged = bench.predictions().into_iter().filter(|p| p["case"] == case);
        judged.map(|p| (p["id"].as_str().unwrap().to_owned(), p["correct"] == true)).collect()
    };
    for (number, row) in rows.iter().enumerate().skip(1) {
        let (mut worse, mut better, mut n) = (0, 0, 0);
        for task in ["pick", "gen"] {
            let new = correct(&format!("m.{}/{task}", number + 1));
            for (id, before) in correct(&format!("m.1/{task}")) {
                n += 1;
                worse += u64::from(before && !new[&id]);
                better += u64::from(!before && new[&id]);
            }
        }
        assert_eq!(row.get("n"), n.to_string());
        assert_eq!((row.get("right_to_wrong"), row.get("wrong_to_right")), (&*worse.to_string(), &*better.to_string()));
        let change = 100.0 * (better as f64 - worse as f64) / n as f64;
        assert!((row.number("change_pp").unwrap() - change).abs() < 0.006, "{row:?}");
        assert!(row.number("change_pp_lo").unwrap() < change && change < row.number("change_pp_hi").unwrap());
        assert_eq!(row.number("kl"), bench.case(&format!("m.{}/kl", number + 1)).number("kl"));
    }
    let json: serde_json::Value = serde_json::from_str(&shown("json")).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 4);
    assert!(shown("md").starts_with("### m") && shown("md").contains("| variant"));
    let report = bench.out("report.html");
    assert!(report.contains("id=\"variants\"") && report.contains("Which variant"), "the report has it too");

    let out = bench.edgebench(&["variants", "nowhere"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
}
