//! What every chart has: paper, axes, colours, and notes that show when a pointer rests on a point. The colours are those of
//! a light page, so that a chart is sound on its own; the page's style sheet gives each another one in the dark. It must
//! not know what is drawn.

use minijinja::HtmlEscape;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;
use std::fmt::Write;

/// Text and marks.
pub const INK: RGBColor = RGBColor(0x1F, 0x23, 0x28);
/// Axes and their labels.
pub const MUTED: RGBColor = RGBColor(0x6B, 0x72, 0x80);
/// Lines behind the marks.
pub const GRID: RGBColor = RGBColor(0xE5, 0xE7, 0xEB);
/// Of things side by side: M. Bostock's Observable 10, told apart also by most people with a colour blindness.
pub const SERIES: [RGBColor; 10] = [
    RGBColor(0x42, 0x69, 0xD0),
    RGBColor(0xEF, 0xB1, 0x18),
    RGBColor(0xFF, 0x72, 0x5C),
    RGBColor(0x6C, 0xC5, 0xB0),
    RGBColor(0x3C, 0xA9, 0x51),
    RGBColor(0xFF, 0x8A, 0xB7),
    RGBColor(0xA4, 0x63, 0xF2),
    RGBColor(0x97, 0xBB, 0xF5),
    RGBColor(0x9C, 0x6B, 0x4E),
    RGBColor(0x94, 0x98, 0xA0),
];

/// Height of an axis label; plotters writes it 1.24 times smaller.
const LABEL: f64 = 16.0;

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub type Plane<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<Axis, Axis>>;
pub type Drawn<T = ()> = Result<T, DrawingAreaErrorKind<std::io::Error>>;

/// A place of the paper, and what is told of it.
pub struct Note {
    pub at: (i32, i32),
    pub text: String,
}

/// One direction of a plane.
#[derive(Clone)]
pub struct Axis {
    pub name: String,
    lo: f64,
    hi: f64,
    ticks: Vec<f64>,
    log: bool,
    /// What stands at 0, 1 …, where it is no number.
    words: Vec<String>,
}

impl Axis {
    /// Over all `values`, from a round number to a round number.
    pub fn linear(name: &str, values: impl Iterator<Item = f64>) -> Axis {
        let (lo, hi) = ends(values);
        let room = if hi > lo { 0.04 * (hi - lo) } else { (0.1 * hi.abs()).max(0.5) };
        let lo = if lo >= 0.0 && lo - room < 0.0 { 0.0 } else { lo - room };
        Axis::between(name, lo, hi + room)
    }

    /// From `lo` to `hi`.
    pub fn between(name: &str, lo: f64, hi: f64) -> Axis {
        let rough = (hi - lo) / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(rough);
        let first = (lo / step).ceil();
        let ticks = (0..=8).map(|i| (first + f64::from(i)) * step).filter(|t| *t <= hi + step * 1e-9).collect();
        Axis { name: name.to_owned(), lo, hi, ticks, log: false, words: Vec::new() }
    }

    /// Logarithmic if the largest of the positive `values` is far from the smallest.
    pub fn wide(name: &str, values: impl Iterator<Item = f64> + Clone) -> Axis {
        let (lo, hi) = ends(values.clone().filter(|v| *v > 0.0));
        let ratio = hi / lo;
        // Without positive values it is no number.
        if !ratio.is_finite() || ratio < 8.0 {
            return Axis::linear(name, values);
        }
        let (lo, hi) = (lo * 0.93, hi * 1.07);
        let steps: &[f64] = if hi / lo > 1e3 {
            &[1.0]
        } else if hi / lo > 60.0 {
            &[1.0, 3.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let powers = (lo.log10().floor() as i32)..=(hi.log10().ceil() as i32);
        let all = powers.flat_map(|p| steps.iter().map(move |s| s * 10f64.powi(p)));
        let ticks = all.filter(|t| (lo..=hi).contains(t)).collect();
        Axis { name: name.to_owned(), lo: lo.log10(), hi: hi.log10(), ticks, log: true, words: Vec::new() }
    }

    /// One place for each of `words`, of which some are written.
    pub fn runs(words: Vec<String>) -> Axis {
        let last = words.len().saturating_sub(1);
        let step = (words.len().div_ceil(7)).max(1);
        let ticks = (0..words.len()).step_by(step).map(|i| i as f64).collect();
        Axis { name: String::new(), lo: -0.6, hi: last as f64 + 0.6, ticks, log: false, words }
    }

    /// Where a value is on it, from 0 to 1.
    fn share(&self, value: f64) -> f64 {
        let value = if self.log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        ((value - self.lo) / (self.hi - self.lo)).clamp(0.0, 1.0)
    }

    fn label(&self, value: f64) -> String {
        if !self.words.is_empty() {
            return self.words.get(value.round() as usize).cloned().unwrap_or_default();
        }
        // Ticks are round numbers; what a sum of them is off by is not shown.
        let text = format!("{value:.4}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        if text == "-0" { "0".to_owned() } else { text.to_owned() }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (self.share(*value) * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        if self.log { 10f64.powf(self.lo)..10f64.powf(self.hi) } else { self.lo..self.hi }
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.label(*value)
    }
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let ends = values.filter(|v| v.is_finite()).fold((f64::MAX, f64::MIN), |(lo, hi), v| (lo.min(v), hi.max(v)));
    if ends.0 > ends.1 { (0.0, 1.0) } else { ends }
}

/// An SVG of `size`, told as `label` to who cannot see it; empty when it could not be drawn.
pub fn draw(size: (u32, u32), label: &str, body: impl FnOnce(&Area) -> Drawn<Vec<Note>>) -> String {
    let mut svg = String::new();
    let drawn = {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        body(&area).and_then(|notes| area.present().map(|()| notes))
    };
    let notes = match drawn {
        Ok(notes) => notes,
        Err(e) => {
            log::error!("{label}: cannot be drawn: {e}");
            return String::new();
        }
    };
    // Everywhere the same, so the style sheet says it once. Quotes within texts are escaped: none of it is lost.
    for (words, short) in [
        (" opacity=\"1\"", ""),
        (" font-family=\"sans-serif\"", ""),
        (" stroke=\"none\"", ""),
        (" \"/>\n", "\"/>"),
        ("/>\n", "/>"),
        ("\">\n", "\">"),
        ("\n</text>\n", "</text>"),
    ] {
        svg = svg.replace(words, short);
    }
    let head = format!("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">", size.0, size.1, HtmlEscape(label));
    let body = svg.split_once('>').map_or("", |(_, body)| body);
    let body = body.trim_end().strip_suffix("</svg>").unwrap_or(body);
    let mut out = head + body;
    for note in notes {
        let (x, y) = note.at;
        let _ = write!(
            out,
            "<circle class=\"note\" cx=\"{x}\" cy=\"{y}\" r=\"8\"><title>{}</title></circle>",
            HtmlEscape(&note.text)
        );
    }
    out.push_str("</svg>");
    out
}

/// A chart as a file of its own.
pub fn standalone(svg: &str) -> String {
    let head = "<svg xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\" ";
    let style = "<style>.note{fill:transparent}svg{background:#fff}</style>";
    svg.replacen("<svg ", head, 1).replacen('>', &format!(">{style}"), 1)
}

/// Axes with their names, ticks and grid. `bare`: without the numbers of x.
pub fn plane<'a>(area: &Area<'a>, x: &Axis, y: &Axis, bare: bool) -> Drawn<Plane<'a>> {
    let mut chart = ChartBuilder::on(area)
        .margin_top(8)
        .margin_right(14)
        .margin_bottom(if bare { 4 } else { 2 })
        .x_label_area_size(if bare { 0 } else { 42 })
        .y_label_area_size(62)
        .build_cartesian_2d(x.clone(), y.clone())?;
    let label = |size: f64| ("sans-serif", size).into_font().color(&MUTED);
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(GRID)
        .label_style(label(LABEL))
        .axis_desc_style(label(LABEL))
        .x_desc(if bare { "" } else { &x.name })
        .y_desc(&y.name)
        .x_label_formatter(&|v| if bare { String::new() } else { x.label(*v) })
        .draw()?;
    Ok(chart)
}

/// Writes a word beside a point.
pub fn word(area: &Area, at: (i32, i32), text: &str, end: bool) -> Drawn {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    let anchor = Pos::new(if end { HPos::Right } else { HPos::Left }, VPos::Center);
    let style = ("sans-serif", LABEL).into_font().color(&INK).pos(anchor);
    area.draw_text(text, &style, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_without_a_positive_value_is_linear() {
        for values in [&[][..], &[0.0, 0.0], &[-1.0], &[f64::NAN]] {
            let axis = Axis::wide("ms", values.iter().copied());
            assert!(!axis.log && axis.lo < axis.hi && axis.ticks.len() < 10, "{values:?}");
        }
        assert!(Axis::wide("ms", [1.0, 1000.0].into_iter()).log);
    }
}
