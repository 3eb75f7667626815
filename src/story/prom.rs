//! Figures of a run, or of a comparison, for Prometheus' textfile collector: gauges in base units (seconds, bytes, ratios).
//! It must not know how they were measured.
//!
//! Format and names: prometheus.io/docs/instrumenting/exposition_formats and /docs/practices/naming.

use super::compare::{Comparison, Outcome};
use super::run_folder::Run;
use crate::results::{CaseRow, Status, case_columns};
use std::fmt::Write;

/// Column of cases.csv, metric's name, factor to its unit, quantile, what it is.
type Figure = (&'static str, &'static str, f64, &'static str, &'static str);

const MS: f64 = 1e-3;
const MIB: f64 = 1048576.0;
const FIGURES: &[Figure] = &[
    ("n", "records", 1.0, "", "Records that were asked."),
    ("n_failed", "records_failed", 1.0, "", "Records without an answer."),
    ("acc", "accuracy_ratio", 1.0, "", "Accuracy, 0 to 1."),
    ("acc_lo", "accuracy_lower_ratio", 1.0, "", "Lower end of the accuracy's 95 % interval."),
    ("acc_hi", "accuracy_upper_ratio", 1.0, "", "Upper end of the accuracy's 95 % interval."),
    ("ttft_ms_p50", "time_to_first_token_seconds", MS, "0.5", "Request handed over to first token."),
    ("ttft_ms_p95", "time_to_first_token_seconds", MS, "0.95", ""),
    ("ttft_ms_p99", "time_to_first_token_seconds", MS, "0.99", ""),
    ("itl_ms_p50", "inter_token_latency_seconds", MS, "0.5", "Time between tokens."),
    ("itl_ms_p95", "inter_token_latency_seconds", MS, "0.95", ""),
    ("itl_ms_p99", "inter_token_latency_seconds", MS, "0.99", ""),
    ("e2e_ms_p50", "request_duration_seconds", MS, "0.5", "Request handed over to last token."),
    ("e2e_ms_p95", "request_duration_seconds", MS, "0.95", ""),
    ("e2e_ms_p99", "request_duration_seconds", MS, "0.99", ""),
    ("prefill_tok_s", "prefill_tokens_per_second", 1.0, "", "Prompt tokens evaluated per second."),
    ("decode_tok_s", "decode_tokens_per_second", 1.0, "", "New tokens per second, after the first."),
    ("records_s", "records_per_second", 1.0, "", "Records answered per second."),
    ("load_ms", "load_seconds", MS, "", "Time that loading took."),
    ("rss_peak_mib", "memory_peak_bytes", MIB, "", "Peak resident memory of the host."),
    ("energy_j", "energy_joules", 1.0, "", "Energy of the timed passes."),
    ("energy_j_per_token", "energy_per_token_joules", 1.0, "", "Energy per new token."),
    ("power_w_avg", "power_watts", 1.0, "", "Mean power over the timed passes."),
    ("temp_c_max", "temperature_max_celsius", 1.0, "", "Highest temperature in timed work."),
    ("freq_mhz_min", "frequency_min_hertz", 1e6, "", "Lowest clock in timed work."),
    ("wall_s", "case_duration_seconds", 1.0, "", "Length of the test case, loading included."),
];

/// The figures of a run.
pub fn of_run(run: &Run) -> String {
    let mut out = String::new();
    let job = run.manifest.job.as_str();
    for (name, help, at) in [
        ("run_start_timestamp_seconds", "When the run began.", Some(&run.manifest.start)),
        ("run_end_timestamp_seconds", "When the run came to its end.", run.manifest.end.as_ref()),
    ] {
        family(&mut out, name, help, at.and_then(|at| at.parse::<jiff::Timestamp>().ok()), |at| {
            (vec![("job", job)], at.as_second() as f64)
        });
    }
    let of = |row| of_case(job, row);
    family(&mut out, "case_info", "What a test case is.", &run.rows, |row| {
        let words = ["object", "backend", "model", "params", "task", "method", "scenario", "status"];
        (of(row).into_iter().chain(words.map(|w| (w, row.get(w)))).collect(), 1.0)
    });
    family(&mut out, "case_ok", "1: the test case came to its end.", &run.rows, |row| {
        (of(row), f64::from(row.get("status") == Status::Ok.name()))
    });
    let judged = run.rows.iter().filter(|r| matches!(r.get("valid"), "yes" | "no"));
    family(&mut out, "case_valid", "1: undisturbed; 0: not what the board gives when left alone.", judged, |row| {
        (of(row), f64::from(row.get("valid") == "yes"))
    });
    for group in FIGURES.chunk_by(|a, b| a.1 == b.1) {
        let values = group
            .iter()
            .flat_map(|figure| run.rows.iter().filter_map(move |row| Some((figure, row, row.number(figure.0)?))));
        family(&mut out, group[0].1, group[0].4, values, |(figure, row, value)| {
            let quantile = (!figure.3.is_empty()).then_some(("quantile", figure.3));
            (of(row).into_iter().chain(quantile).collect(), value * figure.2)
        });
    }
    let known = case_columns(&[]);
    let own = run.rows.iter().flat_map(|row| {
        let own = row.columns().filter(|c| !known.contains(c));
        own.filter_map(move |column| Some((row, column, row.number(column)?)))
    });
    family(&mut out, "metric_value", "The tasks' own metrics, as in cases.csv.", own, |(row, column, value)| {
        (of(row).into_iter().chain([("metric", column)]).collect(), value)
    });
    out
}

/// The answer of a comparison; `new` is its newer run.
pub fn of_comparison(comparison: &Comparison, new: &Run) -> String {
    let mut out = String::new();
    let job = new.manifest.job.as_str();
    let worse = |row: &super::compare::Row| row.outcome == Outcome::Worse;
    let comparable = comparison.not_comparable.is_empty();
    for (name, help, value) in [
        ("compare_comparable", "1: the runs could be compared.", f64::from(comparable)),
        ("compare_regressions", "Figures that got worse.", comparison.rows.iter().filter(|r| worse(r)).count() as f64),
    ] {
        family(&mut out, name, help, [value], |value| (vec![("job", job)], value));
    }
    let labels = |row: &super::compare::Row| {
        [("job", job.to_owned()), ("case", row.case.clone()), ("metric", row.metric.to_owned())]
    };
    let help = "Change of a figure: new / base - 1, or the difference of accuracies.";
    family(&mut out, "compare_change_ratio", help, &comparison.rows, |row| (labels(row).to_vec(), row.change / 100.0));
    let help = "1: significant and beyond its threshold.";
    family(&mut out, "compare_worse", help, &comparison.rows, |row| (labels(row).to_vec(), f64::from(worse(row))));
    out
}

fn of_case<'r>(job: &'r str, row: &'r CaseRow) -> Vec<(&'r str, &'r str)> {
    vec![("job", job), ("case", row.get("case"))]
}

/// One metric with all its samples; nothing without samples.
fn family<T, K: AsRef<str>, V: AsRef<str>>(
    out: &mut String,
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = T>,
    mut sample: impl FnMut(T) -> (Vec<(K, V)>, f64),
) {
    for (number, value) in samples.into_iter().enumerate() {
        if number == 0 {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(out, "# HELP edgebench_{name} {help}\n# TYPE edgebench_{name} gauge");
        }
        let (labels, value) = sample(value);
        let labels: Vec<String> =
            labels.iter().map(|(k, v)| format!("{}=\"{}\"", k.as_ref(), escaped(v.as_ref()))).collect();
        let _ = writeln!(out, "edgebench_{name}{{{}}} {value}", labels.join(","));
    }
}

/// The value of a label: backslash, quote and newline are escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_may_hold_anything() {
        let mut out = String::new();
        family(&mut out, "x", "Help.", [0.5], |v| (vec![("case", "a\\b\"c\nd 字")], v));
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[0], "# HELP edgebench_x Help.");
        assert_eq!(lines[1], "# TYPE edgebench_x gauge");
        assert_eq!(lines[2], "edgebench_x{case=\"a\\\\b\\\"c\\nd 字\"} 0.5");
        family(&mut out, "y", "Help.", Vec::<f64>::new(), |v| (vec![("a", "b")], v));
        assert_eq!(out.lines().count(), 3, "a metric without samples is left out");
    }
}
