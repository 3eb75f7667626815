//! Checks of `generate()`: events, ends of requests, and that the same question gets the same answer. It must
//! not know unusual inputs (`input`), abort or score.

use super::child::Bench;
use super::collect::{Answer, Ask, Call, Wishes};
use super::raw::Session;
use super::{Check, Checked, Outcome};
use crate::backend::abi::*;

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "generate-events",
        "one PREFILL first, TOKENs, one DONE last, for the right request",
        "per request: PREFILL, TOKEN ..., DONE; exactly one PREFILL and one DONE, also when it failed",
        events,
    ),
    Check::new(
        "generate-thread",
        "events come on the thread that called",
        "event() must be called on the thread that called generate(), before that call returns",
        thread,
    ),
    Check::new(
        "max-new",
        "max_new is respected, 1 included",
        "stop after this many new tokens; EB_FINISH_LENGTH: max_new reached",
        max_new,
    ),
    Check::new(
        "ignore-eos",
        "EB_REQUEST_IGNORE_EOS gives exactly max_new tokens",
        "do not stop at end-of-sequence: exactly max_new tokens",
        ignore_eos,
    ),
    Check::new(
        "sink-stop",
        "a request ends soon after event() has returned 1",
        "event() returns 1: end this request soon (EB_FINISH_SINK)",
        sink_stop,
    ),
    Check::new(
        "stop-string",
        "the output ends before the first stop string",
        "the output ends before the first of them that appears in it; the host cuts the text again",
        stop_string,
    ),
    Check::new(
        "deterministic",
        "greedy: the same answer again, after reset() and after other prompts",
        "temperature 0: greedy; each prompt is continued from an empty sequence",
        deterministic,
    ),
    Check::new(
        "deterministic-session",
        "greedy: the same answer in a second session",
        "temperature 0: greedy; close() frees everything that open() took",
        deterministic_session,
    ),
    Check {
        twice: true,
        ..Check::new(
            "deterministic-process",
            "greedy: the same answer in another process",
            "temperature 0: greedy",
            deterministic_process,
        )
    },
    Check::new(
        "reset",
        "reset() works before, between and after calls",
        "reset() forgets every sequence and kept prefix; the model stays",
        reset,
    ),
    Check::new(
        "seed",
        "the same seed gives the same text, others give others",
        "EB_INFO_SAMPLING: temperature, top_p, top_k and seed are honoured; else greedy only",
        seed,
    ),
];

pub(super) const PROMPTS: [&str; 4] =
    ["The capital of France is", "Once upon a time there was a", "1, 2, 3, 4,", "Question: What is the sky?\nAnswer:"];

impl Session<'_> {
    /// A call in which everything has to go well.
    pub(super) fn all_well(&self, asks: &[Ask]) -> Result<Call, Outcome> {
        let call = self.generate(asks, Wishes::default())?;
        if let Some(refusal) = &call.refusal {
            return Err(Outcome::failed(format!("generate() failed: {refusal}"), "an ordinary prompt has to work"));
        }
        match call.answers.iter().find(|a| a.status != EB_OK) {
            Some(a) => Err(Outcome::failed(
                format!("a request failed: {} ({})", super::raw::status_name(a.status), a.message),
                "an ordinary prompt has to work",
            )),
            None => Ok(call),
        }
    }

    /// One prompt in which everything has to go well.
    pub(super) fn well(&self, ask: &Ask) -> Result<Answer, Outcome> {
        let mut call = self.all_well(std::slice::from_ref(ask))?;
        call.answers.pop().ok_or_else(|| Outcome::failed("no answer", ""))
    }
}

/// `Err` unless both answers are the same text.
pub(super) fn same(a: &Answer, b: &Answer, when: &str, todo: &str) -> Checked {
    if a.text == b.text && a.tokens == b.tokens {
        return Ok(());
    }
    Err(Outcome::failed(format!("another answer {when}: {:?} and {:?}", short(a), short(b)), todo))
}

fn short(a: &Answer) -> String {
    let text: String = a.text().chars().take(40).collect();
    if text.is_empty() { format!("{:?}", &a.tokens[..a.tokens.len().min(8)]) } else { text }
}

fn events(b: &Bench) -> Checked {
    let session = b.open()?;
    for prompt in PROMPTS {
        let answer = session.well(&Ask::text(prompt, 8))?;
        if answer.prompt_tokens == 0 {
            let todo = "store the length of the prompt in tokens: speeds are computed from it";
            return Err(Outcome::failed("a PREFILL event with prompt_tokens = 0", todo));
        }
        if answer.cached_tokens != 0 {
            let seen = format!("a PREFILL event with cached_tokens = {} for prefix_id = 0", answer.cached_tokens);
            return Err(Outcome::failed(seen, "prefix_id == 0 forbids any reuse: the prompt is being timed"));
        }
    }
    Ok(())
}

fn thread(b: &Bench) -> Checked {
    let session = b.open()?;
    for prompt in PROMPTS {
        session.well(&Ask::text(prompt, 4))?;
    }
    Ok(())
}

fn max_new(b: &Bench) -> Checked {
    let session = b.open()?;
    for max_new in [1, 2, 7, 16] {
        // More than max_new ends the check inside the call.
        let answer = session.well(&Ask::text(PROMPTS[1], max_new))?;
        let n = answer.tokens.len();
        if answer.finish == EB_FINISH_LENGTH && n != max_new as usize {
            let seen = format!("EB_FINISH_LENGTH after {n} tokens, max_new is {max_new}");
            return Err(Outcome::failed(seen, "EB_FINISH_EOS if the model ended its answer; else go on to max_new"));
        }
        if n == max_new as usize && !matches!(answer.finish, EB_FINISH_LENGTH | EB_FINISH_EOS) {
            let seen = format!("finish = {} after max_new tokens", answer.finish);
            return Err(Outcome::failed(seen, "EB_FINISH_LENGTH"));
        }
    }
    Ok(())
}

fn ignore_eos(b: &Bench) -> Checked {
    let session = b.open()?;
    for max_new in [1, 24, 48] {
        let answer = session.well(&Ask::text(PROMPTS[2], max_new).ignore_eos())?;
        if answer.tokens.len() != max_new as usize || answer.finish != EB_FINISH_LENGTH {
            let seen = format!("{} tokens and finish = {}, max_new is {max_new}", answer.tokens.len(), answer.finish);
            return Err(Outcome::failed(seen, "go on over end-of-sequence until max_new: speed is measured with it"));
        }
    }
    Ok(())
}

fn sink_stop(b: &Bench) -> Checked {
    let session = b.open()?;
    let reference = session.well(&Ask::text(PROMPTS[0], 8))?;
    let asks = [Ask::text(PROMPTS[1], 64).ignore_eos()];
    let call = session.generate(&asks, Wishes { stop_at: Some(3), ..Wishes::default() })?;
    if let Some(refusal) = call.refusal {
        return Err(Outcome::failed(format!("generate() failed: {refusal}"), "the sink's wish is no error: EB_OK"));
    }
    if call.after_stop > 8 {
        let seen = format!("{} more tokens after event() had returned 1", call.after_stop);
        return Err(Outcome::failed(seen, "look at what event() returns, and end the request"));
    }
    if call.answers[0].finish != EB_FINISH_SINK {
        let seen = format!("finish = {} after event() had returned 1", call.answers[0].finish);
        return Err(Outcome::failed(seen, "EB_FINISH_SINK"));
    }
    same(&reference, &session.well(&Ask::text(PROMPTS[0], 8))?, "after a stopped call", "leave nothing of it behind")?;
    if call.after_stop > 1 {
        let seen = format!("{} more tokens after event() had returned 1", call.after_stop);
        return Err(Outcome::warning(seen, "end the request at once"));
    }
    Ok(())
}

fn stop_string(b: &Bench) -> Checked {
    let session = b.open()?;
    let free = session.well(&Ask::text(PROMPTS[1], 24).ignore_eos())?;
    let text = free.text();
    let letters: Vec<(usize, char)> = text.char_indices().filter(|(_, c)| *c != '\u{fffd}').collect();
    let (Some(&(middle, _)), Some(&(end, _))) = (letters.get(letters.len() / 2), letters.get(letters.len() / 2 + 2))
    else {
        return Err(Outcome::skipped("the model's answer is too short to choose a stop string from"));
    };
    let stop = text[middle..end].to_owned();
    let cut = text.find(&stop).unwrap_or(middle);
    let never = "\u{1}never\u{2}".to_owned();
    let ask = Ask { stop: vec![never, stop.clone()], ..Ask::text(PROMPTS[1], 24).ignore_eos() };
    let stopped = session.well(&ask)?;
    let got = stopped.text();
    let got_cut = got.find(&stop).map_or(got.as_str(), |at| &got[..at]);
    if got_cut != &text[..cut] {
        let seen = format!("with the stop string {stop:?} the output is {got_cut:?}, expected {:?}", &text[..cut]);
        return Err(Outcome::failed(seen, "send everything before the stop string, and end there"));
    }
    if stopped.finish != EB_FINISH_STOP {
        let seen = format!("the stop string {stop:?} was in the output, and finish = {}", stopped.finish);
        return Err(Outcome::warning(seen, "end there (EB_FINISH_STOP): the host cuts the text, but not the time"));
    }
    Ok(())
}

fn deterministic(b: &Bench) -> Checked {
    let session = b.open()?;
    let todo = "start each prompt from an empty sequence, and decode greedily at temperature 0";
    for prompt in PROMPTS {
        let ask = Ask::text(prompt, 12);
        let first = session.well(&ask)?;
        same(&first, &session.well(&ask)?, "the second time", todo)?;
        session.reset()?;
        same(&first, &session.well(&ask)?, "after reset()", todo)?;
        session.well(&Ask::text("Something else entirely, and longer than before.", 6))?;
        same(&first, &session.well(&ask)?, "after another prompt", todo)?;
    }
    Ok(())
}

fn deterministic_session(b: &Bench) -> Checked {
    let answers =
        |session: &Session| PROMPTS.iter().map(|p| session.well(&Ask::text(p, 12))).collect::<Result<Vec<_>, _>>();
    let first = answers(&b.open()?)?;
    let second = answers(&b.open()?)?;
    first
        .iter()
        .zip(&second)
        .try_for_each(|(x, y)| same(x, y, "in a second session", "initialise everything in open()"))
}

fn deterministic_process(b: &Bench) -> Checked {
    let session = b.open()?;
    for prompt in PROMPTS {
        let answer = session.well(&Ask::text(prompt, 12))?;
        b.evidence(&format!("{:?} {:?}", answer.text(), answer.tokens));
    }
    Ok(())
}

fn reset(b: &Bench) -> Checked {
    let session = b.open()?;
    session.reset()?;
    let first = session.well(&Ask::text(PROMPTS[0], 8))?;
    session.reset()?;
    session.reset()?;
    same(&first, &session.well(&Ask::text(PROMPTS[0], 8))?, "after reset()", "the model stays as it was loaded")
}

fn seed(b: &Bench) -> Checked {
    let session = b.open()?;
    if !session.info()?.has(EB_INFO_SAMPLING) {
        return Err(Outcome::skipped("greedy only (no EB_INFO_SAMPLING)"));
    }
    let ask = |seed| Ask { temperature: 1.0, seed, ..Ask::text(PROMPTS[1], 12).ignore_eos() };
    let mut texts = std::collections::HashSet::new();
    for seed in 1..=8 {
        let answer = session.well(&ask(seed))?;
        same(&answer, &session.well(&ask(seed))?, "with the same seed", "seed the sampler anew for each request")?;
        texts.insert((answer.text, answer.tokens));
    }
    if texts.len() == 1 {
        return Err(Outcome::warning(
            "8 seeds at temperature 1 gave the same text",
            "fine for a model that is very sure; else use temperature and seed, or drop EB_INFO_SAMPLING",
        ));
    }
    Ok(())
}
