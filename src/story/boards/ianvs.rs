//! Leaderboards in the files of KubeEdge Ianvs (`core/storymanager/rank`): all_rank.csv and selected_rank.csv with its
//! columns, so that its tools and its next run read them. Other than there the order of columns is always the same, no row
//! is there twice, and figures carry their units. It must not know how the order of rows came about.

use super::print::{usual_columns, value};
use super::{Board, Ranked};
use crate::job::Metric;
use crate::results::case_columns;
use crate::story::rank::identity;
use std::collections::BTreeSet;
use std::path::Path;

/// The type of module that a model under test is there.
const MODULE: &str = "basemodel";
/// The paradigm that measuring a model is there.
const PARADIGM: &str = "singletasklearning";

/// Writes both files into `folder`: what was written, or why not.
pub fn write(boards: &[Board], chosen: &[String], folder: &Path) -> Result<String, String> {
    let fail = |e: std::io::Error| format!("{}: {e}", folder.display());
    std::fs::create_dir_all(folder).map_err(fail)?;
    let mut written = Vec::new();
    for (name, text) in [("all_rank.csv", all(boards)), ("selected_rank.csv", selected(boards, chosen))] {
        let path = folder.join(name);
        std::fs::write(&path, text + "\n").map_err(fail)?;
        written.push(format!("written: {}", path.display()));
    }
    Ok(written.join("\n"))
}

/// Every row with every figure that some row has.
fn all(boards: &[Board]) -> String {
    let rows = distinct(boards);
    let metrics: Vec<&str> = Metric::ALL.iter().flat_map(|(_, metric)| metric.columns()).collect();
    let columns = case_columns(&metrics).into_iter();
    let figures = columns.filter(|c| rows.iter().any(|(_, p)| p.place.number(c).is_some()));
    table(&rows, &figures.map(str::to_owned).collect::<Vec<_>>())
}

/// Of each object with the same hyperparameters the newest row, with the figures that were chosen or are usual.
pub fn selected(boards: &[Board], chosen: &[String]) -> String {
    let all = distinct(boards);
    let same = |a: &Row, b: &Row| (a.0, &a.1.board, key(a.1)) == (b.0, &b.1.board, key(b.1));
    let is_newest = |row: &&Row| !all.iter().any(|other| same(row, other) && other.1.start > row.1.start);
    let rows: Vec<Row> = all.iter().filter(is_newest).copied().collect();
    let figures: Vec<String> = if chosen.is_empty() {
        usual_columns(boards).into_iter().map(str::to_owned).collect()
    } else {
        chosen.to_vec()
    };
    table(&rows, &figures)
}

/// A place, and its board.
type Row<'b> = (&'b str, &'b Ranked);

fn key(ranked: &Ranked) -> [&str; 4] {
    ranked.place.rows.first().map_or([""; 4], identity)
}

/// The places of all boards in their order, each once: the same run may have been given twice.
fn distinct(boards: &[Board]) -> Vec<Row<'_>> {
    let mut seen = BTreeSet::new();
    let rows = boards.iter().flat_map(|board| board.places.iter().map(|place| (board.title.as_str(), place)));
    let is_new = |row: &Row| seen.insert((row.1.folder.canonicalize().ok(), key(row.1).map(str::to_owned)));
    rows.filter(is_new).collect()
}

fn table(rows: &[Row], figures: &[String]) -> String {
    let mixed = rows.windows(2).any(|w| w[0].0 != w[1].0) || rows.iter().any(|(_, p)| !p.board.is_empty());
    let mut names: Vec<&str> = vec!["model"];
    for (name, _) in rows.iter().flat_map(|(_, ranked)| pairs(ranked)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.extend(mixed.then_some("board"));

    let mut writer = csv::Writer::from_writer(Vec::new());
    let header =
        ["rank", "algorithm"].into_iter().chain(figures.iter().map(String::as_str)).chain(["paradigm", MODULE]);
    let parameters = names.iter().map(|name| format!("{MODULE}-{name}"));
    let header = header.map(str::to_owned).chain(parameters).chain(["time", "url"].map(str::to_owned));
    // Writing to memory fails only for rows of unequal length.
    let _ = writer.write_record(header);
    for (number, (board, ranked)) in rows.iter().enumerate() {
        let text = |column: &str| ranked.place.text(column).to_owned();
        let parameter = |name: &&str| match *name {
            "model" => text("model"),
            "board" if mixed => if ranked.board.is_empty() { board } else { ranked.board.as_str() }.to_owned(),
            name => pairs(ranked).find(|(key, _)| *key == name).map_or(String::new(), |(_, value)| value.to_owned()),
        };
        let mut row = vec![(number + 1).to_string(), text("object")];
        row.extend(figures.iter().map(|column| value(ranked, column)));
        row.extend([PARADIGM.to_owned(), text("backend")]);
        row.extend(names.iter().map(parameter));
        // As Ianvs has it: 2026-01-31 09:34:18.
        row.extend([ranked.start.replace('T', " ").replace('Z', ""), ranked.folder.display().to_string()]);
        let _ = writer.write_record(row);
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

/// The parameters of a place, `threads=2 n_ctx=1024`, one by one.
fn pairs(ranked: &Ranked) -> impl Iterator<Item = (&str, &str)> {
    ranked.place.text("params").split(' ').filter_map(|pair| pair.split_once('='))
}
