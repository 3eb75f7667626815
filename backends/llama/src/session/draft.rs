//! Speculative decoding: a small model guesses the tokens to come, and the large one looks at all guesses in one
//! evaluation (Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", 2023). Each token is still
//! picked from the large model's logits, so that guesses change the speed and nothing else. It owns the small model and
//! the guesses; it must not know requests or how tokens are picked.

use super::raw::{Batch, Context, Model};
use super::{Logits, SOLE, Session};
use crate::failure::Failure;
use crate::tokenizer::Tokenizer;
use edgebench_abi::EB_LOG_INFO;
use std::cmp::Ordering;

/// A model that guesses for another one.
pub struct Draft {
    // Fields are dropped in this order: what is used goes after what uses it.
    batch: Batch,
    context: Context,
    _model: Model,
    n_vocab: usize,
    /// The large model's tokens so far.
    tokens: Vec<i32>,
    /// What this model has in its cache: `tokens`, as far as it has followed, and guesses.
    cached: Vec<i32>,
    /// The last token and the guesses behind it, as the large model has evaluated them.
    line: Vec<i32>,
    /// How many of these guesses were right so far.
    right: usize,
    /// Guesses at a time.
    most: usize,
    /// A guess that this model itself finds less likely than that ends the guessing.
    least: f32,
    /// Guesses since it was loaded, and those of them that were right.
    total: (u64, u64),
}

/// Why `draft` cannot guess for `target`: the tokens of both must be the same.
pub fn misfit(target: &Tokenizer, draft: &Tokenizer) -> Option<String> {
    let (a, b) = (target.n_vocab(), draft.n_vocab());
    if a != b {
        return Some(format!("its vocabulary has {b} tokens, the model's {a}"));
    }
    let differs = (0..a as i32).find(|&token| target.written(token) != draft.written(token))?;
    Some(format!("its token {differs} is {:?}, the model's {:?}", draft.written(differs), target.written(differs)))
}

impl Draft {
    /// `most` guesses at a time, each with a probability of at least `least`.
    pub fn new(model: Model, context: Context, n_vocab: usize, most: usize, least: f32) -> Draft {
        let batch = Batch::new(context.n_batch());
        let (tokens, cached, line) = (Vec::new(), Vec::new(), Vec::with_capacity(most + 1));
        Draft { batch, context, _model: model, n_vocab, tokens, cached, line, right: 0, most, least, total: (0, 0) }
    }

    /// The large model has evaluated `prompt`, and nothing else.
    pub fn begin(&mut self, prompt: &[i32]) {
        self.tokens.clear();
        self.tokens.extend_from_slice(prompt);
        self.line.clear();
        self.count();
    }

    /// Adds the guesses that were right since the last call.
    fn count(&mut self) {
        self.total.1 += std::mem::take(&mut self.right) as u64;
    }

    /// Was `token` the next guess? Then gives the row of the logits behind it.
    fn row_behind(&mut self, token: i32) -> Option<i32> {
        let guess = self.line.get(1 + self.right)?;
        if *guess != token {
            return None;
        }
        self.right += 1;
        self.tokens.push(token);
        Some(self.right as i32)
    }

    /// Are there guesses that were not taken?
    fn is_wrong(&self) -> bool {
        1 + self.right < self.line.len()
    }

    /// `token` and up to `at_most` guesses of what comes after it, the most likely one each time.
    fn guess(&mut self, token: i32, at_most: usize) -> Result<(), Failure> {
        self.count();
        self.tokens.push(token);
        self.line.clear();
        self.line.push(token);
        let end = 1 + at_most.min(self.most);
        if end > 1 {
            self.follow()?;
        }
        while self.line.len() < end {
            let logits = self.context.logits(-1, self.n_vocab);
            let logits = logits.ok_or_else(|| Failure::internal("llama.cpp has no logits of the draft model"))?;
            let (guess, probability) = likeliest(logits);
            if probability < self.least {
                break;
            }
            self.line.push(guess);
            self.total.0 += 1;
            if self.line.len() < end {
                self.evaluate(&[guess])?;
            }
        }
        Ok(())
    }

    /// Brings the cache to `tokens`, with logits for the last of them.
    fn follow(&mut self) -> Result<(), Failure> {
        let tokens = std::mem::take(&mut self.tokens);
        let common = self.cached.iter().zip(&tokens).take_while(|(a, b)| a == b).count();
        // The last one is evaluated in any case, for its logits.
        let mut common = common.min(tokens.len().saturating_sub(1));
        if !self.context.remove_from(SOLE, common as i32) {
            self.context.clear();
            common = 0;
        }
        self.cached.truncate(common);
        let n_batch = self.context.n_batch();
        let result = tokens[common..].chunks(n_batch).try_for_each(|piece| self.evaluate(piece));
        self.tokens = tokens;
        result
    }

    fn evaluate(&mut self, tokens: &[i32]) -> Result<(), Failure> {
        self.batch.fill(tokens, self.cached.len() as i32, Logits::Last);
        let code = self.context.decode(&self.batch);
        if code == 0 {
            self.cached.extend_from_slice(tokens);
            return Ok(());
        }
        self.context.clear();
        self.cached.clear();
        Err(match code {
            2 => Failure::aborted(),
            _ => Failure::internal(format!("llama_decode of the draft model failed ({code}): see the log")),
        }
        .with_vendor_code(i64::from(code)))
    }
}

/// The most likely token and its probability.
fn likeliest(logits: &[f32]) -> (i32, f32) {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.partial_cmp(b.1).unwrap_or(Ordering::Equal));
    let Some((token, &highest)) = best else { return (0, 0.0) };
    let sum: f32 = logits.iter().map(|l| (l - highest).exp()).sum();
    (token as i32, 1.0 / sum)
}

impl Session {
    /// Goes on with `token` behind the `position` tokens that the sequence has; at most `left` more will be asked for. Gives
    /// the row of the logits of what comes next.
    ///
    /// # Errors
    /// As [`Session::evaluate`]; the sequence is empty then.
    pub fn go_on(&mut self, token: i32, position: usize, left: usize) -> Result<i32, Failure> {
        let Some(draft) = &mut self.draft else {
            self.evaluate(&[token], position, Logits::Last)?;
            return Ok(0);
        };
        if let Some(row) = draft.row_behind(token) {
            return Ok(row);
        }
        let wrong = draft.is_wrong();
        draft.guess(token, left.saturating_sub(1))?;
        let line = std::mem::take(&mut draft.line);
        if wrong {
            // Models that cannot take back what they have read have no draft.
            self.forget_from(position);
        }
        let result = self.evaluate(&line, position, Logits::All);
        if let Some(draft) = &mut self.draft {
            draft.line = line;
        }
        result.map(|()| 0)
    }

    /// Tells how good the guesses were.
    pub fn say_guesses(&self) {
        let Some(draft) = &self.draft else { return };
        let (made, right) = (draft.total.0, draft.total.1 + draft.right as u64);
        self.say(EB_LOG_INFO, &format!("draft: {right} of {made} guessed tokens were right"));
    }
}
