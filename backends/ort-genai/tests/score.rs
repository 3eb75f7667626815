//! `eb.score/1` through the C ABI: against float64, in any grouping, with and without a shared prefix.

mod common;

use common::*;
use edgebench_abi::*;

#[test]
fn scores_are_those_of_float64() {
    let Some(session) = Session::demo(&[]) else { return };
    let mut worst = 0f64;
    for prompt in reference(&model().unwrap()).prompts {
        let scores = session.scores(&prompt.tokens, &prompt.options);
        for ((score, _), expected) in scores.iter().zip(&prompt.scores) {
            worst = worst.max((score - expected).abs() / (expected.abs() / 10.0).max(1.0));
        }
    }
    eprintln!("largest difference from float64: {worst:.2e}");
    assert!(worst < 1e-4, "{worst}");
}

#[test]
fn the_greedy_continuation_is_marked() {
    let Some(session) = Session::demo(&[]) else { return };
    for prompt in reference(&model().unwrap()).prompts {
        if prompt.greedy.is_empty() {
            continue;
        }
        let mut other = prompt.greedy.clone();
        *other.last_mut().unwrap() ^= 1;
        let scores = session.scores(&prompt.tokens, &[other, prompt.greedy]);
        assert_eq!((scores[0].1, scores[1].1), (false, true));
        assert!(scores[1].0 > scores[0].0);
    }
}

#[test]
fn grouping_and_order_change_nothing() {
    let Some(session) = Session::demo(&[]) else { return };
    for prompt in reference(&model().unwrap()).prompts.iter().take(5) {
        let all = session.scores(&prompt.tokens, &prompt.options);
        for (option, score) in prompt.options.iter().zip(&all) {
            assert_eq!(session.scores(&prompt.tokens, std::slice::from_ref(option)), [*score]);
        }
        let mut turned = prompt.options.clone();
        turned.reverse();
        let mut back = session.scores(&prompt.tokens, &turned);
        back.reverse();
        assert_eq!(back, all);
    }
}

#[test]
fn a_shared_prefix_changes_nothing() {
    let Some(session) = Session::demo(&[]) else { return };
    let head = session.tokenize(&"Which number is larger?\nAnswer: A\n\n".repeat(60), EB_TOKENIZE_ADD_SPECIAL).unwrap();
    let prompts = reference(&model().unwrap()).prompts;
    // Long enough for several pieces.
    assert!(head.len() > 512, "{}", head.len());
    for (i, prompt) in prompts.iter().take(8).enumerate() {
        let context = [&head, &prompt.tokens[1..]].concat();
        let plain = session.scores(&context, &prompt.options);
        // Makes the prefix the one that is held, then uses it.
        for (n, want) in [(2 * i, false), (2 * i + 1, true)] {
            let request = ScoreRequest {
                id: n as u64,
                context: context.clone(),
                continuations: prompt.options.clone(),
                prefix: (i as u64 + 1, head.len() as u32),
            };
            let (status, events) = session.score(&[request]);
            status.unwrap();
            assert_eq!(events[0].cached_tokens, if want { head.len() as u32 } else { 0 });
            let scores: Vec<_> = events.iter().filter(|e| e.kind == EB_EVENT_SCORE).map(|e| e.logprob).collect();
            assert_eq!(scores, plain.iter().map(|s| s.0).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_long_continuation_is_scored_in_pieces() {
    let Some(session) = Session::demo(&[]) else { return };
    let text = "Which number is larger?\nA. 12\nB. 34\nAnswer: B\n\n".repeat(60);
    let tokens = session.tokenize(&text, EB_TOKENIZE_ADD_SPECIAL).unwrap();
    assert!(tokens.len() > 1100);
    let whole = session.scores(&tokens[..1], &[tokens[1..].to_vec()])[0].0;
    let half = tokens.len() / 2;
    let parts = session.scores(&tokens[..1], &[tokens[1..half].to_vec()])[0].0
        + session.scores(&tokens[..half], &[tokens[half..].to_vec()])[0].0;
    assert!((whole - parts).abs() < 1e-3, "{whole} {parts}");
}

#[test]
fn what_cannot_be_scored_is_refused() {
    let Some(session) = Session::demo(&[("n_ctx", "16")]) else { return };
    let request = |context: usize, continuation: usize| ScoreRequest {
        id: 1,
        context: vec![300; context],
        continuations: vec![vec![301; continuation]],
        prefix: (0, 0),
    };
    for (request, code) in [
        (request(0, 1), EB_ERR_INVALID),
        (request(1, 0), EB_ERR_INVALID),
        (ScoreRequest { context: vec![640], ..request(1, 1) }, EB_ERR_INVALID),
        (request(10, 8), EB_ERR_CONTEXT_FULL),
        (request(10, 7), EB_OK),
    ] {
        let (status, events) = session.score(&[request]);
        status.unwrap();
        assert_eq!(events.last().unwrap().status, code);
    }
}
