//! Several requests at once: each gets what it would get alone, whoever runs beside it.

mod common;

use common::{Event, Request, Session, ask};
use edgebench_abi::*;
use std::time::{Duration, Instant};

/// Questions of several lengths, in two languages, with answers of several lengths.
fn requests(n: u64) -> Vec<Request> {
    let text = |i: u64| match i % 3 {
        0 => format!("{} + {} =", i * 7 % 50, i * 13 % 50),
        1 => format!("Which number is larger?\nA. {i}\nB. {}\nAnswer:", i * 3),
        _ => "哪个数更大？\nA. 二十三\nB. 四\n答案：".repeat(1 + i as usize % 3),
    };
    (0..n).map(|i| Request { id: i, flags: 0, ..ask(&text(i), 1 + (i as u32 * 5) % 12) }).collect()
}

fn of(events: &[Event], id: u64) -> Vec<&Event> {
    events.iter().filter(|e| e.id == id).collect()
}

/// Each request's events are those of the contract: PREFILL, TOKEN …, DONE.
fn tokens(events: &[Event], id: u64) -> (Vec<i32>, i32) {
    let own = of(events, id);
    assert_eq!(own[0].kind, EB_EVENT_PREFILL, "{}", own[0].text());
    let (done, tokens) = own[1..].split_last().unwrap();
    assert_eq!((done.kind, done.status), (EB_EVENT_DONE, EB_OK), "{}", done.text());
    assert!(tokens.iter().all(|e| e.kind == EB_EVENT_TOKEN));
    (tokens.iter().map(|e| e.token).collect(), done.finish)
}

/// Of how many requests the answers are not the same. Rounding may turn a close decision.
fn differ(together: &Session, requests: &[Request], alone: &[(Vec<i32>, i32)]) -> usize {
    let (status, events) = together.generate(requests);
    status.unwrap();
    let all: Vec<_> = requests.iter().map(|r| tokens(&events, r.id)).collect();
    assert_eq!(events.len(), all.iter().map(|(t, _)| t.len() + 2).sum::<usize>(), "no event of anyone else");
    for (request, (tokens, finish)) in requests.iter().zip(&all) {
        assert_eq!(*finish == EB_FINISH_LENGTH, tokens.len() as u32 == request.max_new, "{finish}");
    }
    // The first decision is never that close here.
    assert!(alone.iter().zip(&all).all(|(a, b)| a.0.first() == b.0.first()));
    alone.iter().zip(&all).filter(|(a, b)| a != b).count()
}

fn alone(requests: &[Request]) -> Vec<(Vec<i32>, i32)> {
    let session = Session::demo(&[]);
    let answer = |r: &Request| session.answer(r);
    requests.iter().map(answer).map(|(tokens, _, done)| (tokens, done.finish)).collect()
}

#[test]
fn everyone_gets_what_they_get_alone() {
    let requests = requests(60);
    let expected = alone(&requests);
    for params in [
        &[("batch", "4")][..],
        &[("batch", "auto")],
        // Prompts that take several steps, and room for two or three at a time.
        &[("batch", "16"), ("n_batch", "16"), ("n_ctx", "256")],
    ] {
        let session = Session::demo(params);
        assert_ne!(session.info().flags & EB_INFO_BATCH, 0);
        let differ = differ(&session, &requests, &expected);
        assert!(differ <= 2, "{params:?}: {differ} of 60 answers");
    }
    assert_eq!(Session::demo(&[]).info().flags & EB_INFO_BATCH, 0);
}

#[test]
fn what_prompts_have_in_common_is_evaluated_once() {
    let examples = "1 + 1 = 2\n2 + 3 = 5\n10 + 5 = 15\n7 + 7 = 14\n".repeat(4);
    let question = |i: u64, prefix| Request { text: format!("{examples}{i} + 2 ="), prefix, ..ask("", 3) };
    let fresh: Vec<_> = (0..12).map(|i| Request { id: i, ..question(i, (0, 0)) }).collect();
    let expected = alone(&fresh);
    let hinted: Vec<_> =
        (0..12).map(|i| Request { id: i, ..question(i, (1 + i / 6, examples.len() as u32)) }).collect();
    // In the second session each prefix fits once, and not much beside it.
    for n_ctx in ["1024", "256"] {
        let session = Session::demo(&[("batch", "4"), ("n_ctx", n_ctx)]);
        assert!(differ(&session, &hinted, &expected) <= 1);
        let (_, events) = session.generate(&hinted);
        let cached: u32 = events.iter().map(|e| e.cached_tokens).sum();
        let prompts: u32 = events.iter().map(|e| e.prompt_tokens).sum();
        assert!(cached > prompts / 2 || n_ctx == "256", "{cached} of {prompts}");
    }
}

#[test]
fn one_that_fails_does_not_disturb_the_others() {
    let session = Session::demo(&[("batch", "4"), ("n_ctx", "256")]);
    let mut all = requests(9);
    all[2].text = "word ".repeat(400);
    all[5] = Request { text: String::new(), tokens: Some(vec![-7]), ..all[5].clone() };
    let (status, events) = session.generate(&all);
    status.unwrap();
    for (id, status) in [(2, EB_ERR_CONTEXT_FULL), (5, EB_ERR_INVALID)] {
        let own = of(&events, id);
        assert_eq!((own.len(), own[0].kind, own[0].status), (1, EB_EVENT_DONE, status));
    }
    (0..9).filter(|id| ![2, 5].contains(id)).for_each(|id| assert!(!tokens(&events, id).0.is_empty()));
    // And the next call begins anew.
    let again = session.answer(&all[0]).0;
    drop(session);
    assert_eq!(again, alone(&all[..1])[0].0);
}

#[test]
fn an_abort_ends_all_of_them() {
    let session = Session::demo(&[("batch", "4"), ("n_ctx", "1024")]);
    let endless: Vec<_> = (0..10).map(|i| Request { id: i, ..ask("1 + 1 =", 200) }).collect();
    let aborter = session.aborter();
    let mut first = None;
    let (status, events) = session.generate_with(&endless, &mut |e| {
        if e.kind == EB_EVENT_TOKEN && first.is_none() {
            first = Some(Instant::now());
            aborter.abort();
        }
        false
    });
    assert_eq!(status.unwrap_err().code, EB_ERR_ABORTED);
    assert!(first.unwrap().elapsed() < Duration::from_secs(5));
    let done: Vec<_> = events.iter().filter(|e| e.kind == EB_EVENT_DONE).collect();
    assert_eq!(done.len(), 10);
    assert!(done.iter().all(|e| (e.finish, e.status) == (EB_FINISH_ABORTED, EB_ERR_ABORTED)));
    let (status, _) = session.generate(&requests(3));
    status.unwrap();
}
