//! Distributions of timings in bounded memory: exact while there are few values, a fine histogram after
//! that. It must not know what is timed.

/// Values that are kept one by one (1 MiB of f32); beyond that they are counted in buckets.
const EXACT: usize = 1 << 18;
/// Buckets per doubling: a value is off by less than 1 part in 1000.
const PER_OCTAVE: f64 = 512.0;
/// The smallest value that is told apart, in the unit of the values.
const SMALLEST: f64 = 1e-6;

/// Non-negative values and their nearest-rank percentiles.
#[derive(Debug, Clone, Default)]
pub struct Distribution {
    exact: Vec<f32>,
    buckets: Vec<u32>,
    count: u64,
}

impl Distribution {
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        if self.buckets.is_empty() {
            self.exact.push(value as f32);
            if self.exact.len() > EXACT {
                let exact = std::mem::take(&mut self.exact);
                exact.into_iter().for_each(|v| self.add_to_bucket(f64::from(v)));
            }
        } else {
            self.add_to_bucket(value);
        }
    }

    fn add_to_bucket(&mut self, value: f64) {
        let bucket = ((value.max(SMALLEST) / SMALLEST).log2() * PER_OCTAVE) as usize;
        if bucket >= self.buckets.len() {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
    }

    /// Nearest-rank percentiles (the smallest value such that at least `p` % of all are not above it), for
    /// each of `wanted`, ascending; `None` without values.
    pub fn percentiles<const N: usize>(&mut self, wanted: [f64; N]) -> [Option<f64>; N] {
        self.exact.sort_unstable_by(f32::total_cmp);
        wanted.map(|p| {
            let rank = ((p / 100.0 * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
            if self.buckets.is_empty() {
                return self.exact.get(rank as usize - 1).map(|&v| f64::from(v));
            }
            let mut seen = 0;
            let bucket = self.buckets.iter().position(|&n| {
                seen += u64::from(n);
                seen >= rank
            })?;
            Some(SMALLEST * ((bucket as f64 + 0.5) / PER_OCTAVE).exp2())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let mut d = Distribution::default();
        assert_eq!(d.percentiles([50.0]), [None]);
        [15.0, 20.0, 35.0, 40.0, 50.0].into_iter().for_each(|v| d.add(v));
        // The textbook example of the nearest-rank method.
        assert_eq!(d.percentiles([5.0, 30.0, 40.0, 50.0, 100.0]), [15.0, 20.0, 20.0, 35.0, 50.0].map(Some));
    }

    proptest! {
        #[test]
        fn many_values_are_within_a_part_in_a_thousand(scale in 0.001f64..1000.0) {
            let mut d = Distribution::default();
            let n = EXACT * 2;
            (0..n).for_each(|i| d.add((i + 1) as f64 * scale));
            for (p, got) in [(50.0, d.percentiles([50.0])[0]), (99.0, d.percentiles([99.0])[0])] {
                let right = (p / 100.0 * n as f64).ceil() * scale;
                prop_assert!((got.unwrap() / right - 1.0).abs() < 1e-3);
            }
        }
    }
}
