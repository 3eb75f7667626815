//! Did it get worse? Two runs of the same tasks on the same board, case by case and record by record. A change counts
//! only if it is significant after correction for all tests *and* beyond its threshold. It must not know how a
//! result is printed.

mod print;
pub mod statistics;

pub use print::{Format, print};

use super::run_folder::{Run, Sample};
use crate::job::Gate;
use crate::results::{CaseRow, Status};
use statistics::{Flips, holm, paired_change};
use std::collections::BTreeMap;

/// Largest p, after Holm's correction, at which a change is significant.
const ALPHA: f64 = 0.05;

/// What became of one figure of one case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Not significant, or within the threshold.
    Same,
    Better,
    /// Significant and beyond the threshold.
    Worse,
}

/// One figure of one case in both runs.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Row {
    pub case: String,
    pub metric: &'static str,
    pub base: f64,
    pub new: f64,
    /// In percentage points (`acc`) or in % of the base.
    pub change: f64,
    pub unit: &'static str,
    /// 95 % interval of the change; `None` for figures that are one number per case.
    pub interval: Option<(f64, f64)>,
    /// After Holm's correction; `None` where nothing can be tested.
    pub p: Option<f64>,
    /// Changes up to here are let pass, in the unit of `change`; negative: a fall is what is bad.
    pub threshold: f64,
    pub outcome: Outcome,
}

/// Two runs put side by side.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Comparison {
    pub base: String,
    pub new: String,
    /// Why they cannot be compared; then nothing else counts.
    pub not_comparable: Vec<String>,
    /// What has changed beside the figures: models, versions.
    pub notes: Vec<String>,
    pub rows: Vec<Row>,
}

impl Comparison {
    /// Did some figure get worse?
    pub fn regressed(&self) -> bool {
        self.rows.iter().any(|r| r.outcome == Outcome::Worse)
    }
}

/// Compares. The error is a file that cannot be read.
pub fn compare(base: &Run, new: &Run, gate: &Gate) -> Result<Comparison, String> {
    let mut comparison = Comparison {
        base: base.folder.display().to_string(),
        new: new.folder.display().to_string(),
        not_comparable: unlike(base, new),
        notes: notes(base, new),
        rows: Vec::new(),
    };
    if !comparison.not_comparable.is_empty() {
        return Ok(comparison);
    }
    let (base_samples, new_samples) = (base.samples()?, new.samples()?);
    let none = BTreeMap::new();
    for (a, b) in pairs(base, new) {
        let case = a.get("case");
        let pairs = paired(base_samples.get(case).unwrap_or(&none), new_samples.get(case).unwrap_or(&none));
        comparison.rows.extend(rows(a, b, &pairs, gate));
    }
    let tested: Vec<usize> = (0..comparison.rows.len()).filter(|i| comparison.rows[*i].p.is_some()).collect();
    let p: Vec<f64> = tested.iter().filter_map(|i| comparison.rows[*i].p).collect();
    for (i, p) in tested.into_iter().zip(holm(&p)) {
        comparison.rows[i].p = Some(p);
    }
    for row in &mut comparison.rows {
        row.outcome = outcome(row, gate);
    }
    Ok(comparison)
}

/// Cases of `base` with those of the same name in `new`.
fn pairs<'r>(base: &'r Run, new: &'r Run) -> impl Iterator<Item = (&'r CaseRow, &'r CaseRow)> {
    base.rows.iter().filter_map(|a| Some((a, new.rows.iter().find(|b| b.get("case") == a.get("case"))?)))
}

/// Everything that keeps two runs from being compared.
fn unlike(base: &Run, new: &Run) -> Vec<String> {
    let mut reasons = Vec::new();
    for ((what, a), (_, b)) in base.fingerprint().into_iter().zip(new.fingerprint()) {
        if a != b {
            reasons.push(format!("another {what}: {a} and {b}"));
        }
    }
    for (path, hash) in &base.manifest.datasets {
        match new.manifest.datasets.get(path) {
            Some(other) if other == hash => {}
            Some(_) => reasons.push(format!("the dataset {path} has changed")),
            // The folder may have moved; the same bytes are the same data.
            None if new.manifest.datasets.values().any(|h| h == hash) => {}
            None => reasons.push(format!("the dataset {path} is not in the new run")),
        }
    }
    for (run, name) in [(base, "base"), (new, "new")] {
        if run.manifest.end.is_none() {
            reasons.push(format!("the {name} run has not come to its end: edgebench run --resume"));
        }
    }
    for row in &base.rows {
        let case = row.get("case");
        match new.rows.iter().find(|r| r.get("case") == case) {
            None => reasons.push(format!("{case}: missing in the new run")),
            Some(other) => {
                let scored_by = [row, other].map(|r| r.get("scored_by"));
                if scored_by[0] != scored_by[1] {
                    reasons.push(format!("{case}: scored by {} and by {}", scored_by[0], scored_by[1]));
                }
                for (row, name) in [(row, "base"), (other, "new")] {
                    if row.get("status") != Status::Ok.name() {
                        reasons.push(format!("{case}: {} in the {name} run: {}", row.get("status"), row.get("reason")));
                    } else if row.get("valid") == "no" {
                        reasons.push(format!("{case}: not valid in the {name} run: {}", row.get("evidence")));
                    }
                }
            }
        }
    }
    reasons
}

/// Changes that may be the reason for others.
fn notes(base: &Run, new: &Run) -> Vec<String> {
    let mut notes = Vec::new();
    let (a, b) = (&base.manifest, &new.manifest);
    if a.edgebench != b.edgebench {
        notes.push(format!("edgebench {} and {}", a.edgebench, b.edgebench));
    }
    for (path, hash) in &a.models {
        if b.models.get(path).is_some_and(|other| other != hash) {
            notes.push(format!("the model {path} has changed"));
        }
    }
    if a.job_text != b.job_text {
        notes.push("the job has changed".to_owned());
    }
    notes
}

/// Samples of the records that both runs answered.
fn paired<'s>(a: &'s BTreeMap<String, Sample>, b: &'s BTreeMap<String, Sample>) -> Vec<(&'s Sample, &'s Sample)> {
    a.iter().filter_map(|(id, a)| Some((a, b.get(id)?))).collect()
}

fn rows(a: &CaseRow, b: &CaseRow, pairs: &[(&Sample, &Sample)], gate: &Gate) -> Vec<Row> {
    let mut rows = Vec::new();
    let flips = Flips::of(pairs.iter().filter_map(|(a, b)| Some((a.correct?, b.correct?))));
    let mut add = |metric, base, new, change, unit, interval, p| {
        let threshold = gate.threshold(metric);
        let case = a.get("case").to_owned();
        rows.push(Row { case, metric, base, new, change, unit, interval, p, threshold, outcome: Outcome::Same });
    };
    if flips.n > 0 && a.number("acc").is_some() {
        let share = |right: u64| right as f64 / flips.n as f64;
        let (base, new) = (share(flips.base_right), share(flips.new_right));
        add("acc", base, new, flips.points(), "pp", Some(flips.interval()), Some(flips.p()));
    }
    type Get = fn(&Sample) -> Option<f64>;
    let timed: [(&str, &str, Get); 3] = [
        ("ttft_ms", "ttft_ms_p50", |s| s.ttft_ms),
        ("e2e_ms", "e2e_ms_p50", |s| s.e2e_ms),
        ("decode_tok_s", "decode_tok_s", |s| s.decode_tok_s),
    ];
    for (metric, column, get) in timed {
        let pairs: Vec<(f64, f64)> = pairs.iter().filter_map(|(a, b)| Some((get(a)?, get(b)?))).collect();
        if let (Some(change), Some(x), Some(y)) = (paired_change(&pairs), a.number(column), b.number(column)) {
            add(metric, x, y, change.percent, "%", Some((change.lo, change.hi)), Some(change.p));
        }
    }
    for metric in ["prefill_tok_s", "load_ms", "rss_peak_mib", "energy_j_per_token", "energy_j_per_record"] {
        if let (Some(x), Some(y)) = (a.number(metric), b.number(metric))
            && x > 0.0
        {
            add(metric, x, y, 100.0 * (y - x) / x, "%", None, None);
        }
    }
    rows
}

/// Figures that cannot be tested (one number per case) count only when the job sets a threshold for them.
fn outcome(row: &Row, gate: &Gate) -> Outcome {
    let significant = row.p.map_or(gate.names(row.metric), |p| p < ALPHA);
    let bad = if row.threshold < 0.0 { row.change < row.threshold } else { row.change > row.threshold };
    let good = if row.threshold < 0.0 { row.change > -row.threshold } else { row.change < -row.threshold };
    match (significant, bad, good) {
        (true, true, _) => Outcome::Worse,
        (true, _, true) => Outcome::Better,
        _ => Outcome::Same,
    }
}
