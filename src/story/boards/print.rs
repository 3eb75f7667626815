//! Leaderboards over runs as a table, Markdown, CSV or JSON. It must not know how the order came about.

use super::{Board, Ranked, ianvs};
use crate::job::Metric;
use comfy_table::{CellAlignment, Table, TableStyle, presets};

/// Columns when none are chosen, before and behind the metrics; those that no place has are left out.
const BEFORE: &[&str] = &["object", "backend", "model", "params"];
const BEHIND: &[&str] =
    &["ttft_ms_p50", "prefill_tok_s", "decode_tok_s", "records_s", "rss_peak_mib", "energy_j_per_token"];

/// Shown, too, when it is not the same for all places.
const PARADIGM: &str = "paradigm";

/// How leaderboards are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Table,
    Markdown,
    Csv,
    Json,
    /// As KubeEdge Ianvs has it: selected_rank.csv.
    Ianvs,
}

impl Format {
    /// By its word on the command line.
    pub const ALL: &[(&str, Format)] = &[
        ("table", Format::Table),
        ("md", Format::Markdown),
        ("csv", Format::Csv),
        ("json", Format::Json),
        ("ianvs", Format::Ianvs),
    ];
}

/// All boards as text, without a newline at its end. `chosen` are columns of cases.csv; none: the usual ones.
pub fn print(boards: &[Board], chosen: &[String], format: Format) -> String {
    let figures: Vec<&str> = match chosen {
        [] => {
            let paradigm = several_paradigms(boards).then_some(PARADIGM);
            BEFORE.iter().copied().filter(|c| has(boards, c)).chain(paradigm).chain(usual_columns(boards)).collect()
        }
        chosen => chosen.iter().map(String::as_str).collect(),
    };
    let mixed = boards.iter().flat_map(|b| &b.places).any(|p| !p.board.is_empty());
    let mut columns: Vec<&str> = vec!["rank", "pareto", "valid", "run"];
    columns.extend(mixed.then_some("board"));
    columns.extend(figures);
    match format {
        Format::Table => texts(boards, &columns, presets::UTF8_FULL_CONDENSED, ""),
        Format::Markdown => texts(boards, &columns, presets::ASCII_MARKDOWN, "### "),
        Format::Csv => csv(boards, &columns),
        Format::Json => json(boards, &columns),
        Format::Ianvs => ianvs::selected(boards, chosen),
    }
}

/// Are there places of several kinds of learning?
pub(in crate::story) fn several_paradigms(boards: &[Board]) -> bool {
    let mut all = boards.iter().flat_map(|b| &b.places).map(|p| value(p, PARADIGM));
    let first = all.next();
    all.any(|p| Some(p) != first)
}

/// Columns of figures that some place has, of those that are shown when none are chosen.
pub(in crate::story) fn usual_columns(boards: &[Board]) -> Vec<&'static str> {
    let metrics = Metric::ALL.iter().map(|(name, _)| *name);
    metrics.chain(BEHIND.iter().copied()).filter(|c| has(boards, c)).collect()
}

fn has(boards: &[Board], column: &str) -> bool {
    boards.iter().flat_map(|b| &b.places).any(|p| !value(p, column).is_empty())
}

/// One cell, as the files have it.
pub(in crate::story) fn value(ranked: &Ranked, column: &str) -> String {
    let place = &ranked.place;
    match column {
        "rank" => ranked.rank.to_string(),
        "pareto" => if ranked.pareto { "yes" } else { "no" }.to_owned(),
        "valid" => ["no", "unknown"]
            .into_iter()
            .find(|w| place.rows.iter().any(|r| r.get("valid") == *w))
            .unwrap_or("yes")
            .to_owned(),
        "run" => ranked.run.clone(),
        "board" => ranked.board.clone(),
        "paradigm" => place.texts(column),
        _ => match place.number(column) {
            Some(number) if number.abs() < 10.0 => format!("{number:.4}"),
            Some(number) => format!("{number:.2}"),
            None => place.text(column).to_owned(),
        },
    }
}

/// The same for people.
fn shown(ranked: &Ranked, column: &str) -> String {
    let text = value(ranked, column);
    match (column, text.as_str()) {
        ("pareto", "yes") => "◆".to_owned(),
        ("pareto", _) | ("valid", "yes") => String::new(),
        ("valid", "no") => "✗ not valid".to_owned(),
        ("valid", _) => "?".to_owned(),
        ("acc", _) => ranked.place.number("acc").map_or(String::new(), |a| format!("{:.1} %", a * 100.0)),
        ("backend" | "model", path) => path.rsplit('/').next().unwrap_or(path).to_owned(),
        _ => text,
    }
}

fn texts(boards: &[Board], columns: &[&str], style: TableStyle, heading: &str) -> String {
    let one = |board: &Board| {
        let mut table = Table::new();
        table.load_style(style);
        table.set_header(columns.iter().map(|c| if *c == "rank" { "#" } else { *c }));
        for place in &board.places {
            table.add_row(columns.iter().map(|c| shown(place, c)));
        }
        for (column, _) in columns.iter().enumerate().filter(|(_, c)| c.contains('_') || **c == "acc") {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let title = if board.title.is_empty() { "all boards" } else { &board.title };
        format!("{heading}{title}\n\n{table}")
    };
    boards.iter().map(one).collect::<Vec<_>>().join("\n\n")
}

/// One table; the board is a column of it, since a file has no headings.
fn csv(boards: &[Board], columns: &[&str]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory fails only for rows of unequal length.
    let _ = writer.write_record(["fingerprint"].iter().chain(columns));
    for board in boards {
        for place in &board.places {
            let _ =
                writer.write_record([board.title.clone()].into_iter().chain(columns.iter().map(|c| value(place, c))));
        }
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

fn json(boards: &[Board], columns: &[&str]) -> String {
    let object = |place: &Ranked| {
        let pair = |column: &&str| {
            let value = match place.place.number(column) {
                Some(number) => serde_json::json!(number),
                None => serde_json::json!(value(place, column)),
            };
            ((*column).to_owned(), value)
        };
        let mut object: serde_json::Map<String, serde_json::Value> = columns.iter().map(pair).collect();
        object.insert("rank".to_owned(), serde_json::json!(place.rank));
        object.insert("pareto".to_owned(), serde_json::json!(place.pareto));
        serde_json::Value::Object(object)
    };
    let board = |b: &Board| {
        let places: Vec<serde_json::Value> = b.places.iter().map(object).collect();
        serde_json::json!({ "fingerprint": b.title, "places": places })
    };
    // Strings and numbers only: it cannot fail.
    serde_json::to_string_pretty(&boards.iter().map(board).collect::<Vec<_>>()).unwrap_or_default()
}
