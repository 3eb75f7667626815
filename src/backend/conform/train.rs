//! Checks of the extension `eb.train/1`, where it is offered. Nothing is written: a training is stopped before it comes to its end.
//! They must not know how anything is trained.

use super::child::Bench;
use super::extensions::table;
use super::raw::{Guarded, Refusal, size, status_name};
use super::{Check, Checked, Outcome};
use crate::backend::abi::*;
use std::ffi::c_void;
use std::thread::ThreadId;

/// After so many steps a training is stopped.
const STEPS: usize = 3;
/// Where the model would be written to: this process may write to no file.
const OUT: &str = "/dev/null";
/// Enough for several steps, whatever the tokenizer.
const TEXTS: usize = 400;

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "train-input",
        "eb.train/1 refuses numbers out of range, no texts, and a model that is not there",
        "EB_ERR_INVALID for numbers out of range and for texts too short to learn from; EB_ERR_MODEL for a broken model",
        input,
    ),
    Check::new(
        "train-steps",
        "a training of the model tells each step, and is stopped by one",
        "after each step and each validation, on the thread that called train(); 1: stop soon, EB_ERR_ABORTED",
        steps,
    ),
];

struct Request<'a> {
    model: &'a str,
    epochs: u32,
    rate: f32,
    share: f32,
    texts: usize,
}

/// What the steps of a call were.
struct Seen {
    steps: Vec<EbTrainStep>,
    /// Of each step, which thread told it.
    threads: Vec<ThreadId>,
    short: bool,
}

unsafe extern "C" fn on_step(user: *mut c_void, step: *const EbTrainStep) -> i32 {
    // SAFETY: `call` below waits for the one that gets this; a plugin that calls from several threads at once breaks its contract.
    let seen = unsafe { &mut *user.cast::<Seen>() };
    seen.threads.push(std::thread::current().id());
    // SAFETY: a step begins with its size.
    if step.is_null() || unsafe { (*step).struct_size } < size::<EbTrainStep>(false) {
        seen.short = true;
        return 1;
    }
    // SAFETY: it is as large as that.
    seen.steps.push(unsafe { *step });
    i32::from(seen.steps.iter().filter(|s| s.is_validation == 0).count() >= STEPS)
}

unsafe extern "C" fn no_log(_: *mut c_void, _: i32, _: EbStr) {}

fn call(b: &Bench, wanted: &Request) -> Result<(Result<(), Refusal>, Seen), Outcome> {
    let train = table::<EbTrainV1>(&b.plugin, EB_EXT_TRAIN)?.train;
    let train = train.ok_or_else(|| Outcome::failed("eb_train_v1.train is NULL", "offer it whole or not at all"))?;
    let newer = b.plugin.newer;
    let sentences: Vec<String> =
        (0..wanted.texts).map(|i| format!("{i} is a number, and {} comes next.", i + 1)).collect();
    let texts: Vec<EbStr> = sentences.iter().map(|s| EbStr::new(s)).collect();
    let mut seen = Seen { steps: Vec::new(), threads: Vec::new(), short: false };
    let request = EbTrainRequest {
        struct_size: size::<EbTrainRequest>(newer),
        threads: 1,
        flags: 0,
        model: EbStr::new(wanted.model),
        out: EbStr::new(OUT),
        n_ctx: 0,
        epochs: wanted.epochs,
        learning_rate: wanted.rate,
        validation_share: wanted.share,
        texts: texts.as_ptr(),
        n_texts: texts.len(),
        log: Some(no_log),
        log_user: std::ptr::null_mut(),
        step: Some(on_step),
        step_user: std::ptr::from_mut(&mut seen).cast(),
    };
    let mut request = Guarded::new(request, newer);
    let mut out = Guarded::new(EbTrained { struct_size: size::<EbTrained>(newer), ..EbTrained::new() }, newer);
    // SAFETY: everything lives for the call and carries its size.
    let answer =
        b.plugin.call("eb_train_v1.train", |error| unsafe { train(request.pointer(), out.pointer(), error) })?;
    out.intact("eb_trained", newer)?;
    Ok((answer, seen))
}

fn input(b: &Bench) -> Checked {
    let good = Request { model: &b.model, epochs: 1, rate: 1e-5, share: 0.0, texts: TEXTS };
    for (what, request, wanted) in [
        ("no epoch", Request { epochs: 0, ..good }, EB_ERR_INVALID),
        ("a learning rate of 0", Request { rate: 0.0, ..good }, EB_ERR_INVALID),
        ("a learning rate that is no number", Request { rate: f32::NAN, ..good }, EB_ERR_INVALID),
        ("a validation share of 1", Request { share: 1.0, ..good }, EB_ERR_INVALID),
        ("no texts", Request { texts: 0, ..good }, EB_ERR_INVALID),
        ("a model that is not there", Request { model: "/no/such/model", ..good }, EB_ERR_MODEL),
    ] {
        let (answer, seen) = call(b, &request)?;
        let todo = format!("refuse it with {}, before anything is learned", status_name(wanted));
        match answer {
            // Without a model there is none to look at the numbers for.
            Err(r) if r.status == wanted || b.model.is_empty() => {}
            Err(r) => return Err(Outcome::failed(format!("{what}: {r}"), &todo)),
            Ok(()) => return Err(Outcome::failed(format!("{what} was taken"), &todo)),
        }
        if !seen.threads.is_empty() {
            return Err(Outcome::failed(format!("{what}: a step was told"), &todo));
        }
    }
    Ok(())
}

fn steps(b: &Bench) -> Checked {
    let (answer, seen) = call(b, &Request { model: &b.model, epochs: 2, rate: 1e-6, share: 0.25, texts: TEXTS })?;
    let refusal = match answer {
        Err(r) if r.status == EB_ERR_ABORTED => None,
        Err(r) if seen.steps.is_empty() => {
            return Err(Outcome::skipped(format!("the model cannot be trained: {r}")));
        }
        other => Some(other),
    };
    if seen.short {
        return Err(Outcome::failed(
            "a step is NULL or smaller than eb_train_step of version 1",
            "set its struct_size",
        ));
    }
    if seen.threads.iter().any(|t| *t != std::thread::current().id()) {
        return Err(Outcome::failed(
            "a step was told on another thread",
            "call step() on the thread that called train()",
        ));
    }
    let learned: Vec<&EbTrainStep> = seen.steps.iter().filter(|s| s.is_validation == 0).collect();
    if let Some(answer) = refusal {
        let seen = match answer {
            Ok(()) => format!("EB_OK, after step() asked to stop at step {}", learned.len()),
            Err(r) => format!("after step() asked to stop: {r}"),
        };
        return Err(Outcome::failed(seen, "end with EB_ERR_ABORTED, and write nothing"));
    }
    if learned.len() > STEPS {
        let seen = format!("{} steps, and it was asked to stop at step {STEPS}", learned.len());
        return Err(Outcome::failed(seen, "ask after each step"));
    }
    for (i, step) in learned.iter().enumerate() {
        let told = |what: &str| Outcome::failed(format!("step {}: {what}", i + 1), "see eb_train_step");
        if step.step != i as u64 + 1 || step.epoch != 1 {
            return Err(told(&format!("it is told as step {} of epoch {}", step.step, step.epoch)));
        }
        if !(step.loss.is_finite() && step.loss >= 0.0) {
            return Err(told(&format!("a loss of {}", step.loss)));
        }
        if step.n_steps != 0 && step.n_steps < STEPS as u64 || step.n_steps != learned[0].n_steps {
            return Err(told(&format!("{} steps in all, of which {STEPS} were done", step.n_steps)));
        }
        if step.tokens == 0 || i > 0 && step.tokens <= learned[i - 1].tokens {
            return Err(told(&format!("{} tokens up to now", step.tokens)));
        }
    }
    let first = seen.steps.first().filter(|s| s.is_validation == 1);
    match first {
        Some(v) if v.step == 0 && v.loss.is_finite() => Ok(()),
        _ => Err(Outcome::warning(
            "validation texts are not evaluated before the first step",
            "without it nobody knows what was gained",
        )),
    }
}
