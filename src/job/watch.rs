//! `[watch]` of the job file: which checkpoints of a training run are judged, by what, and what follows from it. It must
//! not know how checkpoints are found.

use super::Metric;
use super::read::word;
use super::toml::Table;
use std::time::Duration;

/// The model of an object that stands for each checkpoint in turn.
pub const CHECKPOINT: &str = "@checkpoint";

/// How a training run is followed.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// Names of checkpoints in the watched folder.
    pub pattern: String,
    /// Shell command that makes a GGUF `{out}` of a checkpoint `{in}`.
    pub convert: Option<String>,
    /// The column of cases.csv that tells which checkpoint is better.
    pub metric: Metric,
    /// Most time for one checkpoint; what is not asked by then is left out.
    pub budget: Option<Duration>,
    /// A checkpoint is taken when it has not changed for so long.
    pub settle: Duration,
    /// So many checkpoints in a row without a significant gain are a plateau; 0: none is.
    pub patience: u32,
    /// Niceness of the evaluation, 0 to 19.
    pub nice: i32,
    /// CPUs that it may use, such as `2-3`.
    pub cpus: Option<Vec<usize>>,
    /// Shell commands.
    pub on_best: Option<String>,
    pub on_regression: Option<String>,
    pub on_plateau: Option<String>,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch {
            pattern: "*.gguf".to_owned(),
            convert: None,
            metric: Metric::Acc,
            budget: None,
            settle: Duration::from_secs(5),
            patience: 3,
            nice: 0,
            cpus: None,
            on_best: None,
            on_regression: None,
            on_plateau: None,
        }
    }
}

/// Reads the section.
pub fn read(mut table: Table) -> Watch {
    let mut watch = Watch::default();
    if let Some(pattern) = table.get("pattern").and_then(|v| v.name()) {
        watch.pattern = pattern.to_owned();
    }
    if let Some(metric) = table.get("metric").and_then(|v| word(&v, Metric::ALL)) {
        watch.metric = metric;
    }
    watch.budget = table.get("budget").and_then(|v| v.duration());
    if let Some(settle) = table.get("settle").and_then(|v| v.duration()) {
        watch.settle = settle;
    }
    if let Some(patience) = table.get("patience").and_then(|v| v.integer(0, 1000)) {
        watch.patience = patience as u32;
    }
    if let Some(nice) = table.get("nice").and_then(|v| v.integer(0, 19)) {
        watch.nice = nice as i32;
    }
    if let Some(value) = table.get("cpus") {
        watch.cpus = value.name().and_then(cpus);
        if watch.cpus.is_none() {
            value.problem("`cpus` is no list of CPUs", "write \"2-3\" or \"0,2\"");
        }
    }
    if let Some(value) = table.get("convert") {
        watch.convert = value.name().map(str::to_owned);
        if watch.convert.as_ref().is_some_and(|c| !c.contains("{in}") || !c.contains("{out}")) {
            value.problem("`convert` lacks {in} or {out}", "write both: \"python3 convert.py {in} --outfile {out}\"");
        }
    }
    watch.on_best = table.get("on_best").and_then(|v| v.name()).map(str::to_owned);
    watch.on_regression = table.get("on_regression").and_then(|v| v.name()).map(str::to_owned);
    watch.on_plateau = table.get("on_plateau").and_then(|v| v.name()).map(str::to_owned);
    table.finish();
    watch
}

/// `0,2-3` as 0, 2, 3.
fn cpus(text: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (usize, usize) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        if from > to || to > 1023 {
            return None;
        }
        all.extend(from..=to);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    #[test]
    fn lists_of_cpus() {
        assert_eq!(super::cpus("0,2-3"), Some(vec![0, 2, 3]));
        assert_eq!((super::cpus("3-2"), super::cpus(""), super::cpus("a")), (None, None, None));
    }
}
