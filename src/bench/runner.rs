//! All tests on one object: a host for those that need the same context, each test warmed up, repeated, and watched;
//! whatever fails becomes a row, and the next test goes on, in a new host if need be. It must not know how rows are shown.

use super::measure::{Asker, Rep};
use super::shape::Test;
use super::{Settings, params};
use crate::backend::client::{Client, HostError};
use crate::backend::wire::{Open, Opened};
use crate::clock::now_ns;
use crate::job::{Instance, Limits, Measure};
use crate::results::{CaseRow, Status};
use crate::sense::bandwidth::Once;
use crate::sense::energy::uncertainty;
use crate::sense::phase::Phase;
use crate::sense::process;
use crate::sense::sensors::{self, Sensors};
use crate::sense::verdict::verdict;
use crate::testcase::case::status_of_host;
use crate::testcase::figures;
use crate::testcase::progress::Progress;
use crate::testcase::run::Verbosity;
use crate::testcase::stats::Distribution;
use crate::testcase::telemetry::{Eyes, Telemetry};
use crate::testcase::timing;
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Repetitions at the most, when they go on for a time.
const MOST_REPETITIONS: usize = 1000;
/// For loading a model.
const LOAD_TIMEOUT: Duration = Duration::from_secs(600);

/// Columns of a row, in order.
pub const COLUMNS: &[&str] = &[
    "model",
    "quantization",
    "weights_mib",
    "n_weights",
    "backend",
    "backend_version",
    "params",
    "test",
    "n_prompt",
    "n_gen",
    "n_depth",
    "status",
    "reason",
    "valid",
    "warnings",
    "repetitions",
    "tok_s",
    "tok_s_min",
    "tok_s_max",
    "tok_s_mean",
    "tok_s_sd",
    "ttft_ms_p50",
    "ttft_ms_p95",
    "ttft_ms_p99",
    "itl_ms_p50",
    "itl_ms_p95",
    "itl_ms_p99",
    "load_ms",
    "rss_peak_mib",
    "rss_avg_mib",
    "cpu_pct",
    "bandwidth_util",
    "temp_c_max",
    "freq_mhz_min",
    "energy_rail",
    "energy_j",
    "energy_j_err",
    "energy_j_per_token",
    "power_w_avg",
    "tok_s_each",
    "evidence",
];

/// Measures objects, one after the other.
pub struct Runner {
    settings: Settings,
    telemetry: Telemetry,
    bandwidth: Once,
    /// How many were begun.
    tests: u64,
    progress: Rc<Progress>,
}

/// A host with its model.
type Host = (Client, Opened);
/// What it was opened with.
type Params = Vec<(String, String)>;

impl Runner {
    /// Starts to watch the board.
    ///
    /// # Errors
    /// It cannot be watched.
    pub fn start(settings: Settings) -> io::Result<Runner> {
        let measure = Measure::default();
        let sensors = Sensors::open(&sensors::root(), Duration::from_secs(1) / measure.hz);
        let telemetry = Telemetry::start(&measure, sensors.layout.clone(), sensors)?;
        let progress = Rc::new(Progress::new(Verbosity::Quiet, 0, ""));
        Ok(Runner { settings, telemetry, bandwidth: Once::default(), tests: 0, progress })
    }

    /// Steps of the progress that one test takes.
    pub fn steps(&self) -> u32 {
        self.settings.repetitions + u32::from(self.settings.warmup)
    }

    /// Shows `steps` of progress from now on.
    pub fn show_progress(&mut self, verbosity: Verbosity, steps: u64) -> Rc<Progress> {
        self.progress = Rc::new(Progress::new(verbosity, steps, "runs"));
        self.progress.clone()
    }

    /// Changes how often tests are repeated.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Does `tests` on `instance` and gives a row for each to `row`, whatever happens to the host.
    ///
    /// # Errors
    /// Those of `row`.
    pub fn measure(
        &mut self,
        instance: &Instance,
        tests: &[Test],
        row: &mut dyn FnMut(&CaseRow) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut host: Option<(Params, Host)> = None;
        // What cannot be loaded once is not tried again.
        let mut unusable: Option<(Params, (Status, String))> = None;
        for (number, test) in tests.iter().enumerate() {
            let name = file_name(&instance.model);
            self.progress.case(number + 1, tests.len(), &format!("{name} {} {test}", instance.params_text()));
            let mut figures = head(instance, test);
            let wanted = params(instance, test);
            // One that is not of use is gone before the next takes its memory.
            let ready = host.take().filter(|(params, _)| *params == wanted);
            let known = unusable.take().filter(|(params, _)| *params == wanted);
            let outcome = match (known, ready) {
                (Some((_, known)), _) => Err(known),
                (None, Some((_, host))) => Ok(host),
                (None, None) => self.open(instance, wanted.clone()),
            };
            match outcome {
                Err((status, reason)) => {
                    set_status(&mut figures, status, reason.clone());
                    unusable = Some((wanted, (status, reason)));
                }
                Ok((mut client, opened)) => {
                    let ended = self.test(&mut client, &opened, test, &mut figures);
                    let lives = matches!(ended, None | Some(HostError::Failed(_)));
                    host = lives.then_some((wanted, (client, opened)));
                }
            }
            row(&figures)?;
        }
        self.telemetry.follow(None);
        if let Some((_, (client, _))) = host {
            // All that was wanted is there; a crash while closing is told by `conform` and `run`.
            let _ = client.close();
        }
        Ok(())
    }

    fn open(&mut self, instance: &Instance, params: Params) -> Result<Host, (Status, String)> {
        let proc = Path::new("/proc");
        let oom_kills = process::oom_kills(proc);
        let failed = |e: HostError| status_of_host(&e, process::oom_kills(proc) > oom_kills);
        let open = Open {
            backend: instance.backend.clone(),
            model: instance.model_path.as_ref().map_or(String::new(), |p| p.to_string_lossy().into_owned()),
            params,
            title: "bench".to_owned(),
            sandbox: self.settings.sandbox,
            power_hz: self.telemetry.plugin_hz(),
            adapters: Vec::new(),
            logits: None,
        };
        let mut client = Client::start(&instance.backend).map_err(failed)?;
        let opened = client.open(open, LOAD_TIMEOUT).map_err(failed)?;
        Ok((client, opened))
    }

    /// Does one test and fills its row, with what was measured until the error if there was one.
    fn test(&mut self, client: &mut Client, opened: &Opened, test: &Test, row: &mut CaseRow) -> Option<HostError> {
        let proc = Path::new("/proc");
        let oom_kills = process::oom_kills(proc);
        let pid = client.pid();
        process::reset_rss_peak(proc, pid);
        self.telemetry.follow(Some(pid));
        let mut eyes = self.telemetry.begin("bench");
        eyes.add_plugin_rails(&opened.rails);
        let mut reps = Vec::new();
        let error = self.repeat(client, opened, test, &mut eyes, &mut reps).err();
        eyes.watch.known_until(now_ns());
        self.pump(&mut eyes, client);
        row.set_number("rss_peak_mib", process::rss_peak_mib(proc, pid), 1);
        described(row, opened);
        speeds(row, &reps);
        self.watched(row, &eyes, &reps, test);
        if test.prompt == 0 {
            let depth = f64::from(test.depth) + f64::from(test.output) / 2.0;
            let util = figures::bandwidth_util(opened, row.number("tok_s"), Some(depth), &mut self.bandwidth);
            row.set_number("bandwidth_util", util, 4);
        }
        match &error {
            None => set_status(row, Status::Ok, String::new()),
            Some(e) => {
                let (status, reason) = status_of_host(e, process::oom_kills(proc) > oom_kills);
                set_status(row, status, reason);
            }
        }
        error
    }

    fn repeat(
        &mut self,
        client: &mut Client,
        opened: &Opened,
        test: &Test,
        eyes: &mut Eyes,
        reps: &mut Vec<Rep>,
    ) -> Result<(), HostError> {
        self.tests += 1;
        let mut asker = Asker::new(opened, self.settings.timeout, self.tests);
        asker.fill(client, test.depth)?;
        let mut warm_up = self.settings.warmup;
        let mut timed = Duration::ZERO;
        let Settings { repetitions, at_least, .. } = self.settings;
        while warm_up || reps.len() < repetitions as usize || timed < at_least && reps.len() < MOST_REPETITIONS {
            let start_ns = now_ns();
            let rep = asker.repetition(client, test)?;
            if warm_up {
                eyes.watch.mark(Phase::Warmup, start_ns, rep.end_ns);
                warm_up = false;
            } else {
                timed += Duration::from_nanos(rep.ns);
                rep.phases.iter().for_each(|&(phase, from, to)| eyes.watch.mark(phase, from, to));
                reps.push(rep);
            }
            eyes.watch.known_until(now_ns());
            self.pump(eyes, client);
            self.progress.record();
        }
        if eyes.main_rail().is_some() {
            // The last reading is of use only with one after it.
            client.idle(Duration::from_secs(2) / Measure::default().hz)?;
        }
        Ok(())
    }

    fn pump(&mut self, eyes: &mut Eyes, client: &mut Client) {
        let Ok(()) = self.telemetry.pump(eyes, client.take_power(), |_, _| Ok::<(), Infallible>(()));
    }

    /// Memory, processor, heat, energy and the verdict.
    fn watched(&self, row: &mut CaseRow, eyes: &Eyes, reps: &[Rep], test: &Test) {
        let watch = &eyes.watch;
        let timed_s = reps.iter().map(|r| r.ns as f64 / 1e9).sum();
        row.set_number("rss_avg_mib", watch.rss_avg_mib(), 1);
        row.set_number("cpu_pct", watch.cpu_pct(&Phase::TIMED), 0);
        row.set_number("temp_c_max", watch.temp_c_max, 1);
        row.set_number("freq_mhz_min", watch.freq_mhz_min.map(f64::from), 0);
        if let Some(rail) = eyes.main_rail() {
            let named = &watch.rails()[rail];
            row.set("energy_rail", named.name.as_str());
            if let Some(share) = figures::timed_energy(eyes, rail, timed_s) {
                let tokens = reps.len() as f64 * f64::from(test.tokens());
                row.set_number("energy_j", Some(share.joules), 3);
                row.set_number("energy_j_err", uncertainty(named.kind, &share, named.resolution), 3);
                row.set_number("energy_j_per_token", Some(share.joules / tokens), 5);
                row.set_number("power_w_avg", Some(share.joules / share.covered_s), 3);
            }
        }
        let passes: Vec<f64> = reps.iter().map(|r| r.tok_s).collect();
        // Five repetitions are what is wanted here, and their spread is shown.
        let limits = Limits { few_samples: 0, ..Limits::default() };
        let (valid, findings) = verdict(&figures::evidence(eyes, &passes, timed_s, reps.len() as u64), &limits);
        let mut codes: Vec<&str> = findings.iter().map(|f| f.code).collect();
        codes.dedup();
        let reasons: Vec<String> = findings.iter().map(|f| format!("{}: {}", f.code, f.evidence)).collect();
        row.set("valid", if reps.is_empty() { "no" } else { valid.name() });
        row.set("warnings", codes.join(";"));
        row.set("evidence", reasons.join("; "));
    }
}

/// What is known before anything is measured.
fn head(instance: &Instance, test: &Test) -> CaseRow {
    let mut row = CaseRow::default();
    row.set("model", instance.model.as_str());
    row.set("backend", instance.backend.as_str());
    row.set("params", instance.params_text());
    row.set("test", test.to_string());
    for (column, tokens) in [("n_prompt", test.prompt), ("n_gen", test.output), ("n_depth", test.depth)] {
        row.set(column, tokens.to_string());
    }
    row.set("repetitions", "0");
    row
}

/// What the backend says that it loaded.
fn described(row: &mut CaseRow, opened: &Opened) {
    row.set("backend_version", opened.backend_version.as_str());
    row.set("quantization", opened.quantization.as_str());
    let known = |n: u64| (n > 0).then_some(n as f64);
    row.set_number("weights_mib", known(opened.weights_bytes).map(|b| b / f64::from(1 << 20)), 1);
    row.set_number("n_weights", known(opened.n_weights), 0);
    row.set_number("load_ms", Some(opened.load_ns as f64 / 1e6), 3);
}

fn set_status(row: &mut CaseRow, status: Status, reason: String) {
    row.set("status", status.name());
    row.set("reason", reason);
    if status != Status::Ok {
        row.set("valid", "no");
    }
}

/// Speed and latency columns.
fn speeds(row: &mut CaseRow, reps: &[Rep]) {
    row.set("repetitions", reps.len().to_string());
    let mut sorted: Vec<f64> = reps.iter().map(|r| r.tok_s).collect();
    let each: Vec<String> = sorted.iter().map(|s| format!("{s:.2}")).collect();
    row.set("tok_s_each", each.join(";"));
    sorted.sort_unstable_by(f64::total_cmp);
    let n = sorted.len();
    let mean = sorted.iter().sum::<f64>() / n as f64;
    let variance = sorted.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (n as f64 - 1.0);
    let median = (n > 0).then(|| (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0);
    row.set_number("tok_s", median, 2);
    row.set_number("tok_s_min", sorted.first().copied(), 2);
    row.set_number("tok_s_max", sorted.last().copied(), 2);
    row.set_number("tok_s_mean", (n > 0).then_some(mean), 2);
    row.set_number("tok_s_sd", (n > 1).then(|| variance.sqrt()), 2);
    let (mut ttft, mut itl) = (Distribution::default(), Distribution::default());
    for rep in reps {
        rep.ttft_ns.into_iter().for_each(|ns| ttft.add(ns as f64 / 1e6));
        rep.gaps_ns.iter().for_each(|&ns| itl.add(ns as f64 / 1e6));
    }
    timing::fill(row, "ttft", &mut ttft);
    timing::fill(row, "itl", &mut itl);
}

/// The last part of a path, which tells models apart well enough.
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
