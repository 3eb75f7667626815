//! Exact match and F1 of SQuAD (Rajpurkar et al. 2016, 2018), as the evaluation script of its version 2.0 has them. In 0..=1.

use super::tokens;
use std::collections::HashMap;

/// Words without case, ASCII punctuation, and the articles a, an, the.
fn normalized(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let text: String = text.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let mut out = String::with_capacity(text.len());
    // An article ends at what is no letter of a word, white space or not: Python's \b.
    for word in text.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let bare = word.trim_end_matches(|c: char| !c.is_alphanumeric());
        match bare {
            "a" | "an" | "the" => out.extend([" ", &word[bare.len()..]]),
            _ => out.push_str(word),
        }
    }
    tokens::words(&out).map(str::to_owned).collect()
}

pub fn exact(prediction: &str, answer: &str) -> bool {
    normalized(prediction) == normalized(answer)
}

/// F1 over the words in common; where one side has none, are both empty?
pub fn f1(prediction: &str, answer: &str) -> f64 {
    let (prediction, answer) = (normalized(prediction), normalized(answer));
    if prediction.is_empty() || answer.is_empty() {
        return f64::from(prediction == answer);
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    answer.iter().for_each(|word| *left.entry(word).or_default() += 1);
    let mut common = 0.0;
    for word in &prediction {
        if let Some(count) = left.get_mut(word.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            common += 1.0;
        }
    }
    harmonic(common, prediction.len(), answer.len())
}

/// The harmonic mean of `common` / `a` and `common` / `b`.
pub fn harmonic(common: f64, a: usize, b: usize) -> f64 {
    if common == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (common / a as f64, common / b as f64);
    2.0 * precision * recall / (precision + recall)
}
