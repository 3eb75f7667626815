//! The search for the highest rate that keeps within limits: the upper bound first, then by bisection on a logarithmic
//! scale. Pure: it must not know what is tried.

/// Rates are told apart to this factor.
const PRECISION: f64 = 1.02;
/// Trials at the most.
const TRIALS: u32 = 14;

/// A search that goes on.
#[derive(Debug)]
pub struct Search {
    low: f64,
    high: f64,
    trials: u32,
    /// The highest that was tried and held.
    held: Option<f64>,
}

impl Search {
    /// Between these, which are above 0.
    pub fn new((low, high): (f64, f64)) -> Search {
        Search { low, high, trials: 0, held: None }
    }

    /// The rate to try next; `None`: it is known well enough.
    pub fn next(&self) -> Option<f64> {
        match self.trials {
            0 => Some(self.high),
            TRIALS.. => None,
            _ => (self.high / self.low > PRECISION).then(|| (self.low * self.high).sqrt()),
        }
    }

    /// Did the rate that was tried hold?
    pub fn tell(&mut self, rate: f64, held: bool) {
        self.trials += 1;
        if held {
            self.low = rate;
            self.held = Some(rate);
        } else {
            self.high = rate;
        }
    }

    /// The highest rate that held; the lower bound, untried, where none did.
    pub fn best(&self) -> f64 {
        self.held.unwrap_or(self.low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_finds_the_limit(limit in 0.01f64..200.0) {
            let mut search = Search::new((0.1, 100.0));
            while let Some(rate) = search.next() {
                search.tell(rate, rate <= limit);
            }
            let right = limit.clamp(0.1, 100.0);
            prop_assert!(search.best() <= right * 1.0001 && search.best() * 1.03 >= right, "{} of {}", search.best(), right);
            prop_assert!(search.trials <= TRIALS);
        }
    }
}
