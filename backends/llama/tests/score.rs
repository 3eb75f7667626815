//! Log-likelihoods: against llama.cpp's logits read without this backend, and independent of grouping.

mod common;

use common::{ScoreRequest, Session, model};
use edgebench_abi::*;
use llama_cpp_sys_2 as sys;
use std::ffi::CString;

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

/// The same with llama.cpp alone: the log-softmax of each row, by the book.
struct Reference {
    model: *mut sys::llama_model,
    context: *mut sys::llama_context,
    n_vocab: usize,
}

impl Reference {
    fn new() -> Reference {
        let path = CString::new(model().to_str().unwrap()).unwrap();
        unsafe {
            let model = sys::llama_model_load_from_file(path.as_ptr(), sys::llama_model_default_params());
            assert!(!model.is_null());
            let mut params = sys::llama_context_default_params();
            params.n_ctx = 1024;
            params.n_batch = 1024;
            params.n_ubatch = 1024;
            params.n_threads = 1;
            params.n_threads_batch = 1;
            params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_DISABLED;
            let context = sys::llama_init_from_model(model, params);
            assert!(!context.is_null());
            let n_vocab = sys::llama_vocab_n_tokens(sys::llama_model_get_vocab(model)) as usize;
            Reference { model, context, n_vocab }
        }
    }

    /// `batches`: the sequence, cut as it is to be evaluated. Logits are only asked for where they are needed.
    fn score(&self, batches: &[&[i32]], continuation: &[i32]) -> (f64, bool) {
        let first = batches.concat().len() - continuation.len();
        let mut rows: Vec<Vec<f64>> = Vec::new();
        let mut position = 0;
        unsafe {
            sys::llama_memory_clear(sys::llama_get_memory(self.context), true);
            for tokens in batches.iter().filter(|b| !b.is_empty()) {
                let mut batch = sys::llama_batch_init(tokens.len() as i32, 0, 1);
                batch.n_tokens = tokens.len() as i32;
                for (i, &token) in tokens.iter().enumerate() {
                    *batch.token.add(i) = token;
                    *batch.pos.add(i) = (position + i) as i32;
                    *batch.n_seq_id.add(i) = 1;
                    **batch.seq_id.add(i) = 0;
                    *batch.logits.add(i) = i8::from(position + i >= first);
                }
                assert_eq!(sys::llama_decode(self.context, batch), 0);
                sys::llama_batch_free(batch);
                for i in (0..tokens.len()).filter(|i| position + i >= first) {
                    let row = sys::llama_get_logits_ith(self.context, i as i32);
                    rows.push(std::slice::from_raw_parts(row, self.n_vocab).iter().map(|&x| x.into()).collect());
                }
                position += tokens.len();
            }
        }
        let (mut sum, mut greedy) = (0.0, true);
        for (row, &token) in rows.iter().zip(continuation) {
            let total: f64 = row.iter().map(|x| x.exp()).sum();
            let p = row[token as usize];
            sum += (p.exp() / total).ln();
            greedy &= row.iter().all(|&x| x <= p);
        }
        (sum, greedy)
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        unsafe {
            sys::llama_free(self.context);
            sys::llama_model_free(self.model);
        }
    }
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
    let good = |id| ScoreRequest { id, context: vec![5, 6], continuations: vec![vec![7], vec![8, 9]] };
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
    let (status, events) = session.score(&[ScoreRequest { id: 1, context: vec![5], continuations: vec![vec![6]] }]);
    let error = status.unwrap_err();
    assert_eq!((error.code, events.len()), (EB_ERR_UNSUPPORTED, 0));
    assert!(error.message.contains("flash_attn = \"off\""), "{}", error.message);
    drop(session);
    let session = Session::demo(&[("flash_attn", "auto"), ("type_k", "q8_0")]);
    assert!(session.scores(&[5], &[vec![6, 7]])[0].0 < 0.0);
}
