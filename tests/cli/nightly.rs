//! `scripts/nightly`: whole nights as cron has them, with a planted regression, under the shells of desktops and of boards.

use crate::board::Board;
use crate::common::{Bench, mock, root};
use crate::disk::machine;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder with a job whose object says `answer` to 30 questions; right is `x`.
struct Nights {
    bench: Bench,
    board: Board,
    shell: Vec<String>,
    path: String,
}

impl Nights {
    fn new() -> Nights {
        let nights = Nights {
            bench: Bench::new(),
            board: Board::fixture("rk3588"),
            shell: vec!["sh".to_owned()],
            path: std::env::var("PATH").unwrap(),
        };
        nights.board.set("proc/stat", "cpu  1000 0 0 9000 0 0 0 0\n");
        nights.questions(30);
        nights.answer("x", 2000);
        nights
    }

    /// The same where there is BusyBox and nothing else.
    fn on_busybox() -> Option<Nights> {
        let mut nights = Nights::new();
        let busybox = std::env::split_paths(&nights.path).map(|f| f.join("busybox")).find(|f| f.exists())?;
        let applets = nights.bench.path().join("bin");
        std::fs::create_dir(&applets).unwrap();
        assert!(Command::new(&busybox).args(["--install", "-s"]).arg(&applets).status().unwrap().success());
        nights.path = applets.display().to_string();
        nights.shell = vec![busybox.display().to_string(), "sh".to_owned()];
        Some(nights)
    }

    fn questions(&self, n: usize) {
        let line = |i| format!("{{\"id\":\"q{i}\",\"question\":\"What is {i}?\",\"answer\":\"x\"}}\n");
        self.bench.write("gen.jsonl", (0..n).map(line).collect::<String>());
    }

    fn answer(&self, answer: &str, token_us: u32) {
        let mock = mock().display();
        // A machine that is busy with other tests is slower by chance.
        self.bench.write(
            "job.toml",
            format!(
                "[job]\nname = \"j\"\n[[object]]\nname = \"m\"\nbackend = \"{mock}\"\n\
                 params = {{ text = \"{answer}\\nabcd\", token_us = {token_us} }}\n\
                 [[task]]\nname = \"t\"\ndataset = \"gen.jsonl\"\nmethod = \"generate\"\nmax_tokens = 6\n\
                 [gate]\nttft_ms = \"900 %\"\ne2e_ms = \"900 %\"\ndecode_tok_s = \"-99 %\"\n"
            ),
        );
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.shell[0]);
        command
            .args(&self.shell[1..])
            .arg(root().join("scripts/nightly"))
            .args(arguments)
            .current_dir(self.bench.path())
            .env("PATH", &self.path)
            .env("EDGEBENCH", assert_cmd::cargo::cargo_bin("edgebench"))
            .env("EDGEBENCH_SYSROOT", self.board.path())
            .env_remove("RUST_LOG");
        command
    }

    /// One night; exit code, stdout, stderr.
    fn night(&self) -> (i32, String, String) {
        told(self.command(&["--keep", "3", "--prom", ".", "job.toml", "nights"]).output().unwrap())
    }

    /// The folder that a link in `nights` points to.
    fn link(&self, name: &str) -> PathBuf {
        std::fs::read_link(self.bench.path().join("nights").join(name)).unwrap()
    }

    fn file(&self, path: impl AsRef<Path>) -> String {
        std::fs::read_to_string(self.bench.path().join(&path))
            .unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
    }

    /// Runs that are there, without links.
    fn runs(&self) -> usize {
        let entries = std::fs::read_dir(self.bench.path().join("nights")).unwrap().flatten();
        entries.filter(|e| e.file_type().unwrap().is_dir()).count()
    }

    /// Starts a night, and waits until its tables are there.
    fn start(&self) -> std::process::Child {
        let child = self.command(&["job.toml", "nights"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let running = self.bench.path().join("nights/running");
        let there = || ["cases.csv", "samples.csv", "manifest.json"].iter().all(|name| running.join(name).exists());
        let until = Instant::now() + Duration::from_secs(60);
        while !there() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        child
    }

    /// The process that measures.
    fn edgebench(&self) -> u32 {
        let command = |p: &str| std::fs::read_to_string(format!("/proc/{p}/cmdline")).unwrap_or_default();
        let here = |p: &str| std::fs::read_link(format!("/proc/{p}/cwd")).is_ok_and(|cwd| cwd == self.bench.path());
        let mut processes = std::fs::read_dir("/proc").unwrap().flatten().map(|p| p.file_name());
        let found = processes.find_map(|p| {
            let p = p.to_str()?;
            (here(p) && command(p).contains("edgebench\0run")).then(|| p.parse().unwrap())
        });
        found.expect("a running edgebench")
    }
}

fn told(out: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

#[test]
fn a_week_with_a_planted_regression() {
    a_week(Nights::new());
}

#[test]
fn a_week_on_busybox() {
    match Nights::on_busybox() {
        Some(nights) => a_week(nights),
        None => println!("skipped: busybox is not installed"),
    }
}

fn a_week(nights: Nights) {
    let (code, out, err) = nights.night();
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let monday = nights.link("latest");
    assert_eq!(nights.link("last-good"), monday);
    assert!(nights.file("edgebench-nights.prom").contains("edgebench_accuracy_ratio{job=\"j\",case=\"m/t\"} 1\n"));

    let (code, out, err) = nights.night();
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("no regression"), "{out}");
    let tuesday = nights.link("latest");
    assert!(tuesday != monday && nights.link("last-good") == tuesday);
    assert!(nights.file("edgebench-nights-compare.prom").contains("edgebench_compare_regressions{job=\"j\"} 0\n"));

    nights.answer("y", 2000);
    let (code, _, err) = nights.night();
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("REGRESSION") && err.contains("-100.0 pp"), "{err}");
    let wednesday = nights.link("latest");
    assert_eq!(nights.link("last-good"), tuesday, "what got worse is no base");
    let of_wednesday = |file: &str| nights.file(Path::new("nights").join(&wednesday).join(file));
    assert!(of_wednesday("compare.md").contains("| ✗") && of_wednesday("compare.xml").contains("<failure"));
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&of_wednesday("compare.json")).unwrap()["rows"][0]["change"],
        -100.0
    );
    let prom = nights.file("edgebench-nights-compare.prom");
    assert!(prom.contains("edgebench_compare_change_ratio{job=\"j\",case=\"m/t\",metric=\"acc\"} -1\n"), "{prom}");
    assert!(prom.contains("edgebench_compare_worse{job=\"j\",case=\"m/t\",metric=\"acc\"} 1\n"), "{prom}");

    nights.answer("x", 2000);
    assert_eq!(nights.night().0, 0, "it was mended");
    let thursday = nights.link("last-good");
    assert_eq!(nights.runs(), 3);
    assert!(!nights.bench.path().join("nights").join(&monday).exists(), "the oldest is gone");

    nights.questions(31);
    let (code, _, err) = nights.night();
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("not comparable") && err.contains("gen.jsonl has changed"), "{err}");
    assert_eq!(nights.link("last-good"), thursday);
    let (code, out, _) = told(nights.command(&["--accept", "nights"]).output().unwrap());
    assert_eq!((code, nights.link("last-good")), (0, nights.link("latest")), "{out}");
    assert_eq!(nights.night().0, 0, "the new data is the base now");
    assert_eq!(nights.runs(), 3);
}

#[test]
fn two_crons_do_not_collide() {
    let nights = Nights::new();
    nights.answer("x", 20000);
    let mut first = nights.start();
    let holder = nights.edgebench();
    let (code, _, err) = nights.night();
    assert_eq!(code, 3, "{err}");
    assert!(err.contains(&format!("process {holder} (")) && err.contains("is writing into it"), "{err}");
    assert_eq!(first.wait().unwrap().code(), Some(0), "the first is not disturbed");
    assert_eq!(nights.runs(), 1);
}

#[test]
fn a_night_that_was_cut_short_goes_on_and_one_that_cannot_is_set_aside() {
    let nights = Nights::new();
    nights.answer("x", 20000);
    let kill = || {
        let mut night = nights.start();
        let pid = rustix::process::Pid::from_raw(nights.edgebench() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        assert_eq!(night.wait().unwrap().code(), Some(137));
    };
    kill();
    let (code, _, err) = nights.night();
    assert_eq!((code, err.as_str()), (0, ""));
    let manifest = || nights.file(Path::new("nights").join(nights.link("latest")).join("manifest.json"));
    let resumed =
        |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap()["resumed"].as_array().unwrap().len();
    assert_eq!(resumed(manifest()), 1);
    kill();
    nights.answer("x", 2000);
    let (code, _, err) = nights.night();
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("-unfinished stays as it is"), "{err}");
    assert_eq!((resumed(manifest()), nights.runs()), (0, 3));
}

#[test]
fn a_clock_that_was_set_back_takes_no_new_run_for_an_old_one() {
    let nights = Nights::new();
    for _ in 0..3 {
        assert_eq!(nights.night().0, 0);
    }
    let before = nights.link("latest");
    let mut night = nights.command(&["--keep", "2", "job.toml", "nights"]);
    night.env("LD_PRELOAD", machine()).env("CLOCK_BACK_S", "300000000");
    let (code, _, err) = told(night.output().unwrap());
    assert_eq!((code, err.as_str()), (0, ""));
    let latest = nights.link("latest");
    assert!(latest < before, "{latest:?} has a name before {before:?}");
    assert_eq!(nights.link("last-good"), latest);
    assert_eq!(nights.runs(), 2, "the two that were measured last");
    assert!(nights.bench.path().join("nights").join(before).exists());
}

#[test]
fn what_cannot_be_used_is_told() {
    let nights = Nights::new();
    let refused = |arguments: &[&str], words: &str, wanted: i32| {
        let (code, _, err) = told(nights.command(arguments).output().unwrap());
        assert!(code == wanted && err.contains(words), "{arguments:?}: {code}: {err}");
    };
    refused(&[], "nightly [--keep N]", 2);
    refused(&["--keep", "some", "job.toml", "nights"], "give a number", 2);
    refused(&["--accept", "nights"], "there is no latest run", 2);
    refused(&["none.toml", "nights"], "none.toml", 2);
    nights.bench.write("file", "");
    refused(&["job.toml", "file/nights"], "Not a directory", 3);
    let out = nights.command(&["job.toml", "nights"]).env("EDGEBENCH", "/none/edgebench").output().unwrap();
    assert_eq!(told(out).0, 3);
}
