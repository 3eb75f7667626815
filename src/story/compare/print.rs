//! A comparison as text, Markdown, JSON, or JUnit XML. It must not know how it was made.

use super::{Comparison, Outcome, Row};
use comfy_table::{CellAlignment, Table, presets};
use std::fmt::Write;

/// How a comparison is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Markdown,
    Json,
    Junit,
}

impl Format {
    /// By its word on the command line.
    pub const ALL: &[(&str, Format)] =
        &[("text", Format::Text), ("md", Format::Markdown), ("json", Format::Json), ("junit", Format::Junit)];
}

/// The comparison, without a newline at its end.
pub fn print(comparison: &Comparison, format: Format) -> String {
    match format {
        Format::Text => text(comparison, presets::UTF8_FULL_CONDENSED),
        Format::Markdown => text(comparison, presets::ASCII_MARKDOWN),
        // Strings and numbers only: it cannot fail.
        Format::Json => serde_json::to_string_pretty(comparison).unwrap_or_default(),
        Format::Junit => junit(comparison),
    }
}

/// `The answer in a sentence.`
fn sentence(c: &Comparison) -> String {
    let count = |outcome| c.rows.iter().filter(|r| r.outcome == outcome).count();
    let (worse, better) = (count(Outcome::Worse), count(Outcome::Better));
    if !c.not_comparable.is_empty() {
        return format!("not comparable ({} reasons)", c.not_comparable.len());
    }
    match (worse, better) {
        (0, 0) => format!("no regression: {} figures, none changed beyond its threshold", c.rows.len()),
        (0, n) => format!("no regression: {n} of {} figures got better", c.rows.len()),
        (w, b) => format!("REGRESSION: {w} of {} figures got worse, {b} better", c.rows.len()),
    }
}

fn text(c: &Comparison, style: comfy_table::TableStyle) -> String {
    let mut out = format!("{}\nbase {}\nnew  {}\n", sentence(c), c.base, c.new);
    for reason in &c.not_comparable {
        let _ = write!(out, "\n- {reason}");
    }
    for note in &c.notes {
        let _ = write!(out, "\nnote: {note}");
    }
    if c.rows.is_empty() {
        return out;
    }
    let mut table = Table::new();
    table.load_style(style);
    table.set_header(["", "case", "figure", "base", "new", "change", "95 % interval", "p (Holm)", "allowed"]);
    let mut rows: Vec<&Row> = c.rows.iter().collect();
    let order = |r: &&Row| match r.outcome {
        Outcome::Worse => 0,
        Outcome::Better => 1,
        Outcome::Same => 2,
    };
    rows.sort_by_key(order);
    for r in rows {
        let mark = match r.outcome {
            Outcome::Worse => "✗",
            Outcome::Better => "✓",
            Outcome::Same => "",
        };
        table.add_row([
            mark.to_owned(),
            r.case.clone(),
            r.metric.to_owned(),
            figure(r, r.base),
            figure(r, r.new),
            format!("{:+.1} {}", r.change, r.unit),
            r.interval.map_or(String::new(), |(lo, hi)| format!("{lo:+.1} … {hi:+.1}")),
            r.p.map_or("not tested".to_owned(), p_value),
            format!("{:+} {}", r.threshold, r.unit),
        ]);
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let _ = write!(out, "\n\n{table}");
    out
}

fn figure(row: &Row, value: f64) -> String {
    if row.metric == "acc" { format!("{:.1} %", value * 100.0) } else { format!("{value:.2}") }
}

fn p_value(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_owned() } else { format!("{p:.3}") }
}

/// One test suite, one test for each figure; what cannot be compared is an error.
fn junit(c: &Comparison) -> String {
    let failures = c.rows.iter().filter(|r| r.outcome == Outcome::Worse).count();
    let (tests, errors) = (c.rows.len() + c.not_comparable.len(), c.not_comparable.len());
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuite name=\"edgebench compare\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\">"
    );
    for reason in &c.not_comparable {
        let _ = writeln!(
            out,
            "  <testcase classname=\"comparable\" name=\"{0}\"><error message=\"{0}\"/></testcase>",
            escape(reason)
        );
    }
    for r in &c.rows {
        let name = format!("classname=\"{}\" name=\"{}\"", escape(&r.case), r.metric);
        let _ = match r.outcome {
            Outcome::Worse => writeln!(
                out,
                "  <testcase {name}><failure message=\"{} to {}: {:+.1} {}, allowed {:+} {}\"/></testcase>",
                escape(&figure(r, r.base)),
                escape(&figure(r, r.new)),
                r.change,
                r.unit,
                r.threshold,
                r.unit
            ),
            _ => writeln!(out, "  <testcase {name}/>"),
        };
    }
    out.push_str("</testsuite>");
    out
}

/// Text inside an attribute. Characters that XML has no way to write become U+FFFD.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(' '),
            c if c.is_control() => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}
