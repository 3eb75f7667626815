//! ROUGE-L (Lin 2004): F1 over the longest common subsequence, as the package rouge-score defines it (no stemmer, the whole
//! text as one sentence). In 0..=1.

use super::squad::harmonic;
use std::collections::HashMap;

/// Over words of a–z and 0–9, lower case, as rouge-score's own tokenizer cuts them.
pub fn words(prediction: &str, answer: &str) -> f64 {
    let cut = |text: &str| -> Vec<String> {
        let text = text.to_lowercase();
        let words = text.split(|c: char| !matches!(c, 'a'..='z' | '0'..='9')).filter(|w| !w.is_empty());
        words.map(str::to_owned).collect()
    };
    f1(&cut(prediction), &cut(answer))
}

/// Over characters, for Chinese: each letter or digit beyond ASCII is a token, and each word of ASCII.
pub fn characters(prediction: &str, answer: &str) -> f64 {
    let cut = |text: &str| -> Vec<String> {
        let mut tokens: Vec<String> = Vec::new();
        let mut in_word = false;
        for c in text.to_lowercase().chars() {
            let letter = c.is_alphanumeric();
            match tokens.last_mut() {
                Some(word) if in_word && letter && c.is_ascii() => word.push(c),
                _ if letter => tokens.push(c.to_string()),
                _ => {}
            }
            in_word = letter && c.is_ascii();
        }
        tokens
    };
    f1(&cut(prediction), &cut(answer))
}

fn f1(prediction: &[String], answer: &[String]) -> f64 {
    harmonic(common_subsequence(prediction, answer) as f64, prediction.len(), answer.len())
}

/// Length of the longest common subsequence, 64 steps of the usual table at once: a zero of `line` is a place of `a` where the
/// table grows by one (Hyyrö 2004).
fn common_subsequence(a: &[String], b: &[String]) -> usize {
    let blocks = a.len().div_ceil(64);
    let mut places: HashMap<&str, Vec<u64>> = HashMap::new();
    for (i, token) in a.iter().enumerate() {
        places.entry(token).or_insert_with(|| vec![0; blocks])[i / 64] |= 1 << (i % 64);
    }
    let mut line = vec![u64::MAX; blocks];
    for matches in b.iter().filter_map(|token| places.get(token.as_str())) {
        let mut carry = false;
        for (bits, matching) in line.iter_mut().zip(matches) {
            let grown = *bits & matching;
            let (sum, first) = bits.overflowing_add(grown);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            carry = first || second;
            *bits = sum | (*bits & !matching);
        }
    }
    let zeros = |(i, bits): (usize, &u64)| (!bits & mask(a.len() - 64 * i)).count_ones() as usize;
    line.iter().enumerate().map(zeros).sum()
}

/// The lowest `n` bits.
fn mask(n: usize) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_subsequence_is_that_of_the_usual_table(a in "[a-d]{0,150}", b in "[a-d]{0,150}") {
            let cut = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
            let (a, b) = (cut(&a), cut(&b));
            let mut table = vec![vec![0usize; b.len() + 1]; a.len() + 1];
            for i in 0..a.len() {
                for j in 0..b.len() {
                    table[i + 1][j + 1] =
                        if a[i] == b[j] { table[i][j] + 1 } else { table[i][j + 1].max(table[i + 1][j]) };
                }
            }
            prop_assert_eq!(common_subsequence(&a, &b), table[a.len()][b.len()]);
        }
    }
}
