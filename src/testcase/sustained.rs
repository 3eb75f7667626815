//! Speed over minutes: the answers of a sustained case in windows of equal length, so that the first and the last
//! can be put side by side. It must not know records or files.

use super::timing::Sample;
use std::time::Duration;

/// Windows that a sustained case is cut into.
const WINDOWS: u32 = 20;

/// What the sampler shows at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sight {
    pub temp_c: Option<f64>,
    /// Of the fastest cluster.
    pub freq_mhz: Option<u32>,
}

/// One window of a sustained case.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Window {
    /// When it began, after the first timed call, s.
    pub at_s: f64,
    pub records: u64,
    evaluated_tokens: u64,
    prefill_ns: u64,
    decoded_tokens: u64,
    decode_ns: u64,
    busy_ns: u64,
    /// As seen when its last call ended.
    pub sight: Sight,
}

impl Window {
    /// Answered records per second of the backend's work.
    pub fn records_s(&self) -> Option<f64> {
        rate(self.records, self.busy_ns)
    }

    pub fn prefill_tok_s(&self) -> Option<f64> {
        rate(self.evaluated_tokens, self.prefill_ns)
    }

    pub fn decode_tok_s(&self) -> Option<f64> {
        rate(self.decoded_tokens, self.decode_ns)
    }

    /// The speed that two windows are compared by: decoding, or whole records where nothing is decoded.
    pub fn speed(&self) -> Option<f64> {
        self.decode_tok_s().or(self.records_s())
    }
}

fn rate(n: u64, ns: u64) -> Option<f64> {
    (n > 0 && ns > 0).then(|| n as f64 * 1e9 / ns as f64)
}

/// The windows of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Sustained {
    window_ns: u64,
    start_ns: Option<u64>,
    pub windows: Vec<Window>,
    first: Sight,
}

impl Sustained {
    /// For a case that goes on for `length`; `first` is what the sampler showed before it.
    pub fn new(length: Duration, first: Sight) -> Sustained {
        Sustained { window_ns: (length / WINDOWS).as_nanos() as u64, start_ns: None, windows: Vec::new(), first }
    }

    /// Adds an answered call to the window in which it began.
    pub fn add(&mut self, sample: &Sample, sight: Sight) {
        let start_ns = *self.start_ns.get_or_insert(sample.start_ns);
        let number = (sample.start_ns.saturating_sub(start_ns) / self.window_ns.max(1)) as usize;
        let number = number.min(WINDOWS as usize - 1);
        while self.windows.len() <= number {
            let at_s = self.windows.len() as f64 * self.window_ns as f64 / 1e9;
            self.windows.push(Window { at_s, sight: self.first, ..Window::default() });
        }
        let window = &mut self.windows[number];
        window.records += 1;
        window.busy_ns += sample.done_ns;
        window.sight = sight;
        if let Some(prefill) = sample.prefill_ns {
            window.evaluated_tokens += u64::from(sample.prompt_tokens.saturating_sub(sample.cached_tokens));
            window.prefill_ns += prefill;
        }
        if let (Some(first), Some(last), Some(n)) = (sample.first_ns, sample.last_ns, sample.output_tokens) {
            window.decoded_tokens += u64::from(n.saturating_sub(1));
            window.decode_ns += last.saturating_sub(first);
        }
    }

    /// Speed of the first and of the last window that has one.
    pub fn first_and_last(&self) -> Option<(f64, f64)> {
        let mut speeds = self.windows.iter().filter_map(Window::speed);
        let first = speeds.next()?;
        Some((first, speeds.next_back()?))
    }

    /// When the speed first fell below `percent` of the first window's and stayed there, s.
    pub fn slower_after_s(&self, percent: f64) -> Option<f64> {
        let (first, _) = self.first_and_last()?;
        let slow = |w: &Window| w.speed().is_none_or(|s| s < first * percent / 100.0);
        let fast = self.windows.iter().rposition(|w| !slow(w))?;
        self.windows.get(fast + 1).map(|w| w.at_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_that_slows_down_is_seen_to() {
        let mut sustained = Sustained::new(Duration::from_secs(20), Sight::default());
        let mut at = 7_000_000_000;
        while at < 27_000_000_000 {
            // 10 tokens/s for 8 s, then 5.
            let gap = if at < 15_000_000_000 { 100_000_000 } else { 200_000_000 };
            let sample = Sample {
                start_ns: at,
                output_tokens: Some(4),
                first_ns: Some(gap),
                last_ns: Some(4 * gap),
                done_ns: 4 * gap,
                ..Sample::default()
            };
            sustained.add(&sample, Sight::default());
            at += 4 * gap;
        }
        assert_eq!(sustained.windows.len(), 20);
        assert_eq!(sustained.first_and_last(), Some((10.0, 5.0)));
        assert_eq!(sustained.slower_after_s(90.0), Some(8.0));
        assert_eq!(sustained.slower_after_s(40.0), None);
    }
}
