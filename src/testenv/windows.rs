//! How a text of many tokens is cut into windows that fit a model's context, and what is counted of it: rolling
//! windows as lm-eval has them, or those of llama-perplexity. It must not know how windows are scored.

/// Tokens that are there, and tokens after them whose log-likelihood is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Never empty.
    pub context: Vec<i32>,
    /// Never empty.
    pub scored: Vec<i32>,
}

impl Window {
    /// Tokens that a model evaluates for it: the last one is only predicted.
    pub fn evaluated(&self) -> usize {
        self.context.len() + self.scored.len() - 1
    }
}

/// lm-eval's `get_rolling_token_windows` and `make_disjoint_window` with `context_len = size − stride + 1`: every
/// token is scored once. The first window is whole, each later one scores `stride` new tokens; a window's input is
/// `size` tokens, so that the last one has as much context as fits. `prefix` (BOS) stands before the first token.
pub fn rolling(tokens: &[i32], prefix: i32, size: usize, stride: usize) -> Vec<Window> {
    let mut windows = Vec::new();
    let mut done = 0;
    while done < tokens.len() {
        let new = (tokens.len() - done).min(if done == 0 { size } else { stride.clamp(1, size) });
        let end = done + new;
        // The token before the first scored one is the context's last.
        let context = if done == 0 { vec![prefix] } else { tokens[(end - 1).saturating_sub(size)..done].to_vec() };
        windows.push(Window { context, scored: tokens[done..end].to_vec() });
        done = end;
    }
    windows
}

/// llama-perplexity without `--ppl-stride`: whole windows of `size` (at least 3) tokens only, the first token of each
/// replaced by `bos` if the model wants one, and what comes after the middle is scored, so that all have at least half
/// a window of context. What is left at the end is not looked at.
pub fn llama_cpp(tokens: &[i32], bos: Option<i32>, size: usize) -> Vec<Window> {
    let middle = size / 2 + 1;
    let window = |chunk: &[i32]| {
        let context = [&[bos.unwrap_or(chunk[0])], &chunk[1..middle]].concat();
        Window { context, scored: chunk[middle..].to_vec() }
    };
    tokens.chunks_exact(size.max(3)).map(window).collect()
}

/// Words as lm-eval counts them: `len(re.split(r"\s+", text))`, which counts one more than there are gaps.
pub fn words(text: &str) -> u64 {
    // Python's white space has four control characters that Unicode's has not.
    let is_space = |c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
    let mut gaps = 0;
    let mut before = false;
    for c in text.chars() {
        let space = is_space(c);
        gaps += u64::from(space && !before);
        before = space;
    }
    gaps + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Pairs = Vec<(Vec<i32>, Vec<i32>)>;

    fn tokens(n: i32) -> Vec<i32> {
        (1..=n).collect()
    }

    fn pairs(windows: Vec<Window>) -> Pairs {
        windows.into_iter().map(|w| (w.context, w.scored)).collect()
    }

    #[test]
    fn rolling_windows_are_those_of_lm_eval() {
        // list(map(make_disjoint_window, get_rolling_token_windows(list(range(1, 11)), 0, 4, 1)))
        let disjoint = pairs(rolling(&tokens(10), 0, 4, 4));
        assert_eq!(disjoint, [(vec![0], vec![1, 2, 3, 4]), (vec![4], vec![5, 6, 7, 8]), (vec![6, 7, 8], vec![9, 10])]);
        // … , 4, 3)
        let overlapping = pairs(rolling(&tokens(9), 0, 4, 2));
        assert_eq!(
            overlapping,
            [
                (vec![0], vec![1, 2, 3, 4]),
                (vec![2, 3, 4], vec![5, 6]),
                (vec![4, 5, 6], vec![7, 8]),
                (vec![5, 6, 7, 8], vec![9])
            ]
        );
        assert_eq!(pairs(rolling(&tokens(2), 0, 4, 4)), [(vec![0], vec![1, 2])]);
        assert!(rolling(&[], 0, 4, 4).is_empty());
    }

    #[test]
    fn llama_cpps_windows_score_the_second_half() {
        let windows = pairs(llama_cpp(&tokens(19), Some(0), 8));
        assert_eq!(
            windows,
            [(vec![0, 2, 3, 4, 5], vec![6, 7, 8]), (vec![0, 10, 11, 12, 13], vec![14, 15, 16])],
            "three tokens of eight, and the last three of the text are left out"
        );
        assert_eq!(pairs(llama_cpp(&tokens(4), None, 3)), [(vec![1, 2], vec![3])], "a model without BOS");
    }

    proptest! {
        #[test]
        fn rolling_windows_score_every_token_once_and_fit(n in 0i32..300, size in 2usize..40, stride in 1usize..40) {
            let windows = pairs(rolling(&tokens(n), 0, size, stride));
            let scored: Vec<i32> = windows.iter().flat_map(|(_, scored)| scored.clone()).collect();
            prop_assert_eq!(scored, tokens(n));
            for (context, scored) in &windows {
                prop_assert!(context.len() + scored.len() <= size + 1);
                prop_assert_eq!(context.last().unwrap() + 1, scored[0]);
            }
        }
    }

    #[test]
    fn words_are_counted_as_python_splits() {
        for (text, count) in [("", 1), ("a", 1), ("a b", 2), (" a  b\n", 4), ("a\u{3000}b\u{1c}c", 3), ("\n", 2)] {
            assert_eq!(words(text), count, "{text:?}");
        }
    }
}
