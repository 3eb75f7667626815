//! How many requests run together: a number, or found by measuring while they run. Pure; it must not know requests.

use std::time::Duration;

/// Where a search begins.
const FIRST: usize = 4;
/// Steps of one width that are measured at least.
const STEPS: usize = 8;
/// By how much twice as many have to be faster to be worth it.
const GAIN: f64 = 1.05;

/// The number that is to run together now, and the search for the best.
#[derive(Debug, Clone, PartialEq)]
pub struct Width {
    pub now: usize,
    /// What there is room for.
    pub max: usize,
    searching: bool,
    /// Tokens per second of the width before, and that width.
    best: Option<(f64, usize)>,
    steps: usize,
    ended: usize,
    tokens: usize,
    time: Duration,
}

impl Width {
    /// Always `n`.
    pub fn fixed(n: usize) -> Width {
        Width { now: n, max: n, searching: false, best: None, steps: 0, ended: 0, tokens: 0, time: Duration::ZERO }
    }

    /// At most `max`: doubled as long as that gains something.
    pub fn searched(max: usize) -> Width {
        Width { now: FIRST.min(max), searching: max > FIRST, ..Width::fixed(max) }
    }

    /// A step with all places taken evaluated so many tokens in such a time, and so many requests ended with it. Gives
    /// the width that is kept from now on, when that has been found.
    pub fn step(&mut self, tokens: usize, time: Duration, ended: usize) -> Option<usize> {
        if !self.searching {
            return None;
        }
        self.steps += 1;
        self.ended += ended;
        self.tokens += tokens;
        self.time += time;
        // Each place has seen a request come and go: prompts have their usual share in the tokens.
        if self.steps < STEPS || self.ended < self.now {
            return None;
        }
        let speed = self.tokens as f64 / self.time.as_secs_f64().max(1e-9);
        (self.steps, self.ended, self.tokens, self.time) = (0, 0, 0, Duration::ZERO);
        match self.best {
            Some((before, width)) if speed < before * GAIN => self.now = width,
            _ if self.now < self.max => {
                self.best = Some((speed, self.now));
                self.now = (2 * self.now).min(self.max);
                return None;
            }
            _ => {}
        }
        self.searching = false;
        Some(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The width found on a machine where a step of `n` requests takes `time(n)` ms.
    fn found(max: usize, time: impl Fn(usize) -> u64) -> (usize, Vec<usize>) {
        let mut width = Width::searched(max);
        let mut tried = vec![width.now];
        for _ in 0..1000 {
            let now = width.now;
            let found = width.step(now, Duration::from_millis(time(now)), 1);
            if width.now != now {
                tried.push(width.now);
            }
            if let Some(found) = found {
                assert_eq!(width.step(1, Duration::from_secs(9), 1), None, "once found it stays");
                return (found, tried);
            }
        }
        (width.now, tried)
    }

    #[test]
    fn it_grows_as_long_as_that_gains() {
        // The memory is the limit up to 8, then the processor.
        assert_eq!(found(32, |n| 10 + (n as u64).saturating_sub(8) * 10), (8, vec![4, 8, 16, 8]));
        assert_eq!(found(32, |_| 10), (32, vec![4, 8, 16, 32]));
        assert_eq!(found(20, |_| 10), (20, vec![4, 8, 16, 20]));
        assert_eq!(found(32, |n| n as u64), (4, vec![4, 8, 4]));
    }

    #[test]
    fn a_number_is_a_number() {
        let mut width = Width::fixed(7);
        assert_eq!((width.now, width.step(7, Duration::from_secs(1), 7)), (7, None));
        assert_eq!((Width::searched(3).now, Width::searched(3).step(1, Duration::ZERO, 9)), (3, None));
    }
}
