//! The job file's words for how a case is measured beside its answers: sampling, power, cooling down, and the
//! limits of the verdict. It must not know how any of it is done.

use super::toml::{Table, Value};
use std::time::Duration;

/// How the board is watched while cases run.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// Samples per second, 1 to 100.
    pub hz: u32,
    /// Wait before each case until the board is cool.
    pub cooldown: Option<Cooldown>,
    /// Load the model once more before the case, with the page cache emptied of it.
    pub cold_load: bool,
    pub power: Power,
    pub limits: Limits,
    /// Cases make room for others, so that their speed is not the board's; the job file does not say it.
    pub makes_room: bool,
}

impl Default for Measure {
    fn default() -> Measure {
        Measure {
            hz: 10,
            cooldown: None,
            cold_load: false,
            power: Power::default(),
            limits: Limits::default(),
            makes_room: false,
        }
    }
}

/// A temperature-gated start.
#[derive(Debug, Clone, PartialEq)]
pub struct Cooldown {
    /// Every zone of the processor below so many °C.
    pub below_c: f64,
    /// A case starts after so long in any case, with a warning.
    pub max_wait: Duration,
}

/// Where power comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Power {
    pub source: PowerSource,
    /// The rail that the energy columns are about; else the one that stands for the whole board best.
    pub rail: Option<String>,
    /// How long the idle power is measured before each case, where there is a rail.
    pub idle: Duration,
}

impl Default for Power {
    fn default() -> Power {
        Power { source: PowerSource::Board, rail: None, idle: Duration::from_secs(5) }
    }
}

/// What tells the power.
#[derive(Debug, Clone, PartialEq)]
pub enum PowerSource {
    /// The board's sensors and the backend's own rails.
    Board,
    /// Nothing is measured.
    Off,
    /// A shell command that prints lines `t_s,watts`.
    Exec(String),
    /// `host:port` that sends such lines.
    Tcp(String),
}

/// From where on a figure is doubtful.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// `foreign-load`: share of all cores that others used, in %.
    pub foreign_load_pct: f64,
    /// `throttled`: share of the timed work at a lower clock, in %.
    pub throttled_pct: f64,
    /// `throttled`: a clock is lower below this part of the reference, in %.
    pub clock_pct: f64,
    /// `memory-pressure`: share of the time that somebody waited for memory (PSI some), in %.
    pub memory_pressure_pct: f64,
    /// `swapped`: MiB moved to or from swap while the case ran, or held there by the host.
    pub swapped_mib: f64,
    /// `cold-cache`: MiB read by major faults during timed work.
    pub cold_cache_mib: f64,
    /// `unstable`: spread of the passes' speed, (max − min) / median, in %.
    pub unstable_pct: f64,
    /// `clock-jump`: seconds by which the wall clock was moved.
    pub clock_jump_s: f64,
    /// `short-energy-window`: fewest power readings in the timed passes …
    pub energy_readings: u64,
    /// … and shortest time, in s.
    pub energy_s: f64,
    /// `few-samples`: fewest timed records.
    pub few_samples: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            foreign_load_pct: 10.0,
            throttled_pct: 5.0,
            clock_pct: 90.0,
            memory_pressure_pct: 1.0,
            swapped_mib: 1.0,
            cold_cache_mib: 8.0,
            unstable_pct: 10.0,
            clock_jump_s: 0.5,
            energy_readings: 20,
            energy_s: 5.0,
            few_samples: 20,
        }
    }
}

/// `cooldown = { below_c = 60, max_wait = "300s" }`
pub fn cooldown(value: &Value) -> Option<Cooldown> {
    let mut table = value.table("cooldown")?;
    let below_c = table.need("below_c", "say below how many °C a case may start").and_then(|v| v.number(0.0, 150.0));
    let max_wait = table.get("max_wait").map_or(Some(Duration::from_secs(300)), |v| v.duration());
    table.finish();
    Some(Cooldown { below_c: below_c?, max_wait: max_wait? })
}

/// `[power]`
pub fn power(mut table: Table) -> Power {
    let mut power = Power::default();
    if let Some(source) = table.get("source").and_then(|v| source(&v)) {
        power.source = source;
    }
    power.rail = table.get("rail").and_then(|v| v.name()).map(str::to_owned);
    if let Some(idle) = table.get("idle").and_then(|v| v.duration()) {
        power.idle = idle;
    }
    table.finish();
    power
}

fn source(value: &Value) -> Option<PowerSource> {
    let text = value.name()?.trim();
    if let Some(command) = text.strip_prefix("exec:").map(str::trim).filter(|c| !c.is_empty()) {
        return Some(PowerSource::Exec(command.to_owned()));
    }
    let has_port =
        |a: &&str| a.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if let Some(address) = text.strip_prefix("tcp://").filter(has_port) {
        return Some(PowerSource::Tcp(address.to_owned()));
    }
    match text {
        "board" => Some(PowerSource::Board),
        "off" => Some(PowerSource::Off),
        _ => {
            let todo = "use \"board\", \"off\", \"exec: COMMAND\" or \"tcp://127.0.0.1:PORT\"";
            value.problem(format!("no power comes from \"{text}\""), todo);
            None
        }
    }
}

/// `[verdict]`
pub fn limits(mut table: Table) -> Limits {
    let mut limits = Limits::default();
    for (key, place, max) in [
        ("foreign_load_pct", &mut limits.foreign_load_pct, 100.0),
        ("throttled_pct", &mut limits.throttled_pct, 100.0),
        ("clock_pct", &mut limits.clock_pct, 100.0),
        ("memory_pressure_pct", &mut limits.memory_pressure_pct, 100.0),
        ("swapped_mib", &mut limits.swapped_mib, 1e9),
        ("cold_cache_mib", &mut limits.cold_cache_mib, 1e9),
        ("unstable_pct", &mut limits.unstable_pct, 1e6),
        ("clock_jump_s", &mut limits.clock_jump_s, 1e9),
        ("energy_s", &mut limits.energy_s, 1e6),
    ] {
        if let Some(number) = table.get(key).and_then(|v| v.number(0.0, max)) {
            *place = number;
        }
    }
    for (key, place) in [("energy_readings", &mut limits.energy_readings), ("few_samples", &mut limits.few_samples)] {
        if let Some(number) = table.get(key).and_then(|v| v.integer(0, 1_000_000)) {
            *place = number;
        }
    }
    table.finish();
    limits
}
