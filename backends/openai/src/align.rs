//! Where a context ends and a continuation begins among the tokens of a server, which are told as texts only.
//! It must not know HTTP.

use crate::answer::Answer;

/// Start of each token of an answer in `text`, the prompt, in bytes. What stands before it (BOS) starts at 0, what was made
/// after it at its end or behind.
///
/// # Errors
/// The tokens are not those of the text.
pub fn starts(answer: &Answer, text: &str) -> Result<Vec<usize>, String> {
    let joined: String = answer.tokens.iter().map(|t| t.text.as_str()).collect();
    if let Some(before) = joined.find(text) {
        let mut at = 0;
        let start = |length: usize| {
            let start = at;
            at += length;
            usize::saturating_sub(start, before)
        };
        return Ok(answer.tokens.iter().map(|t| t.text.len()).map(start).collect());
    }
    // Tokens that are parts of characters cannot be told as texts: then the server's own count, in characters.
    if answer.offsets.len() != answer.tokens.len() || answer.offsets.windows(2).any(|w| w[0] > w[1]) {
        return Err("the server's tokens are not those of the prompt".to_owned());
    }
    let shift = usize::from(joined.starts_with(' ') && !text.starts_with(' '));
    let bytes: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let byte = |&offset: &usize| bytes.get(offset.saturating_sub(shift)).copied().unwrap_or(text.len());
    Ok(answer.offsets.iter().map(byte).collect())
}

/// How many tokens belong to a context of `length` bytes: one that reaches over its end does not.
pub fn cut(starts: &[usize], length: usize) -> usize {
    match starts.iter().position(|&start| start >= length) {
        Some(0) | None => starts.len().min(starts.iter().filter(|&&s| s < length).count()),
        Some(at) if starts[at] == length => at,
        Some(at) => at - 1,
    }
}

/// How many tokens belong to a text of `length` bytes.
pub fn end(starts: &[usize], length: usize) -> usize {
    starts.iter().position(|&start| start >= length).unwrap_or(starts.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Token;

    fn answer(tokens: &[&str], offsets: &[usize]) -> Answer {
        let token = |text: &&str| Token { text: (*text).to_owned(), logprob: None, top: Vec::new() };
        Answer { tokens: tokens.iter().map(token).collect(), offsets: offsets.to_vec(), ..Answer::default() }
    }

    #[test]
    fn tokens_are_put_to_their_places_in_the_prompt() {
        let text = "a cat B";
        let found = starts(&answer(&["<s>", "a", " cat", " B", "\n"], &[]), text).unwrap();
        assert_eq!(found, [0, 0, 1, 5, 7]);
        assert_eq!((cut(&found, 5), end(&found, 7)), (3, 4));
        // A blank that a tokenizer puts before the text is not of it.
        assert_eq!(starts(&answer(&[" a", " cat", " B"], &[]), text).unwrap(), [0, 1, 5]);
        // A token reaches over the context's end: "a ca|t".
        assert_eq!(cut(&found, 4), 2);
        assert_eq!(cut(&[0], 1), 1, "no token of a continuation");
    }

    #[test]
    fn parts_of_characters_are_placed_by_the_servers_count() {
        // 你 in three tokens that are no text, then B; offsets as llama-cpp-python counts them.
        let text = "答:你B";
        let found = starts(&answer(&["答", ":", "", "", "", "B", "x"], &[0, 1, 2, 2, 2, 3, 4]), text).unwrap();
        assert_eq!(found, [0, 3, 4, 4, 4, 7, 8]);
        assert_eq!((cut(&found, 4), cut(&found, 7), end(&found, 8)), (2, 5, 6));
        assert!(starts(&answer(&["other"], &[]), text).is_err());
    }
}
