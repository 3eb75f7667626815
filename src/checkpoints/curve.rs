//! What is kept of each checkpoint: curve.csv, a row each, and status.json, which tells a trainer where things stand. It
//! must not know how a checkpoint is judged.

use super::find::Candidate;
use crate::results::write_whole;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

pub const CURVE: &str = "curve.csv";
pub const STATUS: &str = "status.json";

/// A row of curve.csv.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// When it was judged, UTC.
    pub time: String,
    pub checkpoint: String,
    pub step: Option<u64>,
    /// `ok`, or why there is no value: a status of cases.csv, `not-converted`, `changed`, `gone`.
    pub status: String,
    pub reason: String,
    pub metric: String,
    /// Mean over the cases, with its 95 % interval.
    pub value: Option<f64>,
    pub lo: Option<f64>,
    pub hi: Option<f64>,
    /// Records that were judged.
    pub n: u64,
    /// `first`, `better`, `same` or `worse` than the reference, the last one that was significantly better.
    pub verdict: String,
    pub reference: String,
    /// Of the paired test against the reference.
    pub p: Option<f64>,
    /// Is it what best.gguf holds from now on?
    pub best: bool,
    pub decode_tok_s: Option<f64>,
    pub ttft_ms_p50: Option<f64>,
    pub rss_peak_mib: Option<f64>,
    pub energy_j_per_token: Option<f64>,
    pub seconds: f64,
    /// Size and time of the checkpoint, by which it is known again.
    pub bytes: u64,
    pub modified_ns: i64,
}

impl Point {
    /// Is it about this very state of the checkpoint?
    pub fn is_of(&self, candidate: &Candidate) -> bool {
        (self.checkpoint.as_str(), self.bytes, self.modified_ns)
            == (&candidate.name, candidate.print.bytes, candidate.print.modified_ns)
    }
}

/// All rows of the folder's curve; a last line that was cut off is left out, and cut off.
pub fn read(folder: &Path) -> io::Result<Vec<Point>> {
    let path = folder.join(CURVE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    if whole < text.len() {
        OpenOptions::new().write(true).open(&path)?.set_len(whole as u64)?;
    }
    csv::Reader::from_reader(&text[..whole]).deserialize().collect::<Result<_, _>>().map_err(io::Error::other)
}

/// Adds a row, on the disk when this returns.
pub fn append(folder: &Path, point: &Point) -> io::Result<()> {
    let path = folder.join(CURVE);
    let is_new = fs::metadata(&path).map_or(true, |meta| meta.len() == 0);
    let mut writer = csv::WriterBuilder::new().has_headers(is_new).from_writer(Vec::new());
    writer.serialize(point).map_err(io::Error::other)?;
    let row = writer.into_inner().map_err(|e| io::Error::other(e.to_string()))?;
    let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
    file.write_all(&row)?;
    file.sync_data()
}

/// Where things stand.
#[derive(Debug, Serialize)]
pub struct Status<'a> {
    /// `waiting`, `evaluating`, `plateau` or `ended`.
    pub state: &'a str,
    /// May the training stop?
    pub stop: bool,
    pub checkpoint: Option<&'a str>,
    pub best: Option<&'a Point>,
    pub last: Option<&'a Point>,
    /// Checkpoints in a row without a significant gain.
    pub without_gain: u32,
    pub time: String,
}

/// Writes status.json in one step: a reader sees the old one or the new one.
pub fn write_status(folder: &Path, status: &Status) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(status)?;
    text.push(b'\n');
    write_whole(&folder.join(STATUS), &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_read_as_it_was_written_and_a_torn_line_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), []);
        let point = Point { checkpoint: "a,\"b\".gguf".into(), step: Some(3), value: Some(0.5), ..Point::default() };
        append(folder.path(), &point).unwrap();
        append(folder.path(), &Point { step: None, ..point.clone() }).unwrap();
        let whole = fs::read(folder.path().join(CURVE)).unwrap();
        fs::write(folder.path().join(CURVE), [&whole[..], b"2026,torn"].concat()).unwrap();
        assert_eq!(read(folder.path()).unwrap(), [point.clone(), Point { step: None, ..point }]);
        assert_eq!(fs::read(folder.path().join(CURVE)).unwrap(), whole);
    }
}
