//! Continuing prompts: the order of events, how outputs end, determinism, and abort().

mod common;

use common::{Request, Session, ask};
use edgebench_abi::*;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const PROMPT: &str = "Which number is larger? 哪个数更大？ A. 12 B. 21";

#[test]
fn each_request_is_prefill_tokens_done() {
    let session = Session::demo(&[]);
    let requests = [Request { id: 7, ..ask(PROMPT, 5) }, Request { id: 3, ..ask("a b c", 2) }];
    let (status, events) = session.generate(&requests);
    status.unwrap();
    let (p, t, d) = (EB_EVENT_PREFILL, EB_EVENT_TOKEN, EB_EVENT_DONE);
    let order: Vec<_> = events.iter().map(|e| (e.id, e.kind)).collect();
    assert_eq!(order, [(7, p), (7, t), (7, t), (7, t), (7, t), (7, t), (7, d), (3, p), (3, t), (3, t), (3, d)]);
    assert_eq!(events[0].prompt_tokens as usize, session.tokenize(PROMPT, EB_TOKENIZE_ADD_SPECIAL).unwrap().len());
    assert_eq!((events[6].finish, events[6].status), (EB_FINISH_LENGTH, EB_OK));
    assert!(events.iter().all(|e| e.cached_tokens == 0));
}

#[test]
fn greedy_output_is_the_same_every_time_and_from_tokens_too() {
    let session = Session::demo(&[]);
    let (first, text, _) = session.answer(&ask(PROMPT, 40));
    // Something else in between must not shine through.
    session.answer(&ask("完全不同的内容", 10));
    assert_eq!(session.answer(&ask(PROMPT, 40)).0, first);
    let tokens = session.tokenize(PROMPT, EB_TOKENIZE_ADD_SPECIAL).unwrap();
    assert_eq!(session.answer(&Request { tokens: Some(tokens), ..ask("", 40) }), (first, text, done(EB_FINISH_LENGTH)));
}

fn done(finish: i32) -> common::Event {
    common::Event {
        kind: EB_EVENT_DONE,
        id: 1,
        prompt_tokens: 0,
        cached_tokens: 0,
        token: 0,
        index: 0,
        text: Vec::new(),
        logprob: 0.0,
        n_tokens: 0,
        is_greedy: 0,
        finish,
        status: EB_OK,
    }
}

#[test]
fn a_prompt_longer_than_a_batch_is_the_same_prompt() {
    let prompt = "one two three ".repeat(30);
    let answer = |n_batch: &str| Session::demo(&[("n_batch", n_batch)]).answer(&ask(&prompt, 1)).0;
    // The first token only: rounding differs between shapes, and would show later in a long output.
    assert_eq!(answer("512"), answer("16"));
}

#[test]
fn the_end_of_sequence_ends_the_answer_unless_it_is_ignored() {
    let session = Session::demo(&[]);
    let eos = session.info().eos_token;
    for prompt in [PROMPT, "1+1=", "Question: Which word comes first?\nAnswer:"] {
        let (all, _, _) = session.answer(&ask(prompt, 60));
        assert_eq!(all.len(), 60);
        let (tokens, _, done) = session.answer(&Request { flags: 0, ..ask(prompt, 60) });
        match all.iter().position(|&t| t == eos) {
            Some(at) => assert_eq!((&tokens[..], done.finish), (&all[..at], EB_FINISH_EOS)),
            None if done.finish == EB_FINISH_LENGTH => assert_eq!(tokens, all),
            // Another token that ends answers.
            None => assert_eq!((&tokens[..], done.finish), (&all[..tokens.len()], EB_FINISH_EOS)),
        }
    }
}

#[test]
fn stop_strings_end_the_output_even_across_tokens() {
    let session = Session::demo(&[]);
    let mut pieces = Vec::new();
    let (status, _) = session.generate_with(&[ask(PROMPT, 30)], &mut |event| {
        if event.kind == EB_EVENT_TOKEN {
            pieces.push(event.text.clone());
        }
        false
    });
    status.unwrap();
    let text = pieces.concat();
    for border in [5, 10, 20] {
        // A string of two bytes or more around the border of two tokens.
        let at: usize = pieces[..border].iter().map(|p| p.len()).sum();
        let stop = &text[at.saturating_sub(2)..(at + 1).min(text.len())];
        let expected =
            (1..=pieces.len()).find(|&n| pieces[..n].concat().windows(stop.len()).any(|w| w == stop)).unwrap();
        let request = Request { stop: vec![b"never appears, really".to_vec(), stop.to_vec()], ..ask(PROMPT, 30) };
        let (tokens, _, done) = session.answer(&request);
        assert_eq!((tokens.len(), done.finish), (expected, EB_FINISH_STOP), "{:?}", String::from_utf8_lossy(stop));
    }
}

#[test]
fn the_sink_can_end_a_request() {
    let session = Session::demo(&[]);
    let mut seen = 0;
    let (status, events) =
        session.generate_with(&[ask(PROMPT, 30), Request { id: 2, ..ask(PROMPT, 1) }], &mut |event| {
            seen += i32::from(event.kind == EB_EVENT_TOKEN);
            event.kind == EB_EVENT_TOKEN && seen == 3
        });
    status.unwrap();
    let done: Vec<_> = events.iter().filter(|e| e.kind == EB_EVENT_DONE).collect();
    assert_eq!((done[0].finish, done[0].status), (EB_FINISH_SINK, EB_OK));
    assert_eq!(events.iter().filter(|e| e.kind == EB_EVENT_TOKEN && e.id == 1).count(), 3);
    assert_eq!(done[1].finish, EB_FINISH_LENGTH);
}

#[test]
fn a_full_context_is_told_and_the_other_requests_go_on() {
    let session = Session::demo(&[("n_ctx", "256")]);
    let long = Request { id: 1, tokens: Some(vec![5; 256]), ..ask("", 4) };
    let fits = Request { id: 2, tokens: Some(vec![5; 250]), ..ask("", 100) };
    let empty = Request { id: 3, tokens: Some(Vec::new()), ..ask("", 4) };
    let nothing = Request { id: 4, ..ask("a", 0) };
    let (status, events) = session.generate(&[long, fits, empty, nothing]);
    status.unwrap();
    let done: Vec<_> = events.iter().filter(|e| e.kind == EB_EVENT_DONE).collect();
    assert_eq!((done[0].finish, done[0].status), (EB_FINISH_ERROR, EB_ERR_CONTEXT_FULL));
    let message = done[0].text();
    assert!(message.contains("256 tokens + 1") && message.contains("n_ctx = 256: raise"), "{message}");
    assert_eq!((done[1].finish, done[1].status), (EB_FINISH_LENGTH, EB_OK));
    assert_eq!(events.iter().filter(|e| e.id == 2 && e.kind == EB_EVENT_TOKEN).count(), 6);
    assert_eq!((done[2].status, done[3].status), (EB_ERR_INVALID, EB_ERR_INVALID));
}

#[test]
fn sampling_follows_the_seed() {
    let session = Session::demo(&[]);
    let hot = |seed| Request { temperature: 5.0, seed, ..ask(PROMPT, 20) };
    assert_eq!(session.answer(&hot(1)).0, session.answer(&hot(1)).0);
    assert_ne!(session.answer(&hot(1)).0, session.answer(&hot(2)).0);
    // One candidate is greedy, however hot.
    let one = Request { top_k: 1, ..hot(3) };
    assert_eq!(session.answer(&one).0, session.answer(&ask(PROMPT, 20)).0);
    let (_, events) = session.generate(&[Request { top_p: 2.0, ..hot(1) }]);
    assert_eq!(events[0].status, EB_ERR_INVALID);
}

#[test]
fn sampling_parameters_of_the_job_apply_when_the_request_has_none() {
    let greedy = Session::demo(&[]).answer(&ask(PROMPT, 20)).0;
    let session = Session::demo(&[("temperature", "5"), ("seed", "4")]);
    let sampled = session.answer(&ask(PROMPT, 20)).0;
    assert_ne!(sampled, greedy);
    assert_eq!(sampled, session.answer(&Request { temperature: 5.0, seed: 4, ..ask(PROMPT, 20) }).0);
    drop(session);
    let narrow = Session::demo(&[("temperature", "5"), ("top_k", "1")]);
    assert_eq!(narrow.answer(&ask(PROMPT, 20)).0, greedy);
}

/// Runs a request and calls abort() `after` it has begun (or sent its first token).
fn aborted(session: &Session, request: Request, first_token: bool, after: Duration) -> (usize, Duration) {
    let (begun, wait) = mpsc::channel();
    let aborter = session.aborter();
    let helper = thread::spawn(move || {
        wait.recv().unwrap();
        thread::sleep(after);
        aborter.abort();
        Instant::now()
    });
    let mut begun = Some(begun);
    if !first_token {
        begun.take().unwrap().send(()).unwrap();
    }
    let second = Request { id: 2, ..ask("a", 1) };
    let (status, events) = session.generate_with(&[request, second], &mut |event| {
        // The sender is dropped after the first token: nothing more to tell.
        if event.kind == EB_EVENT_TOKEN
            && let Some(begun) = begun.take()
        {
            begun.send(()).unwrap();
        }
        false
    });
    let returned = Instant::now();
    let took = returned.saturating_duration_since(helper.join().unwrap());
    assert_eq!(status.unwrap_err().code, EB_ERR_ABORTED);
    let done: Vec<_> = events.iter().filter(|e| e.kind == EB_EVENT_DONE).map(|e| (e.id, e.finish, e.status)).collect();
    assert_eq!(done, [(1, EB_FINISH_ABORTED, EB_ERR_ABORTED), (2, EB_FINISH_ABORTED, EB_ERR_ABORTED)]);
    (events.iter().filter(|e| e.kind == EB_EVENT_TOKEN).count(), took)
}

#[test]
fn abort_ends_a_long_output() {
    let session = Session::demo(&[("n_ctx", "16384")]);
    let before = session.answer(&ask(PROMPT, 10)).0;
    let (tokens, took) = aborted(&session, ask(PROMPT, 16000), true, Duration::from_millis(50));
    assert!((1..16000).contains(&tokens));
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert_eq!(session.answer(&ask(PROMPT, 10)).0, before);
}

#[test]
fn abort_ends_a_long_prefill() {
    let session = Session::demo(&[("n_ctx", "32768"), ("n_batch", "32768"), ("n_ubatch", "128")]);
    let before = session.answer(&ask(PROMPT, 10)).0;
    let long = Request { tokens: Some(vec![5; 32000]), ..ask("", 4) };
    let (tokens, took) = aborted(&session, long, false, Duration::from_millis(100));
    assert_eq!(tokens, 0);
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert_eq!(session.answer(&ask(PROMPT, 10)).0, before);
}

#[test]
fn an_abort_before_a_call_does_not_count() {
    let session = Session::demo(&[]);
    session.aborter().abort();
    assert_eq!(session.answer(&ask(PROMPT, 3)).0.len(), 3);
    let mut error = EbError::new();
    assert_eq!(unsafe { common::table().reset.unwrap()(session.raw, &mut error) }, EB_OK);
    assert_eq!(session.answer(&ask(PROMPT, 3)).0.len(), 3);
}
