//! BLEU (Papineni et al. 2002) as sacreBLEU 2 defines it (Post 2018): corpus level, n-grams up to 4, exponential smoothing
//! (method 3 of Chen & Cherry 2014), the closest reference's length; signature `case:mixed|eff:no|tok:13a|smooth:exp`, or
//! `tok:zh`. In 0..=100.

use super::{ngrams, tokens};
use std::collections::HashMap;

const ORDER: usize = 4;
/// Length of the outputs, length of the references, then by order the n-grams in common and those of the outputs.
pub const WIDTH: usize = 2 + 2 * ORDER;

/// How a text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokenizer {
    /// sacreBLEU's `13a`.
    Western,
    /// sacreBLEU's `zh`.
    Chinese,
}

/// Appends a record's sums.
pub fn push(output: &str, references: &[String], tokenizer: Tokenizer, row: &mut Vec<f64>) {
    let cut = match tokenizer {
        Tokenizer::Western => tokens::western,
        Tokenizer::Chinese => tokens::chinese,
    };
    let texts: Vec<String> = std::iter::once(output).chain(references.iter().map(String::as_str)).map(cut).collect();
    let mut ids: HashMap<&str, u32> = HashMap::new();
    let mut numbered = |text| {
        let mut id = |word| {
            let next = ids.len() as u32;
            *ids.entry(word).or_insert(next)
        };
        tokens::words(text).map(&mut id).collect::<Vec<u32>>()
    };
    let numbered: Vec<Vec<u32>> = texts.iter().map(|text| numbered(text.as_str())).collect();
    let (output, references) = (&numbered[0], &numbered[1..]);
    let closest = references.iter().map(Vec::len).min_by_key(|length| (length.abs_diff(output.len()), *length));
    row.push(output.len() as f64);
    row.push(closest.unwrap_or(0) as f64);
    let (mut common, mut total) = ([0.0; ORDER], [0.0; ORDER]);
    for n in 1..=ORDER {
        let grams = ngrams::sorted(output, n, 32);
        let all = references.iter().map(|r| ngrams::sorted(r, n, 32)).reduce(|a, b| ngrams::union(&a, &b));
        common[n - 1] = ngrams::in_common(&grams, &all.unwrap_or_default()) as f64;
        total[n - 1] = grams.len() as f64;
    }
    row.extend(common);
    row.extend(total);
}

/// BP · exp(Σ log p_n / 4), from sums.
pub fn value(sums: &[f64]) -> Option<f64> {
    let [output, reference, counts @ ..] = sums else { return None };
    let (common, total) = counts.split_at_checked(ORDER)?;
    if common.iter().all(|c| *c == 0.0) || total.contains(&0.0) {
        return Some(0.0);
    }
    let brevity = if output < reference { (1.0 - reference / output).exp() } else { 1.0 };
    let mut smoothed = 1.0;
    let precision = |(common, total): (&f64, &f64)| {
        if *common > 0.0 {
            return 100.0 * common / total;
        }
        smoothed *= 2.0;
        100.0 / (smoothed * total)
    };
    let logs: f64 = common.iter().zip(total).map(precision).map(f64::ln).sum();
    Some(brevity * (logs / ORDER as f64).exp())
}
