//! Prefix hints: what is kept of the last prompt is told, and changes no bit of a score.

mod common;

use common::{Request, ScoreRequest, Session, ask};
use edgebench_abi::*;
use std::path::Path;

/// Log-likelihood bits and greedy flags of a request that must succeed, and how many tokens came from the cache.
fn scored(session: &Session, request: ScoreRequest) -> (Vec<(u64, i32)>, u32) {
    let (status, events) = session.score(&[request]);
    status.unwrap();
    assert_eq!(events.last().unwrap().status, EB_OK, "{}", events.last().unwrap().text());
    let scores = events.iter().filter(|e| e.kind == EB_EVENT_SCORE);
    (scores.map(|e| (e.logprob.to_bits(), e.is_greedy)).collect(), events[0].cached_tokens)
}

/// Examples that are `n` tokens long, and questions of many lengths.
fn examples_and_questions(session: &Session, n: usize) -> (Vec<i32>, Vec<Vec<i32>>) {
    let text = "Which number is larger?\nA. 12\nB. 21\nAnswer: B\n哪个数更大？\nA. 二十三\nB. 四\n答案：A\n".repeat(8);
    let tokens = session.tokenize(&text, EB_TOKENIZE_ADD_SPECIAL).unwrap();
    let questions = [1, 2, 5, 31, 32, 33, 40, 64, 65, 90];
    (tokens[..n].to_vec(), questions.map(|len| tokens[len..][..len].to_vec()).into())
}

#[test]
fn scores_behind_a_kept_prefix_are_those_from_scratch_to_the_bit() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/demo");
    for model in ["demo-q8_0.gguf", "demo-q4_0.gguf", "demo-q2_k.gguf", "demo-f16.gguf"] {
        for (n_batch, n_ubatch) in [("512", "512"), ("100", "48")] {
            let params = [("n_ctx", "512"), ("n_batch", n_batch), ("n_ubatch", n_ubatch), ("threads", "1")];
            let session = Session::open(&demo.join(model), &params).unwrap();
            for n in [7, 157] {
                let (examples, questions) = examples_and_questions(&session, n);
                let options = vec![questions[0].clone(), questions[2].clone(), questions[5].clone()];
                let request = |question: &Vec<i32>, prefix| ScoreRequest {
                    id: 1,
                    context: [&examples[..], question].concat(),
                    continuations: options.clone(),
                    prefix,
                };
                let fresh: Vec<_> = questions.iter().map(|q| scored(&session, request(q, (0, 0)))).collect();
                let mut cached = 0;
                // There and back.
                let all = questions.iter().zip(&fresh);
                for (question, (expected, none)) in all.clone().chain(all.rev()) {
                    let (scores, kept) = scored(&session, request(question, (5, n as u32)));
                    assert_eq!(&scores, expected, "{model} {params:?}: {n} + {} tokens", question.len());
                    assert_eq!(*none, 0);
                    cached += kept as usize;
                }
                assert!(n < 100 || cached > 10 * n, "{model} {params:?}: {cached} tokens kept of prompts with {n}");
            }
        }
    }
}

#[test]
fn nothing_is_kept_without_a_hint_or_over_a_reset() {
    let session = Session::demo(&[]);
    let (examples, questions) = examples_and_questions(&session, 200);
    let context = [&examples[..], &questions[8]].concat();
    let kept = |id: u64| {
        let request = ScoreRequest { id: 1, context: context.clone(), continuations: vec![vec![7]], prefix: (id, 200) };
        scored(&session, request).1
    };
    assert_eq!((kept(1), kept(0), kept(1)), (0, 0, 0), "a prompt without a hint is evaluated alone");
    assert_eq!((kept(1) >= 160, kept(2)), (true, 0), "another id");
    session.reset();
    assert_eq!(kept(2), 0);
}

#[test]
fn a_kept_prefix_gives_the_same_answer() {
    let session = Session::demo(&[]);
    let (examples, questions) = examples_and_questions(&session, 200);
    let request = |question: &Vec<i32>, id| Request {
        tokens: Some([&examples[..], question].concat()),
        prefix: (id, 200),
        ..ask("", 6)
    };
    let fresh: Vec<_> = questions.iter().map(|q| session.answer(&request(q, 0)).0).collect();
    for (question, expected) in questions.iter().zip(fresh) {
        assert_eq!(session.answer(&request(question, 3)).0, expected);
    }
    let (_, events) = session.generate(&[request(&questions[1], 3)]);
    assert!(events[0].cached_tokens >= 160, "{}", events[0].cached_tokens);
}
