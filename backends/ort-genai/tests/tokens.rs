//! The vendor's tokenizer on the demo model: the ids of llama.cpp's rule, and text back from them.

mod common;

use common::*;
use edgebench_abi::*;

#[test]
fn ids_are_those_of_the_models_own_rule() {
    let Some(session) = Session::demo(&[]) else { return };
    for prompt in reference(&model().unwrap()).prompts {
        assert_eq!(session.tokenize(&prompt.text, EB_TOKENIZE_ADD_SPECIAL).unwrap(), prompt.tokens, "{}", prompt.text);
        assert_eq!(session.tokenize(&prompt.text, 0).unwrap(), prompt.tokens[1..], "{}", prompt.text);
        assert_eq!(session.detokenize(&prompt.tokens).unwrap(), prompt.text);
    }
}

#[test]
fn every_text_comes_back() {
    let Some(session) = Session::demo(&[]) else { return };
    for text in ["", " ", "  two", "a\n\n b", "é😀 你好", "\u{FFFD}", "a\u{FFFD}b", "<unknown>", "\u{7f}\t"] {
        let tokens = session.tokenize(text, 0).unwrap();
        assert_eq!(session.detokenize(&tokens).unwrap(), text, "{tokens:?}");
    }
}

#[test]
fn control_tokens_count_only_if_wanted() {
    let Some(session) = Session::demo(&[]) else { return };
    let parsed = session.tokenize("a</s>b", EB_TOKENIZE_PARSE_SPECIAL).unwrap();
    assert!(parsed.contains(&2) && parsed.len() == 3, "{parsed:?}");
    assert_eq!(session.detokenize(&parsed).unwrap(), "ab");
    let plain = session.tokenize("a</s>b", 0).unwrap();
    assert!(!plain.contains(&2) && plain.len() > 3, "{plain:?}");
    assert_eq!(session.detokenize(&plain).unwrap(), "a</s>b");
    assert_eq!(session.detokenize(&[1, 2]).unwrap(), "", "BOS and EOS");
}

#[test]
fn bytes_that_are_no_character_do_not_hide_what_follows() {
    let Some(session) = Session::demo(&[]) else { return };
    let mut tokens = session.tokenize("ok", 0).unwrap();
    // The byte tokens of the demo's vocabulary begin at 3: 0xE4 0xBD are the first two thirds of a character.
    tokens.extend([3 + 0xE4, 3 + 0xBD]);
    tokens.extend(session.tokenize(" end", 0).unwrap());
    let text = session.detokenize(&tokens).unwrap();
    assert!(text.starts_with("ok\u{FFFD}") && text.ends_with(" end"), "{text}");
}

#[test]
fn wrong_input_is_refused() {
    let Some(session) = Session::demo(&[]) else { return };
    for tokens in [[640], [-1], [i32::MAX]] {
        let error = session.detokenize(&tokens).unwrap_err();
        assert_eq!(error.code, EB_ERR_INVALID);
        assert!(error.message.contains("640 tokens"), "{}", error.message);
    }
    assert_eq!(session.tokenize("a\0b", 0).unwrap_err().code, EB_ERR_INVALID);
}
