//! The words of a `generate` task for what becomes of an output: extraction, and when an answer is right. It must not
//! know how either is done.

use super::Metric;
use super::read::{strings, word};
use super::toml::{Table, Value};
use crate::testenv::extract::Chain;

/// Whose reading of an output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compat {
    /// Our own, which is meant to be right.
    #[default]
    None,
    /// OpenCompass', its slips included.
    OpenCompass,
}

/// How far a number may be off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    Absolute(f64),
    /// As part of the expected number.
    Relative(f64),
}

impl Default for Tolerance {
    fn default() -> Tolerance {
        // OpenCompass' for GSM8K.
        Tolerance::Absolute(1e-6)
    }
}

/// From output to judgement.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scoring {
    /// Steps from an output to the answer; `None`: the usual ones.
    pub extract: Option<Vec<String>>,
    /// Steps from the record's answer to what is expected.
    pub gold: Vec<String>,
    pub compat: Compat,
    /// By which metric an answer is right; `None`: by the kind of the answer.
    pub correct: Option<Metric>,
    pub tolerance: Tolerance,
}

/// The keys of a table that are about scoring.
pub type Keys<'a> = [Option<Value<'a>>; 5];

/// Takes them out of a task's table, or a style's.
pub fn keys<'a>(table: &mut Table<'a>) -> Keys<'a> {
    ["extract", "gold", "compat", "correct", "tolerance"].map(|key| table.get(key))
}

/// What the keys say; `style` where they say nothing. A task that extracts in its own way decides in its own way, too.
pub fn read(keys: Keys, style: Scoring) -> Scoring {
    let [extract, gold, compat, correct, tolerance] = keys;
    let style = if extract.is_some() { Scoring { gold: style.gold, ..Scoring::default() } } else { style };
    let words = [("opencompass", Compat::OpenCompass), ("none", Compat::None)];
    let compat = compat.and_then(|v| word(&v, &words)).unwrap_or(style.compat);
    let shares: Vec<(&str, Metric)> = Metric::ALL.iter().copied().filter(|(_, m)| m.decides()).collect();
    Scoring {
        extract: extract.map(|v| chain(&v, compat)).or(style.extract),
        gold: gold.map_or(style.gold, |v| chain(&v, compat)),
        compat,
        correct: correct.and_then(|v| word(&v, &shares)).or(style.correct),
        tolerance: tolerance.and_then(|v| self::tolerance(&v)).unwrap_or(style.tolerance),
    }
}

/// The steps of a chain, of which each one that is none is a problem.
fn chain(value: &Value, compat: Compat) -> Vec<String> {
    let steps = strings(value);
    if let Err((what, todo)) = Chain::parse(&steps, compat) {
        value.problem(what, todo);
    }
    steps
}

/// `0.01`, or `"1 %"`.
fn tolerance(value: &Value) -> Option<Tolerance> {
    if !value.is_text() {
        return value.number(0.0, f64::MAX).map(Tolerance::Absolute);
    }
    let number = value.name()?.trim().strip_suffix('%').and_then(|n| n.trim().parse::<f64>().ok());
    match number.filter(|n| n.is_finite() && *n >= 0.0) {
        Some(percent) => Some(Tolerance::Relative(percent / 100.0)),
        None => {
            value.problem("`tolerance` is no number", "write 0.01, or \"1 %\" of the expected number");
            None
        }
    }
}
