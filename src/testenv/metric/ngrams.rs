//! N-grams as numbers, in order, so that multisets of them are compared in one pass. It must not know what a token is.

/// The n-grams of `tokens`, sorted. Each token must fit into `bits` bits, and `n` of them into 128.
pub fn sorted(tokens: &[u32], n: usize, bits: usize) -> Vec<u128> {
    let packed = |gram: &[u32]| gram.iter().fold(0u128, |packed, token| packed << bits | u128::from(*token));
    let mut grams: Vec<u128> = tokens.windows(n).map(packed).collect();
    grams.sort_unstable();
    grams
}

/// How many the multisets have in common.
pub fn in_common(a: &[u128], b: &[u128]) -> usize {
    let (mut i, mut j, mut common) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        common += usize::from(a[i] == b[j]);
        let (behind, ahead) = (a[i] <= b[j], b[j] <= a[i]);
        i += usize::from(behind);
        j += usize::from(ahead);
    }
    common
}

/// The union of multisets: each element as often as in the one that has more of it.
pub fn union(a: &[u128], b: &[u128]) -> Vec<u128> {
    let (mut i, mut j, mut all) = (0, 0, Vec::with_capacity(a.len() + b.len()));
    while i < a.len() && j < b.len() {
        all.push(a[i].min(b[j]));
        let (behind, ahead) = (a[i] <= b[j], b[j] <= a[i]);
        i += usize::from(behind);
        j += usize::from(ahead);
    }
    all.extend_from_slice(&a[i..]);
    all.extend_from_slice(&b[j..]);
    all
}
