//! One case as the sampler saw it: looks at the board and readings of rails, put to the phases that calls were
//! in, summed into figures and evidence. Phases are known only after a call, so looks wait until then. It must
//! not know files, hosts or how anything is read.

use super::sustained::Sight;
use crate::sense::energy::{Meter, Share};
use crate::sense::phase::{Phase, PhaseLog};
use crate::sense::tick::{Layout, Rail, Tick, Tree};
use crate::sense::verdict::Evidence;
use std::collections::{BTreeMap, VecDeque};

/// A core works when it is busy for this part of an interval.
const WORKING: f64 = 0.5;
/// Clocks are counted in steps of so many MHz.
const CLOCK_STEP: u32 = 10;
/// Marks older than this are forgotten even if a rail has not got so far.
const KEEP_NS: u64 = 60_000_000_000;

/// What the host used in one phase.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    seconds: f64,
    cpu_s: f64,
    rss_mib_s: f64,
}

/// What a look shows when it is compared with the one before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Since {
    /// CPU time of the host in % of one core.
    pub cpu_pct: Option<f64>,
    /// Of all cores, by others, in %.
    pub foreign_pct: Option<f64>,
}

/// The watch over one case.
pub struct Watch {
    layout: Layout,
    log: PhaseLog,
    /// Looks whose phase is not known yet; the first is the last one that was.
    ticks: VecDeque<Tick>,
    rails: Vec<Rail>,
    meters: Vec<Meter>,
    uses: [Use; Phase::ALL.len()],
    evidence: Evidence,
    foreign_s: f64,
    foreign_of_s: f64,
    pressure_s: f64,
    pressure_of_s: f64,
    first_offset_ns: Option<i64>,
    silent: BTreeMap<String, f64>,
    /// Over timed work.
    pub temp_c_max: Option<f64>,
    pub freq_mhz_min: Option<u32>,
}

impl Watch {
    /// `rails` are the layout's own, then those of the backend or of an external meter.
    pub fn new(layout: &Layout, rails: Vec<Rail>) -> Watch {
        Watch {
            layout: layout.clone(),
            log: PhaseLog::default(),
            ticks: VecDeque::new(),
            meters: rails.iter().map(|r| Meter::new(r.kind)).collect(),
            rails,
            uses: Default::default(),
            evidence: Evidence::default(),
            foreign_s: 0.0,
            foreign_of_s: 0.0,
            pressure_s: 0.0,
            pressure_of_s: 0.0,
            first_offset_ns: None,
            silent: BTreeMap::new(),
            temp_c_max: None,
            freq_mhz_min: None,
        }
    }

    /// Adds rails that were not known before the model was loaded; the number of the first.
    pub fn add_rails(&mut self, rails: Vec<Rail>) -> usize {
        let first = self.rails.len();
        self.meters.extend(rails.iter().map(|r| Meter::new(r.kind)));
        self.rails.extend(rails);
        first
    }

    pub fn rails(&self) -> &[Rail] {
        &self.rails
    }

    /// The board was in `phase` from … to …
    pub fn mark(&mut self, phase: Phase, from_ns: u64, to_ns: u64) {
        self.log.add(phase, from_ns, to_ns);
    }

    /// Every phase before `ns` has been told.
    pub fn known_until(&mut self, ns: u64) {
        self.log.known_until(ns);
    }

    /// A reading of rail number `rail`.
    pub fn power(&mut self, rail: usize, at_ns: u64, value: f64) {
        if let Some(meter) = self.meters.get_mut(rail) {
            meter.read(at_ns, value);
        }
    }

    /// A look of the sampler.
    pub fn tick(&mut self, tick: Tick) {
        for &(rail, at_ns, value) in &tick.board.power {
            self.power(rail, at_ns, value);
        }
        self.ticks.push_back(tick);
    }

    /// Sums up what has a known phase, and shows each such look once to `row`, with the one before it.
    pub fn settle<E>(&mut self, mut row: impl FnMut(&Tick, &Tick, Phase, Since) -> Result<(), E>) -> Result<(), E> {
        let mut settled_ns = self.log.known_ns();
        for meter in &mut self.meters {
            meter.settle(&self.log);
            let to = meter.settled_ns();
            settled_ns = if to > 0 { settled_ns.min(to) } else { settled_ns };
        }
        while let Some(next) = self.ticks.get(1) {
            if next.at_ns > self.log.known_ns() {
                break;
            }
            let Some(last) = self.ticks.pop_front() else { break };
            let Some(next) = self.ticks.pop_front() else { break };
            let since = self.interval(&last, &next);
            row(&last, &next, self.log.at(next.at_ns.saturating_sub(1)), since)?;
            self.ticks.push_front(next);
        }
        settled_ns = self.ticks.front().map_or(settled_ns, |t| settled_ns.min(t.at_ns));
        self.log.forget_before(settled_ns.max(self.log.known_ns().saturating_sub(KEEP_NS)));
        Ok(())
    }

    /// One interval between two looks.
    fn interval(&mut self, a: &Tick, b: &Tick) -> Since {
        let seconds = (b.at_ns - a.at_ns) as f64 / 1e9;
        if seconds <= 0.0 {
            return Since::default();
        }
        let host = a.host.zip(b.host).filter(|(a, b)| a.pid == b.pid);
        let cpu_s = host.map(|(a, b)| (b.cpu_s - a.cpu_s).max(0.0));
        let (mut timed_s, mut work_s) = (0.0, 0.0);
        for piece in self.log.pieces(a.at_ns, b.at_ns) {
            let length = (piece.to_ns - piece.from_ns) as f64 / 1e9;
            let uses = &mut self.uses[piece.phase as usize];
            uses.seconds += length;
            if let (Some(cpu_s), Some((_, tree))) = (cpu_s, host) {
                uses.cpu_s += cpu_s * length / seconds;
                uses.rss_mib_s += tree.rss_mib * length;
            }
            timed_s += if Phase::TIMED.contains(&piece.phase) { length } else { 0.0 };
            work_s += if piece.phase.is_timed_work() { length } else { 0.0 };
        }
        let foreign_s = foreign(a, b, cpu_s);
        if timed_s > 0.0 {
            self.pressures(a, b, host, foreign_s, timed_s / seconds);
        }
        if work_s > 0.0 {
            self.heat(a, b, work_s);
        }
        let all_cores = seconds * self.layout.cores.max(1) as f64;
        Since { cpu_pct: cpu_s.map(|s| 100.0 * s / seconds), foreign_pct: foreign_s.map(|s| 100.0 * s / all_cores) }
    }

    /// What disturbed the host: counters that went up in an interval of which `part` was timed.
    fn pressures(&mut self, a: &Tick, b: &Tick, host: Option<(Tree, Tree)>, foreign_s: Option<f64>, part: f64) {
        let seconds = (b.at_ns - a.at_ns) as f64 / 1e9 * part;
        let grown = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| (b - a).max(0.0) * part);
        let e = &mut self.evidence;
        e.looks += 1;
        if let Some(foreign) = foreign_s {
            self.foreign_s += foreign * part;
            self.foreign_of_s += seconds * self.layout.cores.max(1) as f64;
        }
        if let Some(pressure) = grown(a.board.pressure_s, b.board.pressure_s) {
            self.pressure_s += pressure;
            self.pressure_of_s += seconds;
        }
        e.swap_traffic_mib += grown(a.board.swap_traffic_mib, b.board.swap_traffic_mib).unwrap_or(0.0);
        if let Some((a, b)) = host {
            let page_mib = rustix::param::page_size() as f64 / f64::from(1 << 20);
            e.faulted_mib += b.major_faults.saturating_sub(a.major_faults) as f64 * page_mib * part;
            e.host_swap_mib = e.host_swap_mib.max(b.swap_mib);
        }
        let first = *self.first_offset_ns.get_or_insert(a.wall_offset_ns);
        let jump = (b.wall_offset_ns - first) as f64 / 1e9;
        e.clock_jump_s = if jump.abs() > e.clock_jump_s.abs() { jump } else { e.clock_jump_s };
        for name in &b.board.silent {
            *self.silent.entry(name.clone()).or_default() += seconds;
        }
    }

    /// Clocks, temperatures and signs of throttling in an interval with `work_s` of timed work.
    fn heat(&mut self, a: &Tick, b: &Tick, work_s: f64) {
        let e = &mut self.evidence;
        e.seconds += work_s;
        if let Some(cluster) = working_cluster(&self.layout, a, b)
            && let Some(mhz) = b.board.clocks_mhz.get(cluster).copied().flatten()
        {
            *e.clocks.entry(mhz / CLOCK_STEP * CLOCK_STEP).or_default() += work_s;
            e.max_mhz = self.layout.clusters[cluster].max_mhz;
            e.governor = b.board.governors.get(cluster).cloned().flatten().unwrap_or_default();
            self.freq_mhz_min = Some(self.freq_mhz_min.map_or(mhz, |m| m.min(mhz)));
        }
        for (zone, temp) in self.layout.zones.iter().zip(&b.board.temps_c) {
            let Some(temp) = *temp else { continue };
            if let Some(trip) = zone.trip_c
                && e.nearest_trip.as_ref().is_none_or(|(_, t, at)| temp - trip > t - at)
            {
                e.nearest_trip = Some((zone.name.clone(), temp, trip));
            }
        }
        if let Some(temp) = hottest(&self.layout, b) {
            self.temp_c_max = Some(self.temp_c_max.map_or(temp, |t| t.max(temp)));
        }
        let states = self.layout.cooling.iter().zip(&b.board.cooling);
        if let Some((device, _)) = states.into_iter().find(|(c, state)| c.slows && state.is_some_and(|s| s > 0)) {
            let name = format!("cooling device {}", device.name);
            e.cooled.get_or_insert((name, 0.0)).1 += work_s;
        }
        let counted = a.board.throttle_events.zip(b.board.throttle_events).is_some_and(|(a, b)| b > a);
        let said = b.board.firmware.clone().or_else(|| counted.then(|| "the kernel counted throttling".to_owned()));
        if let Some(said) = said {
            e.throttled.get_or_insert((said, 0.0)).1 += work_s;
        }
    }

    /// The processor's temperature at the last look, °C.
    pub fn temperature(&self) -> Option<f64> {
        self.ticks.back().and_then(|t| hottest(&self.layout, t))
    }

    /// What the last look shows, for a curve over time.
    pub fn sight(&self) -> Sight {
        let Some(tick) = self.ticks.back() else { return Sight::default() };
        let clocks = tick.board.clocks_mhz.iter().filter_map(|c| *c);
        Sight { temp_c: hottest(&self.layout, tick), freq_mhz: clocks.max() }
    }

    /// Up to when the energy of rail number `rail` is known.
    pub fn settled_ns(&self, rail: usize) -> u64 {
        self.meters.get(rail).map_or(0, Meter::settled_ns)
    }

    /// What `phases` took on rail number `rail`.
    pub fn energy(&self, rail: usize, phases: &[Phase]) -> Share {
        self.meters.get(rail).map_or(Share::default(), |m| m.total(phases))
    }

    /// Seconds that looks cover of `phases`.
    pub fn seconds(&self, phases: &[Phase]) -> f64 {
        phases.iter().map(|p| self.uses[*p as usize].seconds).sum()
    }

    /// CPU time of the host during `phases`, in % of one core.
    pub fn cpu_pct(&self, phases: &[Phase]) -> Option<f64> {
        let cpu: f64 = phases.iter().map(|p| self.uses[*p as usize].cpu_s).sum();
        let seconds = self.seconds(phases);
        (seconds > 0.0 && cpu > 0.0).then(|| 100.0 * cpu / seconds)
    }

    /// Mean resident memory of the host in the timed passes, MiB.
    pub fn rss_avg_mib(&self) -> Option<f64> {
        let sum: f64 = Phase::TIMED.iter().map(|p| self.uses[*p as usize].rss_mib_s).sum();
        let seconds = self.seconds(&Phase::TIMED);
        (seconds > 0.0 && sum > 0.0).then(|| sum / seconds)
    }

    /// All that was seen, for the verdict; the caller adds what only the case knows.
    pub fn evidence(&self) -> Evidence {
        let percent = |part: f64, of: f64| (of > 0.0).then(|| 100.0 * part / of);
        Evidence {
            foreign_pct: percent(self.foreign_s, self.foreign_of_s),
            memory_pressure_pct: percent(self.pressure_s, self.pressure_of_s),
            heat_visible: self.layout.counts_throttling
                || !self.layout.clusters.is_empty()
                || !self.layout.zones.is_empty()
                || self.layout.cooling.iter().any(|c| c.slows),
            silent: self.silent.iter().map(|(name, s)| (name.clone(), *s)).collect(),
            ..self.evidence.clone()
        }
    }
}

/// CPU time of all cores between two looks that was neither the host's nor edgebench's, s.
fn foreign(a: &Tick, b: &Tick, host_cpu_s: Option<f64>) -> Option<f64> {
    let busy = b.board.busy_s? - a.board.busy_s?;
    let own = host_cpu_s? + (b.own_cpu_s - a.own_cpu_s).max(0.0);
    Some((busy - own).max(0.0))
}

/// The fastest cluster of which a core worked between two looks; where cores cannot be told apart, the fastest.
pub fn working_cluster(layout: &Layout, a: &Tick, b: &Tick) -> Option<usize> {
    let seconds = (b.at_ns - a.at_ns) as f64 / 1e9;
    let works = |core: &usize| match (a.board.core_busy_s.get(*core), b.board.core_busy_s.get(*core)) {
        (Some(a), Some(b)) => (b - a) / seconds >= WORKING,
        _ => true,
    };
    let clusters = layout.clusters.iter().enumerate().filter(|(_, c)| c.cores.is_empty() || c.cores.iter().any(works));
    clusters.max_by_key(|(i, c)| (c.max_mhz, std::cmp::Reverse(*i))).map(|(i, _)| i)
}

/// The hottest zone of the processor; of the whole board where no name tells which that is. °C.
pub fn hottest(layout: &Layout, tick: &Tick) -> Option<f64> {
    let max = |cpu: bool| {
        let zones = layout.zones.iter().zip(&tick.board.temps_c).filter(|(z, _)| z.is_cpu || !cpu);
        zones.filter_map(|(_, t)| *t).max_by(f64::total_cmp)
    };
    max(true).or_else(|| max(false))
}
