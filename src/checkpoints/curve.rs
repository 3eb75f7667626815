//! What is kept of each checkpoint: curve.csv, a row each, and status.json, which tells a trainer where things stand. It
//! must not know how a checkpoint is judged.

use super::find::Candidate;
use crate::results::{CURVE, STATUS, write_whole};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// A row of curve.csv.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
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
    /// Its folder below runs/.
    pub run: String,
    /// Of texts, beside the metric; mean over the cases that have it, with its 95 % interval.
    pub perplexity: Option<f64>,
    pub perplexity_lo: Option<f64>,
    pub perplexity_hi: Option<f64>,
    /// Worst of its cases, and all their warnings: are speed, memory and energy the board's?
    pub valid: String,
    pub warnings: String,
    pub prefill_tok_s: Option<f64>,
    pub decode_tok_s: Option<f64>,
    /// 95 % interval of the mean over its records.
    pub decode_tok_s_lo: Option<f64>,
    pub decode_tok_s_hi: Option<f64>,
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

/// All rows of the folder's curve; a last line that was cut off is left out, and cut off. One with other columns is
/// written anew, so that more rows fit it.
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
    let mut reader = csv::Reader::from_reader(&text[..whole]);
    let points: Vec<Point> = reader.deserialize().collect::<Result<_, _>>().map_err(io::Error::other)?;
    let again = rows(&points, true)?;
    let head = |text: &[u8]| text.split(|b| *b == b'\n').next().map(<[u8]>::to_vec);
    if !points.is_empty() && head(&again) != head(&text) {
        write_whole(&path, &again)?;
    }
    Ok(points)
}

fn rows(points: &[Point], head: bool) -> io::Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new().has_headers(head).from_writer(Vec::new());
    points.iter().try_for_each(|point| writer.serialize(point)).map_err(io::Error::other)?;
    writer.into_inner().map_err(|e| io::Error::other(e.to_string()))
}

/// Adds a row, on the disk when this returns.
pub fn append(folder: &Path, point: &Point) -> io::Result<()> {
    let path = folder.join(CURVE);
    let is_new = fs::metadata(&path).map_or(true, |meta| meta.len() == 0);
    let row = rows(std::slice::from_ref(point), is_new)?;
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

    #[test]
    fn a_curve_with_fewer_columns_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CURVE), "checkpoint,step,status,value,seconds\na,1,ok,0.5,2\n").unwrap();
        assert_eq!(read(folder.path()).unwrap().len(), 1);
        append(folder.path(), &Point { checkpoint: "b".into(), ..Point::default() }).unwrap();
        let points = read(folder.path()).unwrap();
        assert_eq!((points.len(), points[0].value, points[1].checkpoint.as_str()), (2, Some(0.5), "b"));
    }
}
