//! A text without its last word, as lm-eval's LAMBADA tasks cut it. It must not know how a word is scored.

/// What stands before the last word, and the word with the white space before it; `None`: there is only one. White space
/// at the text's end belongs to neither.
pub fn split(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_end();
    // `\n\n` is one gap, and all of it belongs to the word.
    let before = text[..text.rfind(char::is_whitespace)?].trim_end();
    (!before.is_empty()).then_some((before, &text[before.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_takes_the_gap_before_it() {
        assert_eq!(split("he said yes"), Some(("he said", " yes")));
        assert_eq!(split("he said yes.\n"), Some(("he said", " yes.")));
        assert_eq!(split("a b\n\nc"), Some(("a b", "\n\nc")));
        assert_eq!(split("甲 乙"), Some(("甲", " 乙")));
        for none in ["word", " word ", "", " "] {
            assert_eq!(split(none), None, "{none:?}");
        }
    }
}
