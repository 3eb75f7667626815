//! How the loss of a training fell, step by step, and that of its held-out texts after each epoch. It must not know how
//! anything is trained.

use super::chart::{Axis, Note, SERIES, draw, plane};
use super::language::Text;
use super::numbers::figure;
use super::thin::thin;
use plotters::prelude::*;

/// Rows of steps.csv as points: step and loss.
#[derive(Debug, Default)]
pub struct Losses {
    pub learned: Vec<(f64, f64)>,
    pub validation: Vec<(f64, f64)>,
}

/// The chart; empty with fewer than two steps. `budget`: points of the line.
pub fn chart(losses: &Losses, budget: usize, text: &Text) -> String {
    if losses.learned.len() < 2 {
        return String::new();
    }
    let all = || losses.learned.iter().chain(&losses.validation);
    let x = Axis::linear(text.of("loss.step"), all().map(|p| p.0));
    let y = Axis::linear(text.of("loss.loss"), all().map(|p| p.1));
    draw((960, 260), text.of("loss.title"), |area| {
        let mut chart = plane(area, &x, &y, false)?;
        chart.draw_series([PathElement::new(thin(&losses.learned, budget), SERIES[0].stroke_width(2))])?;
        chart.draw_series(losses.validation.iter().map(|p| Circle::new(*p, 4, SERIES[2].filled())))?;
        let note = |(step, loss): &(f64, f64)| Note {
            at: chart.backend_coord(&(*step, *loss)),
            text: text.fill("loss.held-out", &[&format!("{step:.0}"), &figure(*loss)]),
        };
        Ok(losses.validation.iter().map(note).collect())
    })
}
