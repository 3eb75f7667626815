//! The sampler of a run and its file: looks and readings are taken in here, given to the case's `Watch`, and
//! written as rows of telemetry.csv. It must not know what a call is or how a board is read.

use super::case::Context;
use super::journal::JournalError;
use super::watch::{Since, Watch, hottest, working_cluster};
use crate::backend::wire::PowerReading;
use crate::job::{Measure, PowerSource};
use crate::sense::energy::Kind;
use crate::sense::external::External;
use crate::sense::phase::Phase;
use crate::sense::sampler::{Look, Sampler};
use crate::sense::tick::{Layout, Rail, Tick};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Columns of telemetry.csv that every board has; those of its clusters, zones, rails and so on follow.
const COLUMNS: &[&str] = &[
    "case",
    "phase",
    "t_ms",
    "rss_mib",
    "cpu_pct",
    "temp_c",
    "freq_mhz",
    "power_w",
    "pss_mib",
    "swap_mib",
    "major_faults",
    "threads",
    "switches",
    "foreign_pct",
    "memory_free_mib",
    "swap_free_mib",
    "swap_traffic_mib",
    "pressure_ms",
    "disk_read_mib",
    "throttle_events",
    "firmware",
    "late_ms",
    "plugin_power_w",
];

/// Time without readings of the main rail that is told of, s.
const LOST_S: f64 = 1.0;

/// The sampler of one run.
pub struct Telemetry {
    sampler: Sampler,
    layout: Layout,
    external: Option<External>,
    rail: Option<String>,
    off: bool,
    hz: u32,
    start_ns: u64,
    /// Last reading of each rail before the last row.
    latest: BTreeMap<usize, Latest>,
    /// Readings that no row has come to yet: rail, CLOCK_MONOTONIC in ns, watts.
    readings: Vec<(usize, u64, f64)>,
}

#[derive(Clone, Copy)]
struct Latest {
    at_ns: u64,
    value: f64,
    watts: Option<f64>,
}

/// The eyes on one case: its watch, and which rails are whose.
pub struct Eyes {
    case: String,
    pub watch: Watch,
    external: Option<usize>,
    plugin: Option<usize>,
    /// As the job names it.
    wanted: Option<String>,
    off: bool,
}

impl Eyes {
    /// Takes in what was seen since the last call, and writes what has a known phase by now.
    pub fn pump(&mut self, context: &mut Context, plugin: Vec<PowerReading>) -> Result<(), JournalError> {
        context.telemetry.pump(self, plugin, |at_ns, row| {
            if let Some(trace) = context.journal.trace() {
                trace.look(at_ns, COLUMNS.iter().copied().zip(row))?;
            }
            context.journal.telemetry(row)
        })
    }

    /// The name of the case.
    pub fn case(&self) -> &str {
        &self.case
    }

    /// The rails that a backend says it has.
    pub fn add_plugin_rails(&mut self, names: &[String]) {
        if !names.is_empty() {
            self.plugin = Some(self.watch.add_rails(names.iter().map(|name| rail(name, 0)).collect()));
        }
    }

    /// The number of the rail that the energy columns are about: the one that the job names, an external meter, or
    /// the one that stands for most of the board.
    pub fn main_rail(&self) -> Option<usize> {
        if self.off {
            return None;
        }
        let rails = self.watch.rails().iter().enumerate();
        match &self.wanted {
            Some(name) => rails.into_iter().find(|(_, r)| r.name == *name).map(|(i, _)| i),
            None => rails.max_by_key(|(i, r)| (r.rank, std::cmp::Reverse(*i))).map(|(i, _)| i),
        }
    }

    /// The main rail, if it was silent in `timed_s` seconds of timed passes or is not there at all.
    pub fn lost_rail(&self, timed_s: f64) -> Option<(String, f64)> {
        let name = match (self.main_rail(), &self.wanted) {
            (Some(rail), _) => {
                let gap = timed_s - self.watch.energy(rail, &Phase::TIMED).covered_s;
                return (gap > LOST_S).then(|| (self.watch.rails()[rail].name.clone(), gap));
            }
            (None, Some(name)) if !self.off => name,
            _ => return None,
        };
        Some((format!("the rail {name}, which this board does not have,"), timed_s))
    }
}

impl Telemetry {
    /// Starts the sampler, and the external meter if the job names one.
    pub fn start(measure: &Measure, layout: Layout, look: impl Look) -> std::io::Result<Telemetry> {
        let external = External::start(&measure.power.source).transpose()?;
        Ok(Telemetry {
            start_ns: crate::clock::now_ns(),
            sampler: Sampler::start(measure.hz, look)?,
            layout,
            external,
            rail: measure.power.rail.clone(),
            off: measure.power.source == PowerSource::Off,
            hz: measure.hz,
            latest: BTreeMap::new(),
            readings: Vec::new(),
        })
    }

    /// The header of telemetry.csv on this board.
    pub fn columns(layout: &Layout) -> Vec<String> {
        let mut columns: Vec<String> = COLUMNS.iter().map(|c| (*c).to_owned()).collect();
        columns.extend(layout.clusters.iter().map(|c| format!("freq_mhz:{}", c.name)));
        columns.extend(layout.zones.iter().map(|z| format!("temp_c:{}", z.name)));
        columns.extend(layout.cooling.iter().map(|c| format!("cooling:{}", c.name)));
        columns.extend(layout.rails.iter().map(|r| format!("power_w:{}", r.name)));
        columns.extend(layout.accelerators.iter().flat_map(|a| [format!("load_pct:{a}"), format!("mhz:{a}")]));
        columns
    }

    /// Eyes on a case that begins now.
    pub fn begin(&mut self, case: &str) -> Eyes {
        self.sampler.take().for_each(drop);
        self.readings.clear();
        self.latest.retain(|rail, _| *rail < self.layout.rails.len());
        let mut watch = Watch::new(&self.layout, self.layout.rails.clone());
        let external = self.external.as_ref().map(|meter| {
            meter.take().for_each(drop);
            watch.add_rails(vec![rail(meter.name(), u32::MAX)])
        });
        let (wanted, off) = (self.rail.clone(), self.off);
        Eyes { case: case.to_owned(), watch, external, plugin: None, wanted, off }
    }

    /// Is there power to measure before a backend is loaded?
    pub fn has_rail(&self) -> bool {
        !self.off && (self.external.is_some() || !self.layout.rails.is_empty())
    }

    /// Whose memory and processor are told from now on.
    pub fn follow(&self, pid: Option<u32>) {
        self.sampler.watch(pid);
    }

    /// How often a backend's own rails are read per second.
    pub fn plugin_hz(&self) -> u32 {
        if self.off { 0 } else { self.hz }
    }

    /// Takes in what was seen since the last call and the backend's own readings; gives each look whose phase is known by now
    /// to `row`, as its time and a row of telemetry.csv.
    pub fn pump<E>(
        &mut self,
        eyes: &mut Eyes,
        plugin: Vec<PowerReading>,
        mut row: impl FnMut(u64, &[String]) -> Result<(), E>,
    ) -> Result<(), E> {
        for tick in self.sampler.take() {
            eyes.watch.tick(tick);
        }
        let outside = self
            .external
            .iter()
            .zip(eyes.external)
            .flat_map(|(meter, rail)| meter.take().map(move |(at_ns, watts)| (rail, at_ns, watts)));
        let inside = eyes.plugin.into_iter().flat_map(|first| {
            plugin
                .iter()
                .flat_map(move |r| r.watts.iter().map(move |(rail, watts)| (first + *rail as usize, r.at_ns, *watts)))
        });
        for (rail, at_ns, watts) in outside.chain(inside) {
            eyes.watch.power(rail, at_ns, watts);
            self.readings.push((rail, at_ns, watts));
        }
        let main = eyes.main_rail();
        let names: Vec<String> = eyes.watch.rails().iter().map(|r| r.name.clone()).collect();
        let mut writer = Writer {
            case: &eyes.case,
            layout: &self.layout,
            start_ns: self.start_ns,
            main,
            latest: &mut self.latest,
            readings: &mut self.readings,
        };
        eyes.watch.settle(|before, tick, phase, since| {
            row(tick.at_ns, &writer.row(before, tick, phase, since, eyes.plugin, &names))
        })
    }
}

/// A rail of watts whose steps are not known.
fn rail(name: &str, rank: u32) -> Rail {
    Rail { name: name.to_owned(), kind: Kind::Power, resolution: 0.0, rank }
}

/// Turns looks into rows.
struct Writer<'a> {
    case: &'a str,
    layout: &'a Layout,
    start_ns: u64,
    main: Option<usize>,
    latest: &'a mut BTreeMap<usize, Latest>,
    readings: &'a mut Vec<(usize, u64, f64)>,
}

impl Writer<'_> {
    fn row(
        &mut self,
        before: &Tick,
        tick: &Tick,
        phase: Phase,
        since: Since,
        plugin: Option<usize>,
        names: &[String],
    ) -> Vec<String> {
        for &(rail, at_ns, value) in &tick.board.power {
            self.reading(rail, at_ns, value);
        }
        let (past, later): (Vec<_>, Vec<_>) =
            std::mem::take(self.readings).into_iter().partition(|r| r.1 <= tick.at_ns);
        *self.readings = later;
        for (rail, at_ns, value) in past {
            self.reading(rail, at_ns, value);
        }
        let (host, board, layout) = (tick.host.as_ref(), &tick.board, self.layout);
        let cluster = working_cluster(layout, before, tick);
        let watts = |rail: usize| self.latest.get(&rail).and_then(|l| l.watts);
        let mut plugin_power = String::new();
        for (rail, name) in names.iter().enumerate().skip(plugin.unwrap_or(usize::MAX)) {
            if let Some(w) = watts(rail) {
                let separator = if plugin_power.is_empty() { "" } else { ";" };
                let _ = write!(plugin_power, "{separator}{name}={w:.3}");
            }
        }
        let mut row = vec![
            self.case.to_owned(),
            phase.name().to_owned(),
            format!("{:.1}", tick.at_ns.saturating_sub(self.start_ns) as f64 / 1e6),
            number(host.map(|h| h.rss_mib), 1),
            number(since.cpu_pct, 0),
            number(hottest(layout, tick), 1),
            number(cluster.and_then(|c| board.clocks_mhz.get(c).copied().flatten()).map(f64::from), 0),
            number(self.main.and_then(watts), 3),
            number(host.and_then(|h| h.pss_mib), 1),
            number(host.map(|h| h.swap_mib), 1),
            host.map_or(String::new(), |h| h.major_faults.to_string()),
            host.map_or(String::new(), |h| h.threads.to_string()),
            host.map_or(String::new(), |h| h.switches.to_string()),
            number(since.foreign_pct, 0),
            number(board.memory_free_mib, 0),
            number(board.swap_free_mib, 0),
            number(board.swap_traffic_mib, 1),
            number(board.pressure_s.map(|s| s * 1e3), 1),
            number(board.disk_read_mib, 1),
            board.throttle_events.map_or(String::new(), |n| n.to_string()),
            board.firmware.clone().unwrap_or_default(),
            number(Some(tick.late_ns as f64 / 1e6), 2),
            plugin_power,
        ];
        row.extend(board.clocks_mhz.iter().map(|c| number(c.map(f64::from), 0)));
        row.extend(board.temps_c.iter().map(|t| number(*t, 1)));
        row.extend(board.cooling.iter().map(|c| c.map_or(String::new(), |c| c.to_string())));
        row.extend((0..layout.rails.len()).map(|rail| number(watts(rail), 3)));
        row.extend(board.accelerators.iter().flat_map(|(l, m)| [number(*l, 0), number(m.map(f64::from), 0)]));
        row
    }

    fn reading(&mut self, rail: usize, at_ns: u64, value: f64) {
        let watts = match self.layout.rails.get(rail).map(|r| r.kind) {
            Some(Kind::Counter { wrap_j }) => self.latest.get(&rail).filter(|l| at_ns > l.at_ns).map(|last| {
                let joules = if value >= last.value { value - last.value } else { value + wrap_j - last.value };
                joules * 1e9 / (at_ns - last.at_ns) as f64
            }),
            _ => Some(value),
        };
        self.latest.insert(rail, Latest { at_ns, value, watts });
    }
}

/// Empty when it was not measured.
fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or(String::new(), |v| format!("{v:.decimals$}"))
}
