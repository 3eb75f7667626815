//! Speed over a long case, window by window, and how warm the board was. It must not know how long windows are.

use super::chart::{Axis, SERIES, draw, plane};
use super::language::Text;
use crate::results::CaseRow;
use plotters::prelude::*;

/// The chart; empty with fewer than two windows.
pub fn chart(windows: &[CaseRow], text: &Text) -> String {
    let series = |column: &str| -> Vec<(f64, f64)> {
        windows.iter().filter_map(|w| Some((w.number("t_s")?, w.number(column)?))).collect()
    };
    let speed = ["decode_tok_s", "prefill_tok_s", "records_s"].into_iter().find(|c| series(c).len() > 1);
    let Some(speed) = speed else { return String::new() };
    let x = Axis::linear(text.of("timeline.x"), series(speed).into_iter().map(|p| p.0));
    let panels = [(speed, SERIES[0]), ("temp_c", SERIES[2]), ("freq_mhz", SERIES[1])];
    let panels: Vec<_> = panels.into_iter().filter(|(c, _)| series(c).len() > 1).collect();
    let height = 130 * panels.len() as u32 + 40;
    draw((960, height), text.of("sustained.title"), |area| {
        let mut rest = area.clone();
        for (i, (column, colour)) in panels.iter().enumerate() {
            let bare = i + 1 < panels.len();
            let (panel, below) = rest.split_vertically(if bare { 130 } else { 170 });
            rest = below;
            let points = series(column);
            // From zero where it is a speed: a loss looks as large as it is.
            let zero = (i == 0).then_some(0.0);
            let y = Axis::linear(&text.column(column), points.iter().map(|p| p.1).chain(zero));
            let mut chart = plane(&panel, &x, &y, bare)?;
            chart.draw_series([PathElement::new(points.clone(), colour.stroke_width(2))])?;
            chart.draw_series(points.iter().map(|p| Circle::new(*p, 3, colour.filled())))?;
        }
        Ok(Vec::new())
    })
}
