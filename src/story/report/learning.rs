//! Learning curves: quality, perplexity and speed of checkpoints against the step of the training, and a table of them. It
//! must not know how a checkpoint was judged.

use super::chart::Drawn;
use super::chart::{Area, Axis, INK, MUTED, Note, Plane, SERIES, draw, plane, word};
use super::language::Text;
use super::numbers::figure;
use crate::results::CaseRow;
use crate::story::training::Curve;
use plotters::prelude::*;
use serde::Serialize;

const WIDTH: u32 = 960;
/// Heights of a panel, and of the names below the last one.
const PANEL: u32 = 190;
const BELOW: u32 = 42;

/// What the page shows of watched training runs.
#[derive(Serialize)]
pub struct Learning {
    chart: String,
    curves: Vec<Table>,
}

#[derive(Serialize)]
struct Table {
    name: String,
    colour: usize,
    /// How it stands, in a sentence.
    told: String,
    /// Name and unit of the metric.
    metric: [String; 2],
    speed: [String; 2],
    has_perplexity: bool,
    rows: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    step: String,
    checkpoint: String,
    best: bool,
    /// Figure and interval.
    value: [String; 2],
    perplexity: [String; 2],
    speed: [String; 2],
    n: String,
    verdict: String,
    valid: String,
    warnings: String,
    /// Why there is no value.
    reason: String,
}

/// `Accuracy` and `%` of `Accuracy, %`.
fn parts(name: &str) -> [String; 2] {
    let (name, unit) = name.split_once(", ").unwrap_or((name, ""));
    [name.to_owned(), unit.to_owned()]
}

/// Charts and tables of all `curves`; `None` where there is none.
pub fn learning(curves: &[Curve], text: &Text) -> Option<Learning> {
    if curves.is_empty() {
        return None;
    }
    Some(Learning {
        chart: chart(curves, text),
        curves: curves.iter().enumerate().map(|(i, c)| table(c, i, text)).collect(),
    })
}

/// A figure that is drawn: its columns, and by how much it is multiplied.
struct Measure {
    column: &'static str,
    ends: [String; 2],
    factor: f64,
    name: String,
    /// Of the board, so that it may not be valid.
    is_speed: bool,
}

impl Measure {
    fn of(&self, row: &CaseRow) -> Option<f64> {
        Some(row.number(self.column)? * self.factor)
    }

    fn interval(&self, row: &CaseRow) -> Option<(f64, f64)> {
        let end = |i: usize| Some(row.number(&self.ends[i])? * self.factor);
        end(0).zip(end(1))
    }

    /// Figure and interval as text, or nothing.
    fn told(&self, row: &CaseRow) -> [String; 2] {
        let interval = self.interval(row).map_or(String::new(), |(lo, hi)| format!("{}–{}", figure(lo), figure(hi)));
        [self.of(row).map_or(String::new(), figure), interval]
    }
}

fn measure(column: &'static str, text: &Text) -> Measure {
    let ends = ["lo", "hi"].map(|end| format!("{column}_{end}"));
    Measure { column, ends, factor: 1.0, name: text.column(column), is_speed: false }
}

/// What the checkpoints are judged by.
fn quality(curve: &Curve, text: &Text) -> Measure {
    let metric = curve.rows.first().map_or("", |r| r.get("metric"));
    let (factor, unit) = if metric == "acc" { (100.0, ", %") } else { (1.0, "") };
    let ends = ["lo", "hi"].map(str::to_owned);
    Measure { ends, factor, name: text.column(metric) + unit, ..measure("value", text) }
}

/// The perplexity beside the metric, if there is one.
fn perplexity(curve: &Curve, text: &Text) -> Option<Measure> {
    let is_there = curve.rows.iter().any(|r| r.number("perplexity").is_some() && r.get("metric") != "perplexity");
    is_there.then(|| measure("perplexity", text))
}

fn speed(curve: &Curve, text: &Text) -> Measure {
    let decodes = curve.rows.iter().any(|r| r.number("decode_tok_s").is_some());
    Measure { is_speed: true, ..measure(if decodes { "decode_tok_s" } else { "prefill_tok_s" }, text) }
}

/// Where the rows of a curve stand on the x axis: at their steps, or in their order if some curve has none.
fn places(curves: &[Curve]) -> (bool, Vec<Vec<f64>>) {
    let all = curves.iter().flat_map(|c| &c.rows);
    let by_step = all.clone().count() > 0 && all.clone().all(|r| r.number("step").is_some());
    let place =
        |(i, row): (usize, &CaseRow)| if by_step { row.number("step").unwrap_or_default() } else { i as f64 + 1.0 };
    (by_step, curves.iter().map(|c| c.rows.iter().enumerate().map(place).collect()).collect())
}

fn chart(curves: &[Curve], text: &Text) -> String {
    let Some(first) = curves.first() else { return String::new() };
    let (by_step, places) = places(curves);
    let x = Axis::linear(
        text.of(if by_step { "learning.step" } else { "learning.order" }),
        places.iter().flatten().copied(),
    );
    let with_perplexity = curves.iter().find_map(|c| perplexity(c, text));
    let mut measures: Vec<Measure> = [quality(first, text)].into_iter().chain(with_perplexity).collect();
    measures.push(speed(first, text));
    measures.retain(|m| curves.iter().flat_map(Curve::judged).any(|r| m.of(r).is_some()));
    let size = (WIDTH, PANEL * measures.len().max(1) as u32 + BELOW);
    draw(size, text.of("learning.title"), |area| {
        let (mut rest, mut notes) = (area.clone(), Vec::new());
        for (i, measure) in measures.iter().enumerate() {
            let is_last = i + 1 == measures.len();
            let (panel, below) = rest.split_vertically(if is_last { PANEL + BELOW } else { PANEL });
            rest = below;
            let judged = curves.iter().flat_map(Curve::judged);
            let ends = judged.flat_map(|r| {
                let interval = measure.interval(r).map_or([None; 2], |(lo, hi)| [Some(lo), Some(hi)]);
                [measure.of(r), interval[0], interval[1]].into_iter().flatten()
            });
            let y = Axis::linear(&measure.name, ends);
            let mut plane = plane(&panel, &x, &y, !is_last)?;
            for (number, (curve, at)) in curves.iter().zip(&places).enumerate() {
                let colour = SERIES[number % SERIES.len()];
                line(
                    &panel,
                    &mut plane,
                    &One { curve, number, at, measure, colour, is_top: i == 0, text },
                    &mut notes,
                )?;
            }
        }
        Ok(notes)
    })
}

/// One curve in one panel.
struct One<'a> {
    curve: &'a Curve,
    number: usize,
    at: &'a [f64],
    measure: &'a Measure,
    colour: RGBColor,
    is_top: bool,
    text: &'a Text,
}

fn line(area: &Area, plane: &mut Plane, one: &One, notes: &mut Vec<Note>) -> Drawn {
    let One { curve, at, measure, colour, text, .. } = one;
    let points = || {
        let rows = curve.rows.iter().zip(*at).filter(|(r, _)| r.get("status") == "ok");
        rows.filter_map(|(r, x)| Some((r, *x, measure.of(r)?)))
    };
    let range = plane.plotting_area().get_y_range();
    // Where it stopped, behind everything else.
    if let (Some((_, x, _)), true) = (points().next_back(), ["plateau", "ended"].contains(&curve.state.as_str())) {
        plane
            .draw_series([PathElement::new(vec![(x, range.start), (x, range.end)], colour.mix(0.6).stroke_width(2))])?;
        if one.is_top {
            // At the bottom, where a curve that has come to its end seldom is; one above the other.
            let (px, py) = plane.backend_coord(&(x, range.start));
            word(
                area,
                (px - 6, py - 12 - 17 * one.number as i32),
                text.of(if curve.state == "plateau" { "learning.plateau" } else { "learning.ended" }),
                true,
            )?;
        }
    }
    let bars = points().filter_map(|(r, x, _)| {
        let (lo, hi) = measure.interval(r)?;
        Some(PathElement::new(vec![(x, lo), (x, hi)], colour.mix(0.45).stroke_width(2)))
    });
    plane.draw_series(bars)?;
    plane.draw_series([PathElement::new(
        points().map(|(_, x, y)| (x, y)).collect::<Vec<_>>(),
        colour.stroke_width(2),
    )])?;
    let best = curve.best();
    for (row, x, y) in points() {
        let is_best = best.is_some_and(|b| std::ptr::eq(b, row));
        let hollow = measure.is_speed && row.get("valid") == "no";
        let style = if hollow { colour.stroke_width(2) } else { colour.filled() };
        plane.draw_series([Circle::new((x, y), 4, style)])?;
        let (px, py) = plane.backend_coord(&(x, y));
        if is_best {
            plane.draw_series([Circle::new((x, y), 9, INK.stroke_width(2))])?;
            if one.is_top {
                word(area, (px + 12, py + 14), text.of("learning.best"), false)?;
            }
        }
        let [figure, interval] = measure.told(row);
        let interval = if interval.is_empty() { interval } else { format!(" ({interval})") };
        let verdict = verdict(row, text);
        notes.push(Note {
            at: (px, py),
            text: format!("{}: {} {figure}{interval}; {verdict}", row.get("checkpoint"), measure.name),
        });
    }
    // What could not be evaluated has no value: a mark at its step.
    if one.is_top {
        for (row, x) in curve.rows.iter().zip(*at).filter(|(r, _)| r.get("status") != "ok") {
            plane.draw_series([Cross::new((*x, range.start), 5, MUTED.stroke_width(2))])?;
            let note = format!("{}: {}: {}", row.get("checkpoint"), row.get("status"), row.get("reason"));
            notes.push(Note { at: plane.backend_coord(&(*x, range.start)), text: note });
        }
    }
    Ok(())
}

/// `better than step-40.gguf (p 0.003)`
fn verdict(row: &CaseRow, text: &Text) -> String {
    let key = match row.get("verdict") {
        "first" => return text.of("learning.first").to_owned(),
        "better" => "learning.better",
        "worse" => "learning.worse",
        "same" => "learning.same",
        _ => return String::new(),
    };
    let told = text.fill(key, &[row.get("reference")]);
    match row.number("p") {
        Some(p) if p < 0.001 => format!("{told} (p < 0.001)"),
        Some(p) => format!("{told} (p {p:.3})"),
        None => told,
    }
}

fn table(curve: &Curve, number: usize, text: &Text) -> Table {
    let (quality, speed, fluency) = (quality(curve, text), speed(curve, text), perplexity(curve, text));
    let best = curve.best();
    let line = |row: &CaseRow| {
        let failed = row.get("status") != "ok";
        Line {
            step: row.get("step").to_owned(),
            checkpoint: row.get("checkpoint").to_owned(),
            best: best.is_some_and(|b| std::ptr::eq(b, row)),
            value: quality.told(row),
            perplexity: fluency.as_ref().map_or([const { String::new() }; 2], |m| m.told(row)),
            speed: speed.told(row),
            n: row.get("n").to_owned(),
            verdict: verdict(row, text),
            valid: row.get("valid").to_owned(),
            warnings: row.get("warnings").replace(';', ", "),
            reason: if failed { format!("{}: {}", row.get("status"), row.get("reason")) } else { String::new() },
        }
    };
    Table {
        name: curve.folder.display().to_string(),
        colour: number % SERIES.len(),
        told: told(curve, &quality, text),
        metric: parts(&quality.name),
        speed: parts(&speed.name),
        has_perplexity: fluency.is_some(),
        rows: curve.rows.iter().map(line).collect(),
    }
}

/// `The best is step-120.gguf: Accuracy 94.0 % (91.2–96.0). It stopped after step-180.gguf: 3 checkpoints in a row …`
fn told(curve: &Curve, quality: &Measure, text: &Text) -> String {
    let Some(best) = curve.best() else { return text.of("learning.none").to_owned() };
    let ([value, interval], [name, unit]) = (quality.told(best), parts(&quality.name));
    let value = format!("{value} {unit}");
    let told = text.fill("learning.told", &[best.get("checkpoint"), &name, value.trim_end(), &interval]);
    let last = curve.judged().next_back().map_or("", |r| r.get("checkpoint"));
    let end = match curve.state.as_str() {
        "plateau" => text.fill("learning.told-plateau", &[last, &curve.without_gain.to_string()]),
        "ended" => text.fill("learning.told-ended", &[last]),
        _ => text.fill("learning.told-open", &[last]),
    };
    format!("{told} {end}")
}
