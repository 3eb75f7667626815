//! `[gate]` of the job file: how much worse a figure may get before `compare` calls it a regression. It must not know
//! how a change is measured.

use super::toml::{Source, Table};
use ::toml::de::DeTable;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

/// Figures that `compare` knows, and how much worse they may get by default: percentage points for `acc`, else %.
/// Negative: a fall is bad.
const DEFAULTS: &[(&str, f64)] = &[
    ("acc", -1.0),
    ("ttft_ms", 10.0),
    ("e2e_ms", 10.0),
    ("decode_tok_s", -5.0),
    ("prefill_tok_s", -5.0),
    ("load_ms", 20.0),
    ("rss_peak_mib", 5.0),
    ("energy_j_per_token", 10.0),
    ("energy_j_per_record", 10.0),
];

/// Thresholds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gate {
    own: BTreeMap<&'static str, f64>,
}

impl Gate {
    /// Largest change of `metric` that is let pass.
    pub fn threshold(&self, metric: &str) -> f64 {
        let default = DEFAULTS.iter().find(|(name, _)| *name == metric).map_or(0.0, |(_, d)| *d);
        self.own.get(metric).copied().unwrap_or(default)
    }

    /// Did the job set it?
    pub fn names(&self, metric: &str) -> bool {
        self.own.contains_key(metric)
    }

    /// The gate of a job's text, as a manifest keeps it. What is wrong with it was told before the run.
    pub fn of_job(text: &str) -> Gate {
        let source = Source { path: Path::new("job.toml").to_path_buf(), text, problems: RefCell::default() };
        let (document, _) = DeTable::parse_recoverable(text);
        let mut root = Table::new(&source, "the job file", document.get_ref(), 0);
        root.get("gate").and_then(|v| v.table("[gate]")).map_or(Gate::default(), read)
    }
}

/// `[gate] acc = "-1 pp"`, `decode_tok_s = "-5 %"`
pub fn read(mut table: Table) -> Gate {
    let mut gate = Gate::default();
    for &(name, default) in DEFAULTS {
        let Some(value) = table.get(name) else { continue };
        let unit = if name == "acc" { "pp" } else { "%" };
        let parsed = value.name().and_then(|text| {
            let number = text.trim().strip_suffix(unit).and_then(|n| n.trim().parse::<f64>().ok());
            number.filter(|n| n.is_finite() && *n != 0.0 && (*n < 0.0) == (default < 0.0))
        });
        match parsed {
            Some(number) => {
                gate.own.insert(name, number);
            }
            None => value.problem(
                format!("`{name}` is no threshold"),
                format!(
                    "write it like \"{default} {unit}\": {}",
                    if default < 0.0 { "a fall is bad" } else { "a rise is bad" }
                ),
            ),
        }
    }
    table.finish();
    gate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_own_thresholds_come_before_the_defaults() {
        let gate = Gate::of_job("[gate]\nacc = \"-2.5 pp\"\nrss_peak_mib = \"1%\"\n");
        assert_eq!(
            (gate.threshold("acc"), gate.threshold("rss_peak_mib"), gate.threshold("ttft_ms")),
            (-2.5, 1.0, 10.0)
        );
        assert!(gate.names("acc") && !gate.names("ttft_ms"));
        assert_eq!(Gate::of_job("[gate]\nacc = \"2 pp\"\n"), Gate::default(), "a rise of accuracy is no regression");
    }
}
