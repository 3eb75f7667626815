//! Regular expressions about the letter of an option, compiled when a number of options first comes up. It must not
//! know what the expressions are.

use regex_lite::Regex;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

/// Most options: A to Z.
const MAX: usize = 26;

/// One expression, tried only where one of its words is in the text: regex-lite is small and not fast.
pub struct Pattern {
    /// None: it is always tried.
    pub words: &'static [&'static str],
    /// `#` stands for the class of the options' letters.
    pub source: &'static str,
}

/// A list of expressions, in order.
pub struct Patterns {
    list: &'static [Pattern],
    compiled: [OnceCell<Vec<Regex>>; MAX + 1],
    /// What is replaced in each source beside `#`.
    spelled: &'static [(&'static str, &'static str)],
}

impl Patterns {
    pub fn new(list: &'static [Pattern], spelled: &'static [(&'static str, &'static str)]) -> Patterns {
        Patterns { list, compiled: [const { OnceCell::new() }; MAX + 1], spelled }
    }

    /// The expressions for options A to the `count`-th letter whose words are in `text`, with their place in the list.
    pub fn fitting<'p>(&'p self, text: &'p str, count: usize) -> impl Iterator<Item = (usize, &'p Regex)> {
        let count = count.clamp(1, MAX);
        let regexes = self.compiled[count].get_or_init(|| {
            let letters = format!("[A-{}]", char::from(b'A' + count as u8 - 1));
            self.list.iter().map(|p| self.compile(p.source, &letters)).collect()
        });
        let wanted = |p: &Pattern| p.words.is_empty() || p.words.iter().any(|word| text.contains(word));
        self.list.iter().zip(regexes).enumerate().filter(move |(_, (p, _))| wanted(p)).map(|(i, (_, r))| (i, r))
    }

    fn compile(&self, source: &str, letters: &str) -> Regex {
        let source = self.spelled.iter().fold(source.to_owned(), |s, (from, to)| s.replace(from, to));
        // The sources are our own; a test compiles all of them.
        Regex::new(&format!("(?s){}", source.replace('#', letters))).expect("a pattern of the list")
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Patterns({})", self.list.len())
    }
}

/// Full-width letters, digits and punctuation as ASCII, and the wide blank as a blank.
pub fn folded(text: &str) -> Cow<'_, str> {
    let fold = |c| match c {
        '！'..='～' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        '\u{3000}' | '\u{a0}' => ' ',
        other => other,
    };
    if text.chars().all(|c| fold(c) == c) { text.into() } else { text.chars().map(fold).collect::<String>().into() }
}
