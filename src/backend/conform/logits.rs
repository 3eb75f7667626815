//! The check of the extension `eb.logits/1`, where it is offered: as many rows as were asked for, which say what `eb.score/1`
//! says.

use super::child::Bench;
use super::extensions::table;
use super::raw::Refusal;
use super::score::{ROUNDING, Scorer};
use super::{Check, Checked, Outcome};
use crate::backend::abi::*;
use std::ffi::c_void;

pub(super) const CHECKS: &[Check] = &[Check::new(
    "logits",
    "eb.logits/1 gives a row for each token that was asked for, which agrees with eb.score/1",
    "calls row(), in their order, for each from `first` on: n_vocab logits of what comes after that token",
    logits,
)];

/// Rows as they came, and after how many it is enough.
struct Rows {
    rows: Vec<Vec<f32>>,
    enough: usize,
}

/// # Safety
/// `user` is a `Rows` that nobody else uses; `logits` has `n` numbers.
unsafe extern "C" fn take(user: *mut c_void, logits: *const f32, n: usize) -> i32 {
    // SAFETY: passed on to the caller.
    let (rows, logits) = unsafe { (&mut *user.cast::<Rows>(), std::slice::from_raw_parts(logits, n)) };
    rows.rows.push(logits.to_vec());
    i32::from(rows.rows.len() >= rows.enough)
}

fn logits(b: &Bench) -> Checked {
    let evaluate = table::<EbLogitsV1>(&b.plugin, EB_EXT_LOGITS)?.evaluate;
    let evaluate =
        evaluate.ok_or_else(|| Outcome::failed("eb_logits_v1.evaluate is NULL", "offer it whole or not at all"))?;
    let scorer = Scorer::new(b)?;
    let ask = scorer.question(0)?;
    let (context, continuation) = (&ask.context, &ask.continuations[1]);
    let run = |tokens: &[i32], first: usize, enough: usize| -> Result<(Vec<Vec<f32>>, Option<Refusal>), Outcome> {
        let mut rows = Rows { rows: Vec::new(), enough };
        let answer = b.plugin.call("eb_logits_v1.evaluate", |error| {
            let user = (&raw mut rows).cast();
            // SAFETY: the session is open; tokens, rows and the error live for the call.
            unsafe { evaluate(scorer.session.raw(), tokens.as_ptr(), tokens.len(), first, Some(take), user, error) }
        })?;
        Ok((rows.rows, answer.err()))
    };
    let well = |(rows, refusal): (Vec<Vec<f32>>, Option<Refusal>)| match refusal {
        None => Ok(rows),
        Some(refusal) => Err(Outcome::failed(
            format!("evaluate() failed: {refusal}"),
            "an ordinary text has to work, again and again",
        )),
    };
    let tokens = [&context[..], &continuation[..continuation.len() - 1]].concat();
    let rows = well(run(&tokens, context.len() - 1, usize::MAX)?)?;
    let wide = rows.iter().all(|row| row.len() == scorer.info.n_vocab as usize);
    if rows.len() != continuation.len() || !wide {
        let seen = format!("{} rows where {} were asked for, or not n_vocab wide", rows.len(), continuation.len());
        return Err(Outcome::failed(seen, "a row for each token from `first` on, n_vocab logits each"));
    }
    let told: f64 = rows.iter().zip(continuation).map(|(row, token)| logprob(row, *token)).sum();
    let scored = scorer.one(context, vec![continuation.clone()])?.scores[0].0;
    if (told - scored).abs() > ROUNDING {
        let seen = format!("log-likelihoods by logits and by eb.score/1 differ: {told:.6} and {scored:.6}");
        return Err(Outcome::failed(seen, "give the logits of what comes after each token, before any sampling"));
    }
    if well(run(&tokens, 0, 1)?)?.len() != 1 {
        return Err(Outcome::failed("rows came after row() had said that it is enough", "end soon, with EB_OK"));
    }
    let long: Vec<i32> = context.iter().cycle().take(scorer.info.n_ctx as usize + 1).copied().collect();
    let (_, refusal) = run(&long, long.len() - 1, usize::MAX)?;
    if refusal.as_ref().map(|r| r.status) != Some(EB_ERR_CONTEXT_FULL) {
        let seen = refusal.map_or("EB_OK".to_owned(), |r| r.to_string());
        return Err(Outcome::failed(format!("n_ctx + 1 tokens: {seen}"), "EB_ERR_CONTEXT_FULL"));
    }
    Ok(())
}

/// Of `token` under the softmax of `row`.
fn logprob(row: &[f32], token: i32) -> f64 {
    let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = row.iter().map(|l| (f64::from(*l) - max).exp()).sum();
    usize::try_from(token).ok().and_then(|t| row.get(t)).map_or(f64::NAN, |l| f64::from(*l) - max - sum.ln())
}
