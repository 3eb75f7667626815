//! Energy of one rail by phase: the area under its readings, at their real times. It owns the integral and its
//! uncertainty; it must not know which rail it is or what a case is.
//!
//! Power readings are joined by straight lines (trapezoid rule), readings of an energy counter by steady power
//! between two of them. A phase that begins between two readings gets its share of that line.

use super::phase::{Phase, PhaseLog};
use std::collections::VecDeque;

/// Readings further apart than this are not joined: nobody knows what was between them.
const MAX_GAP_NS: u64 = 3_000_000_000;
const NS: f64 = 1e9;

/// What a rail tells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Watts at a time.
    Power,
    /// Joules since some time ago; starts again from 0 after `wrap_j`.
    Counter { wrap_j: f64 },
}

/// What one phase took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Share {
    pub joules: f64,
    /// Seconds of the phase that readings cover.
    pub covered_s: f64,
    /// Highest power seen, in watts.
    pub peak_w: f64,
    /// Readings inside the phase.
    pub readings: u64,
}

impl Share {
    fn add(&mut self, other: Share) {
        self.joules += other.joules;
        self.covered_s += other.covered_s;
        self.peak_w = self.peak_w.max(other.peak_w);
        self.readings += other.readings;
    }
}

/// Readings of one rail, integrated as phases become known.
#[derive(Debug)]
pub struct Meter {
    kind: Kind,
    /// Not yet integrated; the first is the end of what was.
    readings: VecDeque<(u64, f64)>,
    shares: [Share; Phase::ALL.len()],
}

impl Meter {
    pub fn new(kind: Kind) -> Meter {
        Meter { kind, readings: VecDeque::new(), shares: Default::default() }
    }

    /// A reading at `at_ns`: W, or J for a counter. Not a number, negative, or older than the last: left out.
    pub fn read(&mut self, at_ns: u64, value: f64) {
        let newer = self.readings.back().is_none_or(|&(last, _)| at_ns > last);
        if newer && value.is_finite() && value >= 0.0 {
            self.readings.push_back((at_ns, value));
        }
    }

    /// Up to when it is integrated (0: nothing yet).
    pub fn settled_ns(&self) -> u64 {
        self.readings.front().map_or(0, |r| r.0)
    }

    /// Integrates as far as `log` knows the phases.
    pub fn settle(&mut self, log: &PhaseLog) {
        while let [Some(&a), Some(&b)] = [self.readings.front(), self.readings.get(1)] {
            if b.0 > log.known_ns() {
                break;
            }
            self.readings.pop_front();
            if b.0 - a.0 > MAX_GAP_NS {
                continue;
            }
            let line = Line::new(self.kind, a, b);
            for piece in log.pieces(a.0, b.0) {
                let ends_here = u64::from(piece.to_ns == b.0);
                let share = Share {
                    joules: line.joules(piece.from_ns, piece.to_ns),
                    covered_s: (piece.to_ns - piece.from_ns) as f64 / NS,
                    peak_w: line.watts(piece.from_ns).max(line.watts(piece.to_ns)),
                    readings: ends_here,
                };
                self.shares[piece.phase as usize].add(share);
            }
        }
    }

    /// What `phases` took together.
    pub fn total(&self, phases: &[Phase]) -> Share {
        let mut total = Share::default();
        phases.iter().for_each(|&p| total.add(self.shares[p as usize]));
        total
    }
}

/// The power between two readings.
struct Line {
    from_ns: u64,
    watts: f64,
    /// W per s.
    slope: f64,
}

impl Line {
    fn new(kind: Kind, a: (u64, f64), b: (u64, f64)) -> Line {
        let seconds = (b.0 - a.0) as f64 / NS;
        let (watts, slope) = match kind {
            Kind::Power => (a.1, (b.1 - a.1) / seconds),
            Kind::Counter { wrap_j } => {
                let joules = if b.1 >= a.1 { b.1 - a.1 } else { b.1 + wrap_j - a.1 };
                (joules.max(0.0) / seconds, 0.0)
            }
        };
        Line { from_ns: a.0, watts, slope }
    }

    fn watts(&self, ns: u64) -> f64 {
        self.watts + self.slope * (ns - self.from_ns) as f64 / NS
    }

    fn joules(&self, from_ns: u64, to_ns: u64) -> f64 {
        (self.watts(from_ns) + self.watts(to_ns)) / 2.0 * (to_ns - from_ns) as f64 / NS
    }
}

/// Standard uncertainty of an energy in J, for readings that are rounded to steps of `resolution` (W, or J for a
/// counter), evenly spread over `share.covered_s`. Rounding has a standard deviation of step/√12 (GUM F.2.2.1):
/// independent for each of n power readings, so that their mean has 1/√n of it; for a counter only its two ends count.
/// The edges of the window add half a reading's interval of the mean power, evenly distributed, at both ends.
pub fn uncertainty(kind: Kind, share: &Share, resolution: f64) -> Option<f64> {
    let n = share.readings as f64;
    if share.readings == 0 || share.covered_s <= 0.0 {
        return None;
    }
    let rounding = resolution / 12f64.sqrt();
    let rounding = match kind {
        Kind::Power => rounding * share.covered_s / n.sqrt(),
        Kind::Counter { .. } => rounding * 2f64.sqrt(),
    };
    let edge = share.joules / n / 2.0 / 3f64.sqrt() * 2f64.sqrt();
    Some(rounding.hypot(edge))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    /// A log with one decode phase in it.
    fn log(from_ms: u64, to_ms: u64, known_ms: u64) -> PhaseLog {
        let mut log = PhaseLog::default();
        log.add(Phase::Decode, from_ms * MS, to_ms * MS);
        log.known_until(known_ms * MS);
        log
    }

    proptest! {
        #[test]
        fn a_ramp_is_integrated_exactly_wherever_the_readings_fall(
            steps in proptest::collection::vec(1u64..300, 30..60), from in 0u64..800, len in 1u64..700,
        ) {
            let mut meter = Meter::new(Kind::Power);
            let mut at = 0;
            let watts = |ms: u64| 2.0 + ms as f64 / 1000.0;
            meter.read(0, watts(0));
            for step in steps {
                at += step;
                meter.read(at * MS, watts(at));
            }
            prop_assume!(at > from + len);
            meter.settle(&log(from, from + len, at));
            let share = meter.total(&[Phase::Decode]);
            let (a, b) = (from as f64 / 1000.0, (from + len) as f64 / 1000.0);
            let exact = 2.0 * (b - a) + (b * b - a * a) / 2.0;
            prop_assert!((share.joules - exact).abs() < 1e-9, "{} for {exact}", share.joules);
            prop_assert!((share.covered_s - (b - a)).abs() < 1e-9);
            prop_assert!((share.peak_w - (2.0 + b)).abs() < 1e-9);
        }
    }

    #[test]
    fn a_counter_that_wraps_goes_on() {
        let mut meter = Meter::new(Kind::Counter { wrap_j: 100.0 });
        for (ms, joules) in [(0, 98.0), (500, 99.0), (1000, 0.0), (1500, 1.0)] {
            meter.read(ms * MS, joules);
        }
        meter.settle(&log(0, 1500, 1500));
        let share = meter.total(&[Phase::Decode]);
        assert_eq!((share.joules, share.peak_w, share.readings), (3.0, 2.0, 3));
    }

    #[test]
    fn nothing_is_integrated_before_its_phase_is_known_and_nothing_over_a_long_gap() {
        let mut meter = Meter::new(Kind::Power);
        meter.read(0, 1.0);
        meter.read(1000 * MS, 1.0);
        meter.settle(&log(0, 400, 900));
        assert_eq!(meter.total(&Phase::ALL), Share::default());
        meter.read(9000 * MS, 1.0);
        meter.read(9100 * MS, f64::NAN);
        meter.settle(&log(0, 400, 10_000));
        assert_eq!(meter.total(&Phase::ALL).covered_s, 1.0);
        assert_eq!(meter.total(&[Phase::Decode]).joules, 0.4);
    }

    #[test]
    fn uncertainty_shrinks_with_readings_and_grows_with_the_step() {
        let share = |readings| Share { joules: 50.0, covered_s: 10.0, peak_w: 5.0, readings };
        let few = uncertainty(Kind::Power, &share(20), 0.5).unwrap();
        let many = uncertainty(Kind::Power, &share(100), 0.5).unwrap();
        assert!(few > many && many > 0.0);
        assert!(uncertainty(Kind::Power, &share(20), 1.0).unwrap() > few);
        assert_eq!(uncertainty(Kind::Power, &share(0), 0.5), None);
    }
}
