//! The files of a run folder: their names, columns, and how numbers are written in them. Shared by those who
//! write results and those who read them; it must not know how anything was measured.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// One row per test case: the table that people read.
pub const CASES: &str = "cases.csv";
/// One row per record and pass.
pub const SAMPLES: &str = "samples.csv";
/// One object per record of the first pass.
pub const PREDICTIONS: &str = "predictions.jsonl";
/// One row per look of the sampler.
pub const TELEMETRY: &str = "telemetry.csv";
/// One row per window of a sustained case.
pub const SUSTAINED: &str = "sustained.csv";
/// One row per pass of a case under `server` or `multi-stream`, those of a search for a rate included.
pub const LOAD: &str = "load.csv";
/// One row per subject, group of subjects and all of a test case, where records have subjects.
pub const SUBJECTS: &str = "subjects.csv";
/// One row per step of a training, and one per validation.
pub const STEPS: &str = "steps.csv";
/// Folder of models that were trained and are kept.
pub const MODELS: &str = "models";
/// One row per suite and object instance.
pub const SUITES: &str = "suites.csv";
/// Calls and telemetry for Perfetto, with `run --trace`.
pub const TRACE: &str = "trace.json";
/// Of a watched training run: one row per checkpoint, and where things stand.
pub const CURVE: &str = "curve.csv";
pub const STATUS: &str = "status.json";
/// Pictures of all of it.
pub const REPORT: &str = "report.html";
/// What was run, on what, and when.
pub const MANIFEST: &str = "manifest.json";

/// Columns of samples.csv. `pass` 0 is the warm-up, whose rows count in no figure.
pub const SAMPLE_COLUMNS: &[&str] = &[
    "case",
    "id",
    "subject",
    "pass",
    "status",
    "correct",
    "score",
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "queue_ms",
    "ttft_ms",
    "decode_ms",
    "e2e_ms",
    "itl_p50_ms",
    "itl_max_ms",
    "retries",
];

/// Columns of sustained.csv.
pub const SUSTAINED_COLUMNS: &[&str] =
    &["case", "window", "t_s", "records", "records_s", "prefill_tok_s", "decode_tok_s", "temp_c", "freq_mhz"];

/// Columns of load.csv; latencies at the percentile of the task's limits.
pub const LOAD_COLUMNS: &[&str] = &[
    "case",
    "pass",
    "concurrency",
    "rate_s",
    "records",
    "failed",
    "records_s",
    "queue_ms",
    "ttft_ms",
    "itl_ms",
    "e2e_ms",
    "within_limits",
];

/// Columns of steps.csv. A validation has a row of its own, with the step before it and no `loss`.
pub const STEP_COLUMNS: &[&str] = &["case", "step", "epoch", "loss", "tokens", "t_ms", "val_loss"];

/// Columns of suites.csv.
pub const SUITE_COLUMNS: &[&str] = &[
    "suite", "object", "backend", "model", "params", "metric", "average", "score", "score_lo", "score_hi", "tasks",
    "missing",
];

const SUBJECT_HEAD: &[&str] =
    &["case", "level", "name", "average", "subjects", "n", "n_failed", "acc", "acc_lo", "acc_hi"];

/// Columns of subjects.csv, in order; `metrics` are the tasks' own, beyond `acc`.
pub fn subject_columns<'a>(metrics: &[&'a str]) -> Vec<&'a str> {
    let own = metrics.iter().filter(|m| !SUBJECT_HEAD.contains(m));
    SUBJECT_HEAD.iter().chain(own).copied().collect()
}

const CASE_HEAD: &[&str] = &[
    "case", "object", "backend", "model", "params", "task", "method", "scenario", "status", "reason", "valid",
    "warnings", "n", "n_failed", "acc", "acc_lo", "acc_hi",
];

const CASE_TAIL: &[&str] = &[
    "load_ms",
    "ttft_ms_p50",
    "ttft_ms_p95",
    "ttft_ms_p99",
    "itl_ms_p50",
    "itl_ms_p95",
    "itl_ms_p99",
    "e2e_ms_p50",
    "e2e_ms_p95",
    "e2e_ms_p99",
    "prefill_tok_s",
    "decode_tok_s",
    "output_tok_s",
    "records_s",
    "rss_peak_mib",
    "rss_avg_mib",
    "cpu_pct_prefill",
    "cpu_pct_decode",
    "bandwidth_util",
    "energy_j",
    "energy_j_net",
    "energy_j_per_token",
    "power_w_avg",
    "power_w_peak",
    "temp_c_max",
    "freq_mhz_min",
    "wall_s",
    "load_cold_ms",
    "energy_rail",
    "energy_j_err",
    "energy_load_j",
    "energy_prefill_j",
    "energy_decode_j",
    "energy_j_per_record",
    "energy_j_per_correct",
    "power_w_idle",
    "sustained_first",
    "sustained_last",
    "throttle_after_s",
    "evidence",
    "unextracted",
    "concurrency",
    "rate_s",
    "queue_ms_p50",
    "queue_ms_p95",
    "queue_ms_p99",
    "query_ms_p50",
    "query_ms_p95",
    "query_ms_p99",
    "within_limits",
    "scored_by",
    "retries",
    "adapter_ms",
    "paradigm",
    "model_bytes",
    "bits_per_weight",
    "kl_p99",
    "kl_max",
    "loss_first",
    "loss_last",
    "val_loss_first",
    "val_loss",
    "train_tok_s",
    "train_steps",
    "trained_weights",
    "acc_before",
    "acc_p",
];

/// Columns of cases.csv, in order; `metrics` are those of the tasks' own metrics.
pub fn case_columns<'a>(metrics: &[&'a str]) -> Vec<&'a str> {
    let own = metrics.iter().filter(|m| !CASE_HEAD.contains(m));
    CASE_HEAD.iter().chain(own).chain(CASE_TAIL).copied().collect()
}

/// How a test case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Ok,
    Failed,
    Crashed,
    Timeout,
    OutOfMemory,
    Unsupported,
    Interrupted,
}

impl Status {
    /// Its word in the CSV files.
    pub fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Failed => "failed",
            Status::Crashed => "crashed",
            Status::Timeout => "timeout",
            Status::OutOfMemory => "out-of-memory",
            Status::Unsupported => "unsupported",
            Status::Interrupted => "interrupted",
        }
    }
}

/// One row of cases.csv, by column name. A column that is not set is an empty field.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CaseRow {
    values: BTreeMap<String, String>,
}

impl CaseRow {
    pub fn set(&mut self, column: &str, value: impl Into<String>) {
        self.values.insert(column.to_owned(), value.into());
    }

    /// Writes a number with so many decimals; nothing when it was not measured or is not finite.
    pub fn set_number(&mut self, column: &str, value: Option<f64>, decimals: usize) {
        if let Some(value) = value.filter(|v| v.is_finite()) {
            self.set(column, format!("{value:.decimals$}"));
        }
    }

    /// The field as written; empty when it was not set.
    pub fn get(&self, column: &str) -> &str {
        self.values.get(column).map_or("", String::as_str)
    }

    /// The field as a number.
    pub fn number(&self, column: &str) -> Option<f64> {
        self.get(column).parse().ok()
    }

    /// The fields in the order of `columns`.
    pub fn fields<'a>(&'a self, columns: &'a [&str]) -> impl Iterator<Item = &'a str> {
        columns.iter().map(|c| self.get(c))
    }

    /// Columns that were set.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

/// Writes a file whole or not at all: whoever reads it meanwhile sees the one before.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let whole = File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    });
    whole.inspect_err(|_| drop(std::fs::remove_file(&part)))
}

/// The rows of a cases.csv.
pub fn read_cases(path: &Path) -> Result<Vec<CaseRow>, csv::Error> {
    let mut reader = csv::Reader::from_path(path)?;
    let columns = reader.headers()?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let mut row = CaseRow::default();
        for (column, value) in columns.iter().zip(&record?).filter(|(_, v)| !v.is_empty()) {
            row.set(column, value);
        }
        rows.push(row);
    }
    Ok(rows)
}
