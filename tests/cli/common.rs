//! A folder with a job in it, the mock backend, and readers for what a run leaves behind.

use assert_cmd::Command;
use edgebench::results::{CaseRow, read_cases};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The mock backend, compiled once per test run.
pub fn mock() -> &'static Path {
    static MOCK: OnceLock<PathBuf> = OnceLock::new();
    MOCK.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("libmock-{}.so", std::process::id()));
        compile(root(), &["-O2", "backends/mock/mock.c", "-o", path.to_str().unwrap(), "-lm", "-lpthread"]);
        path
    })
}

/// The source of the mock backend with one piece of it changed.
pub fn mock_source(old: &str, new: &str) -> String {
    let source = std::fs::read_to_string(root().join("backends/mock/mock.c")).unwrap();
    assert!(source.contains(old), "mock.c has changed, `{old}` is not there");
    source.replacen(old, new, 1)
}

/// Compiles a plugin as the header's readers do, in `folder`.
pub fn compile(folder: &Path, arguments: &[&str]) {
    let mut cc = std::process::Command::new("cc");
    cc.current_dir(folder).args(["-std=c99", "-shared", "-fPIC", "-I"]).arg(root().join("backends"));
    let out = cc.args(arguments).output().expect("a C compiler called cc");
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// A shared library that `cargo build --workspace` leaves beside the binary.
pub fn workspace_library(name: &str) -> PathBuf {
    let path = assert_cmd::cargo::cargo_bin("edgebench").with_file_name(format!("lib{name}.so"));
    assert!(path.exists(), "{} is missing: cargo build --release --workspace", path.display());
    path
}

/// A folder of its own for one test.
pub struct Bench {
    dir: TempDir,
}

impl Bench {
    pub fn new() -> Bench {
        Bench { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file, and gives its path.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Names of what is in the folder, in order.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Writes `job.toml` with one object on the mock backend and the given tasks; `params` is an inline table.
    pub fn mock_job(&self, head: &str, params: &str, tasks: &str) {
        let mock = mock().display();
        self.write(
            "job.toml",
            format!(
                "[job]\nname = \"t\"\n{head}\n[[object]]\nname = \"mock\"\nbackend = \"{mock}\"\nparams = {{ {params} }}\n{tasks}"
            ),
        );
    }

    /// The `edgebench` command, in this folder.
    pub fn edgebench(&self, arguments: &[&str]) -> Command {
        let mut command = Command::cargo_bin("edgebench").unwrap();
        command.current_dir(self.path()).args(arguments).env_remove("RUST_LOG").timeout(Duration::from_secs(120));
        command
    }

    /// Runs `job.toml` into `out`, and gives the exit code and stderr.
    pub fn run(&self) -> (i32, String) {
        let out = self.edgebench(&["run", "job.toml", "--out", "out"]).output().unwrap();
        (out.status.code().unwrap_or(-1), String::from_utf8(out.stderr).unwrap())
    }

    /// The rows of `out/cases.csv`.
    pub fn cases(&self) -> Vec<CaseRow> {
        read_cases(&self.path().join("out/cases.csv")).unwrap()
    }

    /// The row of one case.
    pub fn case(&self, id: &str) -> CaseRow {
        self.cases().into_iter().find(|r| r.get("case") == id).unwrap_or_else(|| panic!("no case {id}"))
    }

    /// A file of the run folder.
    pub fn out(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join("out").join(name)).unwrap()
    }

    /// The rows of a CSV file of the run folder, by column.
    pub fn rows(&self, name: &str) -> Vec<CaseRow> {
        read_cases(&self.path().join("out").join(name)).unwrap()
    }

    /// The objects of `out/predictions.jsonl`.
    pub fn predictions(&self) -> Vec<serde_json::Value> {
        self.out("predictions.jsonl").lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }
}

/// `n` questions with four options each, the answers going round.
pub fn choices(n: usize) -> String {
    (0..n)
        .map(|i| {
            let answer = ["A", "B", "C", "D"][i % 4];
            format!("{{\"id\":\"q{i}\",\"question\":\"What is {i}?\",\"choices\":[\"w\",\"x\",\"y\",\"z\"],\"answer\":\"{answer}\"}}\n")
        })
        .collect()
}

/// `n` questions with a free answer.
pub fn questions(n: usize) -> String {
    (0..n).map(|i| format!("{{\"id\":\"q{i}\",\"question\":\"What is {i}?\",\"answer\":\"{i}\"}}\n")).collect()
}

/// A `generate` task and a `choice` task over files that `Bench::write` is to make.
pub const GENERATE: &str = "[[task]]\nname = \"gen\"\ndataset = \"gen.jsonl\"\nmethod = \"generate\"\nmax_tokens = 8\n";
pub const CHOICE: &str = "[[task]]\nname = \"pick\"\ndataset = \"pick.jsonl\"\nmethod = \"choice\"\n";

/// Both tasks, and their files with 5 records each.
pub fn both_tasks(bench: &Bench) -> String {
    bench.write("gen.jsonl", questions(5));
    bench.write("pick.jsonl", choices(5));
    format!("{GENERATE}{CHOICE}")
}
