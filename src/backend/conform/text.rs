//! Checks of `tokenize()` and `detokenize()`: round trips and capacities. It must not know generate or score.

use super::child::Bench;
use super::raw::{Info, Session};
use super::{Check, Checked, Outcome};
use crate::backend::abi::*;

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "tokenize-round-trip",
        "text → tokens → text: ASCII, Chinese, emoji, empty, 10 kB",
        "EB_INFO_TOKENIZER: tokenize() and detokenize() work",
        round_trip,
    ),
    Check::new(
        "tokenize-capacity",
        "a buffer that is too small, exact, or NULL with capacity 0",
        "stores at most `capacity` and always the full count; EB_ERR_BUFFER when that is more than capacity",
        tokenize_capacity,
    ),
    Check::new(
        "detokenize-capacity",
        "the same for the bytes of a text",
        "the same rules for capacity and *length (bytes)",
        detokenize_capacity,
    ),
    Check::new(
        "tokenize-special",
        "special tokens are added when asked for; control tokens are no text",
        "EB_TOKENIZE_ADD_SPECIAL adds BOS (and EOS) as the model wants them; detokenize gives control tokens as nothing",
        special,
    ),
    Check::new(
        "tokenize-bounds",
        "strings end at their length, and numbers outside the vocabulary do no harm",
        "eb_str is ptr + len, NOT terminated by a NUL",
        bounds,
    ),
];

const SHORT: &str = "The quick brown fox jumps over the lazy dog.";

/// A session whose tokenizer can be reached.
fn with_tokenizer(b: &Bench) -> Result<(Session<'_>, Info), Outcome> {
    let session = b.open()?;
    let info = session.info()?;
    if !info.has(EB_INFO_TOKENIZER) {
        return Err(Outcome::skipped("the tokenizer cannot be reached (no EB_INFO_TOKENIZER)"));
    }
    Ok((session, info))
}

fn round_trip(b: &Bench) -> Checked {
    let (session, info) = with_tokenizer(b)?;
    let long = "Lorem ipsum dolor sit amet, 12 345. ".repeat(285);
    let texts = [
        ("ASCII", SHORT),
        ("white space", "a  b\n\n\tc \n"),
        ("Chinese", "今天天气很好，我们去公园散步。"),
        ("emoji", "🙂👍🏽👩‍👩‍👧 ok"),
        ("the empty text", ""),
        ("10 kB", &long),
    ];
    let mut lossy = Vec::new();
    for (what, text) in texts {
        let tokens = session.tokenize(text, 0)?;
        if tokens.iter().any(|&t| t < 0 || (info.n_vocab > 0 && i64::from(t) >= i64::from(info.n_vocab))) {
            let seen = format!("{what}: a token outside the vocabulary of {} entries", info.n_vocab);
            return Err(Outcome::failed(seen, "n_vocab and tokenize() have to agree"));
        }
        if tokens != session.tokenize(text, 0)? {
            return Err(Outcome::failed(format!("{what}: other tokens the second time"), ""));
        }
        let back = session.detokenize(&tokens)?;
        let back = std::str::from_utf8(&back).unwrap_or("(not UTF-8)");
        // SentencePiece puts a space before the text.
        if back != text && back.strip_prefix(' ') != Some(text) {
            lossy.push(what);
            if what == "ASCII" && back.trim().is_empty() {
                let seen = format!("{SHORT:?} came back as {back:?} from {} tokens", tokens.len());
                return Err(Outcome::failed(seen, "give each token its own bytes"));
            }
        }
    }
    if lossy.is_empty() {
        return Ok(());
    }
    Err(Outcome::warning(
        format!("the text changes on its way through tokens: {}", lossy.join(", ")),
        "fine if this tokenizer normalises or has no tokens for it; else look for lost bytes",
    ))
}

fn tokenize_capacity(b: &Bench) -> Checked {
    let (session, _) = with_tokenizer(b)?;
    for (text, flags) in [(SHORT, 0), (SHORT, EB_TOKENIZE_ADD_SPECIAL), ("", 0), ("", EB_TOKENIZE_ADD_SPECIAL)] {
        let all = session.tokenize(text, flags)?;
        try_capacities("tokenize", &all, |capacity| {
            let stored = session.tokenize_into(text.as_bytes(), flags, capacity)?;
            let stored = stored.map_err(|r| Outcome::failed(format!("tokenize() failed: {r}"), ""))?;
            Ok((stored.count, stored.items))
        })?;
    }
    Ok(())
}

fn detokenize_capacity(b: &Bench) -> Checked {
    let (session, _) = with_tokenizer(b)?;
    for text in [SHORT, "", "今天天气很好"] {
        let tokens = session.tokenize(text, 0)?;
        let all = session.detokenize(&tokens)?;
        try_capacities("detokenize", &all, |capacity| {
            let stored = session.detokenize_into(&tokens, capacity)?;
            let stored = stored.map_err(|r| Outcome::failed(format!("detokenize() failed: {r}"), ""))?;
            Ok((stored.count, stored.items))
        })?;
    }
    Ok(())
}

/// The status and the bytes behind the buffer are tested in each call; here: the count and what was stored.
fn try_capacities<T: PartialEq>(
    function: &str,
    all: &[T],
    call: impl Fn(usize) -> Result<(usize, Vec<T>), Outcome>,
) -> Checked {
    let n = all.len();
    for capacity in [0, 1, n.saturating_sub(1), n, n + 7] {
        let (count, items) = call(capacity)?;
        if count != n {
            let seen = format!("{function}() told {count} with a capacity of {capacity}, {n} with a larger one");
            return Err(Outcome::failed(seen, "always store the full count"));
        }
        // What a buffer that is too small holds is not said.
        if capacity >= n && items != all {
            let seen = format!("{function}() stored something else with a capacity of {capacity}");
            return Err(Outcome::failed(seen, "the result must not depend on the capacity"));
        }
    }
    Ok(())
}

fn special(b: &Bench) -> Checked {
    let (session, info) = with_tokenizer(b)?;
    let plain = session.tokenize(SHORT, 0)?;
    let special = session.tokenize(SHORT, EB_TOKENIZE_ADD_SPECIAL)?;
    if special.len() < plain.len() || !special.windows(plain.len()).any(|w| w == plain) {
        let seen = format!("{} tokens with EB_TOKENIZE_ADD_SPECIAL, {} other ones without", special.len(), plain.len());
        return Err(Outcome::failed(seen, "the flag adds tokens around the text and changes none of it"));
    }
    if info.bos_token >= 0 && plain.first() == Some(&info.bos_token) {
        return Err(Outcome::failed("BOS was added without EB_TOKENIZE_ADD_SPECIAL", "add it only with the flag"));
    }
    let control: Vec<i32> = [info.bos_token, info.eos_token].into_iter().filter(|&t| t >= 0).collect();
    let text = session.detokenize(&control)?;
    if !text.is_empty() {
        let seen = format!("detokenize() gave {:?} for BOS and EOS", String::from_utf8_lossy(&text));
        return Err(Outcome::failed(seen, "control tokens are no text"));
    }
    Ok(())
}

fn bounds(b: &Bench) -> Checked {
    let (session, info) = with_tokenizer(b)?;
    // The same five bytes, once with more text behind them and once with a NUL.
    let inside = session.tokenize(&SHORT[4..9], 0)?;
    let terminated = "quick\0";
    if inside != session.tokenize(&terminated[..5], 0)? {
        return Err(Outcome::failed(
            "the tokens depend on what lies behind the text",
            "read `len` bytes, look for no NUL",
        ));
    }
    // Any answer will do, as long as there is one.
    for token in [-1, i32::MIN, i32::MAX, i32::try_from(info.n_vocab).unwrap_or(i32::MAX)] {
        let _ = session.detokenize_into(&[token], 64)?;
    }
    let _ = session.tokenize_into(b"\xff\xfe not UTF-8 \xe4\xbb", 0, 64)?;
    Ok(())
}
