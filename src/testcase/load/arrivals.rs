//! When requests arrive, decided before any is answered: a slow answer moves no arrival, so that nothing of the waiting is
//! left out (G. Tene's "coordinated omission"). It must not know what arrives.

use crate::random::SplitMix;

/// Arrival times of one pass, in ns after its start.
pub enum Arrivals {
    /// A Poisson process, as MLPerf LoadGen's `server` has it: gaps are exponential and independent.
    Poisson { random: SplitMix, gap_ns: f64, at_ns: f64 },
    /// All at the start.
    AtOnce,
}

impl Arrivals {
    /// `rate` per second. The same seed and pass give the same arrivals, and at another rate the same ones stretched.
    pub fn poisson(rate: f64, seed: u64, pass: u32) -> Arrivals {
        let seed = SplitMix(seed).next() ^ SplitMix(u64::from(pass)).next();
        Arrivals::Poisson { random: SplitMix(seed), gap_ns: 1e9 / rate, at_ns: 0.0 }
    }

    /// The next one.
    pub fn next_ns(&mut self) -> u64 {
        match self {
            Arrivals::AtOnce => 0,
            Arrivals::Poisson { random, gap_ns, at_ns } => {
                // 53 bits make every number of [0, 1) that is told apart; 1 − u is never 0.
                let u = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
                *at_ns -= *gap_ns * (1.0 - u).ln();
                *at_ns as u64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(rate: f64, seed: u64, pass: u32, n: usize) -> Vec<u64> {
        let mut arrivals = Arrivals::poisson(rate, seed, pass);
        (0..n).map(|_| arrivals.next_ns()).collect()
    }

    #[test]
    fn the_seed_decides_and_the_rate_stretches() {
        assert_eq!(times(2.0, 1, 1, 50), times(2.0, 1, 1, 50));
        assert_ne!(times(2.0, 1, 1, 50), times(2.0, 2, 1, 50));
        assert_ne!(times(2.0, 1, 1, 50), times(2.0, 1, 2, 50));
        let (slow, fast) = (times(1.0, 1, 1, 50), times(4.0, 1, 1, 50));
        assert!(slow.iter().zip(&fast).all(|(s, f)| s.abs_diff(4 * f) <= 8), "{slow:?} {fast:?}");
    }

    #[test]
    fn gaps_are_exponential() {
        let n = 200_000;
        let times = times(100.0, 7, 1, n);
        let gaps: Vec<f64> = times.windows(2).map(|w| (w[1] - w[0]) as f64 / 1e9).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean * 100.0 - 1.0).abs() < 0.01, "mean {mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.01, "an exponential's deviation is its mean");
        let longer = gaps.iter().filter(|g| **g > 0.01).count() as f64 / gaps.len() as f64;
        assert!((longer - (-1.0f64).exp()).abs() < 0.005, "{longer} are longer than the mean");
    }

    /// One server that takes `service` ns per request, fed by these arrivals, waits as the M/D/1 queue does: ρ·D / 2(1−ρ)
    /// on average (Pollaczek–Khinchine).
    #[test]
    fn a_queue_of_one_server_is_m_d_1() {
        for (load, service) in [(0.3, 10e6), (0.5, 10e6), (0.7, 20e6)] {
            let rate = load / service * 1e9;
            let mut arrivals = Arrivals::poisson(rate, 1, 1);
            let (n, mut free, mut waited) = (400_000, 0.0f64, 0.0);
            for _ in 0..n {
                let arrival = arrivals.next_ns() as f64;
                let start = free.max(arrival);
                waited += start - arrival;
                free = start + service;
            }
            let (mean, analytic) = (waited / f64::from(n), load * service / (2.0 * (1.0 - load)));
            assert!((mean / analytic - 1.0).abs() < 0.03, "at {load}: {mean} ns, {analytic} were expected");
        }
    }
}
