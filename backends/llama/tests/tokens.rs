//! Text to tokens and back.

mod common;

use common::{Session, ask, table};
use edgebench_abi::*;

#[test]
fn text_comes_back_whatever_its_script() {
    let session = Session::demo(&[]);
    for text in [
        "Which number is larger?",
        "哪个数更大？甲乙丙丁，二十三。",
        "naïve café – 🙂 \u{1F1E8}\u{1F1F3}",
        " two  spaces\n\nand\tlines ",
        "a",
        "",
    ] {
        let tokens = session.tokenize(text, 0).unwrap();
        let back = session.detokenize(&tokens).unwrap();
        // Tokenizers of the SentencePiece kind put a space in front, and take it away again.
        assert_eq!(back.strip_prefix(' ').unwrap_or(&back), text.strip_prefix(' ').unwrap_or(text), "{tokens:?}");
    }
}

#[test]
fn special_tokens_are_added_and_vanish_again() {
    let session = Session::demo(&[]);
    let info = session.info();
    let plain = session.tokenize("one", 0).unwrap();
    let special = session.tokenize("one", EB_TOKENIZE_ADD_SPECIAL).unwrap();
    if special.len() > plain.len() {
        assert_eq!(special[0], info.bos_token);
        assert_eq!(session.detokenize(&special).unwrap().trim(), "one");
    }
    assert!(info.eos_token < info.n_vocab as i32);
}

#[test]
fn a_small_buffer_is_told_how_much_is_needed() {
    let session = Session::demo(&[]);
    let text = "one two three four five six seven";
    let all = session.tokenize(text, 0).unwrap();
    let mut few = [-7i32; 3];
    let mut n = 0;
    let mut error = EbError::new();
    let status =
        unsafe { table().tokenize.unwrap()(session.raw, EbStr::new(text), 0, few.as_mut_ptr(), 2, &mut n, &mut error) };
    assert_eq!((status, n, few[2]), (EB_ERR_BUFFER, all.len(), -7));
    assert!(error.text().contains(&all.len().to_string()), "{}", error.text());
}

#[test]
fn tokens_outside_the_vocabulary_are_refused() {
    let session = Session::demo(&[]);
    let n_vocab = session.info().n_vocab as i32;
    for token in [-1, n_vocab, i32::MAX, i32::MIN] {
        assert_eq!(session.detokenize(&[0, token]).unwrap_err().code, EB_ERR_INVALID);
        let (status, events) = session.generate(&[common::Request { tokens: Some(vec![token]), ..ask("", 1) }]);
        assert!(status.is_ok());
        assert_eq!((events.len(), events[0].status), (1, EB_ERR_INVALID));
    }
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let session = Session::demo(&[]);
    let mut error = EbError::new();
    let text = EbStr::from_bytes(b"ab\xFF");
    let mut tokens = [0; 16];
    let status =
        unsafe { table().tokenize.unwrap()(session.raw, text, 0, tokens.as_mut_ptr(), 16, &mut 0, &mut error) };
    assert_eq!(status, EB_ERR_INVALID);
    assert!(error.text().contains("byte 2"), "{}", error.text());
}

#[test]
fn bos_and_eos_are_spelt_as_the_tokenizer_reads_them() {
    let session = Session::demo(&[]);
    let info = session.info();
    for (token, written) in [(info.bos_token, info.bos_text), (info.eos_token, info.eos_text)] {
        let written = unsafe { written.to_string_lossy() };
        assert_eq!(token >= 0, !written.is_empty());
        if token >= 0 {
            assert_eq!(session.tokenize(&written, EB_TOKENIZE_PARSE_SPECIAL).unwrap(), [token], "{written}");
        }
    }
}
