//! A history as a table, as CSV, and as charts. It must not know how changes were found.

use super::{History, Point, Series};
use crate::story::report::{Axis, Drawn, Language, Note, SERIES, Text, draw, figure, plane, standalone, wrap};
use comfy_table::{CellAlignment, Table, presets};
use plotters::prelude::*;

/// How a history is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Table,
    Csv,
    Svg,
    Html,
}

impl Format {
    /// By its word on the command line.
    pub const ALL: &[(&str, Format)] =
        &[("table", Format::Table), ("csv", Format::Csv), ("svg", Format::Svg), ("html", Format::Html)];
}

/// The history as text, without a newline at its end.
pub fn print(history: &History, format: Format) -> String {
    match format {
        Format::Table => table(history),
        Format::Csv => csv(history),
        Format::Svg => standalone(&chart(history, &history.series.iter().collect::<Vec<_>>())),
        Format::Html => html(history),
    }
}

/// `2026-03-01` of `2026-03-01T02:00:00Z`
fn day(point: &Point) -> &str {
    point.start.split('T').next().unwrap_or_default()
}

fn table(history: &History) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["case", "runs", "first", "last", "changes"]);
    for series in &history.series {
        let told = series.changes.iter().map(|c| {
            let change = if c.before == 0.0 {
                String::new()
            } else {
                format!(" ({:+.1} %)", (c.after / c.before - 1.0) * 100.0)
            };
            format!("{}: {} → {}{change}", day(&series.points[c.at]), figure(c.before), figure(c.after))
        });
        let ends = [series.points.first(), series.points.last()].map(|p| p.map_or(String::new(), |p| figure(p.value)));
        let [first, last] = ends;
        let told: Vec<String> = told.collect();
        table.add_row([name(series), series.points.len().to_string(), first, last, told.join("\n")]);
    }
    for column in table.column_iter_mut().skip(1).take(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let first = history.series.iter().filter_map(|s| s.points.first()).map(day).min().unwrap_or_default();
    let last = history.series.iter().filter_map(|s| s.points.last()).map(day).max().unwrap_or_default();
    format!("{}, {first} to {last}\n\n{table}", history.metric)
}

fn name(series: &Series) -> String {
    if series.board.is_empty() { series.case.clone() } else { format!("{} on {}", series.case, series.board) }
}

fn csv(history: &History) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory fails only for rows of unequal length.
    let _ = writer.write_record([
        "board", "case", "start", "run", "metric", "value", "lo", "hi", "valid", "change", "before", "after", "p",
    ]);
    for series in &history.series {
        for (i, point) in series.points.iter().enumerate() {
            let ends =
                point.interval.map_or([String::new(), String::new()], |(lo, hi)| [lo.to_string(), hi.to_string()]);
            let change = series.changes.iter().find(|c| c.at == i);
            let figures = change.map_or([const { String::new() }; 3], |c| {
                [format!("{:.6}", c.before), format!("{:.6}", c.after), format!("{:.3}", c.p)]
            });
            let yes = |yes: bool| if yes { "yes" } else { "no" };
            let fields =
                [&series.board, &series.case, &point.start, &point.run, &history.metric, &point.value.to_string()];
            let fields = fields.into_iter().map(String::as_str);
            let fields = fields.chain(ends.iter().map(String::as_str)).chain([yes(point.valid), yes(change.is_some())]);
            let _ = writer.write_record(fields.chain(figures.iter().map(String::as_str)));
        }
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

fn html(history: &History) -> String {
    let charts = history.series.iter().map(|s| format!("<figure class=\"wide\">{}</figure>", chart(history, &[s])));
    wrap(&Text::new(Language::En), &format!("History of {}", history.metric), &charts.collect::<String>())
}

const WIDTH: u32 = 900;
const PANEL: u32 = 230;

/// A panel for each of `series`, one below the other.
fn chart(history: &History, series: &[&Series]) -> String {
    let height = PANEL * series.len() as u32;
    let label = format!("{} over {} runs", history.metric, series.iter().map(|s| s.points.len()).max().unwrap_or(0));
    draw((WIDTH, height), &label, |area| {
        let mut notes = Vec::new();
        let mut rest = area.clone();
        for one in series {
            let (top, below) = rest.split_vertically(PANEL);
            rest = below;
            panel(&top, history, one, &mut notes)?;
        }
        Ok(notes)
    })
}

fn panel(area: &crate::story::report::Area, history: &History, series: &Series, notes: &mut Vec<Note>) -> Drawn {
    let (title, plot) = area.split_vertically(24);
    title.draw_text(&name(series), &("sans-serif", 17).into_font().color(&crate::story::report::INK), (8, 6))?;
    let points = &series.points;
    let x = Axis::runs(points.iter().map(|p| day(p).to_owned()).collect());
    let ends = points.iter().flat_map(|p| p.interval.map_or([p.value, p.value], |(lo, hi)| [lo, hi]));
    let y = Axis::linear(&history.metric, ends);
    let mut chart = plane(&plot, &x, &y, false)?;
    let at = |i: usize| i as f64;
    let bars = points.iter().enumerate().filter_map(|(i, p)| {
        let (lo, hi) = p.interval?;
        Some(PathElement::new(vec![(at(i), lo), (at(i), hi)], SERIES[9].mix(0.5).stroke_width(1)))
    });
    chart.draw_series(bars)?;
    // The level between changes, as a line; then the changes.
    let cuts: Vec<usize> = [0].into_iter().chain(series.changes.iter().map(|c| c.at)).chain([points.len()]).collect();
    for piece in cuts.windows(2) {
        let valid: Vec<f64> = points[piece[0]..piece[1]].iter().filter(|p| p.valid).map(|p| p.value).collect();
        if !valid.is_empty() {
            let mean = valid.iter().sum::<f64>() / valid.len() as f64;
            let line = vec![(at(piece[0]), mean), (at(piece[1] - 1), mean)];
            chart.draw_series([PathElement::new(line, SERIES[0].mix(0.45).stroke_width(3))])?;
        }
    }
    let (bottom, top) = (chart.plotting_area().get_y_range().start, chart.plotting_area().get_y_range().end);
    for change in &series.changes {
        let x = at(change.at) - 0.5;
        chart.draw_series([PathElement::new(vec![(x, bottom), (x, top)], SERIES[2].stroke_width(2))])?;
    }
    for (i, p) in points.iter().enumerate() {
        let style = if p.valid { SERIES[0].filled() } else { SERIES[9].stroke_width(1) };
        chart.draw_series([Circle::new((at(i), p.value), 4, style)])?;
        let change = series.changes.iter().find(|c| c.at == i);
        let change = change
            .map_or(String::new(), |c| format!("; changed: {} → {}, p {:.3}", figure(c.before), figure(c.after), c.p));
        let valid = if p.valid { "" } else { ", not valid" };
        let (px, py) = chart.backend_coord(&(at(i), p.value));
        notes.push(Note { at: (px, py), text: format!("{}, {}: {}{valid}{change}", p.start, p.run, figure(p.value)) });
    }
    Ok(())
}
