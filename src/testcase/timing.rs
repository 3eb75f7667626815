//! From stamped events to the timing columns: one sample, and the sums over a case. DESIGN §6 and
//! `edgebench.h` define the figures. It must not know records or processes.

use super::stats::Distribution;
use crate::backend::wire::{Generation, Scoring};
use crate::results::CaseRow;
use crate::sense::phase::Phase;

/// What one call measured; times in ns after it was handed to the backend.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// CLOCK_MONOTONIC when it was handed over, in ns.
    pub start_ns: u64,
    /// How long it had waited by then, in ns, since it arrived as its scenario has it.
    pub queue_ns: u64,
    pub prompt_tokens: u32,
    pub cached_tokens: u32,
    /// New tokens; `None` where none are asked for (`choice`).
    pub output_tokens: Option<u32>,
    pub prefill_ns: Option<u64>,
    pub first_ns: Option<u64>,
    pub last_ns: Option<u64>,
    pub done_ns: u64,
    /// How often the request was tried again.
    pub retries: u32,
    /// Times between tokens.
    pub gaps_ns: Vec<u64>,
}

impl From<&Generation> for Sample {
    fn from(g: &Generation) -> Sample {
        Sample {
            start_ns: g.start_ns,
            queue_ns: 0,
            prompt_tokens: g.prompt_tokens,
            cached_tokens: g.cached_tokens,
            output_tokens: Some(g.output_tokens),
            prefill_ns: g.prefill_ns,
            first_ns: g.token_ns.first().copied(),
            last_ns: g.token_ns.last().copied(),
            done_ns: g.done_ns,
            retries: g.retries,
            gaps_ns: g.token_ns.windows(2).map(|w| w[1].saturating_sub(w[0])).collect(),
        }
    }
}

impl From<&Scoring> for Sample {
    fn from(s: &Scoring) -> Sample {
        Sample {
            start_ns: s.start_ns,
            prompt_tokens: s.prompt_tokens,
            cached_tokens: s.cached_tokens,
            prefill_ns: s.prefill_ns,
            done_ns: s.done_ns,
            retries: s.retries,
            ..Sample::default()
        }
    }
}

impl Sample {
    /// Arrival → handed over, in ms.
    pub fn queue_ms(&self) -> f64 {
        ms(self.queue_ns)
    }

    /// Arrival → first token seen, in ms.
    pub fn ttft_ms(&self) -> Option<f64> {
        self.first_ns.map(|first| ms(self.queue_ns + first))
    }

    /// First token → last token, in ms.
    pub fn decode_ms(&self) -> Option<f64> {
        Some(ms(self.last_ns?.saturating_sub(self.first_ns?)))
    }

    /// Arrival → last token seen (`choice`: → all options scored), in ms.
    pub fn e2e_ms(&self) -> f64 {
        ms(self.queue_ns + self.last_ns.unwrap_or(self.done_ns))
    }

    /// The phases of the call, from … to … on CLOCK_MONOTONIC in ns.
    pub fn phases(&self) -> impl Iterator<Item = (Phase, u64, u64)> {
        let prefill = self.prefill_ns.unwrap_or(self.done_ns);
        let rest = if self.output_tokens.is_some() { Phase::Decode } else { Phase::Score };
        let at = self.start_ns;
        [(Phase::Prefill, at, at + prefill), (rest, at + prefill, at + self.done_ns)].into_iter()
    }

    /// When each new token came, in ns after the call was handed over.
    pub fn tokens_ns(&self) -> impl Iterator<Item = u64> {
        let later = self.gaps_ns.iter().scan(self.first_ns.unwrap_or(0), |at, gap| {
            *at += gap;
            Some(*at)
        });
        self.first_ns.into_iter().chain(later)
    }

    /// Median and largest gap between tokens, in ms.
    pub fn itl_ms(&self) -> Option<(f64, f64)> {
        let mut gaps = self.gaps_ns.clone();
        gaps.sort_unstable();
        let median = gaps.get(gaps.len().checked_sub(1)? / 2)?;
        Some((ms(*median), ms(*gaps.last()?)))
    }
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// Latencies at one percentile, ms.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Latencies {
    pub queue_ms: Option<f64>,
    pub ttft_ms: Option<f64>,
    /// Over all gaps between tokens.
    pub itl_ms: Option<f64>,
    pub e2e_ms: Option<f64>,
}

/// Sums and distributions over the timed samples of a case.
#[derive(Debug, Default)]
pub struct Timings {
    queue: Distribution,
    ttft: Distribution,
    itl: Distribution,
    e2e: Distribution,
    evaluated_tokens: u64,
    prefill_ns: u64,
    decoded_tokens: u64,
    decode_ns: u64,
    output_tokens: u64,
    e2e_ns: u64,
    /// Sum over decoded tokens of the tokens before them.
    depth: u64,
}

impl Timings {
    pub fn add(&mut self, sample: &Sample) {
        if let Some(ttft) = sample.ttft_ms() {
            self.ttft.add(ttft);
        }
        self.queue.add(sample.queue_ms());
        self.e2e.add(sample.e2e_ms());
        sample.gaps_ns.iter().for_each(|&gap| self.itl.add(ms(gap)));
        if let Some(prefill) = sample.prefill_ns {
            self.evaluated_tokens += u64::from(sample.prompt_tokens.saturating_sub(sample.cached_tokens));
            self.prefill_ns += prefill;
        }
        if let (Some(first), Some(last), Some(n)) = (sample.first_ns, sample.last_ns, sample.output_tokens) {
            self.decoded_tokens += u64::from(n) - 1;
            self.depth += (u64::from(n) - 1) * (u64::from(sample.prompt_tokens) + u64::from(n) / 2);
            self.decode_ns += last.saturating_sub(first);
            self.output_tokens += u64::from(n);
            self.e2e_ns += last;
        }
    }

    /// Latencies that `percentile` % of all keep to.
    pub fn latencies(&mut self, percentile: f64) -> Latencies {
        let at = |distribution: &mut Distribution| distribution.percentiles([percentile])[0];
        Latencies {
            queue_ms: at(&mut self.queue),
            ttft_ms: at(&mut self.ttft),
            itl_ms: at(&mut self.itl),
            e2e_ms: at(&mut self.e2e),
        }
    }

    /// Fills the columns about waiting.
    pub fn fill_queue(&mut self, row: &mut CaseRow) {
        fill(row, "queue", &mut self.queue);
    }

    /// New tokens of all timed calls.
    pub fn output_tokens(&self) -> u64 {
        self.output_tokens
    }

    /// New tokens per second, while decoding.
    pub fn decode_tok_s(&self) -> Option<f64> {
        per_second(self.decoded_tokens, self.decode_ns)
    }

    /// Tokens that stood before a decoded one, on average.
    pub fn mean_depth(&self) -> Option<f64> {
        (self.decoded_tokens > 0).then(|| self.depth as f64 / self.decoded_tokens as f64)
    }

    /// Fills the speed and latency columns.
    pub fn fill(&mut self, row: &mut CaseRow) {
        for (name, distribution) in [("ttft", &mut self.ttft), ("itl", &mut self.itl), ("e2e", &mut self.e2e)] {
            fill(row, name, distribution);
        }
        row.set_number("prefill_tok_s", per_second(self.evaluated_tokens, self.prefill_ns), 2);
        row.set_number("decode_tok_s", self.decode_tok_s(), 2);
        row.set_number("output_tok_s", per_second(self.output_tokens, self.e2e_ns), 2);
    }
}

/// Sets the columns `<name>_ms_p50`, `_p95` and `_p99`.
pub fn fill(row: &mut CaseRow, name: &str, distribution: &mut Distribution) {
    let values = distribution.percentiles([50.0, 95.0, 99.0]);
    for (p, value) in [50, 95, 99].into_iter().zip(values) {
        row.set_number(&format!("{name}_ms_p{p}"), value, 3);
    }
}

fn per_second(n: u64, ns: u64) -> Option<f64> {
    (n > 0 && ns > 0).then(|| n as f64 * 1e9 / ns as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(tokens: &[u64]) -> Sample {
        let generation = Generation {
            id: 0,
            start_ns: 5,
            prefill_ns: Some(100_000_000),
            token_ns: tokens.to_vec(),
            done_ns: 900_000_000,
            prompt_tokens: 50,
            cached_tokens: 10,
            output_tokens: tokens.len() as u32,
            retries: 0,
            text: String::new(),
            finish: crate::backend::wire::Finish::Eos,
            failure: None,
            claims_ms: (0.0, 0.0),
        };
        Sample::from(&generation)
    }

    #[test]
    fn decode_speed_leaves_the_first_token_out() {
        let mut timings = Timings::default();
        timings.add(&sample(&[200_000_000, 300_000_000, 400_000_000]));
        let mut row = CaseRow::default();
        timings.fill(&mut row);
        assert_eq!(row.get("decode_tok_s"), "10.00", "2 tokens in 0.2 s");
        assert_eq!(row.get("prefill_tok_s"), "400.00", "40 evaluated tokens in 0.1 s");
        assert_eq!(row.get("output_tok_s"), "7.50", "3 tokens in 0.4 s");
        assert_eq!(row.get("ttft_ms_p50"), "200.000");
        assert_eq!(row.get("e2e_ms_p50"), "400.000");
        assert_eq!(row.get("itl_ms_p99"), "100.000");
    }

    #[test]
    fn latency_counts_from_the_arrival() {
        let sample = Sample { queue_ns: 50_000_000, ..sample(&[200_000_000, 300_000_000]) };
        assert_eq!((sample.queue_ms(), sample.ttft_ms(), sample.e2e_ms()), (50.0, Some(250.0), 350.0));
        assert_eq!(sample.decode_ms(), Some(100.0));
        let mut timings = Timings::default();
        timings.add(&sample);
        let mut row = CaseRow::default();
        timings.fill(&mut row);
        assert_eq!((row.get("ttft_ms_p50"), row.get("output_tok_s")), ("250.000", "6.67"), "2 tokens in 0.3 s of work");
    }

    #[test]
    fn what_was_not_measured_is_empty() {
        let mut timings = Timings::default();
        timings.add(&sample(&[]));
        timings.add(&sample(&[200_000_000]));
        let mut row = CaseRow::default();
        timings.fill(&mut row);
        assert_eq!(row.get("decode_tok_s"), "", "one token alone has no rate");
        assert_eq!(row.get("itl_ms_p50"), "");
    }
}
