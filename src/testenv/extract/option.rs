//! The letter of the option that an output chooses. It owns our own reading of an output; OpenCompass' is beside it.

use super::opencompass;
use super::patterns::{Pattern, Patterns, folded};
use super::step::End;
use crate::job::Compat;
use regex_lite::Captures;

/// Options when neither the record nor the step tells: A to D.
const USUAL: usize = 4;

/// Between a mark and its letter: `答案应该选 C`, `answer is: **(C)`, `\boxed{\text{C}`.
const JUNK: &str = r#"(?:[\s:,.为是选应该项的"'“”‘’「」『』【\[(<*$_`\\]|boxed\{|text\{|(?i:\b(?:options?|choices?|letter|is|would|should|be|the|must)\b))*"#;

/// What may follow a letter that stands as an answer.
const STOP: &str = r#"(?:\s*(?:[.。,，、;；:：!?)）\]】}*$"'”’`]|选|项|$)|\s+[^a-zA-Z\s])"#;

/// From the clearest to the vaguest. `JUNK` and `STOP` stand for the above.
const OWN: &[Pattern] = &[
    // The answer is named as such.
    Pattern {
        words: &["答案", "正确选项", "nswer", "NSWER", "ption", "hoice"],
        source: r"(?:答案|正确选项|(?i:answer(?:\s+to\s+(?:the|this)\s+question)?|(?:correct|right|best)\s+(?:option|choice)))JUNK\b(#)\b",
    },
    // So it is, in a small letter: only where no word goes on.
    Pattern { words: &["答案", "nswer"], source: r"(?:答案|[Aa]nswer)JUNK\b(?i:(#))STOP" },
    Pattern { words: &["boxed"], source: r"boxed\{(?:\\text\{)?[\s(]*(#)[\s)]*\}" },
    // A conclusion: 故选B, 所以选 B, Therefore B.
    Pattern { words: &["选"], source: r#"选择?[\s:了"'“‘(*]*\b(#)\b"# },
    Pattern {
        words: &["故", "因此", "所以", "显然", "herefore", "ence"],
        source: r"(?:故|因此|所以|显然|[Tt]herefore|[Hh]ence)JUNK\b(#)\b\s*[.。]?\s*$",
    },
    // A verdict on one option: B 是正确的, B is correct.
    Pattern {
        words: &["正确", "对", "orrect", "right"],
        source: r"\b(#)\b[)）*\s]*(?:选?项)?\s*(?:是|为|(?i:is)(?:\s+the)?)?\s*(?:正确|对的|(?i:correct|right))",
    },
    // The output begins with it: B. 土地, (B), 选项 B.
    Pattern { words: &[], source: r#"^[\s"'“(（\[【*$]*(?:选项|(?i:option))?\s*(#)STOP"# },
];

/// A step that finds an option.
#[derive(Debug)]
pub struct Options {
    end: End,
    compat: Compat,
    /// So many options, whatever the record has.
    count: Option<usize>,
    patterns: Patterns,
}

impl Options {
    /// `argument` are the letters, as in `first_option:ABCDE`.
    pub fn new(argument: Option<&str>, end: End, compat: Compat) -> Result<Options, (String, String)> {
        let in_order =
            |letters: &str| letters.len() <= 26 && letters.bytes().zip(b'A'..).all(|(l, wanted)| l == wanted);
        if let Some(letters) = argument.filter(|letters| !in_order(letters)) {
            let todo = "write the letters from A on, as in \"first_option:ABCDE\"";
            return Err((format!("`{letters}` are no letters of options"), todo.to_owned()));
        }
        let patterns = match compat {
            Compat::None => Patterns::new(OWN, &[("JUNK", JUNK), ("STOP", STOP)]),
            Compat::OpenCompass => opencompass::patterns(),
        };
        Ok(Options { end, compat, count: argument.map(str::len), patterns })
    }

    /// The letter that `text` chooses of so many options (0: unknown).
    pub fn find(&self, text: &str, options: usize) -> Option<char> {
        let count = self.count.unwrap_or(if options == 0 { USUAL } else { options });
        match (self.compat, self.end) {
            (Compat::OpenCompass, End::First) => opencompass::first_option(&self.patterns, text, count),
            (Compat::OpenCompass, End::Last) => opencompass::last_option(text, count),
            (Compat::None, End::First) => self.first(folded(text).trim(), count),
            (Compat::None, End::Last) => standing_alone(&folded(text), count).last(),
        }
    }

    fn first(&self, text: &str, count: usize) -> Option<char> {
        let marked = self.patterns.fitting(text, count).find_map(|(_, regex)| {
            let letter = regex.captures_iter(text).find_map(|c| letter(text, &c));
            letter.map(|l| l.to_ascii_uppercase())
        });
        marked.or_else(|| {
            // Nothing marks it: it is the answer if no other option is named.
            let mut letters = standing_alone(text, count);
            letters.next().filter(|first| letters.all(|l| l == *first))
        })
    }
}

/// The letter of a match, unless it is a word: "A cat", "I think".
fn letter(text: &str, captures: &Captures) -> Option<char> {
    let found = captures.get(1)?;
    let letter = found.as_str().chars().next()?;
    (!is_word(letter, &text[found.end()..])).then_some(letter)
}

fn is_word(letter: char, after: &str) -> bool {
    const AFTER_OPTION: &[&str] = &["or", "and", "is", "because", "since"];
    let next = after.trim_start_matches(' ');
    let word = next.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default();
    let goes_on = next.len() < after.len() && !word.is_empty() && !AFTER_OPTION.contains(&word);
    matches!(letter, 'A' | 'I' | 'a' | 'i') && goes_on
}

/// Letters of options that are not part of a word or number.
fn standing_alone(text: &str, count: usize) -> impl Iterator<Item = char> {
    let bytes = text.as_bytes();
    let in_word = move |at: Option<usize>| at.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_alphanumeric);
    (0..bytes.len()).filter_map(move |at| {
        let letter = bytes[at];
        let is_option = letter.is_ascii_uppercase() && usize::from(letter - b'A') < count;
        let alone = is_option && !in_word(at.checked_sub(1)) && !in_word(Some(at + 1));
        (alone && !is_word(char::from(letter), &text[at + 1..])).then_some(char::from(letter))
    })
}
