//! `report` through the binary, and its page in a browser.

use crate::board::Board;
use crate::browser::Browser;
use crate::common::{Bench, choices, mock, questions};
use predicates::prelude::*;
use serde_json::json;
use std::path::PathBuf;

/// What a model may say.
const HOSTILE: &str = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>";

/// A job of `objects` on a generate and a choice task; the first object answers [`HOSTILE`].
fn job(bench: &Bench, objects: usize) {
    let escaped = HOSTILE.replace('"', "\\\"");
    let object = |i: usize| {
        let text = if i == 0 { escaped.clone() } else { format!("{i}") };
        format!(
            "[[object]]\nname = \"o{i}\"\nbackend = \"{}\"\nparams = {{ seed = {}, text = \"{text}\", token_us = {} }}\n",
            mock().display(),
            i + 1,
            200 + 50 * i
        )
    };
    bench.write("gen.jsonl", questions(6).replace("What is 1?", "Is 1 < 2 & <b>bold</b>?"));
    bench.write("pick.jsonl", choices(24));
    let objects: String = (0..objects).map(object).collect();
    bench.write(
        "job.toml",
        format!(
            "[job]\nname = \"t\"\n{objects}[[task]]\nname = \"gen\"\ndataset = \"gen.jsonl\"\nmethod = \"generate\"\nmax_tokens = 64\n\
             [[task]]\nname = \"pick\"\ndataset = \"pick.jsonl\"\nmethod = \"choice\"\n[power]\nidle = \"100ms\"\n"
        ),
    );
}

/// Runs it on a board with heat, clocks and rails.
fn run(bench: &Bench) {
    let board = Board::fixture("jetson-orin");
    board.set("proc/stat", "cpu  1000 0 0 9000 0 0 0 0\n");
    board.set("proc/vmstat", "pswpin 0\npswpout 0\n");
    let mut command = bench.edgebench(&["run", "job.toml", "--out", "out", "--quiet", "--no-report"]);
    command.env("EDGEBENCH_SYSROOT", board.path()).assert().code(0);
}

fn report(bench: &Bench, arguments: &[&str]) -> String {
    let out = bench.edgebench(&[&["report", "out", "-o", "page.html"], arguments].concat()).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(String::from_utf8(out.stdout).unwrap(), "page.html\n");
    std::fs::read_to_string(bench.path().join("page.html")).unwrap()
}

#[test]
fn what_a_model_says_is_text_and_nothing_comes_from_elsewhere() {
    let bench = Bench::new();
    job(&bench, 2);
    run(&bench);
    let page = report(&bench, &[]);
    assert!(!page.contains("<script>alert") && !page.contains("<img src=x"), "escaped");
    assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("&lt;b&gt;bold"), "and there");
    assert_eq!(page.matches("<script>").count(), 1, "its own");
    let policy = page.split("Content-Security-Policy\" content=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && policy.contains("script-src 'sha256-"));
    assert!(!policy.contains("unsafe"));
    for load in ["src=\"http", "href=\"http", "url(", "@import", " style=\"", " onclick"] {
        assert!(!page.contains(load), "{load}");
    }
    assert!(page.contains("lang=\"en\"") && page.contains("On this board use"));
    assert!(page.contains("VDD_IN") && page.contains("What is 5?"), "energy and questions");
    let zh = report(&bench, &["--lang", "zh"]);
    assert!(zh.contains("lang=\"zh-CN\"") && zh.contains("在此开发板上建议使用") && !zh.contains("On this board use"));
}

#[test]
fn a_changed_dataset_or_a_torn_file_costs_only_its_part() {
    let bench = Bench::new();
    job(&bench, 1);
    run(&bench);
    bench.write("pick.jsonl", choices(25));
    let samples = bench.out("samples.csv");
    bench.write("out/samples.csv", format!("{samples}o0/gen,torn"));
    std::fs::remove_file(bench.path().join("out/telemetry.csv")).unwrap();
    let page = report(&bench, &[]);
    assert!(page.contains("samples.csv: "), "the torn line is told");
    assert!(!page.contains("What is 7?") && page.contains("What is 5?"), "questions of the dataset that is the same");
    std::fs::remove_file(bench.path().join("out/predictions.jsonl")).unwrap();
    assert!(report(&bench, &[]).contains("predictions.jsonl"));
    bench.edgebench(&["report", "none"]).assert().code(2).stderr(predicate::str::contains("give the folder of a run"));
    bench.edgebench(&["report"]).assert().code(2).stderr(predicate::str::contains("give the folders of runs"));
    bench.edgebench(&["report", "out", "--lang", "fr"]).assert().code(2).stderr(predicate::str::contains("en, zh"));
    bench
        .edgebench(&["report", "out", "-o", "none/page.html"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("cannot be written"));
}

#[test]
fn a_run_leaves_its_report_unless_told_not_to() {
    let bench = Bench::new();
    job(&bench, 1);
    for (arguments, written) in [(&["--no-report"][..], false), (&["--resume"], true)] {
        bench.edgebench(&["run", "job.toml", "--out", "out"]).args(arguments).assert().code(0);
        assert_eq!(bench.path().join("out/report.html").exists(), written, "{arguments:?}");
    }
    assert!(bench.out("report.html").contains("id=\"case-1\""));
}

#[test]
fn sixty_cases_are_one_page_of_two_megabytes_at_most() {
    let bench = Bench::new();
    job(&bench, 3);
    run(&bench);
    let runs: Vec<String> = (0..10).map(|i| format!("night-{i}")).collect();
    for run in &runs {
        copy(&bench, "out", run);
    }
    bench.edgebench(&["report", "-o", "page.html"]).args(&runs).assert().code(0);
    let page = std::fs::read_to_string(page(&bench)).unwrap();
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    assert_eq!(page.matches("id=\"case-").count(), 60);
    look(&bench, "60");
}

#[test]
fn in_a_browser_it_sorts_filters_and_fits_a_phone() {
    let bench = Bench::new();
    job(&bench, 3);
    run(&bench);
    report(&bench, &[]);
    let Some(mut browser) = Browser::start() else { return };
    browser.resize(1280, 900);
    browser.open(&page(&bench));
    let column =
        "[...document.querySelector('#leaderboard table').tBodies[0].rows].map(r => r.cells[1].textContent.trim())";
    let before = browser.value(column);
    let head = "document.querySelectorAll('#leaderboard thead button')[1]";
    browser.value(&format!("{head}.click()"));
    let mut sorted: Vec<String> = serde_json::from_value(before.clone()).unwrap();
    sorted.sort();
    assert_eq!(browser.value(column), json!(sorted));
    browser.value(&format!("{head}.click()"));
    sorted.reverse();
    assert_eq!(browser.value(column), json!(sorted));
    assert_eq!(browser.value(&format!("{head}.closest('th').getAttribute('aria-sort')")), "descending");

    let shown = "[...document.querySelectorAll('.record')].filter(r => !r.hidden).length";
    let all = browser.value(shown).as_u64().unwrap();
    let input = "document.querySelector('#filter input')";
    browser.value(&format!("{input}.value = 'bold'; {input}.dispatchEvent(new Event('input', {{ bubbles: true }}))"));
    assert_eq!((browser.value(shown), all > 1), (json!(1), true));

    let paper = "getComputedStyle(document.body).backgroundColor";
    let light = browser.value(paper);
    browser.value("document.getElementById('theme').click()");
    assert_ne!(browser.value(paper), light, "dark");
    assert_eq!(browser.value("location.hash = 'case-1'; document.getElementById('case-1').open"), json!(false));
    assert_eq!(
        browser.value("new Promise(done => setTimeout(() => done(document.getElementById('case-1').open), 100))"),
        json!(true)
    );

    for width in [360, 768, 1280] {
        browser.resize(width, 800);
        let page = browser.value("document.documentElement.scrollWidth");
        assert!(page.as_u64() <= Some(width.into()), "{page} pixels wide on {width}");
    }
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
    // That a complaint would be seen: the policy lets no other script in.
    browser
        .value("const s = document.createElement('script'); s.textContent = 'window.bad = 1'; document.body.append(s)");
    assert!(!browser.complaints().is_empty());
    assert!(browser.value("window.bad === undefined").as_bool().unwrap());
}

/// Copies a run's folder.
pub fn copy(bench: &Bench, from: &str, to: &str) {
    std::fs::create_dir(bench.path().join(to)).unwrap();
    for file in std::fs::read_dir(bench.path().join(from)).unwrap().flatten().filter(|f| f.path().is_file()) {
        std::fs::copy(file.path(), bench.path().join(to).join(file.file_name())).unwrap();
    }
}

fn page(bench: &Bench) -> PathBuf {
    bench.path().join("page.html")
}

/// Pictures of the page, where they are wanted.
fn look(bench: &Bench, name: &str) {
    if std::env::var_os("EDGEBENCH_SCREENSHOTS").is_none() {
        return;
    }
    let Some(mut browser) = Browser::start() else { return };
    for (kind, width, scheme, media) in [
        ("desktop", 1280, "light", ""),
        ("dark", 1280, "dark", ""),
        ("phone", 390, "light", ""),
        ("print", 800, "light", "print"),
    ] {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        browser.call("Emulation.setEmulatedMedia", json!({ "media": media, "features": features }));
        browser.resize(width, 900);
        browser.open(&page(bench));
        browser.screenshot(&format!("{name}-{kind}"));
    }
}
