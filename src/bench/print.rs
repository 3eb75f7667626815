//! Rows of `bench` as they come: a Markdown table, CSV, or one JSON object a line. It must not know how rows came about.

use super::runner::{COLUMNS, file_name};
use super::shape::Test;
use crate::job::Instance;
use crate::results::CaseRow;
use std::io::{self, Write};

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Md,
    Csv,
    Jsonl,
}

impl Format {
    /// The words of `-o`.
    pub const ALL: &[(&str, Format)] = &[("md", Format::Md), ("csv", Format::Csv), ("jsonl", Format::Jsonl)];
}

/// Columns that are text also where they look like a number.
const TEXTS: &[&str] = &[
    "model",
    "quantization",
    "backend",
    "backend_version",
    "params",
    "test",
    "status",
    "reason",
    "valid",
    "warnings",
    "energy_rail",
    "evidence",
];

/// A column of the Markdown table: its heading, and what stands in it.
type Shown = (&'static str, fn(&CaseRow) -> String);

const SHOWN: &[Shown] = &[
    ("model", |r| file_name(r.get("model")).to_owned()),
    ("backend", |r| file_name(r.get("backend")).to_owned()),
    ("settings", |r| r.get("params").to_owned()),
    ("test", |r| r.get("test").to_owned()),
    ("tok/s", |r| r.get("tok_s").to_owned()),
    ("min – max", |r| match (r.get("tok_s_min"), r.get("tok_s_max")) {
        ("", _) => String::new(),
        (min, max) => format!("{min} – {max}"),
    }),
    ("TTFT ms", |r| rounded(r, "ttft_ms_p50", 1)),
    ("ITL ms", |r| rounded(r, "itl_ms_p50", 2)),
    ("ITL p99", |r| rounded(r, "itl_ms_p99", 2)),
    ("peak MiB", |r| rounded(r, "rss_peak_mib", 0)),
    ("J/token", |r| rounded(r, "energy_j_per_token", 4)),
    ("status", status),
];

/// How a test ended, and why its figures are not the board's where they are not.
pub fn status(row: &CaseRow) -> String {
    match (row.get("status"), row.get("valid")) {
        ("ok", "no") => format!("not valid: {}", row.get("warnings").replace(';', ", ")),
        (status, _) => status.to_owned(),
    }
}

/// Columns from here to `ITL p99` and on are numbers.
const FIRST_NUMBER: usize = 4;
/// As wide as most values of them, so that a table that is still growing stands straight.
const NUMBER_WIDTHS: &[usize] = &[9, 19, 9, 8, 8, 8, 8];

fn rounded(row: &CaseRow, column: &str, decimals: usize) -> String {
    row.number(column).map_or(String::new(), |v| format!("{v:.decimals$}"))
}

/// Writes rows one by one, so that what was measured is there whatever comes after it.
pub struct Printer<'a> {
    format: Format,
    out: &'a mut dyn Write,
    widths: Vec<usize>,
}

impl<'a> Printer<'a> {
    /// Writes what comes before the first row; the widths of text columns are those of `instances` and `tests`.
    ///
    /// # Errors
    /// Nothing can be written.
    pub fn start(
        format: Format,
        out: &'a mut dyn Write,
        instances: &[Instance],
        tests: &[Test],
    ) -> io::Result<Printer<'a>> {
        let texts = |text: fn(&Instance) -> String| instances.iter().map(move |i| width(&text(i))).max().unwrap_or(0);
        let mut widths = vec![
            texts(|i| file_name(&i.model).to_owned()),
            texts(|i| file_name(&i.backend).to_owned()),
            texts(Instance::params_text),
            tests.iter().map(|t| width(&t.to_string())).max().unwrap_or(0),
        ];
        widths.extend(NUMBER_WIDTHS);
        widths.push(6);
        widths.iter_mut().zip(SHOWN).for_each(|(w, (heading, _))| *w = (*w).max(width(heading)));
        let mut printer = Printer { format, out, widths };
        match format {
            Format::Jsonl => {}
            Format::Csv => printer.csv(COLUMNS.iter().copied())?,
            Format::Md => {
                printer.line(SHOWN.iter().map(|(heading, _)| (*heading).to_owned()))?;
                let rule = |(i, w): (usize, &usize)| match i {
                    FIRST_NUMBER..11 => format!("{}:", "-".repeat(w - 1)),
                    _ => "-".repeat(*w),
                };
                let rules: Vec<String> = printer.widths.iter().enumerate().map(rule).collect();
                printer.line(rules.into_iter())?;
            }
        }
        printer.out.flush()?;
        Ok(printer)
    }

    /// Writes one row; why a test failed goes to stderr where the table has no room for it.
    pub fn row(&mut self, row: &CaseRow) -> io::Result<()> {
        match self.format {
            Format::Csv => self.csv(row.fields(COLUMNS))?,
            Format::Jsonl => {
                let object: serde_json::Map<_, _> =
                    COLUMNS.iter().map(|c| ((*c).to_owned(), json(c, row.get(c)))).collect();
                serde_json::to_writer(&mut *self.out, &object)?;
                self.out.write_all(b"\n")?;
            }
            Format::Md => {
                self.line(SHOWN.iter().map(|(_, cell)| cell(row)))?;
                if row.get("status") != "ok" {
                    let model = file_name(row.get("model"));
                    let what = format!("{model} {} {}", row.get("params"), row.get("test"));
                    eprintln!("{}: {}: {}", what.trim(), row.get("status"), row.get("reason"));
                }
            }
        }
        self.out.flush()
    }

    fn csv<'f>(&mut self, fields: impl Iterator<Item = &'f str>) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(&mut *self.out);
        writer.write_record(fields)?;
        writer.flush()
    }

    fn line(&mut self, cells: impl Iterator<Item = String>) -> io::Result<()> {
        let mut line = String::from("|");
        for (i, (cell, &wide)) in cells.zip(&self.widths).enumerate() {
            let cell = cell.replace('|', "\\|");
            let blanks = " ".repeat(wide.saturating_sub(width(&cell)));
            match i {
                FIRST_NUMBER..11 => line += &format!(" {blanks}{cell} |"),
                _ => line += &format!(" {cell}{blanks} |"),
            }
        }
        writeln!(self.out, "{line}")
    }
}

/// Characters of a cell.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// A field as JSON: what was not measured is `null`.
fn json(column: &str, field: &str) -> serde_json::Value {
    let number =
        |text: &str| serde_json::from_str::<serde_json::Number>(text).map_or(serde_json::Value::Null, Into::into);
    match column {
        "tok_s_each" => field.split(';').filter(|v| !v.is_empty()).map(number).collect(),
        _ if TEXTS.contains(&column) => field.into(),
        _ => number(field),
    }
}
