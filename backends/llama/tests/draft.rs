//! Speculative decoding: guesses change the speed, not the answer.

mod common;

use common::{Session, ask, model};
use edgebench_abi::*;

const PROMPT: &str = "Question: 27+61=\nAnswer:";

/// How many guesses were right, and made, by the session's log.
fn guesses(session: &Session) -> (u64, u64) {
    let log = session.log();
    let line = log.iter().rev().find_map(|(_, line)| line.strip_prefix("draft: ")).expect("told at the end of a call");
    let mut numbers = line.split(' ').filter_map(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

fn with_draft(draft: &str, params: &[(&str, &str)]) -> Session {
    Session::demo(&[&[("draft", draft)], params].concat())
}

fn sibling(name: &str) -> String {
    model().with_file_name(name).to_str().unwrap().to_owned()
}

#[test]
fn answers_are_those_of_the_model_alone() {
    let (good, bad) = (sibling("demo-q8_0.gguf"), sibling("demo-q2_k.gguf"));
    let alone = Session::demo(&[]);
    let expected: Vec<_> = [1, 2, 5, 40].map(|n| alone.answer(&ask(PROMPT, n))).into();
    drop(alone);
    for (draft, max, least) in [(&good, "16", "0"), (&good, "1", "0.75"), (&bad, "7", "0"), (&bad, "64", "0.9")] {
        let session = with_draft(draft, &[("draft_max", max), ("draft_p_min", least)]);
        // A second time: what was guessed before is gone.
        for _ in 0..2 {
            let answers: Vec<_> = [1, 2, 5, 40].map(|n| session.answer(&ask(PROMPT, n))).into();
            assert_eq!(answers, expected, "draft_max = {max}");
        }
        let (right, made) = guesses(&session);
        assert!(right <= made && right > 0, "{right} of {made}");
        if draft == &good && max == "16" {
            // It is the model itself; but several tokens at once are rounded in another way than one by one.
            assert!(right * 4 >= made * 3, "{right} of {made}");
        }
    }
}

#[test]
fn the_sampler_of_the_large_model_decides() {
    let hot = [("temperature", "0.8"), ("seed", "5")];
    let answer = |session: &Session| session.answer(&ask(PROMPT, 30)).0;
    let alone = answer(&Session::demo(&hot));
    assert_eq!(answer(&with_draft(&sibling("demo-q2_k.gguf"), &[("draft_p_min", "0"), hot[0], hot[1]])), alone);
}

#[test]
fn a_draft_that_does_not_fit_is_told() {
    let why = |draft: &str| {
        let Err(error) = Session::open(&model(), &[("draft", draft)]) else { panic!("{draft} was taken") };
        (error.code, error.message)
    };
    let (code, message) = why("/nonexistent/small.gguf");
    assert!(code == EB_ERR_MODEL && message.starts_with("draft: ") && message.contains("no such file"), "{message}");

    // The same model with another word in its vocabulary.
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.gguf");
    let mut bytes = std::fs::read(sibling("demo-q2_k.gguf")).unwrap();
    let word = b"positive";
    let places: Vec<usize> = (0..bytes.len() - word.len()).filter(|&i| bytes[i..].starts_with(word)).collect();
    assert!(!places.is_empty(), "the demo's vocabulary has this word");
    for at in places {
        bytes[at + 1] = b'v';
    }
    std::fs::write(&other, bytes).unwrap();
    let (code, message) = why(other.to_str().unwrap());
    assert!(code == EB_ERR_MODEL && message.contains("pvsitive") && message.contains("same family"), "{message}");
}
