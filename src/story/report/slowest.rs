//! The slowest records of a case: where the time of each went. It must not know how a table looks.

use super::files::Slow;
use super::numbers::figure;
use serde::Serialize;

/// One record.
#[derive(Debug, Serialize)]
pub struct Row {
    pub id: String,
    pub pass: String,
    pub tokens: String,
    pub e2e: String,
    /// Class, ms, and start and width in percent of the slowest.
    pub parts: Vec<(&'static str, String, String, String)>,
}

/// Rows of records, slowest first. `scored`: options were scored, so that behind the prompt come no tokens.
pub fn rows(records: &[Slow], scored: bool) -> Vec<Row> {
    let longest = records.iter().map(|r| r.e2e).fold(f64::MIN_POSITIVE, f64::max);
    let row = |r: &Slow| {
        let mut from = 0.0;
        let mut part = |class, ms: f64| {
            let (start, width) = (from / longest * 100.0, ms / longest * 100.0);
            from += ms;
            (class, figure(ms), format!("{start:.2}"), format!("{width:.2}"))
        };
        let last = if scored { "score" } else { "decode" };
        let parts = [("idle", r.queue), ("prefill", r.first - r.queue), (last, r.e2e - r.first)];
        let cached = if matches!(r.cached_tokens.as_str(), "" | "0") {
            String::new()
        } else {
            format!(" ({} cached)", r.cached_tokens)
        };
        let output = if r.output_tokens.is_empty() { String::new() } else { format!(" → {}", r.output_tokens) };
        Row {
            id: r.id.clone(),
            pass: r.pass.clone(),
            tokens: format!("{}{cached}{output}", r.prompt_tokens),
            e2e: figure(r.e2e),
            parts: parts.into_iter().filter(|(_, ms)| *ms > 0.0).map(|(class, ms)| part(class, ms)).collect(),
        }
    };
    records.iter().map(row).collect()
}
