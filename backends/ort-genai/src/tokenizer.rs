//! Text to tokens and back through the vendor's tokenizer, one token at a time where text is streamed.
//! It checks what that library would mistake: token numbers, encodings, NULs, control tokens written in plain text.
//! It must not know generators, requests or the C boundary.

use crate::failure::Failure;
use crate::genai::{Api, Object, Outcome};
use crate::model::Folder;
use edgebench_plugin::request::in_vocabulary;
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::CString;

/// What the library writes in place of bytes that are no UTF-8, then dropping all that follows.
const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();
/// A character has four bytes at most, and a token one byte at least: with more tokens, the first is no part of one.
const LONGEST: usize = 4;

/// The tokenizer of an open model.
pub struct Tokenizer {
    api: &'static Api,
    tokenizer: Object,
    n_vocab: usize,
    /// As the library is set now.
    adds_special: Cell<Option<bool>>,
    special: Vec<String>,
    control: HashSet<i32>,
    ends: Vec<i32>,
}

impl Tokenizer {
    /// # Errors
    /// The library's text if there is no tokenizer that it knows.
    pub fn new(api: &'static Api, model: &Object, folder: &Folder) -> Outcome<Tokenizer> {
        Ok(Tokenizer {
            api,
            tokenizer: api.tokenizer(model)?,
            n_vocab: folder.n_vocab,
            adds_special: Cell::new(None),
            special: folder.special_tokens.clone(),
            control: folder.control.iter().copied().collect(),
            ends: folder.eos.clone(),
        })
    }

    /// Does `token` end the model's answer?
    pub fn ends(&self, token: i32) -> bool {
        self.ends.contains(&token)
    }

    /// Refuses numbers that are not in the vocabulary.
    ///
    /// # Errors
    /// `EB_ERR_INVALID`.
    pub fn check(&self, tokens: &[i32]) -> Result<(), Failure> {
        in_vocabulary(tokens, self.n_vocab)
    }

    /// Tokens of `text`. `special`: with BOS and EOS as the model wants them; `parse`: control tokens in it count.
    ///
    /// # Errors
    /// `EB_ERR_INVALID` for text that is not UTF-8 or holds a NUL.
    pub fn encode(&self, text: &[u8], special: bool, parse: bool) -> Result<Vec<i32>, Failure> {
        let text = std::str::from_utf8(text)
            .map_err(|e| Failure::invalid(format!("the text is not UTF-8 at byte {}", e.valid_up_to())))?;
        let mut tokens = Vec::with_capacity(text.len() / 3 + 8);
        let mut special = special;
        for piece in pieces(text, if parse { &[] } else { &self.special }) {
            let c_text = CString::new(piece).map_err(|e| {
                Failure::invalid(format!("a NUL at byte {}: GenAI's tokenizer cannot take it", e.nul_position()))
            })?;
            self.set_adds_special(special)?;
            self.api.encode(&self.tokenizer, &c_text, &mut tokens).map_err(Failure::internal)?;
            // BOS stands before the first piece only.
            special = false;
        }
        Ok(tokens)
    }

    fn set_adds_special(&self, on: bool) -> Result<(), Failure> {
        if self.adds_special.get() != Some(on) {
            let option = c"add_special_tokens";
            self.api.set_tokenizer_option(&self.tokenizer, option, on).map_err(Failure::internal)?;
            self.adds_special.set(Some(on));
        }
        Ok(())
    }

    /// The text of `tokens`; control tokens are nothing, and what is not UTF-8 is U+FFFD.
    ///
    /// # Errors
    /// `EB_ERR_INVALID` for tokens outside the vocabulary.
    pub fn decode(&self, tokens: &[i32]) -> Result<Vec<u8>, Failure> {
        self.check(tokens)?;
        let text = self.raw(tokens)?;
        // The library gives up at the first byte that is not UTF-8.
        if !text.ends_with(REPLACEMENT) {
            return Ok(text);
        }
        let mut out = Vec::with_capacity(text.len());
        let mut stream = Stream::default();
        for (i, &token) in tokens.iter().enumerate() {
            stream.push(self, token, i + 1 == tokens.len())?;
            out.extend_from_slice(stream.text());
        }
        Ok(out)
    }

    /// Control tokens are left out here: the library writes some of them as U+FFFD.
    fn raw(&self, tokens: &[i32]) -> Result<Vec<u8>, Failure> {
        let plain: Cow<[i32]> = match tokens.iter().any(|t| self.control.contains(t)) {
            true => tokens.iter().copied().filter(|t| !self.control.contains(t)).collect(),
            false => tokens.into(),
        };
        if plain.is_empty() {
            return Ok(Vec::new());
        }
        let text = self.api.decode(&self.tokenizer, &plain).map_err(Failure::internal)?;
        Ok(text.bytes().to_vec())
    }
}

/// Cuts `text` inside each of `avoid`, after its first character, so that the library does not see it.
fn pieces<'a>(text: &'a str, avoid: &[String]) -> Vec<&'a str> {
    let mut cuts: Vec<usize> = Vec::new();
    for word in avoid {
        let first = word.chars().next().map_or(0, char::len_utf8);
        if first < word.len() {
            cuts.extend(text.match_indices(word.as_str()).map(|(at, _)| at + first));
        }
    }
    cuts.sort_unstable();
    cuts.dedup();
    let ends = cuts.iter().copied().chain([text.len()]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    starts.zip(ends).map(|(start, end)| &text[start..end]).collect()
}

/// Text that comes token by token. Bytes of a character that is not complete wait for the rest of it.
#[derive(Default)]
pub struct Stream {
    /// A token whose text has been handed out (some tokenizers strip a space at the start), and those that wait.
    window: Vec<i32>,
    /// Whether `window` starts with such a token.
    anchored: bool,
    /// Bytes of the window's text that have been handed out.
    shown: usize,
    text: Vec<u8>,
}

impl Stream {
    /// A stream that goes on after `tokens`.
    ///
    /// # Errors
    /// `EB_ERR_INTERNAL`.
    pub fn after(tokenizer: &Tokenizer, tokens: &[i32]) -> Result<Stream, Failure> {
        let mut stream = Stream::default();
        if let Some(&last) = tokens.last() {
            stream.anchor(tokenizer, last)?;
        }
        Ok(stream)
    }

    /// Starts the window at `token`, if it is text of its own.
    fn anchor(&mut self, tokenizer: &Tokenizer, token: i32) -> Result<(), Failure> {
        let text = tokenizer.raw(&[token])?;
        self.window.clear();
        self.anchored = !text.is_empty() && !text.ends_with(REPLACEMENT);
        self.shown = 0;
        if self.anchored {
            self.window.push(token);
            self.shown = text.len();
        }
        Ok(())
    }

    /// Adds a token, which must be in the vocabulary; [`Stream::text`] is what it adds to the text. Nothing waits
    /// after the `last` one.
    ///
    /// # Errors
    /// `EB_ERR_INTERNAL`.
    pub fn push(&mut self, tokenizer: &Tokenizer, token: i32, last: bool) -> Result<(), Failure> {
        self.text.clear();
        // A control token in the middle is nothing; the window stays, so that the next token keeps its space.
        if tokenizer.control.contains(&token) && !last {
            return Ok(());
        }
        self.window.push(token);
        loop {
            let text = tokenizer.raw(&self.window)?;
            if !text.ends_with(REPLACEMENT) {
                self.text.extend_from_slice(text.get(self.shown..).unwrap_or_default());
                return self.anchor(tokenizer, token);
            }
            let waiting = self.window.len() - usize::from(self.anchored);
            if waiting < LONGEST && !last {
                return Ok(());
            }
            // The first of those that wait will never be complete. At the end, nor will those behind it, unless they
            // are text again.
            let from = usize::from(self.anchored);
            let mut end = from + 1;
            while last && end < self.window.len() && tokenizer.raw(&self.window[end..])?.ends_with(REPLACEMENT) {
                end += 1;
            }
            let lost = tokenizer.raw(&self.window[..end])?;
            self.text.extend_from_slice(lost.get(self.shown..).unwrap_or_default());
            self.window.drain(..end);
            (self.anchored, self.shown) = (false, 0);
            if self.window.is_empty() {
                return Ok(());
            }
        }
    }

    /// Text of the token that was added last, with what had been waiting for it.
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_inside_control_tokens_only() {
        let avoid = ["<s>".to_owned(), "</s>".to_owned(), "x".to_owned()];
        assert_eq!(pieces("a <s>b</s>x", &avoid), ["a <", "s>b<", "/s>x"]);
        assert_eq!(pieces("plain", &avoid), ["plain"]);
        assert_eq!(pieces("", &avoid), [""]);
        assert_eq!(pieces("<s><s>", &avoid), ["<", "s><", "s>"]);
        assert_eq!(pieces("<s>", &[]), ["<s>"]);
    }
}
