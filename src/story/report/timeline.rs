//! What the board did while a case ran: a strip of phases, and below it heat, clock, power, memory and load over the same
//! time. It must not know what any of it means for the case.

use super::chart::{Axis, GRID, SERIES, draw, plane};
use super::files::{TRACKS, Telemetry};
use super::language::Text;
use super::thin::thin;
use plotters::prelude::*;

/// Phases in the order of the legend, with their colours.
pub const PHASES: [(&str, RGBColor); 9] = [
    ("cooldown", SERIES[7]),
    ("idle", SERIES[9]),
    ("load", SERIES[8]),
    ("warmup", SERIES[1]),
    ("prefill", SERIES[0]),
    ("decode", SERIES[4]),
    ("score", SERIES[6]),
    ("train", SERIES[5]),
    ("between", GRID),
];

const WIDTH: u32 = 960;
const STRIP: i32 = 12;
const PANEL: u32 = 92;
/// Of the last panel, with the numbers of x.
const AXIS: u32 = 40;

/// The chart; empty when nothing was seen. `budget`: points of one track.
pub fn chart(telemetry: &Telemetry, budget: usize, text: &Text) -> String {
    let (Some(first), Some(last)) = (telemetry.phases.first(), telemetry.phases.last()) else { return String::new() };
    let tracks: Vec<(usize, &Vec<(f64, f64)>)> =
        telemetry.tracks.iter().enumerate().filter(|(_, track)| track.len() > 1).collect();
    if tracks.is_empty() || last.0 <= first.0 {
        return String::new();
    }
    let start = first.0;
    let x = Axis::between(text.of("timeline.x"), 0.0, last.0 - start);
    let height = STRIP as u32 + 6 + PANEL * tracks.len() as u32 + AXIS;
    draw((WIDTH, height), text.of("timeline.title"), |area| {
        let (_, mut rest) = area.split_vertically(STRIP + 6);
        for (i, (track, values)) in tracks.iter().enumerate() {
            let bare = i + 1 < tracks.len();
            let (panel, below) = rest.split_vertically(if bare { PANEL } else { PANEL + AXIS });
            rest = below;
            let y = Axis::linear(TRACKS[*track].1, values.iter().map(|v| v.1));
            let mut chart = plane(&panel, &x, &y, bare)?;
            let path = thin(values, budget).into_iter().map(|(t, v)| (t - start, v)).collect::<Vec<_>>();
            chart.draw_series([PathElement::new(path, SERIES[*track].stroke_width(2))])?;
            if i == 0 {
                let place = |t: f64| chart.plotting_area().map_coordinate(&(t - start, values[0].1)).0;
                for (phase, from, to) in strips(&telemetry.phases, place) {
                    area.draw(&Rectangle::new([(from, 4), (to, 4 + STRIP)], colour(phase).filled()))?;
                }
            }
        }
        Ok(Vec::new())
    })
}

fn colour(phase: &str) -> RGBColor {
    PHASES.iter().find(|(name, _)| *name == phase).map_or(GRID, |(_, colour)| *colour)
}

/// The phase that most looks of each two pixels saw, as strips.
fn strips(phases: &[(f64, String)], place: impl Fn(f64) -> i32) -> Vec<(&str, i32, i32)> {
    let mut strips: Vec<(&str, i32, i32)> = Vec::new();
    for looks in phases.chunk_by(|a, b| place(a.0) / 2 == place(b.0) / 2) {
        let count = |name: &str| looks.iter().filter(|(_, phase)| phase == name).count();
        let Some((_, phase)) = looks.iter().max_by_key(|(_, phase)| count(phase)) else { continue };
        let at = place(looks[0].0);
        match strips.last_mut() {
            Some(strip) if strip.0 == phase => strip.2 = at + 2,
            Some(strip) => {
                strip.2 = at;
                strips.push((phase, at, at + 2));
            }
            None => strips.push((phase, at, at + 2)),
        }
    }
    strips
}
