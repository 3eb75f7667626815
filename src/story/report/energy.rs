//! Where the energy went: loading, prompts, new tokens, and the rest of the timed passes. It must not know how a table looks.

use super::numbers::figure;
use crate::results::CaseRow;
use serde::Serialize;

/// One case.
#[derive(Debug, Serialize)]
pub struct Split {
    pub name: String,
    pub rail: String,
    /// Class, joules, and start and width in percent of the whole.
    pub parts: Vec<(&'static str, String, String, String)>,
    /// Total with its uncertainty, net of idle, per token, per record, per right answer, mean and idle power.
    pub total: String,
    pub net: String,
    pub figures: [String; 5],
    pub order: String,
}

/// Cases with an energy, in the order given.
pub fn splits(cases: &[(&str, &CaseRow)]) -> Vec<Split> {
    let measured: Vec<_> = cases.iter().filter(|(_, r)| r.number("energy_j").is_some()).collect();
    measured.iter().map(|(name, row)| split(name, row)).collect()
}

fn split(name: &str, row: &CaseRow) -> Split {
    let joules = |column: &str| row.number(column).unwrap_or(0.0);
    let (load, prefill, decode) = (joules("energy_load_j"), joules("energy_prefill_j"), joules("energy_decode_j"));
    let rest = (joules("energy_j") - prefill - decode).max(0.0);
    let whole = (load + prefill + decode + rest).max(f64::MIN_POSITIVE);
    let mut from = 0.0;
    let mut part = |class, joules: f64| {
        let (start, width) = (from / whole * 100.0, joules / whole * 100.0);
        from += joules;
        (class, figure(joules), format!("{start:.2}"), format!("{width:.2}"))
    };
    let parts = [("load", load), ("prefill", prefill), ("decode", decode), ("between", rest)];
    let text = |column: &str| row.number(column).map_or(String::new(), figure);
    let error = row.number("energy_j_err").map_or(String::new(), |e| format!(" ± {}", figure(e)));
    Split {
        name: name.to_owned(),
        rail: row.get("energy_rail").to_owned(),
        parts: parts.into_iter().filter(|(_, j)| *j > 0.0).map(|(class, j)| part(class, j)).collect(),
        total: text("energy_j") + &error,
        net: text("energy_j_net"),
        figures: ["energy_j_per_token", "energy_j_per_record", "energy_j_per_correct", "power_w_avg", "power_w_idle"]
            .map(text),
        order: row.get("energy_j").to_owned(),
    }
}
