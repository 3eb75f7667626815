//! Variants of a model as a table, Markdown, CSV or JSON. It must not know how they were compared.

use super::{Variant, Variants, wilson};
use comfy_table::{CellAlignment, Table, TableStyle, presets};
use std::fmt::Write;

/// How they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Markdown,
    Csv,
    Json,
}

impl Format {
    /// By its word on the command line.
    pub const ALL: &[(&str, Format)] =
        &[("text", Format::Text), ("md", Format::Markdown), ("csv", Format::Csv), ("json", Format::Json)];
}

/// Columns of CSV and JSON; what was not measured is empty.
const COLUMNS: &[&str] = &[
    "object",
    "variant",
    "ship",
    "status",
    "valid",
    "model_bytes",
    "bits_per_weight",
    "kv_bytes",
    "n",
    "quality",
    "quality_lo",
    "quality_hi",
    "change_pp",
    "change_pp_lo",
    "change_pp_hi",
    "p_holm",
    "right_to_wrong",
    "wrong_to_right",
    "flips",
    "flips_lo",
    "flips_hi",
    "kl",
    "kl_lo",
    "kl_hi",
    "kl_p99",
    "kl_max",
    "same_top",
    "same_top_lo",
    "same_top_hi",
    "perplexity",
    "perplexity_lo",
    "perplexity_hi",
    "time_pct",
    "time_pct_lo",
    "time_pct_hi",
    "ttft_ms_p50",
    "prefill_tok_s",
    "decode_tok_s",
    "rss_peak_mib",
    "energy_j_per_token",
    "energy_j_per_record",
];

/// All tables, without a newline at the end.
pub fn print(all: &[Variants], format: Format) -> String {
    match format {
        Format::Text => texts(all, presets::UTF8_FULL_CONDENSED, ""),
        Format::Markdown => texts(all, presets::ASCII_MARKDOWN, "### "),
        Format::Csv => {
            let line = |fields: &[String]| fields.iter().map(|f| quoted(f)).collect::<Vec<_>>().join(",");
            let mut lines = vec![COLUMNS.join(",")];
            lines.extend(all.iter().flat_map(|v| rows(v).into_iter().map(|row| line(&row))));
            lines.join("\n")
        }
        Format::Json => {
            let value = |text: &String| match text.parse::<f64>() {
                _ if text.is_empty() => serde_json::Value::Null,
                Ok(number) => serde_json::json!(number),
                Err(_) => serde_json::Value::from(text.as_str()),
            };
            let object = |row: Vec<String>| -> serde_json::Map<String, serde_json::Value> {
                COLUMNS.iter().map(|c| (*c).to_owned()).zip(row.iter().map(value)).collect()
            };
            let objects: Vec<_> = all.iter().flat_map(|v| rows(v).into_iter().map(object)).collect();
            serde_json::to_string_pretty(&objects).unwrap_or_default()
        }
    }
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
}

/// The fields of [`COLUMNS`] of each variant.
fn rows(variants: &Variants) -> Vec<Vec<String>> {
    let number = |v: Option<f64>, decimals: usize| v.map_or(String::new(), |v| format!("{v:.decimals$}"));
    let one = |(i, v): (usize, &Variant)| {
        let flips = v.flips;
        let against = flips.filter(|_| i > 0);
        let share = |n: u64| flips.map(|f| n as f64 / f.n as f64);
        let changed = against.map(|f| wilson(f.worse + f.better, f.n));
        let metric = |column: &str, end: usize| {
            let (value, interval) = v.metric(column)?;
            [Some(value), interval.map(|i| i.0), interval.map(|i| i.1)][end]
        };
        let field = |column: &str| match column {
            "object" => variants.title.clone(),
            "variant" => v.name.clone(),
            "ship" => if variants.ship == Some(i) { "yes" } else { "" }.to_owned(),
            "status" => v.place.rows.iter().map(|r| r.get("status")).find(|s| *s != "ok").unwrap_or("ok").to_owned(),
            "valid" => {
                let has = |word: &&str| v.place.rows.iter().any(|r| r.get("valid") == *word);
                ["no", "unknown"].into_iter().find(has).unwrap_or("yes").to_owned()
            }
            "model_bytes" => number(v.place.number(column), 0),
            "bits_per_weight" => number(v.place.number(column), 3),
            "kv_bytes" => v.kv_bytes.map_or(String::new(), |b| b.to_string()),
            "n" => flips.map_or(String::new(), |f| f.n.to_string()),
            "quality" => number(v.quality().map(|q| q.0), 4),
            "quality_lo" => number(v.quality().map(|q| q.1.0), 4),
            "quality_hi" => number(v.quality().map(|q| q.1.1), 4),
            "change_pp" => number(against.map(|f| f.points()), 2),
            "change_pp_lo" => number(against.map(|f| f.interval().0), 2),
            "change_pp_hi" => number(against.map(|f| f.interval().1), 2),
            "p_holm" => number(v.p, 6),
            "right_to_wrong" => against.map_or(String::new(), |f| f.worse.to_string()),
            "wrong_to_right" => against.map_or(String::new(), |f| f.better.to_string()),
            "flips" => number(against.and_then(|f| share(f.worse + f.better)), 4),
            "flips_lo" => number(changed.map(|c| c.0), 4),
            "flips_hi" => number(changed.map(|c| c.1), 4),
            "kl" | "same_top" | "perplexity" => number(metric(column, 0), if column == "kl" { 7 } else { 4 }),
            "kl_p99" | "kl_max" => number(v.place.number(column), 7),
            "time_pct" => number(v.time.map(|t| t.0), 1),
            "time_pct_lo" => number(v.time.map(|t| t.1), 1),
            "time_pct_hi" => number(v.time.map(|t| t.2), 1),
            _ => match column.rsplit_once('_') {
                Some((name @ ("kl" | "same_top" | "perplexity"), end)) => {
                    number(metric(name, if end == "lo" { 1 } else { 2 }), if name == "kl" { 7 } else { 4 })
                }
                _ => number(v.place.number(column), 4),
            },
        };
        COLUMNS.iter().map(|c| field(c)).collect()
    };
    variants.rows.iter().enumerate().map(one).collect()
}

fn texts(all: &[Variants], style: TableStyle, heading: &str) -> String {
    all.iter().map(|v| text(v, style, heading)).collect::<Vec<_>>().join("\n\n")
}

fn text(variants: &Variants, style: TableStyle, heading: &str) -> String {
    let mut table = Table::new();
    table.load_style(style);
    let cells: Vec<Vec<String>> = (0..variants.rows.len()).map(|i| cells(variants, i)).collect();
    // What nobody has is not worth a column.
    let shown: Vec<usize> = (0..HEAD.len()).filter(|c| cells.iter().any(|row| !row[*c].is_empty())).collect();
    table.set_header(shown.iter().map(|c| HEAD[*c].1));
    for row in &cells {
        table.add_row(shown.iter().map(|c| row[*c].as_str()));
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut out = format!("{heading}{}, against the first\n", variants.title);
    if !heading.is_empty() {
        out.push('\n');
    }
    let _ = write!(out, "{table}");
    let cases = variants.rows.iter().flat_map(|v| &v.place.rows);
    let disturbed = cases.clone().filter(|r| r.get("valid") == "no").count();
    if disturbed > 0 {
        let _ = write!(
            out,
            "\n? times, speeds and energy of {disturbed} of {} cases are not valid: see `evidence`",
            cases.count()
        );
    }
    if let Some(sentence) = sentence(variants) {
        let _ = write!(out, "\n{}{sentence}", if heading.is_empty() { "" } else { "\n" });
    }
    out
}

/// Columns for people: a word for each, and what stands above it.
pub const HEAD: [(&str, &str); 18] = [
    ("mark", ""),
    ("variant", "variant"),
    ("size", "MiB"),
    ("bits", "bits/weight"),
    ("kv", "KV MiB"),
    ("quality", "quality %"),
    ("change", "change pp"),
    ("p", "p (Holm)"),
    ("flips", "✓→✗ ✗→✓"),
    ("kl", "KL, nats/token"),
    ("kl_p99", "KL p99"),
    ("same_top", "same top %"),
    ("perplexity", "perplexity"),
    ("time", "time %"),
    ("prefill", "prefill tok/s"),
    ("decode", "decode tok/s"),
    ("memory", "peak MiB"),
    ("energy", "J/token"),
];

/// The cells of [`HEAD`].
pub fn cells(variants: &Variants, i: usize) -> Vec<String> {
    let v = &variants.rows[i];
    let against = v.flips.filter(|_| i > 0);
    let number =
        |column: &str, decimals: usize| v.place.number(column).map_or(String::new(), |n| format!("{n:.decimals$}"));
    let mib = |bytes: f64| format!("{:.2}", bytes / f64::from(1 << 20));
    let failed = v.place.rows.iter().find(|r| r.get("status") != "ok");
    let mark = match failed {
        Some(_) => "✗",
        None if variants.ship == Some(i) => "◆",
        None => "",
    };
    let metric = |column: &str, show: &dyn Fn(f64) -> String| {
        v.metric(column).map_or(String::new(), |(value, interval)| match interval {
            Some((lo, hi)) => format!("{} ({}–{})", show(value), show(lo), show(hi)),
            None => show(value),
        })
    };
    let percent = |share: f64| format!("{:.1}", share * 100.0);
    let kl = |kl: f64| if kl == 0.0 { "0".to_owned() } else { format!("{kl:.2e}") };
    let status = failed.map_or(String::new(), |row| format!(" {}", row.get("status")));
    vec![
        mark.to_owned(),
        format!("{}{status}", v.name),
        v.place.number("model_bytes").map_or(String::new(), mib),
        number("bits_per_weight", 2),
        v.kv_bytes.map_or(String::new(), |b| mib(b as f64)),
        v.quality().map_or(String::new(), |(q, (lo, hi))| format!("{} ({}–{})", percent(q), percent(lo), percent(hi))),
        against.map_or(String::new(), |f| {
            let (lo, hi) = f.interval();
            format!("{:+.1} ({lo:+.1} … {hi:+.1})", f.points())
        }),
        v.p.map_or(String::new(), |p| if p < 0.001 { "< 0.001".to_owned() } else { format!("{p:.3}") }),
        against.map_or(String::new(), |f| format!("{} {}", f.worse, f.better)),
        metric("kl", &kl),
        v.place.number("kl_p99").map_or(String::new(), kl),
        metric("same_top", &percent),
        metric("perplexity", &|p| format!("{p:.3}")),
        v.time.map_or(String::new(), |(change, lo, hi)| format!("{change:+.0} ({lo:+.0} … {hi:+.0})")),
        number("prefill_tok_s", 0),
        number("decode_tok_s", 1),
        number("rss_peak_mib", 0),
        number("energy_j_per_token", 5),
    ]
}

/// What is to be made of it.
fn sentence(variants: &Variants) -> Option<String> {
    let n = variants.rows.iter().filter_map(|v| v.flips).map(|f| f.n).max()?;
    let margin = -variants.margin;
    Some(match variants.ship {
        Some(i) => format!(
            "◆ {}: the smallest that with 95 % confidence loses at most {margin} pp ([gate] acc), over {n} records",
            variants.rows[i].name
        ),
        None => format!(
            "none that is smaller is shown to lose at most {margin} pp ([gate] acc) over {n} records: ask more of them"
        ),
    })
}
