//! Which matrices ggml copies into another layout when it loads them, so that they are in memory twice where the file is
//! mapped. Constant tables of `ggml/src/ggml-cpu/repack.cpp` (ggml_repack_get_optimal_repack_type).
//! It must not know sessions or this machine's memory.

use crate::gguf::Gguf;

/// What is copied, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repacked {
    pub matrices: u64,
    /// The embedding, where it also is the output: a copy for the output, beside the table for look-ups.
    pub embedding: u64,
}

impl Repacked {
    pub fn total(self) -> u64 {
        self.matrices.saturating_add(self.embedding)
    }
}

/// Of `model`, on this processor, by the best build of llama.cpp for it.
pub fn bytes(model: &Gguf) -> Repacked {
    of(model, &kinds())
}

fn of(model: &Gguf, kinds: &[u32]) -> Repacked {
    let copied = model.matrices.iter().filter(|(kind, _)| kinds.contains(kind));
    let matrices = copied.fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    let (kind, bytes) = model.embedding;
    let embedding = if !model.has_output && kinds.contains(&kind) { bytes } else { 0 };
    Repacked { matrices, embedding }
}

/// `ggml_type`s that are copied here: q4_0 2, q8_0 8, q2_K 10, q4_K 12, q5_K 13, q6_K 14, iq4_nl 20, mxfp4 39.
#[cfg(target_arch = "x86_64")]
fn kinds() -> Vec<u32> {
    // The build decides, and the build for this processor uses what it has. Only q2_K waits for AVX-512.
    if is_x86_feature_detected!("avx2") { vec![2, 12, 20, 39] } else { Vec::new() }
}

#[cfg(target_arch = "aarch64")]
fn kinds() -> Vec<u32> {
    use std::arch::is_aarch64_feature_detected;
    if is_aarch64_feature_detected!("dotprod") || is_aarch64_feature_detected!("i8mm") {
        vec![2, 8, 12, 13, 14, 20, 39]
    } else {
        Vec::new()
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn kinds() -> Vec<u32> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embedding_that_is_the_output_too_is_copied_for_it() {
        let model = Gguf { matrices: [(2, 100), (0, 7)].into(), embedding: (2, 30), ..Gguf::default() };
        assert_eq!(of(&model, &[2]), Repacked { matrices: 100, embedding: 30 });
        assert_eq!(of(&model, &[8]), Repacked::default());
        let model = Gguf { has_output: true, ..model };
        assert_eq!(of(&model, &[2]).total(), 100);
    }
}
