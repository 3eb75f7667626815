//! Quality against speed, energy and memory: a point for each object instance. It must not know how the page is laid out.

use super::chart::{Axis, MUTED, Note, SERIES, draw, plane, word};
use super::language::Text;
use super::numbers::figure;
use crate::story::boards::{Board, QUALITY, figures, interval as interval_of};
use crate::story::rank::Place;
use plotters::prelude::*;

/// Most points that have their names beside them; else only those on the front have.
const NAMED: usize = 14;

const SIZE: (u32, u32) = (520, 360);
/// Where the plane begins.
const LEFT: i32 = 62;

/// Charts of one leaderboard; `names` are those of its places.
pub fn charts(board: &Board, names: &[String], text: &Text) -> Vec<String> {
    let places: Vec<&Place> = board.places.iter().map(|p| &p.place).filter(|p| p.failed() == 0).collect();
    let columns = figures(&places);
    match columns.split_first() {
        Some((quality, rest)) if places.len() > 1 && QUALITY.contains(quality) => {
            rest.iter().map(|(column, _)| chart(board, names, quality.0, column, text)).collect()
        }
        _ => Vec::new(),
    }
}

fn chart(board: &Board, names: &[String], quality: &str, column: &str, text: &Text) -> String {
    let name = text.column(column);
    let (factor, unit) = if quality == "acc" { (100.0, " %") } else { (1.0, "") };
    let quality_name = text.column(quality) + unit;
    let point = |(place, name): (&'_ crate::story::boards::Ranked, &'_ String)| {
        let p = &place.place;
        let range = interval_of(p, quality).map(|(lo, hi)| (lo * factor, hi * factor));
        let (x, y) = (p.number(column)?, p.number(quality)? * factor);
        Some(Point { x, y, range, front: place.pareto, name: name.clone() })
    };
    let ended = board.places.iter().zip(names).filter(|(p, _)| p.place.failed() == 0);
    let points: Vec<Point> = ended.filter_map(point).collect();
    let x = Axis::wide(&name, points.iter().map(|p| p.x));
    let ends = points.iter().flat_map(|p| [p.y, p.range.map_or(p.y, |r| r.0), p.range.map_or(p.y, |r| r.1)]);
    let y = Axis::linear(&quality_name, ends);
    draw(SIZE, &format!("{quality_name} × {name}"), |area| {
        let mut chart = plane(area, &x, &y, false)?;
        let bar = |p: &Point| {
            let (lo, hi) = p.range?;
            Some(PathElement::new(vec![(p.x, lo), (p.x, hi)], MUTED.mix(0.45).stroke_width(1)))
        };
        chart.draw_series(points.iter().filter_map(bar))?;
        let dot = |p: &Point| {
            let style = if p.front { SERIES[0].filled() } else { SERIES[9].filled() };
            Circle::new((p.x, p.y), if p.front { 6 } else { 4 }, style)
        };
        chart.draw_series(points.iter().map(dot))?;
        let few = points.len() <= NAMED;
        let spots: Vec<(i32, i32)> = points.iter().map(|p| chart.backend_coord(&(p.x, p.y))).collect();
        let mut taken: Vec<[i32; 4]> = spots.iter().map(|(x, y)| [x - 5, y - 5, x + 5, y + 5]).collect();
        let mut notes = Vec::new();
        for (p, &at) in points.iter().zip(&spots) {
            let range = p.range.map_or(String::new(), |(lo, hi)| format!(" ({}–{})", figure(lo), figure(hi)));
            let told = format!("{}: {}{unit}{range}, {name} {}", p.name, figure(p.y), figure(p.x));
            notes.push(Note { at, text: told });
            // A name is written where nothing else is; the note has it in any case.
            let width = p.name.chars().count() as i32 * 7;
            let sides = [
                (false, [at.0 + 8, at.1 - 7, at.0 + 8 + width, at.1 + 7]),
                (true, [at.0 - 8 - width, at.1 - 7, at.0 - 8, at.1 + 7]),
            ];
            let free = |b: &[i32; 4]| {
                let apart = |t: &[i32; 4]| t[2] < b[0] || b[2] < t[0] || t[3] < b[1] || b[3] < t[1];
                b[0] > LEFT && b[2] < SIZE.0 as i32 && taken.iter().all(apart)
            };
            if (few || p.front)
                && let Some((end, place)) = sides.into_iter().find(|(_, b)| free(b))
            {
                word(area, (at.0 + if end { -9 } else { 9 }, at.1), &p.name, end)?;
                taken.push(place);
            }
        }
        Ok(notes)
    })
}

struct Point {
    x: f64,
    /// Accuracy in percent.
    y: f64,
    range: Option<(f64, f64)>,
    front: bool,
    name: String,
}
