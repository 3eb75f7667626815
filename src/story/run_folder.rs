//! A run folder read back: the board and job of its manifest, rows, samples, predictions. It must not know what is made
//! of them.

use crate::results::{CASES, CaseRow, MANIFEST, PREDICTIONS, SAMPLES, read_cases};
use crate::sense::board::Board;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// What is needed of manifest.json.
#[derive(Debug, Clone, Deserialize)]
pub struct Manifest {
    pub edgebench: String,
    pub job: String,
    #[serde(default)]
    pub job_path: String,
    pub job_text: String,
    pub board: Board,
    pub models: BTreeMap<String, Hash>,
    pub datasets: BTreeMap<String, Hash>,
    /// Object instance → what its backend said it loaded.
    #[serde(default)]
    pub instances: BTreeMap<String, Loaded>,
    pub start: String,
    pub end: Option<String>,
}

/// What is needed of what a backend said. Unknown: 0 and empty.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Loaded {
    pub architecture: String,
    pub n_weights: u64,
    pub kv_bytes: u64,
}

/// Identity of a file.
#[derive(Debug, Clone, Deserialize, PartialEq)]
pub struct Hash {
    pub sha256: String,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Run {
    pub folder: PathBuf,
    pub manifest: Manifest,
    pub rows: Vec<CaseRow>,
}

/// An answered record, all its timed passes together. Times in ms.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Of the first pass; `None` where it was not judged.
    pub correct: Option<bool>,
    /// Of the first pass: log-likelihood of the right option or of the text; 1 or 0 for what was generated.
    pub score: Option<f64>,
    pub ttft_ms: Option<f64>,
    pub e2e_ms: Option<f64>,
    /// New tokens after the first, per second.
    pub decode_tok_s: Option<f64>,
}

impl Run {
    /// Reads manifest and rows. The error is a sentence with the path.
    pub fn read(folder: &Path) -> Result<Run, String> {
        let at = |name: &str, e: &dyn std::fmt::Display| format!("{}: {e}", folder.join(name).display());
        let file =
            File::open(folder.join(MANIFEST)).map_err(|e| format!("{}; give the folder of a run", at(MANIFEST, &e)))?;
        let manifest = serde_json::from_reader(BufReader::new(file)).map_err(|e| at(MANIFEST, &e))?;
        let rows = read_cases(&folder.join(CASES)).map_err(|e| at(CASES, &e))?;
        Ok(Run { folder: folder.to_path_buf(), manifest, rows })
    }

    /// What has to be equal before figures of two runs may be put side by side.
    pub fn fingerprint(&self) -> [(&'static str, String); 6] {
        let b = &self.manifest.board;
        [
            ("board", b.model.clone()),
            ("processor", format!("{} × {}", b.cores, b.cpu)),
            ("memory", format!("{} MiB", b.memory_mib)),
            ("kernel", b.kernel.clone()),
            ("architecture", b.arch.clone()),
            ("governor", b.governor.clone()),
        ]
    }

    /// Case → record's id → sample, from samples.csv: means over the timed passes.
    pub fn samples(&self) -> Result<BTreeMap<String, BTreeMap<String, Sample>>, String> {
        let path = self.folder.join(SAMPLES);
        let error = |e: csv::Error| format!("{}: {e}", path.display());
        let mut reader = csv::Reader::from_path(&path).map_err(error)?;
        let columns = reader.headers().map_err(error)?.clone();
        let place = |name: &str| columns.iter().position(|c| c == name);
        let places =
            ["case", "id", "pass", "status", "correct", "ttft_ms", "e2e_ms", "decode_ms", "output_tokens", "score"];
        let places: Vec<usize> = places
            .iter()
            .map(|name| place(name).ok_or_else(|| format!("{}: the column {name} is missing", path.display())))
            .collect::<Result<_, _>>()?;
        let mut sums: BTreeMap<String, BTreeMap<String, Sums>> = BTreeMap::new();
        for record in reader.records() {
            let record = record.map_err(error)?;
            let field = |i: usize| record.get(places[i]).unwrap_or_default();
            if field(2) == "0" {
                continue;
            }
            let sums = sums.entry(field(0).to_owned()).or_default().entry(field(1).to_owned()).or_default();
            if field(2) == "1" {
                sums.correct = Some(field(4) == "1");
                sums.score = field(9).parse().ok();
            }
            if field(3) == "ok" {
                let number = |i: usize| field(i).parse::<f64>().ok();
                let rate = || {
                    let (ms, tokens) = (number(7)?, number(8)?);
                    (ms > 0.0 && tokens > 1.0).then(|| (tokens - 1.0) * 1e3 / ms)
                };
                for (sum, value) in sums.values.iter_mut().zip([number(5), number(6), rate()]) {
                    *sum = value.map_or(*sum, |v| (sum.0 + v, sum.1 + 1));
                }
            }
        }
        let mean = |(sum, n): (f64, u32)| (n > 0).then(|| sum / f64::from(n));
        let sample = |s: Sums| Sample {
            correct: s.correct,
            score: s.score,
            ttft_ms: mean(s.values[0]),
            e2e_ms: mean(s.values[1]),
            decode_tok_s: mean(s.values[2]),
        };
        let case = |records: BTreeMap<String, Sums>| records.into_iter().map(|(id, s)| (id, sample(s))).collect();
        Ok(sums.into_iter().map(|(name, records)| (name, case(records))).collect())
    }

    /// Calls `each` with every line of predictions.jsonl that was judged wrong; the others are not parsed.
    pub fn wrong_predictions(&self, mut each: impl FnMut(serde_json::Value)) -> Result<(), String> {
        let path = self.folder.join(PREDICTIONS);
        let file = File::open(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|e| format!("{}:{}: {e}", path.display(), number + 1))?;
            // As a run writes it. Within a text the quotes would be escaped.
            if line.contains("\"correct\":false") {
                each(serde_json::from_str(&line).map_err(|e| format!("{}:{}: {e}", path.display(), number + 1))?);
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    correct: Option<bool>,
    score: Option<f64>,
    /// TTFT, end to end, decode speed: sum and number.
    values: [(f64, u32); 3],
}
