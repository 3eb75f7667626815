//! The leaderboard on a terminal: medians of latencies, means over tasks. It must not know how the order came
//! about.

use super::names::{differing, file_name, tasks};
use super::rank::{Place, identity};
use crate::job::Metric;
use crate::results::CaseRow;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// Figures that stand in the table behind the tasks' own metrics when at least one place has them: column, heading, decimals.
const FIGURES: &[(&str, &str, usize)] = &[
    ("ttft_ms_p50", "TTFT ms", 1),
    ("e2e_ms_p50", "e2e ms", 1),
    ("prefill_tok_s", "prefill tok/s", 0),
    ("decode_tok_s", "decode tok/s", 1),
    ("rss_peak_mib", "peak MiB", 0),
    ("energy_j_per_token", "J/token", 3),
];

/// Most tasks that get a column of their own.
const MAX_TASK_COLUMNS: usize = 10;

/// The leaderboard as text, without a newline at its end.
pub fn leaderboard(places: &[Place]) -> String {
    let mut tasks = tasks(places.iter().flat_map(|p| &p.rows));
    if tasks.len() < 2 || tasks.len() > MAX_TASK_COLUMNS {
        tasks.clear();
    }
    let metrics = Metric::ALL.iter().filter(|(name, _)| *name != "acc").map(|(name, _)| (*name, *name, 3));
    let figures = metrics.chain(FIGURES.iter().copied());
    let figures: Vec<_> = figures.filter(|(c, _, _)| places.iter().any(|p| p.number(c).is_some())).collect();
    let any_failed = places.iter().any(|p| p.failed() > 0);
    let several = |column: &str| places.windows(2).any(|w| w[0].text(column) != w[1].text(column));
    // What is the same for all places is not worth a column.
    let mut texts: Vec<&str> = ["object", "backend", "model", "params"]
        .into_iter()
        .filter(|&c| several(c) || (c == "model" && places.iter().any(|p| !p.text(c).is_empty())))
        .collect();
    let paradigms: Vec<String> = places.iter().map(|p| p.texts("paradigm")).collect();
    if paradigms.windows(2).any(|w| w[0] != w[1]) {
        texts.push("paradigm");
    }

    let params: Vec<&str> = places.iter().map(|p| p.text("params")).collect();

    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    let mut header: Vec<String> = vec!["#".into()];
    header.extend(texts.iter().map(|t| (*t).to_owned()));
    header.push(if tasks.is_empty() { "acc %".into() } else { "mean acc %".into() });
    header.extend(tasks.iter().map(|t| (*t).to_owned()));
    header.extend(figures.iter().map(|(_, heading, _)| (*heading).to_owned()));
    if any_failed {
        header.push("failed".into());
    }
    table.set_header(header);
    for (i, place) in places.iter().enumerate() {
        let mut cells: Vec<String> = vec![(i + 1).to_string()];
        cells.extend(texts.iter().map(|&t| match t {
            "params" => differing(place.text(t), &params),
            "paradigm" => paradigms[i].clone(),
            _ => file_name(place.text(t)).to_owned(),
        }));
        cells.push(percent(place.number("acc")));
        for task in &tasks {
            let row = place.rows.iter().find(|r| r.get("task") == *task);
            cells.push(row.map_or(String::new(), |r| match r.number("acc") {
                Some(acc) => percent(Some(acc)),
                None => r.get("status").to_owned(),
            }));
        }
        for (column, _, decimals) in &figures {
            cells.push(place.number(column).map_or(String::new(), |v| format!("{v:.decimals$}")));
        }
        if any_failed {
            cells.push(format!("{} of {}", place.failed(), place.rows.len()));
        }
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(1 + texts.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// Scores of suites as text: a row per object instance, a column per suite.
pub fn suites(rows: &[CaseRow]) -> String {
    let mut names: Vec<&str> = rows.iter().map(|r| r.get("suite")).collect();
    names.dedup();
    let mut instances: Vec<&CaseRow> = Vec::new();
    for row in rows {
        if !instances.iter().any(|i| identity(i) == identity(row)) {
            instances.push(row);
        }
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["object", "model", "params"].into_iter().chain(names.iter().copied()));
    for instance in instances {
        let mut cells = vec![instance.get("object"), file_name(instance.get("model")), instance.get("params")];
        let own = rows.iter().filter(|r| identity(r) == identity(instance));
        let scores: Vec<String> = own
            .map(|row| match (row.number("score"), row.number("score_lo"), row.number("score_hi")) {
                (Some(score), Some(lo), Some(hi)) => {
                    format!("{:.1} ({:.1}–{:.1})", score * 100.0, lo * 100.0, hi * 100.0)
                }
                (score, ..) => percent(score),
            })
            .collect();
        cells.extend(scores.iter().map(String::as_str));
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

fn percent(share: Option<f64>) -> String {
    share.map_or(String::new(), |s| format!("{:.1}", s * 100.0))
}
