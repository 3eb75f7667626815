//! Generation through the C ABI: the right tokens, their text, every way to end, and abort.

mod common;

use common::*;
use edgebench_abi::*;
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn greedy_tokens_are_those_of_the_reference() {
    let Some(session) = Session::demo(&[]) else { return };
    let prompts = reference(&model().unwrap()).prompts;
    assert_eq!(prompts.len(), 20);
    for prompt in prompts {
        let mut request = ask(&prompt.text, prompt.greedy.len() as u32 + 1);
        request.flags = 0;
        let (tokens, text, done) = session.answer(&request);
        let n = prompt.greedy.len();
        assert_eq!(tokens.get(..n), Some(prompt.greedy.as_slice()), "{:?}", prompt.text);
        assert_eq!(String::from_utf8_lossy(&text), session.detokenize(&tokens).unwrap());
        if prompt.end == "eos" {
            assert_eq!((tokens.len(), done.finish), (n, EB_FINISH_EOS));
        }
    }
}

/// llama.cpp on the same weights: `EDGEBENCH_LLAMA_PLUGIN` and `EDGEBENCH_ORT_GGUF`, or where the build has them.
#[test]
fn greedy_tokens_are_those_of_llama_cpp() {
    let Some(model) = model() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let place = |name: &str, path: &str| std::env::var_os(name).map_or(root.join(path), Into::into);
    let plugin = place("EDGEBENCH_LLAMA_PLUGIN", "target/release/libedgebench_llama.so");
    let gguf = place("EDGEBENCH_ORT_GGUF", "datasets/demo/demo-f16.gguf");
    if !plugin.is_file() || !gguf.is_file() {
        return eprintln!("skipped: {} or {} is missing", plugin.display(), gguf.display());
    }
    let library = Box::leak(Box::new(unsafe { libloading::Library::new(&plugin) }.unwrap()));
    let llama = unsafe { &*library.get::<EbBackendV1Fn>(EB_SYMBOL.as_bytes()).unwrap()(EB_ABI_MINOR) };
    let answers = |table, model: &Path| {
        let session = Session::open_with(table, model, &[("threads", "1"), ("n_ctx", "1024")]).unwrap();
        let prompts = reference(&common::model().unwrap()).prompts;
        let ask_all = prompts.iter().map(|p| (p.greedy.len(), session.answer(&ask(&p.text, 10)), p.text.clone()));
        ask_all.collect::<Vec<_>>()
    };
    let (ours, theirs) = (answers(table(), &model), answers(llama, &gguf));
    let mut compared = 0;
    for ((n, ours, text), (_, theirs, _)) in ours.iter().zip(&theirs) {
        // Up to the end of the answer, or to a tie.
        assert_eq!(ours.0.get(..*n), theirs.0.get(..*n), "{text:?}");
        compared += n;
    }
    eprintln!("{compared} tokens of 20 prompts are the same");
}

#[test]
fn the_same_request_gives_the_same_events() {
    let Some(session) = Session::demo(&[]) else { return };
    let requests: Vec<_> = (0..3).map(|id| Request { id, ..ask("What is 12 + 34?\nAnswer:", 20) }).collect();
    let (status, events) = session.generate(&requests);
    status.unwrap();
    let of = |id: u64| events.iter().filter(|e| e.id == id).map(|e| Event { id: 0, ..e.clone() }).collect::<Vec<_>>();
    assert_eq!(of(0), of(1));
    assert_eq!(of(0), of(2));
    assert_eq!(of(0).len(), 22);
    assert_eq!((of(0)[0].kind, of(0)[21].kind, of(0)[21].finish), (EB_EVENT_PREFILL, EB_EVENT_DONE, EB_FINISH_LENGTH));
    assert_eq!(session.generate(&requests).1, events);
}

#[test]
fn sampling_follows_the_seed() {
    let Some(session) = Session::demo(&[]) else { return };
    let draw = |seed, temperature, top_k| {
        let request = Request { temperature, top_p: 0.9, top_k, seed, ..ask("Once", 30) };
        session.answer(&request).0
    };
    assert_eq!(draw(1, 1.0, 0), draw(1, 1.0, 0));
    assert_ne!(draw(1, 1.0, 0), draw(2, 1.0, 0));
    assert_eq!(draw(1, 1.0, 1), session.answer(&ask("Once", 30)).0);
    let (status, events) = session.generate(&[Request { temperature: -1.0, ..ask("Once", 3) }]);
    status.unwrap();
    assert_eq!(events.last().unwrap().status, EB_ERR_INVALID);
}

#[test]
fn characters_in_several_tokens_arrive_whole() {
    let Some(session) = Session::demo(&[]) else { return };
    // Hot enough to draw byte tokens, many of which are no UTF-8.
    let request = Request { temperature: 30.0, seed: 5, ..ask("a", 300) };
    let (status, events) = session.generate(&[request]);
    status.unwrap();
    let tokens: Vec<_> = events.iter().filter(|e| e.kind == EB_EVENT_TOKEN).collect();
    assert_eq!(tokens.len(), 300);
    let text: Vec<u8> = tokens.iter().flat_map(|e| e.text.clone()).collect();
    let text = String::from_utf8(text).expect("what is no UTF-8 has become U+FFFD");
    assert!(text.contains('\u{FFFD}'));
    let plain = |s: &str| s.chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>();
    let ids: Vec<_> = tokens.iter().map(|e| e.token).collect();
    assert_eq!(plain(&text), plain(&session.detokenize(&ids).unwrap()));
    assert!(plain(&text).len() > 100);
}

#[test]
fn a_stop_string_ends_the_output() {
    let Some(session) = Session::demo(&[]) else { return };
    let free = session.answer(&ask("What is 12 + 34?\nAnswer:", 20));
    let text = String::from_utf8(free.1).unwrap();
    let last = text.trim_end().chars().last().unwrap().to_string();
    let stopped = Request { stop: vec![last.clone().into_bytes()], ..ask("What is 12 + 34?\nAnswer:", 20) };
    let (tokens, text, done) = session.answer(&stopped);
    assert_eq!(done.finish, EB_FINISH_STOP);
    assert!(String::from_utf8(text).unwrap().contains(&last) && tokens.len() <= 20);
}

#[test]
fn the_sink_can_end_a_request_and_the_next_goes_on() {
    let Some(session) = Session::demo(&[]) else { return };
    let requests = [Request { id: 1, ..ask("a", 50) }, Request { id: 2, ..ask("b", 5) }];
    let mut seen = 0;
    let (status, events) = session.generate_with(&requests, &mut |e| {
        seen += usize::from(e.id == 1 && e.kind == EB_EVENT_TOKEN);
        e.id == 1 && seen == 3
    });
    status.unwrap();
    let done: Vec<_> = events.iter().filter(|e| e.kind == EB_EVENT_DONE).map(|e| e.finish).collect();
    assert_eq!((seen, done), (3, vec![EB_FINISH_SINK, EB_FINISH_LENGTH]));
}

#[test]
fn what_does_not_fit_is_told_in_numbers() {
    let Some(session) = Session::demo(&[("n_ctx", "16")]) else { return };
    let tokens = |n: usize| Request { text: String::new(), tokens: Some(vec![300; n]), ..ask("", 50) };
    let (status, events) = session.generate(&[tokens(16), Request { id: 2, ..tokens(10) }]);
    status.unwrap();
    let done: Vec<_> = events.iter().filter(|e| e.kind == EB_EVENT_DONE).collect();
    assert_eq!((done[0].status, done[0].finish), (EB_ERR_CONTEXT_FULL, EB_FINISH_ERROR));
    assert!(done[0].text().contains("16 tokens + 1") && done[0].text().contains("n_ctx = 16"), "{}", done[0].text());
    assert_eq!((done[1].status, done[1].finish), (EB_OK, EB_FINISH_LENGTH));
    assert_eq!(events.iter().filter(|e| e.kind == EB_EVENT_TOKEN).count(), 6);
    for bad in [tokens(0), Request { tokens: Some(vec![640]), ..tokens(1) }, Request { max_new: 0, ..tokens(3) }] {
        assert_eq!(session.generate(&[bad]).1.last().unwrap().status, EB_ERR_INVALID);
    }
}

#[test]
fn a_shared_prefix_is_evaluated_once_and_changes_nothing() {
    let Some(session) = Session::demo(&[]) else { return };
    let head = "What is 12 + 34?\nAnswer: 46\n\n".repeat(20);
    let asked = |question: &str, prefix| Request { prefix, ..ask(&format!("{head}{question}\nAnswer:"), 8) };
    let cached = |request: &Request| {
        let (status, events) = session.generate(std::slice::from_ref(request));
        status.unwrap();
        let tokens = events.iter().filter(|e| e.kind == EB_EVENT_TOKEN).map(|e| (e.token, e.text.clone()));
        (events[0].cached_tokens, events[0].prompt_tokens, tokens.collect::<Vec<_>>())
    };
    let hint = (7, head.len() as u32);
    for (round, question) in ["What is 5 + 6?", "What is 50 + 60?", "What is 1 + 1?"].iter().enumerate() {
        let plain = cached(&asked(question, (0, 0)));
        assert_eq!(plain.0, 0);
        cached(&asked("What is 2 + 2?", hint));
        let hinted = cached(&asked(question, hint));
        assert!(hinted.0 > 200 && hinted.0 < hinted.1, "{round}: {} of {}", hinted.0, hinted.1);
        assert_eq!((hinted.1, hinted.2), (plain.1, plain.2));
    }
    assert_eq!(cached(&asked("What is 2 + 2?", (8, head.len() as u32))).0, 0);
    session.reset();
    assert_eq!(cached(&asked("What is 2 + 2?", (8, head.len() as u32))).0, 0);
}

/// Aborts `delay` after the start; gives how long the call still took.
fn abort_after(session: &Session, request: &Request, delay: Duration) -> (Duration, Outcome) {
    let aborter = session.aborter();
    let (outcome, took) = std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            std::thread::sleep(delay);
            aborter.abort();
            Instant::now()
        });
        let outcome = session.generate(std::slice::from_ref(request));
        let end = Instant::now();
        (outcome, end.saturating_duration_since(thread.join().unwrap()))
    });
    (took, outcome)
}

#[test]
fn abort_ends_prefill_and_decode_and_the_session_goes_on() {
    let Some(session) = Session::demo(&[]) else { return };
    let before = session.answer(&ask("What is 12 + 34?\nAnswer:", 10));
    let long = Request { tokens: Some(vec![300; 2000]), text: String::new(), ..ask("", 1) };
    let decode = ask("Once", 2000);
    for (request, delay) in [(&long, 10), (&decode, 60)] {
        let (took, (status, events)) = abort_after(&session, request, Duration::from_millis(delay));
        assert_eq!(status.unwrap_err().code, EB_ERR_ABORTED);
        assert!(took < Duration::from_millis(500), "{took:?}");
        let done = events.last().unwrap();
        assert_eq!((done.kind, done.finish, done.status), (EB_EVENT_DONE, EB_FINISH_ABORTED, EB_ERR_ABORTED));
        assert_eq!(events.iter().any(|e| e.kind == EB_EVENT_TOKEN), request.max_new > 1);
        // An abort between calls does nothing.
        session.aborter().abort();
        assert_eq!(session.answer(&ask("What is 12 + 34?\nAnswer:", 10)), before);
    }
}
