//! Checks of the extension `eb.score/1`: order, agreement with itself, with generate and with the laws of
//! probability. It must not know other extensions.

use super::calls::PROMPTS;
use super::child::Bench;
use super::collect::{Answer, Ask, ScoreAsk};
use super::input::{fillable, long_prompt};
use super::raw::{Info, Plugin, Session, status_name};
use super::{Check, Checked, Outcome};
use crate::backend::abi::*;

/// Log-likelihoods that differ by less come from rounding.
pub(super) const ROUNDING: f64 = 1e-3;

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "score-events",
        "PREFILL, one SCORE per continuation in order, DONE",
        "per request: PREFILL, one SCORE per continuation in the order of index, DONE (EB_FINISH_SCORED)",
        events,
    ),
    Check::new(
        "score-deterministic",
        "the same log-likelihoods again, after reset() and after generate()",
        "logprob is sum over i of ln p(continuation[i] | context, continuation[0..i-1])",
        deterministic,
    ),
    Check::new(
        "score-grouping",
        "options together give what they give one at a time",
        "the result must not depend on how they are grouped",
        grouping,
    ),
    Check::new(
        "score-chain",
        "the score of two tokens is the sum of two single steps",
        "logprob is sum over i of ln p(continuation[i] | context, continuation[0..i-1])",
        chain,
    ),
    Check::new(
        "score-greedy",
        "is_greedy agrees with what generate() says first",
        "is_greedy: 1 if each token of it was the most likely one",
        greedy,
    ),
    Check::new(
        "score-prefix",
        "prefix hints change no score",
        "prefix hint as in eb_request, in tokens of the context; results must not change",
        prefix,
    ),
    Check::new(
        "score-context-full",
        "a context that is too long fails by itself, and the session survives",
        "a context that does not fit n_ctx with its longest continuation fails by itself; the others go on",
        context_full,
    ),
];

/// The extension's function, if it is offered.
pub(super) fn extension(plugin: &Plugin) -> Result<Option<EbScoreFn>, Outcome> {
    let table = plugin.extension(EB_EXT_SCORE.as_bytes())?.cast::<EbScoreV1>();
    if table.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL; a table lives until the process ends and starts with struct_size.
    let size = unsafe { (*table).struct_size } as usize;
    if size < size_of::<EbScoreV1>() {
        let seen = format!("the table of {EB_EXT_SCORE} has struct_size {size}");
        return Err(Outcome::failed(seen, "set it to sizeof(eb_score_v1)"));
    }
    // SAFETY: as large as this version needs.
    match unsafe { (*table).score } {
        Some(score) => Ok(Some(score)),
        None => Err(Outcome::failed(format!("the function of {EB_EXT_SCORE} is NULL"), "offer it whole or not at all")),
    }
}

/// Tokens to ask about, at least four: from the tokenizer, or any of the vocabulary.
pub(super) fn sample_tokens(session: &Session, info: &Info, text: &str) -> Result<Vec<i32>, Outcome> {
    if info.has(EB_INFO_TOKENIZER) {
        let tokens = session.tokenize(text, EB_TOKENIZE_ADD_SPECIAL)?;
        return Ok(tokens);
    }
    let span = i32::try_from(info.n_vocab).unwrap_or(i32::MAX).clamp(2, 1000);
    let bos = (info.bos_token >= 0).then_some(info.bos_token);
    Ok(bos.into_iter().chain(text.bytes().map(|b| i32::from(b) % span)).collect())
}

/// A session that can score, with two questions of four options each.
pub(super) struct Scorer<'a> {
    pub(super) session: Session<'a>,
    score: EbScoreFn,
    pub(super) info: Info,
}

impl Scorer<'_> {
    pub(super) fn new(b: &Bench) -> Result<Scorer<'_>, Outcome> {
        let session = b.open()?;
        let Some(score) = extension(&b.plugin)? else {
            return Err(Outcome::skipped(format!("{EB_EXT_SCORE} is not offered: multiple choice cannot be asked")));
        };
        let info = session.info()?;
        Ok(Scorer { session, score, info })
    }

    /// Context and options, of one and of several tokens; one twice, one the beginning of another.
    pub(super) fn question(&self, i: usize) -> Result<ScoreAsk, Outcome> {
        let context = sample_tokens(&self.session, &self.info, PROMPTS[i])?;
        let more = sample_tokens(&self.session, &self.info, " Paris, or maybe London in the rain")?;
        let more: Vec<i32> =
            more.into_iter().filter(|&t| t != self.info.bos_token && t != self.info.eos_token).collect();
        if context.is_empty() || more.len() < 4 {
            return Err(Outcome::skipped("the tokenizer gives too few tokens for an ordinary sentence"));
        }
        let n = more.len();
        let continuations = vec![
            more[..1].to_vec(),
            more[..3].to_vec(),
            more[n - 2..].to_vec(),
            more[1..2].to_vec(),
            more[..3].to_vec(),
        ];
        Ok(ScoreAsk { context, continuations, ..ScoreAsk::default() })
    }

    /// Scores in which everything has to go well.
    fn all_well(&self, asks: &[ScoreAsk]) -> Result<Vec<Answer>, Outcome> {
        let call = self.session.score(self.score, asks)?;
        if let Some(refusal) = call.refusal {
            return Err(Outcome::failed(format!("score() failed: {refusal}"), "an ordinary question has to work"));
        }
        for (answer, ask) in call.answers.iter().zip(asks) {
            if answer.status != EB_OK {
                let seen = format!("a request failed: {} ({})", status_name(answer.status), answer.message);
                return Err(Outcome::failed(seen, "an ordinary question has to work"));
            }
            for ((logprob, n_tokens, _), continuation) in answer.scores.iter().zip(&ask.continuations) {
                if *n_tokens as usize != continuation.len() {
                    let seen = format!("n_tokens = {n_tokens} for a continuation of {}", continuation.len());
                    return Err(Outcome::failed(seen, "score every token of the continuation, and tell how many"));
                }
                if !logprob.is_finite() {
                    return Err(Outcome::failed(
                        format!("a log-likelihood of {logprob}"),
                        "take the logarithm of the softmax over all logits, in a form that cannot overflow",
                    ));
                }
            }
        }
        Ok(call.answers)
    }

    pub(super) fn one(&self, context: &[i32], continuations: Vec<Vec<i32>>) -> Result<Answer, Outcome> {
        let ask = ScoreAsk { context: context.to_vec(), continuations, ..ScoreAsk::default() };
        self.all_well(&[ask])?.pop().ok_or_else(|| Outcome::failed("no answer", ""))
    }
}

/// Bit-exact is fine, rounding a warning, more a failure.
fn close(a: f64, b: f64, when: &str, todo: &str) -> Checked {
    let apart = (a - b).abs();
    if a.to_bits() == b.to_bits() {
        return Ok(());
    }
    let seen = format!("log-likelihoods {when} differ: {a:.6} and {b:.6}");
    if apart < ROUNDING {
        Err(Outcome::warning(seen, "rounding; scores near a tie may change places"))
    } else {
        Err(Outcome::failed(seen, todo))
    }
}

/// The worst of several comparisons: a warning must not hide a failure.
fn worst(results: impl IntoIterator<Item = Checked>) -> Checked {
    let mut found = Ok(());
    for result in results {
        match result {
            Err(outcome) if outcome.status == super::Status::Warning => found = found.and(Err(outcome)),
            Err(outcome) => return Err(outcome),
            Ok(()) => {}
        }
    }
    found
}

fn compare(a: &Answer, b: &Answer, when: &str, todo: &str) -> Checked {
    worst(a.scores.iter().zip(&b.scores).map(|(x, y)| close(x.0, y.0, when, todo)))
}

fn events(b: &Bench) -> Checked {
    let s = Scorer::new(b)?;
    // Missing or unordered events end the check inside the call.
    for _ in 0..3 {
        let asks = [s.question(0)?, s.question(1)?];
        for (answer, ask) in s.all_well(&asks)?.iter().zip(&asks) {
            if answer.finish != EB_FINISH_SCORED {
                let seen = format!("finish = {} after all scores", answer.finish);
                return Err(Outcome::failed(seen, "EB_FINISH_SCORED"));
            }
            if answer.prompt_tokens as usize != ask.context.len() {
                let seen =
                    format!("PREFILL tells {} tokens for a context of {}", answer.prompt_tokens, ask.context.len());
                return Err(Outcome::failed(seen, "prompt_tokens is the length of the context"));
            }
        }
    }
    Ok(())
}

fn deterministic(b: &Bench) -> Checked {
    let s = Scorer::new(b)?;
    let ask = [s.question(0)?];
    let todo = "start each context from an empty sequence";
    let first = s.all_well(&ask)?;
    let again = s.all_well(&ask)?;
    s.session.reset()?;
    let after_reset = s.all_well(&ask)?;
    s.session.well(&Ask::text(PROMPTS[1], 8))?;
    let after_generate = s.all_well(&ask)?;
    worst([
        compare(&first[0], &again[0], "the second time", todo),
        compare(&first[0], &after_reset[0], "after reset()", todo),
        compare(&first[0], &after_generate[0], "after generate()", todo),
    ])
}

fn grouping(b: &Bench) -> Checked {
    let s = Scorer::new(b)?;
    let asks = [s.question(0)?, s.question(1)?, s.question(2)?];
    let together = s.all_well(&asks)?;
    let mut results = Vec::new();
    let todo = "undo what one continuation has left in the KV cache before the next";
    for (answer, ask) in together.iter().zip(&asks) {
        let alone = s.all_well(std::slice::from_ref(ask))?;
        results.push(compare(answer, &alone[0], "of several questions in one call and of one", todo));
        for (score, continuation) in answer.scores.iter().zip(&ask.continuations) {
            let single = s.one(&ask.context, vec![continuation.clone()])?;
            results.push(close(score.0, single.scores[0].0, "of options together and one at a time", todo));
        }
        results.push(close(answer.scores[1].0, answer.scores[4].0, "of the same option twice", todo));
    }
    worst(results)
}

fn chain(b: &Bench) -> Checked {
    let s = Scorer::new(b)?;
    for i in 0..2 {
        let ask = s.question(i)?;
        let pair = &ask.continuations[2];
        let both = s.one(&ask.context, vec![pair.clone()])?.scores[0].0;
        let first = s.one(&ask.context, vec![pair[..1].to_vec()])?.scores[0].0;
        let longer: Vec<i32> = ask.context.iter().chain(&pair[..1]).copied().collect();
        let second = s.one(&longer, vec![pair[1..].to_vec()])?.scores[0].0;
        if (both - (first + second)).abs() > ROUNDING {
            let seen = format!("two tokens score {both:.6}, one after the other {first:.6} + {second:.6}");
            return Err(Outcome::failed(seen, "add ln p of each token given all before it; no length normalisation"));
        }
    }
    Ok(())
}

fn greedy(b: &Bench) -> Checked {
    let s = Scorer::new(b)?;
    let mut compared = 0;
    for prompt in PROMPTS {
        let context = sample_tokens(&s.session, &s.info, prompt)?;
        let answer = s.session.well(&Ask::tokens(context.clone(), 1))?;
        let Some(&best) = answer.tokens.first().filter(|&&t| t >= 0) else { continue };
        let other = if best == context[0] { context[context.len() - 1] } else { context[0] };
        let scored = s.one(&context, vec![vec![best], vec![other]])?;
        let (top, rest) = (scored.scores[0], scored.scores[1]);
        compared += 1;
        if !top.2 || (rest.2 && other != best) || rest.0 > top.0 + ROUNDING {
            let seen = format!(
                "generate() says token {best}, which scores {:.6} with is_greedy = {}; token {other}: {:.6}, {}",
                top.0, top.2, rest.0, rest.2
            );
            return Err(Outcome::failed(seen, "generate and score have to use the same logits"));
        }
    }
    if compared == 0 {
        return Err(Outcome::skipped("generate() tells no token numbers, or ends at once"));
    }
    Ok(())
}

fn prefix(b: &Bench) -> Checked {
    let s = Scorer::new(b)?;
    let asks = [s.question(0)?, s.question(3)?];
    let plain = s.all_well(&asks)?;
    let todo = "evaluate alone what the contexts have in common, and the rest anew";
    let mut results = Vec::new();
    for (ask, plain) in asks.iter().zip(&plain) {
        for (prefix_id, prefix_len) in [(1, ask.context.len()), (1, ask.context.len()), (2, 1), (2, 1)] {
            // Ids 1 and 2 of one question are not those of the other: their contexts differ.
            let prefix_id = prefix_id + 10 * ask.context.len() as u64;
            let hinted = s.all_well(&[ScoreAsk { prefix_id, prefix_len: prefix_len as u32, ..ask.clone() }])?;
            let when = format!("with a prefix hint of {prefix_len} tokens and without");
            results.push(compare(plain, &hinted[0], &when, todo));
        }
    }
    let after = s.all_well(&asks)?;
    if after.iter().any(|a| a.cached_tokens != 0) {
        return Err(Outcome::failed("a kept prefix was used for prefix_id = 0", "prefix_id == 0 forbids any reuse"));
    }
    results.push(compare(&plain[0], &after[0], "after prefix hints", todo));
    worst(results)
}

fn context_full(b: &Bench) -> Checked {
    let s = Scorer::new(b)?;
    let n_ctx = s.info.n_ctx as usize;
    if n_ctx > 1 << 20 || !s.info.has(EB_INFO_TOKENIZER) {
        return Err(Outcome::skipped(format!("n_ctx = {n_ctx} cannot be overrun in tokens")));
    }
    let ordinary = s.question(0)?;
    let first = s.all_well(std::slice::from_ref(&ordinary))?;
    let context = long_prompt(&s.session, n_ctx + 1)?.tokens;
    let too_long = ScoreAsk { context, ..ordinary.clone() };
    let call = s.session.score(s.score, &[ordinary.clone(), too_long])?;
    let status = call.refusal.as_ref().map_or(call.answers[1].status, |r| r.status);
    if status != EB_ERR_CONTEXT_FULL {
        let seen = format!("a context of {} tokens with n_ctx = {n_ctx}: {}", n_ctx + 1, status_name(status));
        return Err(Outcome::failed(seen, "EB_ERR_CONTEXT_FULL in its DONE event (EB_FINISH_ERROR)"));
    }
    if call.refusal.is_some() {
        let todo = "end that request with a DONE event; the others go on";
        return Err(Outcome::failed("one context that is too long ended the whole call", todo));
    }
    let after = s.all_well(std::slice::from_ref(&ordinary))?;
    let todo = "leave nothing of it behind";
    compare(&first[0], &after[0], "before and after a context that was too long", todo)?;
    if fillable(&s.session, n_ctx).is_err() {
        return Ok(());
    }
    let longest = ordinary.continuations.iter().map(Vec::len).max().unwrap_or(1);
    let context = long_prompt(&s.session, n_ctx + 1 - longest)?.tokens;
    let call = s.session.score(s.score, &[ScoreAsk { context, ..ordinary }])?;
    if call.refusal.is_some() || call.answers[0].status != EB_OK {
        let seen =
            format!("a context of {} tokens with an option of {longest} does not fit {n_ctx}", n_ctx + 1 - longest);
        return Err(Outcome::failed(seen, "the last token of an option is only predicted and takes no room"));
    }
    Ok(())
}
