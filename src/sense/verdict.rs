//! Is the number real? What was seen while a case ran, held against the job's limits: findings, each with its
//! evidence in words. Pure: it must not read anything, and knows neither cases nor files.
//!
//! A finding is *disqualifying* when the speed or energy of the case is not what the board gives when it is left
//! alone, cool and fitted with enough memory; others are told and leave the row valid.

use crate::job::Limits;
use std::collections::BTreeMap;

/// What was seen during the timed work of a case (and for counters: from the case's start to its end).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// Seconds of timed work that samples cover.
    pub seconds: f64,
    /// Seconds by clock in MHz, of the fastest cluster that worked.
    pub clocks: BTreeMap<u32, f64>,
    /// The highest clock that the hardware has, MHz.
    pub max_mhz: Option<u32>,
    /// The governor of that cluster; empty when there is none.
    pub governor: String,
    /// Seconds during which a cooling device held the processor back, and its name.
    pub cooled: Option<(String, f64)>,
    /// Seconds during which firmware or the kernel's counters told of throttling, and what they said.
    pub throttled: Option<(String, f64)>,
    /// The zone that came nearest to its lowest trip point: name, highest °C, the trip's °C.
    pub nearest_trip: Option<(String, f64, f64)>,
    /// Looks at the board that the above comes from.
    pub looks: u64,
    /// Is there any way to see throttling: a clock, a cooling device, a temperature, a counter?
    pub heat_visible: bool,
    /// Mean share of all cores that neither the host nor edgebench used, in %; with time that a hypervisor took.
    pub foreign_pct: Option<f64>,
    /// MiB that the whole board moved to or from swap.
    pub swap_traffic_mib: f64,
    /// MiB of the host in swap, at most.
    pub host_swap_mib: f64,
    /// Share of the time that some process waited for memory, in %.
    pub memory_pressure_pct: Option<f64>,
    /// MiB that the host had to read from storage by major faults.
    pub faulted_mib: f64,
    /// Seconds by which the wall clock was moved against the monotonic one.
    pub clock_jump_s: f64,
    /// Speed of each timed pass, records per s.
    pub passes: Vec<f64>,
    /// Readings of the main rail in the timed passes, and the seconds that they cover; `None` without a rail.
    pub energy: Option<(u64, f64)>,
    /// Length of the timed passes, s.
    pub timed_s: f64,
    /// Timed records.
    pub records: u64,
    /// Sensors that gave no value for a while: name and seconds.
    pub silent: Vec<(String, f64)>,
    /// The board was still above the limit when `cooldown` ran out: °C.
    pub hot_start_c: Option<f64>,
    /// The case made room for others: it ran at low priority or on some processors only.
    pub makes_room: bool,
}

/// Something to know about a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Its word in the column `warnings`.
    pub code: &'static str,
    /// `1.5 GHz of 2.4 GHz for 38 % of the timed work`
    pub evidence: String,
    /// The row's speed and energy cannot be taken for the board's.
    pub disqualifies: bool,
}

/// The verdict on a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Valid {
    Yes,
    No,
    /// Nothing was found, but throttling could not have been seen, or nothing was sampled at all.
    Unknown,
}

impl Valid {
    /// Its word in the column `valid`.
    pub fn name(self) -> &'static str {
        match self {
            Valid::Yes => "yes",
            Valid::No => "no",
            Valid::Unknown => "unknown",
        }
    }
}

/// Judges.
pub fn verdict(evidence: &Evidence, limits: &Limits) -> (Valid, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut find = |code, disqualifies, evidence: Option<String>| {
        findings.extend(evidence.map(|evidence| Finding { code, evidence, disqualifies }));
    };
    let unseen = (evidence.looks == 0 && evidence.records > 0)
        .then(|| format!("no sample fell into {:.2} s of timed work", evidence.timed_s));
    find("unsampled", false, unseen);
    let blind = "no clock, temperature or counter is visible: throttling cannot be seen";
    find("heat-unseen", false, (!evidence.heat_visible).then(|| blind.to_owned()));
    find("throttled", true, throttled(evidence, limits));
    find("thermal-trip", true, trip(evidence));
    find("hot-start", false, evidence.hot_start_c.map(|c| format!("{c:.1} °C when the wait for a cool board ended")));
    find("governor", false, governor(evidence));
    find("foreign-load", true, above(evidence.foreign_pct, limits.foreign_load_pct, "% of all cores used by others"));
    let room = "it ran at low priority or on some processors only, beside a training";
    find("low-priority", true, evidence.makes_room.then(|| room.to_owned()));
    find("swapped", true, swapped(evidence, limits));
    let pressure = above(evidence.memory_pressure_pct, limits.memory_pressure_pct, "% of the time waiting for memory");
    find("memory-pressure", true, pressure);
    let jump = evidence.clock_jump_s;
    find(
        "clock-jump",
        false,
        (jump.abs() > limits.clock_jump_s)
            .then(|| format!("the wall clock was moved by {jump:+.1} s; times here are monotonic")),
    );
    find("unstable", true, unstable(evidence, limits));
    find("short-energy-window", false, short_window(evidence, limits));
    let cold = (evidence.faulted_mib > limits.cold_cache_mib)
        .then(|| format!("{:.0} MiB read from storage by page faults during timed work", evidence.faulted_mib));
    find("cold-cache", false, cold);
    let few = (evidence.records > 0 && evidence.records < limits.few_samples)
        .then(|| format!("{} timed records, percentiles need {}", evidence.records, limits.few_samples));
    find("few-samples", false, few);
    for (name, seconds) in &evidence.silent {
        find("sensor-silent", false, Some(format!("{name} gave no value for {seconds:.1} s")));
    }

    let valid = if findings.iter().any(|f| f.disqualifies) {
        Valid::No
    } else if !evidence.heat_visible || evidence.foreign_pct.is_none() {
        Valid::Unknown
    } else {
        Valid::Yes
    };
    (valid, findings)
}

fn above(value: Option<f64>, limit: f64, what: &str) -> Option<String> {
    value.filter(|v| *v > limit).map(|v| format!("{v:.0} {what}"))
}

/// Throttled is what the kernel or the firmware say so, and a clock below the reference while no governor may
/// lower it. Under another governor a low clock alone is that governor's choice: it needs a second witness.
fn throttled(e: &Evidence, limits: &Limits) -> Option<String> {
    if e.seconds <= 0.0 {
        return None;
    }
    let percent = |seconds: f64| 100.0 * seconds / e.seconds;
    let beyond = |seconds: f64| percent(seconds) > limits.throttled_pct;
    let witness = [&e.throttled, &e.cooled].into_iter().flatten().find(|(_, seconds)| beyond(*seconds));
    let low = slow_clock(e, limits).filter(|(_, _, share)| *share > limits.throttled_pct);
    match (low, witness) {
        (Some((low, reference, share)), witness) if e.governor == "performance" || witness.is_some() => {
            let by = witness.map_or(String::new(), |(name, _)| format!(" ({name})"));
            Some(format!("{} of {} for {share:.0} % of the timed work{by}", ghz(low), ghz(reference)))
        }
        (_, Some((name, seconds))) => Some(format!("{name} for {:.0} % of the timed work", percent(*seconds))),
        (_, None) => None,
    }
}

/// The mean clock below the reference, the reference (MHz), and for how much of the work (%).
fn slow_clock(e: &Evidence, limits: &Limits) -> Option<(u32, u32, f64)> {
    let seen = *e.clocks.keys().next_back()?;
    let reference = if e.governor == "performance" { e.max_mhz.unwrap_or(seen).max(seen) } else { seen };
    let limit = f64::from(reference) * limits.clock_pct / 100.0;
    let all: f64 = e.clocks.values().sum();
    let low: Vec<(u32, f64)> = e.clocks.iter().map(|(m, s)| (*m, *s)).filter(|(m, _)| f64::from(*m) < limit).collect();
    let seconds: f64 = low.iter().map(|(_, s)| s).sum();
    (seconds > 0.0 && all > 0.0).then(|| {
        let mean = low.iter().map(|(mhz, s)| f64::from(*mhz) * s).sum::<f64>() / seconds;
        (mean.round() as u32, reference, 100.0 * seconds / all)
    })
}

/// `1.5 GHz`
fn ghz(mhz: u32) -> String {
    format!("{:.1} GHz", f64::from(mhz) / 1000.0)
}

fn trip(e: &Evidence) -> Option<String> {
    let (zone, hottest, trip) = e.nearest_trip.as_ref()?;
    (hottest >= trip).then(|| format!("{zone} at {hottest:.1} °C, its trip point is {trip:.1} °C"))
}

fn governor(e: &Evidence) -> Option<String> {
    (!e.governor.is_empty() && e.governor != "performance").then(|| e.governor.clone())
}

fn swapped(e: &Evidence, limits: &Limits) -> Option<String> {
    let (traffic, held) = (e.swap_traffic_mib, e.host_swap_mib);
    (traffic > limits.swapped_mib || held > limits.swapped_mib)
        .then(|| format!("{traffic:.1} MiB moved to or from swap, {held:.1} MiB of the host there"))
}

fn unstable(e: &Evidence, limits: &Limits) -> Option<String> {
    let mut passes = e.passes.clone();
    passes.sort_unstable_by(f64::total_cmp);
    let (first, last, median) = (*passes.first()?, *passes.last()?, *passes.get(passes.len() / 2)?);
    let spread = 100.0 * (last - first) / median;
    (passes.len() > 1 && spread > limits.unstable_pct).then(|| {
        format!("{} passes, {first:.2} to {last:.2} records/s: {spread:.0} % of the median apart", passes.len())
    })
}

fn short_window(e: &Evidence, limits: &Limits) -> Option<String> {
    let (readings, covered) = e.energy?;
    (readings < limits.energy_readings || covered < limits.energy_s).then(|| {
        format!("{readings} readings in {covered:.1} s; {} in {} s are needed", limits.energy_readings, limits.energy_s)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A quiet board with everything visible.
    fn quiet() -> Evidence {
        Evidence {
            seconds: 10.0,
            clocks: BTreeMap::from([(2400, 10.0)]),
            max_mhz: Some(2400),
            governor: "performance".into(),
            looks: 100,
            heat_visible: true,
            foreign_pct: Some(1.0),
            nearest_trip: Some(("cpu".into(), 60.0, 85.0)),
            energy: Some((100, 10.0)),
            timed_s: 10.0,
            records: 100,
            ..Evidence::default()
        }
    }

    fn judged(change: impl FnOnce(&mut Evidence)) -> (Valid, String) {
        let mut evidence = quiet();
        change(&mut evidence);
        let (valid, findings) = verdict(&evidence, &Limits::default());
        let text: Vec<String> = findings.iter().map(|f| format!("{}: {}", f.code, f.evidence)).collect();
        (valid, text.join("; "))
    }

    #[test]
    fn a_quiet_board_is_valid_and_one_that_cannot_be_seen_is_unknown() {
        assert_eq!(judged(|_| ()), (Valid::Yes, String::new()));
        let (valid, text) = judged(|e| e.heat_visible = false);
        assert!(valid == Valid::Unknown && text.starts_with("heat-unseen: no clock"), "{text}");
        assert_eq!(judged(|e| e.foreign_pct = None), (Valid::Unknown, String::new()));
    }

    #[test]
    fn a_low_clock_is_throttling_only_where_nobody_chose_it() {
        let clocks = BTreeMap::from([(2400, 6.2), (1500, 3.8)]);
        let low = judged(|e| e.clocks = clocks.clone());
        assert_eq!(low, (Valid::No, "throttled: 1.5 GHz of 2.4 GHz for 38 % of the timed work".into()));
        let chosen = judged(|e| (e.clocks, e.governor) = (clocks.clone(), "schedutil".into()));
        assert_eq!(chosen, (Valid::Yes, "governor: schedutil".into()));
        let witnessed = judged(|e| {
            (e.clocks, e.governor) = (clocks.clone(), "schedutil".into());
            e.cooled = Some(("cooling device cpufreq-cpu0".into(), 4.0));
        });
        assert_eq!(witnessed.0, Valid::No);
        assert!(witnessed.1.starts_with("throttled: 1.5 GHz of 2.4 GHz for 38 %"), "{}", witnessed.1);
        assert!(witnessed.1.contains("cpufreq-cpu0"), "{}", witnessed.1);
        assert_eq!(judged(|e| e.clocks = BTreeMap::from([(2400, 9.7), (1500, 0.3)])).0, Valid::Yes, "3 % are a blip");
        assert_eq!(judged(|e| e.throttled = Some(("firmware".into(), 5.0))).0, Valid::No);
    }

    #[test]
    fn each_finding_has_its_evidence() {
        for (change, valid, text) in [
            (
                Box::new(|e: &mut Evidence| e.nearest_trip = Some(("soc".into(), 86.0, 85.0)))
                    as Box<dyn Fn(&mut Evidence)>,
                Valid::No,
                "thermal-trip: soc at 86.0 °C, its trip point is 85.0 °C",
            ),
            (Box::new(|e| e.foreign_pct = Some(31.4)), Valid::No, "foreign-load: 31 % of all cores used by others"),
            (
                Box::new(|e| e.swap_traffic_mib = 12.0),
                Valid::No,
                "swapped: 12.0 MiB moved to or from swap, 0.0 MiB of the host there",
            ),
            (
                Box::new(|e| e.memory_pressure_pct = Some(7.0)),
                Valid::No,
                "memory-pressure: 7 % of the time waiting for memory",
            ),
            (
                Box::new(|e| e.clock_jump_s = -3600.0),
                Valid::Yes,
                "clock-jump: the wall clock was moved by -3600.0 s; times here are monotonic",
            ),
            (
                Box::new(|e| e.passes = vec![10.0, 8.0, 10.0]),
                Valid::No,
                "unstable: 3 passes, 8.00 to 10.00 records/s: 20 % of the median apart",
            ),
            (
                Box::new(|e| e.energy = Some((12, 1.2))),
                Valid::Yes,
                "short-energy-window: 12 readings in 1.2 s; 20 in 5 s are needed",
            ),
            (
                Box::new(|e| e.faulted_mib = 300.0),
                Valid::Yes,
                "cold-cache: 300 MiB read from storage by page faults during timed work",
            ),
            (Box::new(|e| e.records = 5), Valid::Yes, "few-samples: 5 timed records, percentiles need 20"),
            (
                Box::new(|e| e.silent = vec![("hwmon0".into(), 2.0)]),
                Valid::Yes,
                "sensor-silent: hwmon0 gave no value for 2.0 s",
            ),
        ] {
            assert_eq!(judged(|e| change(e)), (valid, text.into()));
        }
    }
}
