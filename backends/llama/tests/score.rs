//! Log-likelihoods: against llama.cpp's logits read without this backend, and independent of grouping.

mod common;

use common::reference::Reference;
use common::{ScoreRequest, Session};
use edgebench_abi::*;

const CONTEXTS: &[&str] = &[
    "Which number is larger?\nA. 12\nB. 21\nAnswer:",
    "哪个数更大？\nA. 二十三\nB. 四\n答案：",
    "The quick brown fox",
    "a",
    "",
];
const CONTINUATIONS: &[&str] =
    &[" A", " B", " jumps over the lazy dog.", "二十三", "\n", " A. 12 is larger than B. 21, because"];

/// Context and continuations in tokens. The context is never empty: it begins with BOS, or else with token 5.
fn tokens(session: &Session, context: &str) -> (Vec<i32>, Vec<Vec<i32>>) {
    let mut context = session.tokenize(context, EB_TOKENIZE_ADD_SPECIAL).unwrap();
    if context.is_empty() {
        context.push(5);
    }
    let continuations = CONTINUATIONS.iter().map(|c| session.tokenize(c, 0).unwrap()).collect();
    (context, continuations)
}

#[test]
fn scores_are_those_of_llama_cpps_own_logits() {
    let session = Session::demo(&[]);
    let reference = Reference::new();
    let mut greedy_seen = 0;
    for context in CONTEXTS {
        let (context, mut continuations) = tokens(&session, context);
        // What the model itself would say is greedy.
        continuations.push(session.answer(&common::Request { tokens: Some(context.clone()), ..common::ask("", 6) }).0);
        let scores = session.scores(&context, &continuations);
        for (continuation, (logprob, greedy)) in continuations.iter().zip(scores) {
            let inputs = &continuation[..continuation.len() - 1];
            // In the same two batches there is nothing left to differ but the last bits of a sum.
            let (expected, expected_greedy) = reference.score(&[&context, inputs], continuation);
            assert!((logprob - expected).abs() < 1e-9, "{context:?} + {continuation:?}: {logprob} and {expected}");
            assert_eq!(greedy, expected_greedy, "{context:?} + {continuation:?}");
            // In one batch, llama.cpp picks other kernels, which round differently in the activations:
            // less than 1e-4 of the value with Q8_0 and F16, up to 4e-4 with Q2_K.
            let (expected, _) = reference.score(&[&[&context, inputs].concat()], continuation);
            let tolerance = 1e-3 * expected.abs().max(1.0);
            assert!((logprob - expected).abs() < tolerance, "{context:?} + {continuation:?}: {logprob} and {expected}");
            assert!(logprob < 0.0);
            greedy_seen += usize::from(greedy);
        }
    }
    assert!(greedy_seen >= CONTEXTS.len());
}

#[test]
fn grouping_changes_no_bit() {
    let session = Session::demo(&[("n_batch", "16")]);
    for context in CONTEXTS {
        let (context, continuations) = tokens(&session, context);
        let together = session.scores(&context, &continuations);
        let alone: Vec<_> =
            continuations.iter().map(|c| session.scores(&context, std::slice::from_ref(c))[0]).collect();
        let reversed: Vec<_> = continuations.iter().rev().cloned().collect();
        let mut backwards = session.scores(&context, &reversed);
        backwards.reverse();
        for (i, continuation) in continuations.iter().enumerate() {
            let bits = |score: &(f64, bool)| (score.0.to_bits(), score.1);
            assert_eq!(bits(&together[i]), bits(&alone[i]), "{continuation:?}");
            assert_eq!(bits(&together[i]), bits(&backwards[i]), "{continuation:?}");
        }
    }
}

#[test]
fn a_continuation_longer_than_a_batch_is_scored_in_full() {
    let session = Session::demo(&[("n_batch", "8")]);
    let reference = Reference::new();
    let text = session.tokenize(&"one two three. 一二三。".repeat(6), EB_TOKENIZE_ADD_SPECIAL).unwrap();
    let (context, rest) = text.split_at(1);
    let (logprob, _) = session.scores(context, &[rest.to_vec()])[0];
    let (expected, _) = reference.score(&[&text[..text.len() - 1]], rest);
    assert!((logprob - expected).abs() < 1e-4 * expected.abs(), "{logprob} and {expected}");
}

#[test]
fn one_failing_request_does_not_stop_the_others() {
    let session = Session::demo(&[("n_ctx", "256")]);
    let good = |id| ScoreRequest { id, context: vec![5, 6], continuations: vec![vec![7], vec![8, 9]], prefix: (0, 0) };
    let requests = [
        ScoreRequest { context: vec![5; 256], continuations: vec![vec![5]], ..good(1) },
        ScoreRequest { context: vec![5; 256], ..good(2) },
        ScoreRequest { context: vec![], ..good(3) },
        ScoreRequest { continuations: vec![vec![5], vec![]], ..good(4) },
        ScoreRequest { continuations: vec![vec![-1]], ..good(5) },
        good(6),
    ];
    let (status, events) = session.score(&requests);
    status.unwrap();
    let done: Vec<_> = events.iter().filter(|e| e.kind == EB_EVENT_DONE).map(|e| (e.id, e.status)).collect();
    // A one-token continuation of a full context takes no place.
    let expected = [EB_OK, EB_ERR_CONTEXT_FULL, EB_ERR_INVALID, EB_ERR_INVALID, EB_ERR_INVALID, EB_OK];
    assert_eq!(done, (1..=6).zip(expected).collect::<Vec<_>>());
    let last: Vec<_> = events.iter().filter(|e| e.id == 6).map(|e| e.kind).collect();
    assert_eq!(last, [EB_EVENT_PREFILL, EB_EVENT_SCORE, EB_EVENT_SCORE, EB_EVENT_DONE]);
}

#[test]
fn flash_attention_and_scoring_exclude_each_other() {
    let session = Session::demo(&[("flash_attn", "on")]);
    let (status, events) =
        session.score(&[ScoreRequest { id: 1, context: vec![5], continuations: vec![vec![6]], prefix: (0, 0) }]);
    let error = status.unwrap_err();
    assert_eq!((error.code, events.len()), (EB_ERR_UNSUPPORTED, 0));
    assert!(error.message.contains("flash_attn = \"off\""), "{}", error.message);
    drop(session);
    let session = Session::demo(&[("flash_attn", "auto"), ("type_k", "q8_0")]);
    assert!(session.scores(&[5], &[vec![6, 7]])[0].0 < 0.0);
}
