//! Adapters on an open session: what they change, what they leave, and what is refused.

mod common;

use common::{Session, adapter, ask, model};
use edgebench_abi::*;
use std::path::Path;

const PROMPT: &str = "Which number is the smallest?\nA. 56\nB. 13\nC. 86\nD. 42\nAnswer:";

/// Log-likelihoods of the four letters, and how the text goes on.
fn said(session: &Session) -> (Vec<(f64, bool)>, Vec<i32>) {
    let context = session.tokenize(PROMPT, EB_TOKENIZE_ADD_SPECIAL).unwrap();
    let letters: Vec<_> = [" A", " B", " C", " D"].map(|l| session.tokenize(l, 0).unwrap()).into();
    (session.scores(&context, &letters), session.answer(&ask(PROMPT, 12)).0)
}

#[test]
fn an_adapter_acts_until_another_is_set_and_leaves_no_bit_behind() {
    let session = Session::demo(&[]);
    let alone = said(&session);
    session.adapt(&[(&adapter(), 1.0)]).unwrap();
    let adapted = said(&session);
    assert_ne!(adapted.0, alone.0);
    session.adapt(&[(&adapter(), 0.0)]).unwrap();
    assert_eq!(said(&session), alone, "scale 0");
    session.adapt(&[(&adapter(), 0.5)]).unwrap();
    assert!(said(&session).0 != alone.0 && said(&session).0 != adapted.0);
    // Two halves of it are the whole, but for rounding.
    session.adapt(&[(&adapter(), 0.5), (&adapter(), 0.5)]).unwrap();
    for ((whole, _), (halves, _)) in adapted.0.iter().zip(&said(&session).0) {
        assert!((whole - halves).abs() < 1e-3 * whole.abs().max(1.0), "{whole} and {halves}");
    }
    session.adapt(&[(&adapter(), 1.0)]).unwrap();
    assert_eq!(said(&session), adapted, "the same again");
    session.adapt(&[]).unwrap();
    assert_eq!(said(&session), alone, "none");
    drop(session);

    let fresh = Session::demo(&[]);
    fresh.adapt(&[(&adapter(), 1.0)]).unwrap();
    assert_eq!(said(&fresh), adapted, "on a model that was loaded for it");
}

#[test]
fn what_was_kept_of_a_prompt_is_not_used_with_another_adapter() {
    let session = Session::demo(&[]);
    let context = session.tokenize(&PROMPT.repeat(3), EB_TOKENIZE_ADD_SPECIAL).unwrap();
    let scored = |prefix| {
        let continuations = vec![session.tokenize(" A", 0).unwrap()];
        let request = common::ScoreRequest { id: 1, context: context.clone(), continuations, prefix };
        let (status, events) = session.score(&[request]);
        status.unwrap();
        (events[1].logprob, events[0].cached_tokens)
    };
    let prefix = (7, context.len() as u32);
    let alone = scored(prefix);
    assert!(scored(prefix).1 > 0, "else nothing is kept");
    session.adapt(&[(&adapter(), 1.0)]).unwrap();
    let adapted = scored(prefix);
    assert_eq!((adapted.1, adapted.0), (0, scored((0, 0)).0));
    assert_ne!(adapted.0, alone.0);
}

#[test]
fn what_is_no_adapter_for_this_model_is_refused_with_a_reason_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(adapter()).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let swapped = |name: &str, from: &[u8], to: &[u8]| {
        assert_eq!(from.len(), to.len());
        let mut bytes = bytes.clone();
        let mut found = 0;
        for at in 0..bytes.len() - from.len() {
            if bytes[at..].starts_with(from) {
                bytes[at..at + to.len()].copy_from_slice(to);
                found += 1;
            }
        }
        assert!(found > 0, "{name}: not there");
        file(name, &bytes)
    };
    let session = Session::demo(&[]);
    session.adapt(&[(&adapter(), 1.0)]).unwrap();
    let adapted = said(&session);
    let refused = |path: &Path, reason: &str| {
        let error = session.adapt(&[(path, 1.0)]).unwrap_err();
        assert_eq!(error.code, EB_ERR_MODEL, "{error:?}");
        assert!(error.message.contains(reason), "{error:?}");
        assert_eq!(said(&session), adapted, "{reason}");
    };
    refused(&dir.path().join("missing.gguf"), "No such file");
    refused(dir.path(), "directory");
    refused(&file("text.gguf", b"no adapter at all, but long enough to be one"), "not a GGUF");
    refused(&file("cut.gguf", &bytes[..bytes.len() - 99]), "truncated");
    refused(&model(), "it is no adapter");
    refused(&swapped("arch.gguf", b"llama", b"qwen2"), "it is for the architecture `qwen2`, this model is `llama`");
    refused(&swapped("names.gguf", b"blk.3.", b"blk.9."), "does not exist in base model");
    refused(&swapped("pairs.gguf", b"blk.0.attn_q.weight.lora_b", b"blk.0.attn_q.weight.lora_x"), "unexpected suffix");
    let error = session.adapt(&[(&adapter(), f32::INFINITY)]).unwrap_err();
    assert_eq!(error.code, EB_ERR_INVALID, "{error:?}");

    drop(session);
    let error = Session::open(&adapter(), &[]).err().unwrap();
    assert_eq!(error.code, EB_ERR_MODEL);
    assert!(error.message.contains("is a LoRA adapter, not a model"), "{error:?}");
}
