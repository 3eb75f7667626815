//! Prefix hints on their way to a backend: what prompts have in common is told in bytes of text, and becomes tokens
//! here. It owns the ABI's promise that prompts with one id begin with the same tokens; it must not know who made
//! the plan.

use super::wire::{Failure, Prefix};

/// The prefix of the last prompts, in tokens.
#[derive(Default)]
pub struct Prefixes {
    /// As the controller counts them.
    theirs: u64,
    /// As the backend is told: a new one also where tokens join over the end of the common text.
    ours: u64,
    tokens: Vec<i32>,
}

impl Prefixes {
    /// `prefix_id` and `prefix_len` in tokens, of a prompt whose text `text` became `tokens`.
    pub fn hint(
        &mut self,
        prefix: Prefix,
        text: &str,
        tokens: &[i32],
        tokenize: impl FnOnce(&str) -> Result<Vec<i32>, Failure>,
    ) -> Result<(u64, u32), Failure> {
        if prefix.id == 0 {
            return Ok((0, 0));
        }
        if prefix.id != self.theirs {
            self.tokens = tokenize(text.get(..prefix.bytes).unwrap_or_default())?;
        }
        let common = self.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        if prefix.id != self.theirs || common < self.tokens.len() {
            self.theirs = prefix.id;
            self.ours += 1;
            self.tokens.truncate(common);
        }
        Ok((self.ours, common as u32))
    }

    /// The same where the backend gets what was counted: bytes of the text itself, or tokens.
    pub fn as_counted(&mut self, prefix: Prefix) -> (u64, u32) {
        if prefix.id == 0 {
            return (0, 0);
        }
        if prefix.id != self.theirs {
            self.theirs = prefix.id;
            self.ours += 1;
            self.tokens.clear();
        }
        (self.ours, u32::try_from(prefix.bytes).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of letters are one token.
    fn tokens(text: &str) -> Result<Vec<i32>, Failure> {
        Ok(text.as_bytes().chunks(2).map(|c| c.iter().fold(0, |sum, &b| sum * 256 + i32::from(b))).collect())
    }

    #[test]
    fn tokens_that_join_over_the_end_are_no_part_of_the_prefix() {
        let mut prefixes = Prefixes::default();
        let mut hint = |id, bytes, text: &str| {
            let all = tokens(text).ok().unwrap();
            prefixes.hint(Prefix { id, bytes }, text, &all, tokens).ok().unwrap()
        };
        assert_eq!(hint(0, 0, "abcdef"), (0, 0));
        assert_eq!(hint(7, 5, "abcdef"), (1, 2), "the fifth letter is half a token");
        assert_eq!(hint(7, 5, "abcdeg"), (1, 2));
        assert_eq!(hint(8, 4, "abcdxx"), (2, 2), "another prefix");
        assert_eq!(hint(8, 4, "abzzxx"), (3, 1), "what was told is not true of this one");
        assert_eq!(hint(8, 4, "abcdxx"), (3, 1));
        assert_eq!(hint(9, 400, "ab"), (4, 0));
    }
}
