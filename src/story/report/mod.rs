//! `report`: runs as one self-contained page. This file owns what is on it; its parts each own one thing that is shown, `chart`
//! what all charts have in common, `language` every word. No part knows how the page looks: that is `page.html`, `page.css`
//! and `page.js`, which `page` puts together.

mod accuracy;
mod chart;
mod energy;
mod environment;
mod files;
mod language;
mod latency;
mod leaderboard;
mod learning;
mod losses;
mod numbers;
mod page;
mod paradigm;
mod prompts;
mod slowest;
mod summary;
mod sustained;
mod thin;
mod timeline;
mod tradeoff;
mod variants;
mod wrong;

pub use language::Language;
// What a history shows its charts with, too.
pub(super) use chart::{Area, Axis, Drawn, INK, Note, SERIES, draw, plane, standalone};
pub(super) use language::Text;
pub(super) use numbers::figure;
pub(super) use page::wrap;

use super::boards::{Board, Ranked, Wanted, boards};
use super::names::tasks;
use super::rank::default_keys;
use super::run_folder::Run;
use super::training::Curve;
use crate::job::{Job, SortKey};
use crate::results::{CaseRow, write_whole};
use files::CaseFiles;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Cases of which the board's behaviour is drawn; of more, a page would be too large.
const DRAWN: usize = 100;

/// Columns that are shown above a case's charts, where it has them.
const FIGURES: &[&str] = &[
    "acc_before",
    "acc",
    "loss_first",
    "loss_last",
    "val_loss",
    "train_tok_s",
    "ttft_ms_p50",
    "e2e_ms_p50",
    "prefill_tok_s",
    "decode_tok_s",
    "rss_peak_mib",
    "energy_j_per_token",
];

/// A leaderboard with all that belongs to it.
#[derive(Serialize)]
struct Section {
    table: leaderboard::Table,
    paradigms: Vec<paradigm::Line>,
    advice: summary::Advice,
    tradeoff: Vec<String>,
    matrix: Option<accuracy::Matrix>,
    accuracy: Vec<accuracy::Task>,
    latency: Vec<LatencyOfTask>,
    energy: Vec<energy::Split>,
    cases: Vec<Case>,
}

#[derive(Serialize)]
struct LatencyOfTask {
    task: String,
    charts: Vec<String>,
    /// Name and percentile.
    head: Vec<[String; 2]>,
    /// Name, colour's number where it is drawn, percentiles.
    rows: Vec<(String, Option<usize>, Vec<String>)>,
}

/// One test case.
#[derive(Serialize)]
struct Case {
    number: usize,
    name: String,
    /// Its object instance alone.
    object: String,
    task: String,
    status: String,
    reason: String,
    valid: String,
    warnings: Vec<String>,
    evidence: String,
    figures: Vec<[String; 3]>,
    timeline: String,
    losses: String,
    sustained: String,
    slowest: Vec<slowest::Row>,
}

/// The page of `runs` and of the learning `curves` that they are from, as HTML. Files of a run that cannot be read are told
/// on it.
///
/// # Errors
/// The template and the data do not fit each other.
pub fn report(runs: &[Run], curves: &[Curve], language: Language) -> Result<String, String> {
    let text = Text::new(language);
    let wanted = Wanted { keys: keys(runs), ..Wanted::default() };
    let boards = boards(runs, &wanted);
    let (mut all_files, mut defects) = (Vec::new(), Vec::new());
    for run in runs {
        let (files, found) = files::read(&run.folder);
        all_files.push(files);
        let folder = run.folder.display();
        defects.extend(found.iter().map(|d| text.fill("doubt.file", &[&folder.to_string(), d])));
        if run.manifest.end.is_none() {
            defects.push(text.fill("doubt.unfinished", &[&folder.to_string()]));
        }
    }
    let mut builder = Builder {
        text: &text,
        files: &all_files,
        cases: runs.iter().map(|r| r.rows.len()).sum(),
        numbers: BTreeMap::new(),
    };
    let mut sections: Vec<Section> = boards.iter().map(|b| builder.section(b)).collect();
    for section in &mut sections {
        section.advice.doubts.extend(defects.iter().cloned());
    }
    let mut wrongs = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let cases: BTreeMap<&str, (usize, &str)> = run
            .rows
            .iter()
            .filter_map(|r| {
                Some((r.get("case"), (*builder.numbers.get(&(i, r.get("case").to_owned()))?, r.get("task"))))
            })
            .collect();
        match wrong::wrong(run, &cases, runs.len()) {
            Ok(wrong) => wrongs.push(wrong),
            Err(e) => sections.iter_mut().for_each(|s| s.advice.doubts.push(e.clone())),
        }
    }
    let variants = variants::shown(runs, &text);
    page::page(&text, runs, learning::learning(curves, &text), &sections, &variants, &wrongs)
}

/// Writes the page of `runs` and `curves` to `path`, whole or not at all.
///
/// # Errors
/// In a sentence with the path.
pub fn write(runs: &[Run], curves: &[Curve], language: Language, path: &Path) -> Result<(), String> {
    let page = report(runs, curves, language)?;
    let written = write_whole(path, page.as_bytes());
    written.map_err(|e| format!("{}: the report cannot be written: {e}; give another path with -o", path.display()))
}

/// The order that the first job wants.
fn keys(runs: &[Run]) -> Vec<SortKey> {
    let job = runs.first().and_then(|r| Job::of_text(Path::new(&r.manifest.job_path), r.manifest.job_text.clone()).0);
    job.map(|j| j.rank_by).filter(|k| !k.is_empty()).unwrap_or_else(default_keys)
}

struct Builder<'a> {
    text: &'a Text,
    files: &'a [BTreeMap<String, CaseFiles>],
    /// How many there are in the whole report.
    cases: usize,
    /// Run and case → number in the report.
    numbers: BTreeMap<(usize, String), usize>,
}

impl<'a> Builder<'a> {
    fn files(&self, place: &Ranked, row: &CaseRow) -> Option<&'a CaseFiles> {
        self.files.get(place.run_number)?.get(row.get("case"))
    }

    fn section(&mut self, board: &Board) -> Section {
        let names = leaderboard::names(board);
        let instances: Vec<(&str, &[CaseRow])> =
            board.places.iter().zip(&names).map(|(p, name)| (name.as_str(), p.place.rows.as_slice())).collect();
        let of_row = |row: &CaseRow| {
            let place = board.places.iter().find(|p| p.place.rows.iter().any(|r| std::ptr::eq(r, row)))?;
            self.files(place, row)
        };
        let accuracy = accuracy::tasks(&instances, of_row);
        let rows = board.places.iter().zip(&names).flat_map(|(p, name)| p.place.rows.iter().map(move |r| (name, p, r)));
        let several = board.places.iter().any(|p| p.place.rows.len() > 1);
        let name = |object: &str, row: &CaseRow| match several {
            true => format!("{object} · {}", row.get("task")),
            false => object.to_owned(),
        };
        let cases: Vec<Case> =
            rows.clone().map(|(object, p, row)| self.case(name(object, row), object, p, row)).collect();
        let with_energy: Vec<(&str, &CaseRow)> =
            cases.iter().map(|c| c.name.as_str()).zip(rows.map(|(_, _, row)| row)).collect();
        Section {
            table: leaderboard::table(board, &names, self.text),
            paradigms: paradigm::lines(board, &names, self.text),
            advice: summary::advice(board, &names, self.text),
            tradeoff: tradeoff::charts(board, &names, self.text),
            matrix: accuracy::matrix(&instances),
            accuracy,
            latency: self.latency(board, &names),
            energy: energy::splits(&with_energy),
            cases,
        }
    }

    fn latency(&self, board: &Board, names: &[String]) -> Vec<LatencyOfTask> {
        let tasks = tasks(board.places.iter().flat_map(|p| &p.place.rows));
        let points = (900 / tasks.len().max(1)).clamp(24, 90);
        let of_task = |task: &str| {
            let rows = board.places.iter().zip(names).filter_map(|(p, name)| {
                Some((
                    p,
                    name.as_str(),
                    p.place.rows.iter().find(|r| r.get("task") == task && r.get("status") == "ok")?,
                ))
            });
            let rows: Vec<_> = rows.collect();
            let samples: Vec<_> =
                rows.iter().filter_map(|(p, name, row)| Some((*name, &self.files(p, row)?.samples))).collect();
            let (measures, figures) = latency::percentiles(&rows.iter().map(|(_, _, row)| *row).collect::<Vec<_>>());
            let name = |key: &str| self.text.word(&key.replace("latency.", "latency.head."));
            let head = measures.iter().flat_map(|m| latency::PERCENTILES.map(|p| [name(m), p.to_owned()])).collect();
            let colour = |i: usize| (i < latency::LINES).then_some(i);
            let names = rows.iter().enumerate().map(|(i, (_, name, _))| ((*name).to_owned(), colour(i)));
            LatencyOfTask {
                task: task.to_owned(),
                charts: latency::charts(&samples, points, self.text),
                head,
                rows: names.zip(figures).map(|((name, colour), figures)| (name, colour, figures)).collect(),
            }
        };
        // A task that trains has no latencies.
        tasks.into_iter().map(of_task).filter(|t| !t.rows.is_empty() && !t.head.is_empty()).collect()
    }

    fn case(&mut self, name: String, object: &str, place: &Ranked, row: &CaseRow) -> Case {
        let number = self.numbers.len();
        self.numbers.insert((place.run_number, row.get("case").to_owned()), number);
        let files = self.files(place, row).filter(|_| number < DRAWN);
        let budget = (12_000 / self.cases.max(1)).clamp(60, 600);
        let figures = FIGURES.iter().filter_map(|&column| {
            let [name, unit] = self.text.column_parts(column);
            let number = row.number(column)?;
            Some([name, if column.starts_with("acc") { numbers::percent(number) } else { figure(number) }, unit])
        });
        Case {
            number,
            name,
            object: object.to_owned(),
            task: row.get("task").to_owned(),
            status: row.get("status").to_owned(),
            reason: row.get("reason").to_owned(),
            valid: row.get("valid").to_owned(),
            warnings: row.get("warnings").split(';').filter(|w| !w.is_empty()).map(str::to_owned).collect(),
            evidence: row.get("evidence").to_owned(),
            figures: figures.collect(),
            timeline: files.map_or(String::new(), |f| timeline::chart(&f.telemetry, budget, self.text)),
            losses: files.map_or(String::new(), |f| losses::chart(&f.losses, budget, self.text)),
            sustained: files.map_or(String::new(), |f| sustained::chart(&f.windows, self.text)),
            slowest: files.map_or(Vec::new(), |f| slowest::rows(&f.samples.slowest, row.get("method") == "choice")),
        }
    }
}
