//! Text to tokens and back, and the model's chat template, through llama.cpp's vocabulary.
//! It checks everything that llama.cpp would throw or abort on: token numbers, lengths, encodings.
//! It must not know contexts, requests or the C boundary.

use crate::failure::Failure;
use crate::probe::text;
use crate::session::Model;
use edgebench_plugin::request::in_vocabulary;
use llama_cpp_sys_2 as sys;
use std::ffi::c_char;
use std::ptr::{NonNull, null};

/// The vocabulary of an open model. It must not outlive the model: both live in the session.
pub struct Tokenizer {
    vocab: NonNull<sys::llama_vocab>,
    n_vocab: usize,
    /// The model's template as llama.cpp hands it out, if it has one.
    template: String,
    bos_text: String,
    eos_text: String,
}

impl Tokenizer {
    /// The vocabulary of `model`.
    ///
    /// # Errors
    /// `EB_ERR_UNSUPPORTED` if there is no tokenizer in the file.
    pub fn new(model: &Model) -> Result<Tokenizer, Failure> {
        // SAFETY: the model is alive; the vocabulary belongs to it.
        let (vocab, kind, n_vocab, template) = unsafe {
            let vocab = sys::llama_model_get_vocab(model.as_ptr()).cast_mut();
            let template = text(sys::llama_model_chat_template(model.as_ptr(), null()));
            (vocab, sys::llama_vocab_type(vocab), sys::llama_vocab_n_tokens(vocab), template)
        };
        let vocab = NonNull::new(vocab).ok_or_else(|| Failure::internal("llama.cpp has no vocabulary"))?;
        if kind == sys::LLAMA_VOCAB_TYPE_NONE {
            return Err(Failure::unsupported("the model file holds no tokenizer: convert the model together with it"));
        }
        let n_vocab = usize::try_from(n_vocab).unwrap_or(0);
        let mut tokenizer = Tokenizer { vocab, n_vocab, template, bos_text: String::new(), eos_text: String::new() };
        let (bos, eos) = tokenizer.bos_eos();
        (tokenizer.bos_text, tokenizer.eos_text) = (tokenizer.written(bos), tokenizer.written(eos));
        Ok(tokenizer)
    }

    /// Entries of the vocabulary.
    pub fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    /// The chat template, or empty.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// How BOS and EOS are written in text; empty where there is none.
    pub fn bos_eos_text(&self) -> (&str, &str) {
        (&self.bos_text, &self.eos_text)
    }

    /// A token as the vocabulary spells it.
    pub fn written(&self, token: i32) -> String {
        if self.check(&[token]).is_err() {
            return String::new();
        }
        // SAFETY: the vocabulary is alive and has this token; its text lives as long.
        unsafe { text(sys::llama_vocab_get_text(self.vocab.as_ptr(), token)) }
    }

    /// Beginning-of-sequence and end-of-sequence tokens, -1 where there is none.
    pub fn bos_eos(&self) -> (i32, i32) {
        // SAFETY: the vocabulary is alive.
        unsafe { (sys::llama_vocab_bos(self.vocab.as_ptr()), sys::llama_vocab_eos(self.vocab.as_ptr())) }
    }

    /// Does `token` end the model's answer?
    pub fn ends(&self, token: i32) -> bool {
        // SAFETY: the vocabulary is alive; the token came from it.
        unsafe { sys::llama_vocab_is_eog(self.vocab.as_ptr(), token) }
    }

    /// Refuses numbers that are not in the vocabulary.
    ///
    /// # Errors
    /// `EB_ERR_INVALID`.
    pub fn check(&self, tokens: &[i32]) -> Result<(), Failure> {
        in_vocabulary(tokens, self.n_vocab)
    }

    /// Writes the tokens of `text` to `out` and returns how many there are; if that is more than `out` holds, its
    /// content is undefined.
    ///
    /// # Errors
    /// `EB_ERR_INVALID` for text that is not UTF-8 or longer than 2 GiB.
    pub fn tokenize(&self, text: &[u8], special: bool, parse: bool, out: &mut [i32]) -> Result<usize, Failure> {
        let text = std::str::from_utf8(text)
            .map_err(|e| Failure::invalid(format!("the text is not UTF-8 at byte {}", e.valid_up_to())))?;
        let too_long = || Failure::invalid("the text is too long: llama.cpp takes 2 GiB");
        let len = i32::try_from(text.len()).map_err(|_| too_long())?;
        let room = i32::try_from(out.len()).unwrap_or(i32::MAX);
        // SAFETY: both buffers have the lengths that are passed.
        let n = unsafe {
            sys::llama_tokenize(self.vocab.as_ptr(), text.as_ptr().cast(), len, out.as_mut_ptr(), room, special, parse)
        };
        if n == i32::MIN {
            return Err(too_long());
        }
        Ok(n.unsigned_abs() as usize)
    }

    /// The tokens of a request's text.
    ///
    /// # Errors
    /// As [`Tokenizer::tokenize`].
    pub fn prompt(&self, text: &[u8], parse: bool) -> Result<Vec<i32>, Failure> {
        // A token is rarely shorter than a byte: one pass nearly always.
        let mut tokens = vec![0; text.len() + 8];
        let n = self.tokenize(text, true, parse, &mut tokens)?;
        if n > tokens.len() {
            tokens.resize(n, 0);
            self.tokenize(text, true, parse, &mut tokens)?;
        }
        tokens.truncate(n);
        Ok(tokens)
    }

    /// Writes the text of `tokens` to `out` and returns its length in bytes; if that is more than `out` holds, its
    /// content is undefined. Control tokens are nothing.
    ///
    /// # Errors
    /// `EB_ERR_INVALID` for tokens outside the vocabulary.
    pub fn detokenize(&self, tokens: &[i32], out: &mut [u8]) -> Result<usize, Failure> {
        self.check(tokens)?;
        let n = i32::try_from(tokens.len()).map_err(|_| Failure::invalid("too many tokens"))?;
        let room = i32::try_from(out.len()).unwrap_or(i32::MAX);
        // SAFETY: both buffers have the lengths that are passed, and the tokens are in the vocabulary.
        let written = unsafe {
            sys::llama_detokenize(
                self.vocab.as_ptr(),
                tokens.as_ptr(),
                n,
                out.as_mut_ptr().cast::<c_char>(),
                room,
                false,
                false,
            )
        };
        Ok(written.unsigned_abs() as usize)
    }

    /// The bytes of one token, in `buffer`, which grows when needed. The token must be in the vocabulary.
    pub fn piece<'a>(&self, token: i32, buffer: &'a mut Vec<u8>) -> &'a [u8] {
        debug_assert!(self.check(&[token]).is_ok());
        if buffer.is_empty() {
            buffer.resize(256, 0);
        }
        loop {
            // SAFETY: the buffer has the length that is passed, and the token is in the vocabulary.
            let n = unsafe {
                sys::llama_token_to_piece(
                    self.vocab.as_ptr(),
                    token,
                    buffer.as_mut_ptr().cast(),
                    buffer.len() as i32,
                    0,
                    false,
                )
            };
            match usize::try_from(n) {
                Ok(n) => return &buffer[..n],
                Err(_) => buffer.resize(n.unsigned_abs() as usize, 0),
            }
        }
    }
}
