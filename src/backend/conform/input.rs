//! Checks of `generate()` with unusual inputs: many requests, tokens, prefix hints, other scripts, prompts
//! that are empty or too long. It must not know abort or score.

use super::calls::{PROMPTS, same};
use super::child::Bench;
use super::collect::{Ask, Wishes};
use super::raw::Session;
use super::{Check, Checked, Outcome};
use crate::backend::abi::*;

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "batch",
        "several requests in one call give what they give one by one",
        "generate() continues n >= 1 prompts, each from an empty sequence, each with its own id",
        batch,
    ),
    Check::new(
        "tokens-input",
        "a prompt in tokens gives what its text gives",
        "either text or tokens is set; text gets special tokens as the model wants them, tokens are complete",
        tokens_input,
    ),
    Check::new(
        "prefix-hint",
        "prefix hints change no result",
        "a backend may evaluate that part once and keep it until reset() or another prefix_id; results must not change",
        prefix_hint,
    ),
    Check::new(
        "context-full",
        "a prompt that is too long fails by itself, and the session survives",
        "EB_ERR_CONTEXT_FULL: no room for the prompt and one token; the other requests of the call go on",
        context_full,
    ),
    Check::new(
        "context-edge",
        "a prompt that fits is continued until n_ctx is full",
        "prompt and output take at most n_ctx tokens; continued until max_new or n_ctx is reached (EB_FINISH_LENGTH)",
        context_edge,
    ),
    Check::new(
        "empty-prompt",
        "an empty prompt does no harm",
        "a request that can never work is refused with EB_ERR_INVALID, in its DONE or for the call",
        empty_prompt,
    ),
    Check::new(
        "text-bounds",
        "a prompt ends at its length",
        "eb_str is ptr + len, NOT terminated by a NUL",
        text_bounds,
    ),
    Check::new(
        "unicode-output",
        "the joined output is UTF-8",
        "eb_str is UTF-8; the text of a TOKEN event may end inside a sequence: the host joins the pieces",
        unicode_output,
    ),
];

fn batch(b: &Bench) -> Checked {
    let session = b.open()?;
    let asks: Vec<Ask> = PROMPTS.iter().zip([12, 1, 7, 12]).map(|(p, n)| Ask::text(p, n)).collect();
    let alone = asks.iter().map(|a| session.well(a)).collect::<Result<Vec<_>, _>>()?;
    let together = session.all_well(&asks)?.answers;
    for (a, t) in alone.iter().zip(&together) {
        if a.text == t.text && a.tokens == t.tokens {
            continue;
        }
        // Rounding depends on the shape of a batch, and may tip a close decision later on.
        if a.tokens.first() == t.tokens.first() && a.text.first() == t.text.first() {
            return Err(Outcome::warning(
                format!("in one call with others: {:?}, alone: {:?}", t.text(), a.text()),
                "fine if rounding differs with the batch's size; else sequences are mixed up",
            ));
        }
        same(a, t, "alone and in one call with others", "keep the sequences apart")?;
    }
    Ok(())
}

fn tokens_input(b: &Bench) -> Checked {
    let session = b.open()?;
    if !session.info()?.has(EB_INFO_TOKENIZER) {
        return Err(Outcome::skipped("the tokenizer cannot be reached (no EB_INFO_TOKENIZER)"));
    }
    for prompt in PROMPTS {
        let tokens = session.tokenize(prompt, EB_TOKENIZE_ADD_SPECIAL)?;
        let n = tokens.len();
        let from_text = session.well(&Ask::text(prompt, 8))?;
        let from_tokens = session.well(&Ask::tokens(tokens, 8))?;
        let todo = "text gets the same special tokens that EB_TOKENIZE_ADD_SPECIAL adds; tokens get none";
        same(&from_text, &from_tokens, "from text and from tokens", todo)?;
        if from_tokens.prompt_tokens as usize != n || from_text.prompt_tokens as usize != n {
            let seen = format!(
                "PREFILL tells {} tokens for {n} given as tokens, {} as text",
                from_tokens.prompt_tokens, from_text.prompt_tokens
            );
            return Err(Outcome::failed(seen, "prompt_tokens is the length of the prompt, special tokens included"));
        }
    }
    Ok(())
}

fn prefix_hint(b: &Bench) -> Checked {
    let session = b.open()?;
    let shots = "Translate.\nEnglish: one two three\nFrench: un deux trois\nEnglish: four five\nFrench: quatre cinq\n";
    let prompt = |end: &str| format!("{shots}{end}");
    let ends = ["English: six\nFrench:", "English: seven eight\nFrench:", "", "E"];
    let plain = ends.iter().map(|e| session.well(&Ask::text(&prompt(e), 8))).collect::<Result<Vec<_>, _>>()?;
    // At a line's end, and inside a word, which no tokenizer has to cut there.
    for (prefix_id, cut) in [(1, shots.len()), (2, shots.len() - 3), (2, shots.len() - 3), (u64::MAX, 1)] {
        for (end, plain) in ends.iter().zip(&plain) {
            let ask = Ask { prefix_id, prefix_len: cut as u32, ..Ask::text(&prompt(end), 8) };
            let hinted = session.well(&ask)?;
            let todo = "evaluate alone what the tokens have in common, and the rest anew";
            same(plain, &hinted, &format!("with a prefix hint of {cut} bytes"), todo)?;
            if hinted.cached_tokens > hinted.prompt_tokens {
                return Err(Outcome::failed("PREFILL tells more cached_tokens than prompt_tokens", ""));
            }
        }
    }
    let asks: Vec<Ask> =
        ends.iter().map(|e| Ask { prefix_id: 3, prefix_len: shots.len() as u32, ..Ask::text(&prompt(e), 8) }).collect();
    session.reset()?;
    for (plain, hinted) in plain.iter().zip(&session.all_well(&asks)?.answers) {
        same(plain, hinted, "with a prefix hint for several requests of one call", "results must not change")?;
    }
    let after = session.well(&Ask::text(&prompt(ends[0]), 8))?;
    if after.cached_tokens != 0 {
        return Err(Outcome::failed("a kept prefix was used for prefix_id = 0", "prefix_id == 0 forbids any reuse"));
    }
    same(&plain[0], &after, "after prefix hints, without one", "prefix_id == 0 forbids any reuse")
}

/// A prompt of at least `n` tokens.
pub(super) fn long_prompt(session: &Session, n: usize) -> Result<Ask, Outcome> {
    if !session.info()?.has(EB_INFO_TOKENIZER) {
        return Ok(Ask::text(&"word ".repeat(n), 4));
    }
    let mut tokens = session.tokenize("A word and another one. ", EB_TOKENIZE_ADD_SPECIAL)?;
    let more = session.tokenize(" And so on, and so on.", 0)?;
    if more.is_empty() {
        return Err(Outcome::failed("tokenize() gives no tokens for a text", ""));
    }
    while tokens.len() < n {
        tokens.extend(&more);
    }
    tokens.truncate(n);
    Ok(Ask::tokens(tokens, 4))
}

fn context_full(b: &Bench) -> Checked {
    let session = b.open()?;
    let n_ctx = session.info()?.n_ctx as usize;
    if n_ctx > 1 << 20 {
        return Err(Outcome::skipped(format!("n_ctx = {n_ctx} is too large to be overrun")));
    }
    let ordinary = Ask::text(PROMPTS[0], 8);
    let first = session.well(&ordinary)?;
    let too_long = long_prompt(&session, n_ctx + 1)?;
    let alone = session.generate(std::slice::from_ref(&too_long), Wishes::default())?;
    let status = alone.refusal.as_ref().map_or(alone.answers[0].status, |r| r.status);
    if status != EB_ERR_CONTEXT_FULL {
        let seen = format!(
            "a prompt of {} tokens or more with n_ctx = {n_ctx}: {}",
            n_ctx + 1,
            super::raw::status_name(status)
        );
        return Err(Outcome::failed(
            seen,
            "EB_ERR_CONTEXT_FULL in its DONE event (EB_FINISH_ERROR), never a cut prompt",
        ));
    }
    let message = alone.refusal.as_ref().map_or(&alone.answers[0].message, |r| &r.message);
    if message.trim().is_empty() {
        return Err(Outcome::failed("EB_ERR_CONTEXT_FULL without a message", "say how long it is and what fits"));
    }
    same(&first, &session.well(&ordinary)?, "after a prompt that was too long", "leave nothing of it behind")?;
    let mixed = session.generate(&[ordinary.clone(), too_long, ordinary.clone()], Wishes::default())?;
    if mixed.refusal.is_some() || mixed.answers[1].status != EB_ERR_CONTEXT_FULL {
        return Err(Outcome::failed(
            "one request that is too long ended the whole call, or went unseen among others",
            "end that request with a DONE event; the others go on",
        ));
    }
    same(&first, &mixed.answers[0], "beside a prompt that was too long", "the others go on")?;
    same(&first, &mixed.answers[2], "beside a prompt that was too long", "the others go on")
}

/// Can a prompt of about `n_ctx` tokens be evaluated here, and soon? Else why it is skipped.
pub(super) fn fillable(session: &Session, n_ctx: usize) -> Checked {
    const FEW: usize = 64;
    const PATIENCE_MS: f64 = 10_000.0;
    if !session.info()?.has(EB_INFO_TOKENIZER) {
        return Err(Outcome::skipped("the tokenizer cannot be reached (no EB_INFO_TOKENIZER)"));
    }
    if n_ctx < 2 * FEW {
        return Err(Outcome::skipped(format!("n_ctx = {n_ctx} is too small")));
    }
    let few = Ask { max_new: 1, ..long_prompt(session, FEW)? };
    let ms = session.all_well(&[few])?.ms * n_ctx as f64 / FEW as f64;
    if ms > PATIENCE_MS {
        let seen = format!("to fill n_ctx = {n_ctx} would take about {:.0} s; open with less of it", ms / 1e3);
        return Err(Outcome::skipped(seen));
    }
    Ok(())
}

fn context_edge(b: &Bench) -> Checked {
    const ROOM: usize = 3;
    let session = b.open()?;
    let n_ctx = session.info()?.n_ctx as usize;
    fillable(&session, n_ctx)?;
    let ask = Ask { max_new: 16, ..long_prompt(&session, n_ctx - ROOM)? }.ignore_eos();
    let answer = session.well(&ask)?;
    if !(1..=ROOM).contains(&answer.tokens.len()) || answer.finish != EB_FINISH_LENGTH {
        let seen = format!(
            "{} tokens and finish = {} behind a prompt that leaves room for {ROOM}",
            answer.tokens.len(),
            answer.finish
        );
        return Err(Outcome::failed(seen, "go on until n_ctx is full, then EB_FINISH_LENGTH"));
    }
    Ok(())
}

fn empty_prompt(b: &Bench) -> Checked {
    let session = b.open()?;
    let first = session.well(&Ask::text(PROMPTS[0], 8))?;
    let call = session.generate(&[Ask::text("", 4)], Wishes::default())?;
    let refused = call.refusal.is_some() || call.answers[0].status != EB_OK;
    let message = call.refusal.as_ref().map_or(&call.answers[0].message, |r| &r.message);
    if refused && message.trim().is_empty() {
        return Err(Outcome::failed("an empty prompt was refused without a message", "say what is wrong"));
    }
    same(&first, &session.well(&Ask::text(PROMPTS[0], 8))?, "after an empty prompt", "leave nothing of it behind")
}

fn text_bounds(b: &Bench) -> Checked {
    let session = b.open()?;
    let with_behind = |behind: &str| Ask { cut: PROMPTS[0].len(), ..Ask::text(&format!("{}{behind}", PROMPTS[0]), 8) };
    let alone = session.well(&with_behind("\0"))?;
    let inside = session.well(&with_behind(" of all things"))?;
    same(&alone, &inside, "with other bytes behind the prompt", "read `len` bytes, look for no NUL")
}

fn unicode_output(b: &Bench) -> Checked {
    let session = b.open()?;
    for prompt in ["今天天气很好，我们", "🙂👍🏽 means", "Привет, как", "The capital of France is"]
    {
        let answer = session.well(&Ask::text(prompt, 24))?;
        // The last character may be cut by max_new or a stop.
        if let Err(e) = std::str::from_utf8(&answer.text)
            && e.error_len().is_some()
        {
            return Err(Outcome::warning(
                format!("the output for {prompt:?} is not UTF-8 after byte {}", e.valid_up_to()),
                "fine if the model itself writes such bytes; else send each token's bytes, unconverted and complete",
            ));
        }
    }
    Ok(())
}
