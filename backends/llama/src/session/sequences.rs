//! Several sequences in one cache: what a session offers to those that run requests together. It must not know
//! requests or who is next.

use super::{Logits, SOLE, Session};
use crate::failure::Failure;

impl Session {
    /// Begins a batch of tokens of several sequences.
    pub fn clear_batch(&mut self) {
        self.batch.clear();
    }

    /// How many more tokens the batch takes.
    pub fn room(&self) -> usize {
        self.batch.room()
    }

    /// Tokens of the batch so far.
    pub fn batched(&self) -> usize {
        self.batch.len()
    }

    /// Adds tokens of `sequence`, from 1, behind the `position` tokens that it has. Gives the row of the last one's logits,
    /// if they are `wanted`.
    pub fn add(&mut self, sequence: i32, tokens: &[i32], position: usize, wanted: bool) -> Option<i32> {
        self.batch.add(sequence, tokens, position as i32, if wanted { Logits::Last } else { Logits::None });
        wanted.then(|| self.batch.len() as i32 - 1)
    }

    /// Evaluates the batch.
    ///
    /// # Errors
    /// As [`Session::evaluate`]; all sequences are empty then.
    pub fn evaluate_batch(&mut self) -> Result<(), Failure> {
        if self.is_aborted() {
            self.forget();
            return Err(Failure::aborted());
        }
        self.decode(0)
    }

    /// Ends `sequence`.
    pub fn end(&mut self, sequence: i32) {
        self.context.remove_from(sequence, 0);
    }

    /// What the prompts with the prefix `id` begin with, as far as it is kept.
    pub fn kept(&self, id: u64) -> &[i32] {
        if id != 0 && self.kept.id == id { &self.kept.tokens } else { &[] }
    }

    /// Tokens that are kept, for whatever prefix.
    pub fn n_kept(&self) -> usize {
        if self.kept.id == 0 { 0 } else { self.kept.tokens.len() }
    }

    /// Keeps `tokens` for the prompts that begin with them, evaluated apart from any other sequence; those that share what
    /// was kept before go on with it.
    ///
    /// # Errors
    /// As [`Session::evaluate`]; all sequences are empty then.
    pub fn keep(&mut self, tokens: &[i32], id: u64) -> Result<(), Failure> {
        self.drop_kept();
        for (i, piece) in tokens.chunks(self.shape.n_batch).enumerate() {
            self.evaluate(piece, i * self.shape.n_batch, Logits::None)?;
        }
        self.kept.id = id;
        self.kept.tokens.clear();
        self.kept.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// Keeps nothing any more.
    pub fn drop_kept(&mut self) {
        self.kept.id = 0;
        self.end(SOLE);
    }

    /// Begins `sequence` with the first `n` tokens of what is kept.
    pub fn share_kept(&mut self, sequence: i32, n: usize) {
        if n > 0 {
            self.context.share(SOLE, sequence, n as i32);
        }
    }
}
