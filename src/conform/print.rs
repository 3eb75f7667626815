//! Results for people and for programs. It must not know how checks run.

use super::{Report, Row, Summary};
use crate::backend::conform::Status;
use std::io::Write;

/// One line per check; for what is not well also the rule behind it.
pub fn row(row: &Row, width: usize) {
    let status = match row.status {
        Status::Success => "ok",
        Status::Failed => "FAILED",
        Status::Crashed => "CRASHED",
        Status::Skipped => "skipped",
        Status::Warning => "warning",
    };
    let text = if row.status == Status::Success { row.what } else { row.message.as_str() };
    let mut lines = format!("{status:<8} {:<width$}  {}\n", row.id, one_line(text));
    if !matches!(row.status, Status::Success | Status::Skipped) {
        lines.push_str(&format!("{:<8} {:<width$}  the rule: {}\n", "", "", row.rule));
    }
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
}

/// "31 passed, 0 failed, 2 skipped, 1 warnings".
pub fn summary(s: &Summary) {
    let crashed = if s.crashed > 0 { format!(" ({} crashed)", s.crashed) } else { String::new() };
    println!("\n{} passed, {} failed{crashed}, {} skipped, {} warnings", s.passed, s.failed, s.skipped, s.warnings);
}

pub fn json(report: &Report) {
    // Strings and numbers only: it cannot fail.
    println!("{}", serde_json::to_string_pretty(report).unwrap_or_default());
}

/// A plugin's words must not break the table or steer the terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
