//! Checks of the rules for structs: sizes, errors, what `info()` says, and hosts of a later version. It must
//! not know how a model answers.

use super::child::Bench;
use super::collect::{Ask, ScoreAsk, Wishes};
use super::raw::{Info, Session};
use super::score::{extension, sample_tokens};
use super::{Check, Checked, Outcome};
use crate::backend::abi::*;

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "error-struct",
        "a failure fills eb_error: code, message, nothing behind it",
        "eb_error.code is the returned status, message is UTF-8, NUL-terminated, cut to fit, and says what to do",
        error_struct,
    ),
    Check::new(
        "info",
        "info() gives sane numbers and texts, the same each time",
        "unknown numbers are 0, unknown strings empty; n_ctx is the tokens that one sequence may hold, as opened",
        info,
    ),
    Check::new(
        "newer-host",
        "structs of a later host, longer and zero there, work",
        "read a field only if it lies inside struct_size, write only as much as struct_size says",
        newer_host,
    ),
];

fn error_struct(b: &Bench) -> Checked {
    b.open()?;
    // Long enough that a message which repeats it has to be cut.
    let long = "x".repeat(5000);
    for (key, value) in [("no_such_parameter_5f2c", "1"), (long.as_str(), "1"), ("参数参数", "值"), ("", "")] {
        let mut params = b.params.clone();
        params.push((key.to_owned(), value.to_owned()));
        // Everything about the struct is tested in each call; what is left is that there are words in it.
        let shown: String = key.chars().take(24).collect();
        match b.plugin.open(&b.model, &params)? {
            Ok(_) => {
                let seen = format!("open() took the parameter `{shown}`");
                return Err(Outcome::failed(seen, "refuse a key that you do not know: EB_ERR_INVALID"));
            }
            Err(refusal) if refusal.message.trim().is_empty() => {
                let seen = format!("the unknown parameter `{shown}` was refused without a message");
                return Err(Outcome::failed(seen, "say what is wrong: the text ends up in front of the user"));
            }
            Err(refusal) if !(EB_ERR_INVALID..=EB_ERR_INTERNAL).contains(&refusal.status) => {
                let seen = format!("open() returned {refusal}");
                return Err(Outcome::failed(seen, "use a status of the header"));
            }
            Err(_) => {}
        }
    }
    Ok(())
}

fn info(b: &Bench) -> Checked {
    let session = b.open()?;
    let info = session.info()?;
    sane(&info)?;
    session.generate(&[Ask::text("Hello", 2)], Wishes::default())?;
    let again = session.info()?;
    let numbers = |i: &Info| (i.n_ctx, i.n_vocab, i.flags, i.bos_token, i.eos_token);
    if numbers(&info) != numbers(&again) || info.texts != again.texts {
        return Err(Outcome::failed(
            "info() says something else after generate()",
            "what was loaded does not change; strings of info live until close()",
        ));
    }
    tokenizer_flag(&session, &info)?;
    if !info.struct_size_kept {
        return Err(Outcome::warning(
            "info() changed the struct_size that the host had set",
            "fill the other fields only: a later host reads by this size",
        ));
    }
    if info.n_vocab == 0 || info.n_ctx_train == 0 {
        let todo = "fill them if the SDK tells: reports need them";
        return Err(Outcome::warning("n_vocab or n_ctx_train is 0 (unknown)", todo));
    }
    Ok(())
}

fn sane(info: &Info) -> Checked {
    if info.n_ctx == 0 {
        return Err(Outcome::failed("eb_info.n_ctx is 0", "say how many tokens a sequence may hold, as opened"));
    }
    for (name, token) in [("bos_token", info.bos_token), ("eos_token", info.eos_token)] {
        if token < -1 || (info.n_vocab > 0 && i64::from(token) >= i64::from(info.n_vocab)) {
            let seen = format!("eb_info.{name} is {token} with n_vocab = {}", info.n_vocab);
            return Err(Outcome::failed(seen, "a number in the vocabulary, or -1 for none"));
        }
    }
    for (field, text) in &info.texts {
        if std::str::from_utf8(text).is_err() {
            let seen = format!("eb_info.{field} is not UTF-8: {:?}", String::from_utf8_lossy(text));
            return Err(Outcome::failed(seen, "convert the text of the SDK to UTF-8"));
        }
    }
    let known = EB_INFO_TOKENIZER | EB_INFO_SAMPLING | EB_INFO_BATCH | EB_INFO_PREFIX;
    if info.flags & !known != 0 {
        let seen = format!("eb_info.flags has unknown bits: {:#x}", info.flags & !known);
        return Err(Outcome::failed(seen, "set only EB_INFO_* of the header that the plugin was compiled with"));
    }
    Ok(())
}

/// The flag and what `tokenize()` does have to agree.
fn tokenizer_flag(session: &Session, info: &Info) -> Checked {
    let answer = session.tokenize_into(b"Hello", 0, 64)?;
    match (info.has(EB_INFO_TOKENIZER), answer) {
        (true, Err(refusal)) => Err(Outcome::failed(
            format!("EB_INFO_TOKENIZER is set, and tokenize() failed: {refusal}"),
            "set the flag only where tokenize() and detokenize() work",
        )),
        (false, Ok(_)) => Err(Outcome::failed(
            "tokenize() works, and EB_INFO_TOKENIZER is not set",
            "set the flag, or return EB_ERR_UNSUPPORTED",
        )),
        (false, Err(refusal)) if refusal.status != EB_ERR_UNSUPPORTED => Err(Outcome::failed(
            format!("without a tokenizer, tokenize() returned {refusal}"),
            "return EB_ERR_UNSUPPORTED",
        )),
        _ => Ok(()),
    }
}

fn newer_host(b: &Bench) -> Checked {
    let ours = b.open()?;
    let asks = [Ask::text("The quick brown fox", 6), Ask::text("Once upon a time", 6)];
    let expected = ours.generate(&asks, Wishes::default())?.answers;
    drop(ours);
    let newer = b.plugin.as_newer_host();
    newer.probe()?.map_err(|refusal| refused("probe", &refusal.to_string()))?;
    let session = newer.open(&b.model, &b.params)?.map_err(|refusal| refused("open", &refusal.to_string()))?;
    let info = session.info()?;
    sane(&info)?;
    let call = session.generate(&asks, Wishes::default())?;
    if let Some(refusal) = call.refusal {
        return Err(refused("generate", &refusal.to_string()));
    }
    if call.answers != expected {
        return Err(refused("generate", "other results than with structs of this version"));
    }
    if let Some(score) = extension(&b.plugin)? {
        let context = sample_tokens(&session, &info, "The quick brown")?;
        let continuations = vec![context[..1].to_vec(), context[..2.min(context.len())].to_vec()];
        let ask = ScoreAsk { context, continuations, ..ScoreAsk::default() };
        if let Some(refusal) = session.score(score, &[ask])?.refusal {
            return Err(refused("score", &refusal.to_string()));
        }
    }
    if newer.open(&b.model, &[("no_such_parameter_5f2c".to_owned(), String::new())])?.is_ok() {
        return Err(refused("open", "an unknown parameter is taken"));
    }
    Ok(())
}

fn refused(function: &str, why: &str) -> Outcome {
    Outcome::failed(
        format!("{function}() with longer structs of a later host: {why}"),
        "test struct_size with >=, never with ==",
    )
}
