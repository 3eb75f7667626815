//! How latencies are spread: the share of records that were answered within a time, of several cases in one chart, and
//! percentiles as a table. It must not know how the page is laid out.

use super::chart::{Axis, Note, SERIES, draw, plane};
use super::files::Samples;
use super::language::Text;
use super::numbers::figure;
use crate::results::CaseRow;
use plotters::prelude::*;

/// Lines in one chart.
pub const LINES: usize = SERIES.len();

/// What is measured: texts' key, columns of cases.csv, values of samples.csv.
type Measure = (&'static str, &'static str, fn(&Samples) -> &[f64]);

const MEASURES: [Measure; 3] = [
    ("latency.ttft", "ttft_ms", |s| &s.ttft),
    ("latency.itl", "itl_ms", |s| &s.itl),
    ("latency.e2e", "e2e_ms", |s| &s.e2e),
];

/// In cases.csv.
pub const PERCENTILES: [&str; 3] = ["p50", "p95", "p99"];

/// A chart for each measure that some case has; at most [`LINES`] `cases` are drawn, each in its own colour.
pub fn charts(cases: &[(&str, &Samples)], points: usize, text: &Text) -> Vec<String> {
    let chart = |(key, _, values): &Measure| {
        let lines: Vec<(usize, &str, &[f64])> = cases
            .iter()
            .take(LINES)
            .enumerate()
            .map(|(i, (name, samples))| (i, *name, values(samples)))
            .filter(|(_, _, values)| values.len() > 1)
            .collect();
        (!lines.is_empty()).then(|| spread(&lines, text.of(key), points, text))
    };
    MEASURES.iter().filter_map(chart).collect()
}

fn spread(lines: &[(usize, &str, &[f64])], name: &str, points: usize, text: &Text) -> String {
    let all = lines.iter().flat_map(|(_, _, v)| [v[0], v[v.len() - 1]]);
    let x = Axis::wide(&format!("{name}, ms"), all);
    let y = Axis::between(text.of("latency.share"), 0.0, 100.0);
    draw((520, 320), name, |area| {
        let mut chart = plane(area, &x, &y, false)?;
        let mut notes = Vec::new();
        for (i, name, values) in lines {
            let n = values.len();
            // Ranks at even distances, and the slowest, which are why one looks.
            let ranks = (0..=points).map(|k| (k * (n - 1)) / points);
            let mut path: Vec<(f64, f64)> = ranks.map(|r| (values[r], 100.0 * (r + 1) as f64 / n as f64)).collect();
            path.dedup();
            chart.draw_series([PathElement::new(path, SERIES[*i].stroke_width(2))])?;
            for percent in [50, 95] {
                let value = values[(n * percent).div_ceil(100).max(1) - 1];
                let at = chart.backend_coord(&(value, percent as f64));
                notes.push(Note { at, text: format!("{name}: {percent} % ≤ {} ms", figure(value)) });
            }
        }
        Ok(notes)
    })
}

/// Percentiles of cases: measures that some case has, as keys of texts, and of each case the figures of these.
pub fn percentiles(rows: &[&CaseRow]) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let column = |name: &str, p: &str| format!("{name}_{p}");
    let there = |m: &&Measure| rows.iter().any(|r| r.number(&column(m.1, PERCENTILES[0])).is_some());
    let measures: Vec<&Measure> = MEASURES.iter().filter(there).collect();
    let text = |row: &CaseRow, column: &str| row.number(column).map_or(String::new(), figure);
    let figures = |row: &&CaseRow| {
        measures.iter().flat_map(|m| PERCENTILES.map(|p| text(row, &column(m.1, p)))).collect::<Vec<_>>()
    };
    (measures.iter().map(|m| m.0).collect(), rows.iter().map(figures).collect())
}
