//! The job file's words for load: how many requests come, how often, and within which times they are to be answered. It must
//! not know how load is made.

use super::toml::{Table, Value};
use super::{Method, Scenario};
use std::time::Duration;

/// Of the arrivals, where the job names none.
const SEED: u64 = 1;

/// What the scenarios `server` and `multi-stream` put on a backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// `server`: most requests that a backend gets in one call; `multi-stream`: samples of a query.
    pub concurrency: u32,
    /// `server`; unused in `multi-stream`.
    pub rate: Rate,
    pub limits: Latency,
    /// Of the arrivals.
    pub seed: u64,
}

/// How often requests arrive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// Requests per second, on average.
    PerSecond(f64),
    /// The highest that keeps within the limits, looked for between these; `None`: found out.
    Max(Option<(f64, f64)>),
}

/// Times, from a request's arrival on, that `percentile` % of all keep to.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency {
    pub ttft: Option<Duration>,
    /// Between two tokens.
    pub itl: Option<Duration>,
    pub e2e: Option<Duration>,
    pub percentile: f64,
}

impl Latency {
    const NONE: Latency = Latency { ttft: None, itl: None, e2e: None, percentile: 99.0 };

    /// Is there anything to keep to?
    pub fn is_set(&self) -> bool {
        self.ttft.is_some() || self.itl.is_some() || self.e2e.is_some()
    }
}

/// The keys of a task that are about load, taken from its table.
pub struct Keys<'a> {
    concurrency: Option<Value<'a>>,
    rate: Option<Value<'a>>,
    bounds: Option<Value<'a>>,
    limits: Option<Value<'a>>,
    seed: Option<Value<'a>>,
}

impl<'a> Keys<'a> {
    pub fn take(table: &mut Table<'a>) -> Keys<'a> {
        Keys {
            concurrency: table.get("concurrency"),
            rate: table.get("rate"),
            bounds: table.get("rate_bounds"),
            limits: table.get("limits"),
            seed: table.get("seed"),
        }
    }

    /// What is missing in the table is a `problem`. The load of a task and, where it is swept, what is added to the task's name: one task for each combination. One
    /// without load where the scenario has none.
    pub fn read(
        self,
        scenario: Scenario,
        method: &Method,
        problem: &dyn Fn(&str, &str),
    ) -> Vec<(String, Option<Load>)> {
        let Keys { concurrency, rate, bounds, limits, seed } = self;
        let server = scenario == Scenario::Server;
        if !server {
            [&rate, &bounds, &seed].into_iter().flatten().for_each(|v| only_for("server", v));
        }
        if !server && scenario != Scenario::MultiStream {
            [&concurrency, &limits].into_iter().flatten().for_each(|v| only_for("server\" or \"multi-stream", v));
            return vec![(String::new(), None)];
        }
        let limits = limits.and_then(|v| read_limits(&v, method)).unwrap_or(Latency::NONE);
        let seed = seed.and_then(|v| v.integer(0, i64::MAX as u64)).unwrap_or(SEED);
        let several = concurrency
            .map_or(vec![1], |v| v.sweep().iter().filter_map(|v| v.integer(1, 1 << 12)).map(|n| n as u32).collect());
        let bounds = bounds.and_then(|v| read_bounds(&v));
        let mut rates = vec![Rate::PerSecond(0.0)];
        match rate {
            Some(value) if server => {
                rates = value.sweep().iter().filter_map(|v| read_rate(v, bounds, &limits)).collect();
            }
            None if server => {
                problem(
                    "scenario = \"server\" needs a `rate`",
                    "give requests per second, or \"max\" with limits = { ttft = \"2s\" }",
                );
            }
            _ => {}
        }
        let mut loads = Vec::new();
        for &concurrency in &several {
            for &rate in &rates {
                let mut suffix = String::new();
                if several.len() > 1 {
                    suffix += &format!(".c{concurrency}");
                }
                match rate {
                    Rate::PerSecond(rate) if rates.len() > 1 => suffix += &format!(".r{rate}"),
                    Rate::Max(_) if rates.len() > 1 => suffix += ".rmax",
                    _ => {}
                }
                loads.push((suffix, Some(Load { concurrency, rate, limits: limits.clone(), seed })));
            }
        }
        loads
    }
}

fn only_for(scenario: &str, value: &Value) {
    value.problem(format!("this key belongs to scenario = \"{scenario}\""), "leave it out, or change the scenario");
}

fn read_rate(value: &Value, bounds: Option<(f64, f64)>, limits: &Latency) -> Option<Rate> {
    if !value.is_text() {
        return value.number(1e-6, 1e6).map(Rate::PerSecond);
    }
    if value.text()? != "max" {
        value.problem("`rate` is neither a number nor \"max\"", "give requests per second, or \"max\"");
        return None;
    }
    if !limits.is_set() {
        let todo = "give limits = { ttft = \"2s\", itl = \"100ms\" }, or a rate in numbers";
        value.problem("rate = \"max\" needs limits to keep to", todo);
        return None;
    }
    Some(Rate::Max(bounds))
}

fn read_bounds(value: &Value) -> Option<(f64, f64)> {
    let bounds: Vec<f64> = value.list().iter().filter_map(|v| v.number(1e-6, 1e6)).collect();
    match bounds[..] {
        [low, high] if low < high => Some((low, high)),
        _ => {
            value.problem("`rate_bounds` is not two rising numbers", "write it like [0.1, 50]");
            None
        }
    }
}

fn read_limits(value: &Value, method: &Method) -> Option<Latency> {
    let mut table = value.table("limits")?;
    let (ttft, itl, e2e) = (table.get("ttft"), table.get("itl"), table.get("e2e"));
    if !matches!(method, Method::Generate { .. }) {
        let no_tokens =
            |v: &Value| v.problem("there are no new tokens to wait for", "use e2e, or method = \"generate\"");
        [&ttft, &itl].into_iter().flatten().for_each(no_tokens);
    }
    let limits = Latency {
        ttft: ttft.and_then(|v| v.duration()),
        itl: itl.and_then(|v| v.duration()),
        e2e: e2e.and_then(|v| v.duration()),
        percentile: table.get("percentile").and_then(|v| v.number(1.0, 100.0)).unwrap_or(Latency::NONE.percentile),
    };
    table.finish();
    if !limits.is_set() {
        value.problem("`limits` holds none", "give ttft, itl or e2e: { ttft = \"2s\" }");
    }
    Some(limits)
}
