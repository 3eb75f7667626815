//! From what a case measured to the columns of its row. It must not know how anything was measured.

use super::load::holds;
use super::passes::Answers;
use super::smaller::Made;
use super::telemetry::Eyes;
use super::timing;
use crate::backend::wire::Opened;
use crate::job::{Load, Measure, Method, Metric, Scenario, Task};
use crate::results::CaseRow;
use crate::sense::bandwidth::Once;
use crate::sense::energy::{Share, uncertainty};
use crate::sense::phase::Phase;
use crate::sense::verdict::{Evidence, Valid, verdict};
use crate::testenv::metric::Tally;
use std::path::Path;

/// Phases after a prompt is evaluated.
const AFTER_PREFILL: [Phase; 2] = [Phase::Decode, Phase::Score];
/// Part of the timed passes that readings must cover, before their energy is told.
const COVERED: f64 = 0.95;
/// Divergences of good quantisations are small.
const DECIMALS_KL: usize = 7;
/// Shortest time from which an idle power is taken, s.
const IDLE_S: f64 = 0.9;

/// The quality and speed columns.
pub fn answers(row: &mut CaseRow, answers: &mut Answers, task: &Task) {
    quality(row, &answers.tally, task);
    answers.timings.fill(row);
    let seconds = answers.timed.as_secs_f64();
    row.set_number("records_s", (answers.records > 0).then(|| answers.records as f64 / seconds), 3);
    if task.scenario == Scenario::Offline {
        // Of all of them together, whatever else was done meanwhile.
        let tokens = answers.output_tokens;
        row.set_number("output_tok_s", (tokens > 0).then(|| tokens as f64 / seconds), 2);
    }
    let [p99, max] = answers.kl.percentiles([99.0, 100.0]);
    row.set_number("kl_p99", p99, DECIMALS_KL);
    row.set_number("kl_max", max, DECIMALS_KL);
    if let Some(load) = &task.load {
        loaded(row, answers, load);
    }
    if let Some((first, last)) = answers.sustained.as_ref().and_then(|s| s.first_and_last()) {
        row.set_number("sustained_first", Some(first), 3);
        row.set_number("sustained_last", Some(last), 3);
    }
}

/// The columns about load.
fn loaded(row: &mut CaseRow, answers: &mut Answers, load: &Load) {
    row.set("concurrency", load.concurrency.to_string());
    row.set_number("rate_s", answers.load.rate_s, 4);
    if answers.records == 0 {
        return;
    }
    answers.timings.fill_queue(row);
    timing::fill(row, "query", &mut answers.load.queries);
    let failed = answers.load.trials.iter().filter(|t| t.pass > 0).map(|t| t.failed).sum();
    if let Some(held) = holds(&load.limits, &answers.timings.latencies(load.limits.percentile), failed) {
        row.set("within_limits", if held { "yes" } else { "no" });
    }
}

/// The quality columns, of a case or of a part of its records.
pub fn quality(row: &mut CaseRow, tally: &Tally, task: &Task) {
    row.set("n", tally.n.to_string());
    row.set("n_failed", tally.failed.to_string());
    if let Method::Generate { .. } = task.method {
        row.set("unextracted", tally.unextracted.to_string());
    }
    let acc = task.method.windows().is_none().then_some(Metric::Acc);
    let metrics: Vec<Metric> =
        acc.into_iter().chain(task.metrics.iter().copied().filter(|m| *m != Metric::Acc)).collect();
    for (metric, interval) in metrics.iter().zip(tally.intervals(&metrics)) {
        let [value, lo, hi] = metric.columns();
        let decimals = if *metric == Metric::Kl { DECIMALS_KL } else { 4 };
        row.set_number(value, tally.value(*metric), decimals);
        row.set_number(lo, interval.map(|i| i.0), decimals);
        row.set_number(hi, interval.map(|i| i.1), decimals);
    }
}

/// What the model itself says: load time, and how near decoding is to the memory's speed.
/// All weights are read for each token of a dense model; the KV cache grows from none to `kv_bytes` at `n_ctx`
/// tokens, of which a case uses the mean depth.
pub fn opened(row: &mut CaseRow, opened: &Opened, answers: &Answers, bandwidth: &mut Once) {
    row.set_number("load_ms", Some(opened.load_ns as f64 / 1e6), 3);
    let bits = 8.0 * opened.weights_bytes as f64 / opened.n_weights as f64;
    row.set_number("bits_per_weight", Some(bits).filter(|bits| *bits > 0.0), 3);
    let (speed, depth) = (answers.timings.decode_tok_s(), answers.timings.mean_depth());
    row.set_number("bandwidth_util", bandwidth_util(opened, speed, depth, bandwidth), 4);
}

/// The model's file, and what is to be known of one that was made.
pub fn model(row: &mut CaseRow, path: Option<&Path>, made: Option<&Made>) {
    let size = path.and_then(|path| std::fs::metadata(path).ok()).filter(|m| m.is_file());
    row.set("model_bytes", size.map_or(String::new(), |m| m.len().to_string()));
    if let Some(n) = made.map(|made| made.n_fallback).filter(|n| *n > 0) {
        let join =
            |old: &str, new: &str, by: &str| if old.is_empty() { new.to_owned() } else { format!("{old}{by}{new}") };
        let why = format!("other-type: {n} tensors could not have the wanted type and have another");
        row.set("warnings", join(row.get("warnings"), "other-type", ";"));
        row.set("evidence", join(row.get("evidence"), &why, "; "));
    }
}

/// Share of the memory's bandwidth that decoding takes, at `speed` tokens/s behind `depth` tokens.
pub fn bandwidth_util(opened: &Opened, speed: Option<f64>, depth: Option<f64>, bandwidth: &mut Once) -> Option<f64> {
    let (speed, depth) = (speed?, depth?);
    if opened.weights_bytes == 0 {
        return None;
    }
    let kv = opened.kv_bytes as f64 * depth / f64::from(opened.n_ctx.max(1));
    Some((opened.weights_bytes as f64 + kv) * speed / bandwidth.need()?)
}

/// Where the answers to a `choice` or `cloze` task come from: log-likelihoods, and whose; or the letter that the model writes,
/// where its backend has none.
pub fn scored_by(row: &mut CaseRow, opened: &Opened, method: &Method, tally: &Tally) {
    match method {
        Method::Choice(_) if opened.scored_by.is_empty() => {
            row.set("scored_by", "generation");
            row.set("unextracted", tally.unextracted.to_string());
        }
        Method::Choice(_) | Method::Cloze => row.set("scored_by", opened.scored_by.as_str()),
        _ => {}
    }
}

/// Memory, processor, heat and energy; `learned`: tokens of a training.
pub fn telemetry(row: &mut CaseRow, eyes: &Eyes, answers: &Answers, method: &Method, learned: u64) {
    let watch = &eyes.watch;
    row.set_number("rss_avg_mib", watch.rss_avg_mib(), 1);
    row.set_number("cpu_pct_prefill", watch.cpu_pct(&[Phase::Prefill]), 0);
    row.set_number("cpu_pct_decode", watch.cpu_pct(&AFTER_PREFILL), 0);
    row.set_number("temp_c_max", watch.temp_c_max, 1);
    row.set_number("freq_mhz_min", watch.freq_mhz_min.map(f64::from), 0);
    let Some(rail) = eyes.main_rail() else { return };
    row.set("energy_rail", watch.rails()[rail].name.as_str());
    let Some(timed) = timed_energy(eyes, rail, answers.timed.as_secs_f64()) else { return };
    let idle_w = mean(&watch.energy(rail, &[Phase::Idle])).filter(|(_, s)| *s >= IDLE_S).map(|(w, _)| w);
    let per = |n: u64| (n > 0).then(|| timed.joules / n as f64);
    let kind = watch.rails()[rail].kind;
    row.set_number("energy_j", Some(timed.joules), 3);
    row.set_number("energy_j_net", idle_w.map(|w| timed.joules - w * timed.covered_s), 3);
    row.set_number("energy_j_err", uncertainty(kind, &timed, watch.rails()[rail].resolution), 3);
    match method {
        Method::Generate { .. } => row.set_number("energy_j_per_token", per(answers.timings.output_tokens()), 5),
        Method::Finetune(_) => row.set_number("energy_j_per_token", per(learned), 5),
        _ => {}
    }
    if !matches!(method, Method::Finetune(_)) {
        row.set_number("energy_j_per_record", per(answers.records), 5);
        let passes = answers.records.checked_div(answers.tally.n).unwrap_or(0).max(1);
        row.set_number("energy_j_per_correct", per(answers.tally.correct * passes), 5);
    }
    row.set_number("power_w_avg", mean(&timed).map(|(w, _)| w), 3);
    row.set_number("power_w_peak", Some(timed.peak_w), 3);
    row.set_number("power_w_idle", idle_w, 3);
    for (column, phases) in [
        ("energy_load_j", &[Phase::Load][..]),
        ("energy_prefill_j", &[Phase::Prefill]),
        ("energy_decode_j", &AFTER_PREFILL),
    ] {
        let share = watch.energy(rail, phases);
        row.set_number(column, (share.covered_s > 0.0).then_some(share.joules), 3);
    }
}

/// What `rail` shows of the timed work, if its readings cover `timed_s` of it.
pub fn timed_energy(eyes: &Eyes, rail: usize, timed_s: f64) -> Option<Share> {
    let timed = eyes.watch.energy(rail, &Phase::TIMED);
    (timed.readings > 0 && timed.covered_s >= COVERED * timed_s).then_some(timed)
}

/// Mean power of a share and the seconds that it is over.
fn mean(share: &Share) -> Option<(f64, f64)> {
    (share.covered_s > 0.0).then(|| (share.joules / share.covered_s, share.covered_s))
}

/// What was seen of timed work: the speed of each pass, its length, and how many calls it was.
pub fn evidence(eyes: &Eyes, passes: &[f64], timed_s: f64, records: u64) -> Evidence {
    let mut evidence = Evidence {
        passes: passes.to_vec(),
        timed_s,
        records,
        energy: eyes.main_rail().map(|rail| {
            let share = eyes.watch.energy(rail, &Phase::TIMED);
            (share.readings, share.covered_s)
        }),
        ..eyes.watch.evidence()
    };
    evidence.silent.extend(eyes.lost_rail(timed_s));
    evidence
}

/// Whether the row's speed and energy can be taken for the board's, with the reasons.
/// `unseen`: why a server could not be watched.
pub fn judge(
    row: &mut CaseRow,
    eyes: &Eyes,
    answers: &Answers,
    hot_start_c: Option<f64>,
    unseen: Option<&str>,
    measure: &Measure,
) {
    let seen = evidence(eyes, &answers.speeds, answers.timed.as_secs_f64(), answers.records);
    let evidence = Evidence { hot_start_c, makes_room: measure.makes_room, ..seen };
    let (valid, findings) = verdict(&evidence, &measure.limits);
    let mut codes: Vec<&str> = findings.iter().map(|f| f.code).collect();
    codes.dedup();
    let mut reasons: Vec<String> = findings.iter().map(|f| format!("{}: {}", f.code, f.evidence)).collect();
    let mut valid = valid;
    if answers.tally.failed > 0 {
        codes.insert(0, "failed-records");
        reasons.insert(0, format!("failed-records: {} of {} records", answers.tally.failed, answers.tally.n));
    }
    if let Some(why) = unseen {
        codes.push("server-unseen");
        reasons.push(format!("server-unseen: {why}"));
    }
    let (requests, times) = answers.retried;
    if requests > 0 {
        codes.push("retried");
        reasons
            .push(format!("retried: {requests} requests, {times} times in all; their times count from the first try"));
    }
    if let Some(sustained) = &answers.sustained {
        row.set_number("throttle_after_s", sustained.slower_after_s(measure.limits.clock_pct), 1);
        // A sustained case is there to show the board when it is hot: slowing down is its result.
        if findings.iter().all(|f| !f.disqualifies || matches!(f.code, "throttled" | "thermal-trip" | "unstable")) {
            valid = if valid == Valid::No { Valid::Yes } else { valid };
        }
    }
    row.set("valid", valid.name());
    row.set("warnings", codes.join(";"));
    row.set("evidence", reasons.join("; "));
}
