//! The scenarios `server` and `multi-stream`, as MLPerf LoadGen defines them. `server`: requests arrive at random times that
//! were drawn beforehand, wait in one queue, and are handed over as soon as the backend is free. `multi-stream`: queries of
//! several samples, the next when the last is answered. Latency counts from the arrival. It must not know how an answer is
//! judged.

mod arrivals;
mod search;

use super::ask::need;
use super::case::End;
use super::offline::Waiting;
use super::passes::{Pass, Passes};
use super::scenario::single_stream;
use super::stats::Distribution;
use super::timing::{Latencies, Timings};
use crate::backend::wire::Prefix;
use crate::clock::{now_ns, sleep_until};
use crate::job::{Latency, Load, Rate, Scenario};
use crate::sense::phase::Phase;
use arrivals::Arrivals;
use search::Search;
use std::ops::ControlFlow;
use std::time::Duration;

/// Sockets time out late by up to a tick of the kernel, so the last part of a wait is slept.
const SLEPT: Duration = Duration::from_millis(12);
/// How often a wait looks up.
const STEP: Duration = Duration::from_millis(100);
/// Calls that show what a backend can do at the most.
const CALLS: u64 = 8;
/// The lower bound of a search, as a part of that.
const LOWEST: f64 = 1.0 / 64.0;

/// What a case under load has come to.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Requests per second that arrive.
    pub rate_s: Option<f64>,
    pub trials: Vec<Trial>,
    /// `multi-stream`: from a query's begin to its last answer, ms.
    pub queries: Distribution,
}

/// One pass under load: a row of load.csv.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trial {
    /// 0: part of the search for a rate.
    pub pass: u32,
    pub concurrency: u32,
    pub rate_s: Option<f64>,
    pub records: u64,
    pub failed: u64,
    /// Answered per second.
    pub records_s: f64,
    /// At the limits' percentile, ms.
    pub latencies: Latencies,
    /// `None`: there are no limits.
    pub held: Option<bool>,
}

/// Do these latencies keep to the limits? A failed request never does.
pub fn holds(limits: &Latency, latencies: &Latencies, failed: u64) -> Option<bool> {
    let within = |limit: Option<Duration>, ms: Option<f64>| {
        limit.is_none_or(|limit| ms.is_some_and(|ms| ms <= limit.as_secs_f64() * 1e3))
    };
    limits.is_set().then(|| {
        failed == 0
            && within(limits.ttft, latencies.ttft_ms)
            // One token has no gap behind it.
            && (latencies.itl_ms.is_none() || within(limits.itl, latencies.itl_ms))
            && within(limits.e2e, latencies.e2e_ms)
    })
}

/// Counts over one pass.
#[derive(Default)]
struct Seen {
    timings: Timings,
    records: u64,
    failed: u64,
}

impl Passes<'_, '_> {
    /// Finds the rate that the timed passes are to have, if the job leaves that open.
    pub(super) fn find_rate(&mut self) -> Result<(), End> {
        let Some(load) = self.task.load.as_ref().filter(|_| self.task.scenario == Scenario::Server) else {
            return Ok(());
        };
        let bounds = match load.rate {
            Rate::PerSecond(rate) => {
                self.answers.load.rate_s = Some(rate);
                return Ok(());
            }
            Rate::Max(Some(bounds)) => bounds,
            Rate::Max(None) => {
                let at_most = CALLS * u64::from(self.width(load));
                let pass = Pass { number: 0, start_ns: now_ns(), at_most, end: None };
                let most = self.under_load(&pass, load, Some(Arrivals::AtOnce), None)?.records_s;
                (most * LOWEST, most)
            }
        };
        let mut search = Search::new(bounds);
        while let Some(rate) = search.next() {
            let pass = Pass { number: 0, start_ns: now_ns(), at_most: u64::MAX, end: None };
            let arrivals = Arrivals::poisson(rate, load.seed, 1);
            let trial = self.under_load(&pass, load, Some(arrivals), Some(rate))?;
            search.tell(rate, trial.held == Some(true));
            self.answers.load.trials.push(trial);
        }
        self.answers.load.rate_s = Some(search.best());
        Ok(())
    }

    /// One pass.
    pub(super) fn load(&mut self, pass: &Pass) -> Result<(), End> {
        let Some(load) = &self.task.load else { return Ok(()) };
        // A warm-up is there for its calls, not for its arrivals.
        let rate = self.answers.load.rate_s.filter(|_| !pass.is_warmup());
        let arrivals = match self.task.scenario {
            Scenario::MultiStream => None,
            _ => Some(rate.map_or(Arrivals::AtOnce, |rate| Arrivals::poisson(rate, load.seed, pass.number))),
        };
        let trial = self.under_load(pass, load, arrivals, rate)?;
        if !pass.is_warmup() {
            self.answers.load.trials.push(trial);
        }
        Ok(())
    }

    /// Requests that are handed over in one call, at the most: one where a backend cannot run several together.
    fn width(&self, load: &Load) -> u32 {
        if self.asker.runs_together() { load.concurrency } else { 1 }
    }

    /// Asks the records as they arrive; without `arrivals`, in queries.
    fn under_load(
        &mut self,
        pass: &Pass,
        load: &Load,
        mut arrivals: Option<Arrivals>,
        rate_s: Option<f64>,
    ) -> Result<Trial, End> {
        let (task, asked, width) = (self.task, self.context.records, self.width(load) as usize);
        let query = load.concurrency as usize;
        let mut seen = Seen::default();
        let mut waiting: Vec<Waiting> = Vec::new();
        let mut left = pass.at_most;
        let flow = single_stream(task, asked, need(&task.method), |item| {
            let arrival_ns = arrivals.as_mut().map_or(0, |a| pass.start_ns + a.next_ns());
            let full = match &arrivals {
                None => waiting.len() == query,
                // Those that have arrived when the backend is free go together.
                Some(_) => waiting
                    .first()
                    .is_some_and(|first| waiting.len() == width || arrival_ns > first.arrival_ns.max(now_ns())),
            };
            if full && let Err(end) = self.serve(pass, &mut waiting, width, arrivals.is_none(), &mut seen) {
                return ControlFlow::Break(Err(end));
            }
            if pass.is_over() {
                return ControlFlow::Break(Ok(()));
            }
            waiting.push(Waiting::new(self.asker, item, arrival_ns));
            left -= 1;
            if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(Ok(())) }
        });
        if let ControlFlow::Break(end) = flow.map_err(End::Dataset)? {
            end?;
        }
        self.serve(pass, &mut waiting, width, arrivals.is_none(), &mut seen)?;
        let seconds = now_ns().saturating_sub(pass.start_ns) as f64 / 1e9;
        let latencies = seen.timings.latencies(load.limits.percentile);
        Ok(Trial {
            pass: pass.number,
            concurrency: load.concurrency,
            rate_s,
            records: seen.records,
            failed: seen.failed,
            records_s: seen.records as f64 / seconds,
            held: holds(&load.limits, &latencies, seen.failed),
            latencies,
        })
    }

    /// Waits for the first of `waiting` to arrive, asks all of them, at most `width` in one call, and writes what came of it.
    fn serve(
        &mut self,
        pass: &Pass,
        waiting: &mut Vec<Waiting>,
        width: usize,
        is_query: bool,
        seen: &mut Seen,
    ) -> Result<(), End> {
        let Some(first) = waiting.first() else { return Ok(()) };
        if is_query {
            let now = now_ns();
            waiting.iter_mut().for_each(|w| w.arrival_ns = now);
        } else {
            self.wait_until(pass, first.arrival_ns)?;
        }
        let order: Vec<(usize, Prefix)> = (0..waiting.len()).map(|i| (i, Prefix::NONE)).collect();
        let mut end = Ok(());
        for call in order.chunks(width) {
            end =
                if call.len() > 1 { self.together(pass, waiting, call) } else { self.one_by_one(pass, waiting, call) };
            if end.is_err() {
                break;
            }
        }
        let mut last_ms: Option<f64> = None;
        self.write(pass, waiting, |answer| {
            seen.records += 1;
            match answer {
                Ok(answer) => {
                    seen.timings.add(&answer.sample);
                    last_ms = Some(answer.sample.e2e_ms().max(last_ms.unwrap_or(0.0)));
                }
                Err(_) => seen.failed += 1,
            }
        })?;
        if let (Some(ms), true) = (last_ms, is_query && !pass.is_warmup()) {
            self.answers.load.queries.add(ms);
        }
        end
    }

    /// Waits for an arrival, and lets the board be watched meanwhile.
    fn wait_until(&mut self, pass: &Pass, arrival_ns: u64) -> Result<(), End> {
        loop {
            self.context.go_on()?;
            let left = Duration::from_nanos(arrival_ns.saturating_sub(now_ns()));
            if left <= SLEPT {
                break;
            }
            self.client.idle((left - SLEPT).min(STEP)).map_err(End::Host)?;
            let phase = if pass.is_warmup() { Phase::Warmup } else { Phase::Between };
            self.eyes.watch.mark(phase, pass.start_ns, now_ns());
            self.eyes.pump(self.context, self.client.take_power()).map_err(End::Journal)?;
        }
        sleep_until(arrival_ns);
        Ok(())
    }
}
