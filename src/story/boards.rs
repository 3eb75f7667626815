//! Leaderboards over runs and boards: like with like, unless asked; who is tied with whom, and who is beaten by nobody.
//! It must not know how a table is drawn.

pub mod ianvs;
mod print;

pub use print::{Format, print};
pub(super) use print::{several_paradigms, usual_columns, value};

use super::rank::{Place, leaderboard};
use super::run_folder::Run;
use crate::job::SortKey;
use crate::pattern::fits;
use crate::results::CaseRow;
use std::cmp::Ordering;
use std::path::PathBuf;

/// One leaderboard: places whose figures may be put side by side.
#[derive(Debug)]
pub struct Board {
    /// `Raspberry Pi 5, 4 × Cortex-A76, kernel 6.6.31, performance`; empty when boards are mixed.
    pub title: String,
    pub places: Vec<Ranked>,
}

/// A place with what can be said of it beside the others.
#[derive(Debug)]
pub struct Ranked {
    pub place: Place,
    /// The run that it is from, and which of those given that is.
    pub run: String,
    /// Its folder.
    pub folder: PathBuf,
    /// When it began, UTC.
    pub start: String,
    pub run_number: usize,
    /// The board, where boards are mixed.
    pub board: String,
    /// From 1; who is tied with the place before has its rank.
    pub rank: usize,
    /// Nobody is as good in everything and better in something.
    pub pareto: bool,
}

/// What is wanted of the rows.
#[derive(Debug, Default)]
pub struct Wanted {
    pub keys: Vec<SortKey>,
    /// Column and pattern, all of which a row has to fit.
    pub filters: Vec<(String, String)>,
    /// Without rows that are not valid.
    pub valid_only: bool,
    /// All boards in one leaderboard.
    pub across: bool,
}

/// What tells how good answers are: column, and whether more is better.
pub(super) const QUALITY: &[(&str, bool)] = &[
    ("acc", true),
    ("perplexity", false),
    ("word_perplexity", false),
    ("byte_perplexity", false),
    ("bits_per_byte", false),
];

/// Figures of a Pareto front: quality, speed, energy, memory. The first of each group that all places have counts.
const GROUPS: &[&[(&str, bool)]] = &[
    QUALITY,
    &[("decode_tok_s", true), ("records_s", true)],
    &[("energy_j_per_token", false), ("energy_j_per_record", false)],
    &[("rss_peak_mib", false)],
];

/// Measured figures that are nearer to each other than this share of the larger are the same: a page of memory makes
/// nobody better. Quality is exact.
const SAME: f64 = 0.03;

/// Puts the rows of all `runs` in order.
pub fn boards(runs: &[Run], wanted: &Wanted) -> Vec<Board> {
    let mut groups: Vec<(String, Vec<(usize, &Run)>)> = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        let key = if wanted.across { String::new() } else { title(run) };
        match groups.iter_mut().find(|(k, _)| *k == key) {
            Some((_, group)) => group.push((number, run)),
            None => groups.push((key, vec![(number, run)])),
        }
    }
    groups.into_iter().map(|(title, runs)| board(title, &runs, wanted)).collect()
}

/// The fingerprint in a line.
fn title(run: &Run) -> String {
    let parts: Vec<String> = run.fingerprint().into_iter().map(|(_, v)| v).filter(|v| !v.is_empty()).collect();
    parts.join(", ")
}

fn board(title: String, runs: &[(usize, &Run)], wanted: &Wanted) -> Board {
    let mut places: Vec<Ranked> = Vec::new();
    for (number, run) in runs {
        let rows: Vec<CaseRow> = run.rows.iter().filter(|r| is_wanted(r, wanted)).cloned().collect();
        let name = run.folder.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned());
        let board = if wanted.across { self::title(run) } else { String::new() };
        places.extend(leaderboard(&rows, &wanted.keys).into_iter().map(|place| Ranked {
            place,
            run: name.clone(),
            run_number: *number,
            folder: run.folder.clone(),
            start: run.manifest.start.clone(),
            board: board.clone(),
            rank: 0,
            pareto: false,
        }));
    }
    places.sort_by(|a, b| super::rank::order(&a.place, &b.place, &wanted.keys));
    let front = pareto(&places.iter().map(|p| &p.place).collect::<Vec<_>>());
    places.iter_mut().zip(front).for_each(|(place, pareto)| place.pareto = pareto);
    let by_quality = wanted.keys.first().is_some_and(|k| k.column == "acc");
    for i in 0..places.len() {
        let tied = i > 0 && by_quality && overlap(&places[i - 1].place, &places[i].place);
        places[i].rank = if tied { places[i - 1].rank } else { i + 1 };
    }
    Board { title, places }
}

fn is_wanted(row: &CaseRow, wanted: &Wanted) -> bool {
    let matches = |(column, value): &(String, String)| fits(value, row.get(column));
    wanted.filters.iter().all(matches) && !(wanted.valid_only && row.get("valid") == "no")
}

/// The 95 % interval of a place's metric. Over several tasks: that of their mean, as independent.
pub(super) fn interval(p: &Place, metric: &str) -> Option<(f64, f64)> {
    let n = p.rows.len() as f64;
    let mean = p.number(metric)?;
    let half = |end: &str, sign: f64| -> Option<f64> {
        let column = format!("{metric}_{end}");
        let parts: Option<Vec<f64>> =
            p.rows.iter().map(|r| Some(sign * (r.number(&column)? - r.number(metric)?))).collect();
        Some(parts?.iter().map(|h| h * h).sum::<f64>().sqrt() / n)
    };
    Some((mean - half("lo", -1.0)?, mean + half("hi", 1.0)?))
}

/// Do the accuracies' 95 % intervals overlap?
pub(super) fn overlap(a: &Place, b: &Place) -> bool {
    match (interval(a, "acc"), interval(b, "acc")) {
        (Some((alo, ahi)), Some((blo, bhi))) => alo <= bhi && blo <= ahi,
        _ => false,
    }
}

/// The figures that all places have, one of each group: column, and whether more is better.
pub(super) fn figures(places: &[&Place]) -> Vec<(&'static str, bool)> {
    let all = |column: &&(&str, bool)| places.iter().all(|p| p.number(column.0).is_some());
    GROUPS.iter().filter_map(|g| g.iter().find(all).copied()).collect()
}

/// Which places nobody dominates.
fn pareto(places: &[&Place]) -> Vec<bool> {
    let figures = figures(places);
    let worth = |p: &Place, (column, up): (&str, bool)| p.number(column).map_or(f64::MIN, |v| if up { v } else { -v });
    let dominates = |a: &Place, b: &Place| {
        let ahead = |figure: &(&str, bool)| {
            let (a, b) = (worth(a, *figure), worth(b, *figure));
            let same = if QUALITY.contains(figure) { 0.0 } else { SAME * a.abs().max(b.abs()) };
            if (a - b).abs() <= same { Ordering::Equal } else { a.total_cmp(&b) }
        };
        let order: Vec<Ordering> = figures.iter().map(ahead).collect();
        order.iter().all(|o| o.is_ge()) && order.contains(&Ordering::Greater)
    };
    let on_front =
        |p: &&Place| p.failed() == 0 && !places.iter().any(|other| other.failed() == 0 && dominates(other, p));
    places.iter().map(|p| figures.len() > 1 && on_front(p)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(figures: &[(&str, &str)]) -> Place {
        let mut row = CaseRow::default();
        row.set("status", "ok");
        figures.iter().for_each(|(c, v)| row.set(c, *v));
        Place { rows: vec![row] }
    }

    #[test]
    fn the_front_holds_whoever_is_not_beaten_in_everything() {
        let fast = place(&[("acc", "0.5"), ("decode_tok_s", "90"), ("rss_peak_mib", "100")]);
        let good = place(&[("acc", "0.9"), ("decode_tok_s", "30"), ("rss_peak_mib", "300")]);
        let poor = place(&[("acc", "0.5"), ("decode_tok_s", "80"), ("rss_peak_mib", "99.9")]);
        assert_eq!(pareto(&[&fast, &good, &poor]), [true, true, false]);
    }

    #[test]
    fn overlapping_intervals_are_a_tie() {
        let interval = |acc, lo, hi| place(&[("acc", acc), ("acc_lo", lo), ("acc_hi", hi)]);
        let a = interval("0.80", "0.75", "0.85");
        assert!(overlap(&a, &interval("0.72", "0.66", "0.77")));
        assert!(!overlap(&a, &interval("0.60", "0.55", "0.66")));
    }
}
