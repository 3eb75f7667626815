//! Perplexities of whole texts, all of them together, as lm-eval defines them (`weighted_perplexity`, `bits_per_byte`), and
//! their divergence from an original, as llama-perplexity does (mean over tokens).

use crate::job::Metric;
use serde::Serialize;
use std::f64::consts::LN_2;

/// Log-likelihood, tokens, bytes, words, divergence, tokens with the same most likely one.
pub const WIDTH: usize = 6;

/// A scored text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Language {
    /// Log-likelihood of its tokens, natural.
    pub logprob: f64,
    pub tokens: u64,
    /// Of the text, in UTF-8.
    pub bytes: u64,
    /// Of the text, as lm-eval counts them.
    pub words: u64,
    /// Sum over its tokens of KL(original ‖ model), nats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
    /// Tokens where the most likely one is the original's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_top: Option<u64>,
}

/// Appends a record's sums; a text that could not be scored adds nothing.
pub fn push(text: Option<Language>, row: &mut Vec<f64>) {
    let Language { logprob, tokens, bytes, words, kl, same_top } = text.unwrap_or_default();
    row.extend([logprob, tokens as f64, bytes as f64, words as f64]);
    row.extend([kl.unwrap_or(0.0), same_top.unwrap_or(0) as f64]);
}

/// exp(−log-likelihood / units); bits per byte without the exponential, over ln 2.
pub fn value(metric: Metric, sums: &[f64]) -> Option<f64> {
    let &[logprob, tokens, bytes, words, kl, same_top] = sums else { return None };
    let nats_per = |units: f64| (tokens > 0.0 && units > 0.0).then(|| -logprob / units);
    match metric {
        Metric::Perplexity => nats_per(tokens).map(f64::exp),
        // Of a last word nothing else is scored.
        Metric::WordPerplexity | Metric::TargetPerplexity => nats_per(words).map(f64::exp),
        Metric::BytePerplexity => nats_per(bytes).map(f64::exp),
        Metric::BitsPerByte => nats_per(bytes).map(|nats| nats / LN_2),
        Metric::Kl => (tokens > 0.0).then(|| kl / tokens),
        Metric::SameTop => (tokens > 0.0).then(|| same_top / tokens),
        _ => None,
    }
}
