//! The command `tune`: which settings are best for a model on this board, by successive halving within a time budget.
//! `candidates` says what is tried, `halving` who goes on, `print` shows it; the measuring is `bench`'s.

mod candidates;
mod halving;
mod print;

use crate::bench::runner::Runner;
use crate::bench::shape::Test;
use crate::bench::{BenchError, Objects, Settings, is_llama};
use crate::job::Instance;
use crate::results::CaseRow;
use crate::testcase::run::Verbosity;
use candidates::candidates;
use halving::{better_half, repetitions, rounds};
use std::time::{Duration, Instant};

/// Tokens of the first look, and of the shortest test.
const SHORTEST: u32 = 16;
/// Work that is needed for the energy of a candidate.
const ENERGY: Duration = Duration::from_secs(2);

/// What settings are to be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Most prompt tokens per second.
    Prefill,
    /// Most new tokens per second.
    Decode,
    /// Fewest joules per token, of a prompt and its answer.
    Energy,
}

impl Goal {
    /// The words of `--for`.
    pub const ALL: &[(&str, Goal)] = &[("prefill", Goal::Prefill), ("decode", Goal::Decode), ("energy", Goal::Energy)];

    /// What a row comes to, less is better.
    fn cost(self, row: &CaseRow) -> Option<f64> {
        match self {
            Goal::Energy => row.number("energy_j_per_token"),
            _ => row.number("tok_s").map(|speed| -speed),
        }
        .filter(|_| row.get("status") == "ok")
    }
}

/// What `tune` is asked.
pub struct Request {
    /// One model; the lists are what is tried.
    pub objects: Objects,
    pub goal: Goal,
    /// For everything, loading included.
    pub budget: Duration,
    /// The longest test.
    pub test: Test,
    pub settings: Settings,
    pub verbosity: Verbosity,
}

/// A set of settings and what it came to.
struct Candidate {
    instance: Instance,
    /// Of the last round it was in.
    row: Option<CaseRow>,
    /// Rounds it was in.
    rounds: u32,
}

/// Finds the best settings and prints what was tried and the object to paste. False: nothing could be measured.
///
/// # Errors
/// Something is wrong with the object, or there is nothing to choose from.
pub fn run(request: &Request) -> Result<bool, BenchError> {
    let start = Instant::now();
    let base = base(&request.objects).map_err(BenchError::Input)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let params = candidates(&request.objects.sweeps, is_llama(&base.backend), request.goal, cores);
    if params.len() < 2 {
        let what = "there is nothing to choose from: give lists, -t 1,2,4 or --param key=a,b";
        return Err(BenchError::Input(what.to_owned()));
    }
    let runner = Runner::start(Settings { repetitions: 1, ..request.settings })?;
    let mut tuner = Tuner {
        request,
        runner,
        end: start + request.budget,
        test: request.test,
        candidates: params
            .into_iter()
            .map(|params| Candidate { instance: Instance { params, ..base.clone() }, row: None, rounds: 0 })
            .collect(),
    };
    tuner.first()?;
    let best = tuner.halve()?;
    print::table(&mut std::io::stdout().lock(), &tuner.candidates, best, tuner.request)?;
    Ok(best.is_some())
}

/// The object without anything that is tried.
fn base(objects: &Objects) -> Result<Instance, String> {
    let alone = Objects { sweeps: Vec::new(), ..objects.clone() };
    let mut instances = alone.instances()?;
    match (instances.pop(), instances.is_empty()) {
        (Some(base), true) => Ok(base),
        _ => Err("give one model: settings that are best for several are best for none".to_owned()),
    }
}

struct Tuner<'a> {
    request: &'a Request,
    runner: Runner,
    end: Instant,
    /// As long as the budget allows.
    test: Test,
    candidates: Vec<Candidate>,
}

impl Tuner<'_> {
    /// Measures what the backend does by itself, and from the time that it takes decides how long a test may be and how many
    /// candidates there can be.
    fn first(&mut self) -> Result<(), BenchError> {
        let full = self.request.test;
        let short = |tokens: u32| tokens.min(SHORTEST);
        self.test = Test { prompt: short(full.prompt), output: short(full.output), ..full };
        let before = Instant::now();
        self.measure(0, 0, 1)?;
        let took_s = before.elapsed().as_secs_f64();
        let row = self.candidates[0].row.take().unwrap_or_default();
        if self.request.goal == Goal::Energy && row.get("status") == "ok" && row.get("energy_rail").is_empty() {
            let what = "no power rail is visible, so that energy cannot be measured; edgebench probe says why";
            return Err(BenchError::Input(what.to_owned()));
        }
        let n = self.candidates.len();
        let left_s = self.end.saturating_duration_since(Instant::now()).as_secs_f64();
        let share_s = left_s / f64::from(rounds(n)) / n as f64;
        if let Some(speed) = row.number("tok_s") {
            // Each is done twice in a first round: once to warm up.
            let repetitions = row.number("repetitions").unwrap_or(1.0) + 1.0;
            let load_s = (took_s - repetitions * f64::from(self.test.tokens()) / speed).max(0.0);
            let part = ((share_s - load_s) * speed / (2.0 * f64::from(full.tokens()))).clamp(0.0, 1.0);
            let shorter = |tokens: u32| ((f64::from(tokens) * part) as u32).max(short(tokens));
            self.test = Test { prompt: shorter(full.prompt), output: shorter(full.output), ..full };
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.say(&format!("{n} settings, {} each, on {cores} cores", self.test));
        Ok(())
    }

    /// Rounds until few are left or the budget is used up; the best of the last.
    fn halve(&mut self) -> Result<Option<usize>, BenchError> {
        let mut left: Vec<usize> = (0..self.candidates.len()).collect();
        let mut best = None;
        for round in 0..rounds(left.len()) {
            let mut costs = Vec::new();
            for &i in &left {
                if round > 0 && self.is_over() || costs.len() > 1 && self.is_over() {
                    break;
                }
                let cost = self.measure(i, round, repetitions(round))?;
                costs.push((i, cost));
            }
            let tried = costs.len();
            if tried < left.len() {
                self.say(&format!("the time is used up: {tried} of {} settings of round {}", left.len(), round + 1));
            }
            let goes_on = better_half(&costs);
            best = goes_on.first().copied().or(best);
            if tried < left.len() || goes_on.is_empty() {
                break;
            }
            left = goes_on;
        }
        // So that the gain can be told, what the backend does by itself is measured as long as the best.
        if let Some(best) = best.filter(|&best| best != 0 && !self.is_over()) {
            let n = self.candidates[best].row.as_ref().and_then(|r| r.number("repetitions")).unwrap_or(1.0);
            let round = self.candidates[best].rounds.saturating_sub(1);
            if self.candidates[0].rounds < self.candidates[best].rounds {
                self.measure(0, round, n as u32)?;
            }
        }
        Ok(best)
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Measures a candidate; its cost.
    fn measure(&mut self, candidate: usize, round: u32, repetitions: u32) -> Result<Option<f64>, BenchError> {
        let at_least = if self.request.goal == Goal::Energy { ENERGY } else { Duration::ZERO };
        self.runner.set(Settings { repetitions, at_least, ..self.request.settings });
        let Candidate { instance, .. } = &self.candidates[candidate];
        let mut measured = CaseRow::default();
        self.runner.measure(instance, &[self.test], &mut |row| {
            measured = row.clone();
            Ok(())
        })?;
        let cost = self.request.goal.cost(&measured);
        self.say(&print::line(round + 1, &measured));
        let candidate = &mut self.candidates[candidate];
        (candidate.row, candidate.rounds) = (Some(measured), round + 1);
        Ok(cost)
    }

    fn say(&self, line: &str) {
        if self.request.verbosity == Verbosity::Normal {
            eprintln!("{line}");
        }
    }
}
