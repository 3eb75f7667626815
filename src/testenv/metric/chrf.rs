//! chrF2 (Popović 2015) as sacreBLEU 2 defines it: character n-grams up to 6 without white space, β = 2, corpus level; of
//! several references the one with the best score for its record. In 0..=100.

use super::{ngrams, tokens};

const ORDER: usize = 6;
const BETA2: f64 = 4.0;
/// By order: n-grams of the outputs, of the references, in common.
pub const WIDTH: usize = 3 * ORDER;
/// Six characters of 21 bits fit into 128.
const CHAR_BITS: usize = 21;

/// Appends a record's sums.
pub fn push(output: &str, references: &[String], row: &mut Vec<f64>) {
    let output = grams(output);
    let sums = references.iter().map(|reference| compared(&output, &grams(reference)));
    // Of equals the first.
    let best = sums.map(|s| (value(&s), s)).reduce(|best, next| if next.0 > best.0 { next } else { best });
    row.extend(best.map_or([0.0; WIDTH], |(_, sums)| sums));
}

fn grams(text: &str) -> [Vec<u128>; ORDER] {
    let chars: Vec<u32> = text.chars().filter(|c| !tokens::is_space(*c)).map(u32::from).collect();
    std::array::from_fn(|i| ngrams::sorted(&chars, i + 1, CHAR_BITS))
}

fn compared(output: &[Vec<u128>; ORDER], reference: &[Vec<u128>; ORDER]) -> [f64; WIDTH] {
    let mut sums = [0.0; WIDTH];
    for ((sums, output), reference) in sums.chunks_exact_mut(3).zip(output).zip(reference) {
        // Where the reference has none, those of the output do not count.
        let of_output = if reference.is_empty() { 0 } else { output.len() };
        let counts = [of_output, reference.len(), ngrams::in_common(output, reference)];
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum = count as f64);
    }
    sums
}

/// (1 + β²) P R / (β² P + R) of the mean precision and recall over the orders that both sides have, from sums.
pub fn value(sums: &[f64]) -> Option<f64> {
    let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
    for counts in sums.chunks_exact(3).filter(|c| c[0] > 0.0 && c[1] > 0.0) {
        precision += counts[2] / counts[0];
        recall += counts[2] / counts[1];
        orders += 1.0;
    }
    if precision + recall == 0.0 {
        return Some(0.0);
    }
    let (p, r) = (precision / orders, recall / orders);
    Some(100.0 * (1.0 + BETA2) * p * r / (BETA2 * p + r))
}
