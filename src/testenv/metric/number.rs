//! Equality of numbers. It must not know where a number was found.

use crate::job::{Compat, Scoring, Tolerance};
use crate::testenv::extract::{number, opencompass};

/// Is the number in `prediction` the one in `answer`: |p − a| ≤ tolerance, or ≤ tolerance · |a| when it is relative? Of
/// several numbers in a text the last counts.
pub fn equal(prediction: &str, answer: &str, scoring: &Scoring) -> bool {
    if scoring.compat == Compat::OpenCompass {
        return opencompass::equal_numbers(prediction, answer);
    }
    let (Some(p), Some(a)) = (number::value(prediction), number::value(answer)) else { return false };
    let allowed = match scoring.tolerance {
        Tolerance::Absolute(tolerance) => tolerance,
        Tolerance::Relative(part) => part * a.abs(),
    };
    // Decimals are no binary numbers: 0.3 and 0.2 are within 0.1.
    (p - a).abs() <= allowed + 4.0 * f64::EPSILON * p.abs().max(a.abs())
}
