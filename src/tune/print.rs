//! What `tune` shows: a line per measurement, the table of all that was tried, the object to paste. It must not know how
//! anything was found.

use super::{Candidate, Goal, Request};
use crate::bench::runner::file_name;
use crate::bench::status;
use crate::results::CaseRow;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use std::io::{self, Write};

/// Figures of the table: column, heading, decimals.
const FIGURES: &[(&str, &str, usize)] = &[
    ("tok_s", "tok/s", 2),
    ("tok_s_min", "min", 2),
    ("tok_s_max", "max", 2),
    ("energy_j_per_token", "J/token", 4),
    ("rss_peak_mib", "peak MiB", 0),
];

/// `round 2: threads=4: pp512 123.40 tok/s`
pub fn line(round: u32, row: &CaseRow) -> String {
    let figure = match row.get("status") {
        "ok" => format!("{} {} tok/s", row.get("test"), row.get("tok_s")),
        status => format!("{status}: {}", row.get("reason")),
    };
    format!("round {round}: {}: {figure}", settings(row.get("params")))
}

fn settings(params: &str) -> &str {
    if params.is_empty() { "as it is" } else { params }
}

/// The candidates, those first that came furthest and of these the best; then the `best` one's object.
pub fn table(out: &mut dyn Write, candidates: &[Candidate], best: Option<usize>, request: &Request) -> io::Result<()> {
    let cost = |c: &Candidate| c.row.as_ref().and_then(|row| request.goal.cost(row)).unwrap_or(f64::INFINITY);
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = ((best != Some(a), &candidates[a]), (best != Some(b), &candidates[b]));
        a.0.cmp(&b.0).then(b.1.rounds.cmp(&a.1.rounds)).then(cost(a.1).total_cmp(&cost(b.1)))
    });
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    let ends = ["rounds", "status"].map(str::to_owned);
    let headings = FIGURES.iter().map(|(_, heading, _)| (*heading).to_owned());
    table.set_header(["#", "settings", "test"].map(str::to_owned).into_iter().chain(headings).chain(ends));
    for (place, &i) in order.iter().enumerate() {
        let candidate = &candidates[i];
        let empty = CaseRow::default();
        let row = candidate.row.as_ref().unwrap_or(&empty);
        let mut cells = vec![
            (place + 1).to_string(),
            settings(&candidate.instance.params_text()).to_owned(),
            row.get("test").to_owned(),
        ];
        let figure = |(c, _, d): &(&str, &str, usize)| row.number(c).map_or(String::new(), |v| format!("{v:.d$}"));
        cells.extend(FIGURES.iter().map(figure));
        cells.push(candidate.rounds.to_string());
        cells.push(if candidate.row.is_some() { status(row) } else { "not tried".to_owned() });
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(3).take(FIGURES.len() + 1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    writeln!(out, "{table}")?;
    let Some(best) = best else { return Ok(()) };
    let row = candidates[best].row.as_ref();
    if let Some(row) = row.filter(|row| row.get("valid") == "no") {
        eprintln!("warning: the best was measured while the board was disturbed: {}", row.get("evidence"));
    }
    if let Some(gain) = gain(candidates, best, request.goal) {
        writeln!(out, "\n{gain}")?;
    }
    write!(out, "\n{}", object(&candidates[best]))
}

/// How the best stands to what the backend does by itself.
fn gain(candidates: &[Candidate], best: usize, goal: Goal) -> Option<String> {
    let cost = |i: usize| goal.cost(candidates[i].row.as_ref()?);
    let (unit, ratio) = match goal {
        Goal::Energy => ("of the energy", cost(best)? / cost(0)?),
        Goal::Prefill => ("× the prefill speed", cost(best)? / cost(0)?),
        Goal::Decode => ("× the decode speed", cost(best)? / cost(0)?),
    };
    Some(format!("{ratio:.2} {unit} of what the backend does by itself"))
}

/// As it stands in a job.
fn object(candidate: &Candidate) -> String {
    let instance = &candidate.instance;
    let name = file_name(if instance.model.is_empty() { &instance.backend } else { &instance.model });
    let name = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let mut lines = vec![
        "[[object]]".to_owned(),
        format!("name    = {}", quoted(name)),
        format!("backend = {}", quoted(&instance.backend)),
    ];
    if !instance.model.is_empty() {
        lines.push(format!("model   = {}", quoted(&instance.model)));
    }
    let pairs: Vec<String> = instance.params.iter().map(|(k, v)| format!("{k} = {}", value(v))).collect();
    if !pairs.is_empty() {
        lines.push(format!("params  = {{ {} }}", pairs.join(", ")));
    }
    lines.join("\n") + "\n"
}

/// A parameter as TOML: whole numbers and booleans bare, all else in quotes.
fn value(text: &str) -> String {
    let bare = matches!(text, "true" | "false") || text.parse::<i64>().is_ok_and(|n| n.to_string() == text);
    if bare { text.to_owned() } else { quoted(text) }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out += &format!("\\u{:04X}", c as u32),
            c => out.push(c),
        }
    }
    out + "\""
}
