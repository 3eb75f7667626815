//! Which models llama.cpp can train, in steps of how many tokens, and what memory that takes. Pure arithmetic over a GGUF
//! header. It must not know llama.cpp: what it says was found by trying, docs/training.md has the list.

use crate::failure::Failure;
use crate::gguf::{Gguf, block_of};
use crate::memory::{host_bytes, padded};

/// Architectures whose training was tried: the loss falls, and what is written opens again.
pub const TRIED: &[&str] =
    &["llama", "qwen2", "qwen3", "olmo2", "internlm2", "granite", "smollm3", "minicpm", "exaone"];
/// Tokens of one step where nobody says: enough to learn from, affordable on a board.
const DEFAULT_WINDOW: u64 = 512;
/// `ggml_type` of F32.
const F32: u32 = 0;

/// Refuses what llama.cpp would abort on, or train in part only.
///
/// # Errors
/// `EB_ERR_UNSUPPORTED` with the reason.
pub fn check(model: &Gguf) -> Result<(), Failure> {
    if !TRIED.contains(&model.architecture.as_str()) {
        return Err(Failure::unsupported(format!(
            "llama.cpp aborts on operations that it has no gradient for, and models of the architecture `{}` were not tried: {} \
             are known to work",
            model.architecture,
            TRIED.join(", ")
        )));
    }
    // A product with a matrix of another type has no gradient; where the output is the embedding, that is one too.
    let others = model.matrices.keys().chain([&model.embedding.0]).find(|kind| **kind != F32);
    if let Some(kind) = others {
        let kind = block_of(*kind).map_or("another type", |(name, ..)| name).to_uppercase();
        return Err(Failure::unsupported(format!(
            "llama.cpp trains F32 models only, this one has {kind}: `edgebench quantize MODEL F32 -o NEW.gguf` makes one of F16, or \
             convert it with --outtype f32"
        )));
    }
    Ok(())
}

/// Tokens of one step: as asked for, rounded up as llama.cpp does, or what suits the model.
pub fn window(model: &Gguf, asked: u32) -> u64 {
    let suits = if model.n_ctx_train == 0 { DEFAULT_WINDOW } else { model.n_ctx_train.min(DEFAULT_WINDOW) };
    padded(if asked == 0 { suits } else { u64::from(asked) })
}

/// Bytes that training takes in steps of `window` tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    pub weights: u64,
    /// Gradients and AdamW's two moments of all that is learned.
    pub optimizer: u64,
    /// What the forward pass leaves for the backward one, logits and labels.
    pub activations: u64,
    pub host: u64,
}

impl Need {
    pub fn of(model: &Gguf, window: u64) -> Need {
        let learned = model.weights_bytes.saturating_sub(model.embedding.1);
        let times = |a: u64, b: u64| a.saturating_mul(b);
        let (heads, kv) = (times(model.n_head, model.head_size.0), times(model.n_head_kv, model.head_size.0));
        // Numbers per token of a layer that stay until its gradients are made: of attention, of its scores, of feed-forward.
        let attention = times(model.n_embd, 8).saturating_add(times(heads, 5)).saturating_add(times(kv, 5));
        let feed_forward = times(model.n_ff, 3);
        let layer = attention.saturating_add(times(model.n_head, window)).saturating_add(feed_forward);
        let layers = model.cache_per_token.0.div_ceil(kv.max(1));
        // Logits, labels, and the gradient of the logits.
        let token = times(layers, layer).saturating_add(times(model.n_vocab, 3));
        // The gradient of the largest matrix, before it is added to what is kept.
        let rows = if model.has_output { model.n_vocab } else { model.n_ff };
        let largest = times(times(rows, model.n_embd), 4);
        Need {
            weights: model.weights_bytes,
            optimizer: times(learned, 3).saturating_add(largest),
            activations: times(times(token, window), 4),
            host: host_bytes(model),
        }
    }

    /// What has to be free.
    pub fn total(&self) -> u64 {
        [self.optimizer, self.activations, self.host].into_iter().fold(self.weights, u64::saturating_add)
    }
}

/// The message for a training that does not fit into `free` bytes, or `None` if it does.
pub fn shortage(model: &Gguf, window: u64, free: u64) -> Option<String> {
    let need = Need::of(model, window);
    if need.total() <= free {
        return None;
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let halves = std::iter::successors(Some(padded(window / 2)), |w| Some(padded(w / 2)).filter(|half| half < w));
    let smaller = halves.into_iter().find(|w| *w < window && Need::of(model, *w).total() <= free);
    Some(format!(
        "training needs {} MiB (weights {}, gradients and AdamW {}, activations {}, host {}), {} MiB free: try {}",
        mib(need.total()),
        mib(need.weights),
        mib(need.optimizer),
        mib(need.activations),
        mib(need.host),
        mib(free),
        smaller.map_or("a smaller model".to_owned(), |w| format!("n_ctx = {w}")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of about 2.5 million parameters.
    fn model() -> Gguf {
        Gguf {
            architecture: "llama".to_owned(),
            n_vocab: 512,
            n_embd: 192,
            n_ff: 512,
            n_head: 6,
            n_head_kv: 6,
            head_size: (32, 32),
            cache_per_token: (6 * 192, 6 * 192),
            weights_bytes: 10 << 20,
            matrices: [(F32, 9 << 20)].into(),
            embedding: (F32, 400_000),
            n_ctx_train: 1024,
            ..Gguf::default()
        }
    }

    #[test]
    fn what_cannot_be_trained_is_told_with_the_way_out() {
        assert!(check(&model()).is_ok());
        let f16 = Gguf { matrices: [(1, 5 << 20)].into(), ..model() };
        let message = check(&f16).unwrap_err().message;
        assert!(message.contains("this one has F16") && message.len() < 248, "{message}");
        assert!(message.contains("edgebench quantize MODEL F32"), "{message}");
        let other = Gguf { architecture: "mamba".to_owned(), ..model() };
        let message = check(&other).unwrap_err().message;
        assert!(message.contains("`mamba`") && message.len() < 248, "{message}");
    }

    #[test]
    fn steps_are_of_whole_blocks_of_the_cache() {
        assert_eq!([0, 1, 256, 300].map(|n| window(&model(), n)), [512, 256, 256, 512]);
        assert_eq!(window(&Gguf { n_ctx_train: 128, ..model() }, 0), 256);
    }

    /// Peak RSS on x86-64, of random weights: two shapes (`scripts/random-gguf`), steps of two lengths.
    #[test]
    fn the_need_is_what_was_measured() {
        let small = Gguf {
            n_vocab: 16_384,
            n_embd: 384,
            n_ff: 1024,
            n_head: 6,
            n_head_kv: 2,
            head_size: (64, 64),
            cache_per_token: (8 * 128, 8 * 128),
            weights_bytes: 101_285_888,
            embedding: (F32, 16_384 * 384 * 4),
            has_output: true,
            ..Gguf::default()
        };
        let large = Gguf {
            n_vocab: 49_152,
            n_embd: 576,
            n_ff: 1536,
            n_head: 9,
            n_head_kv: 3,
            head_size: (64, 64),
            cache_per_token: (30 * 192, 30 * 192),
            weights_bytes: 540_340_224,
            embedding: (F32, 49_152 * 576 * 4),
            ..Gguf::default()
        };
        for (model, window, mib) in
            [(&small, 256, 491.2), (&small, 512, 618.2), (&large, 256, 2321.4), (&large, 512, 3005.5)]
        {
            let ratio = Need::of(model, window).total() as f64 / f64::from(1 << 20) / mib;
            assert!((0.95..1.05).contains(&ratio), "{mib} MiB at {window}: {ratio}");
        }
    }

    #[test]
    fn a_shortage_says_what_takes_it_and_what_would_fit() {
        let need = Need::of(&model(), 512);
        assert!(need.total() > 4 * (9 << 20), "weights, gradients and two moments");
        assert_eq!(shortage(&model(), 512, need.total()), None);
        let message = shortage(&model(), 512, need.total() - 1).unwrap();
        assert!(message.ends_with("try n_ctx = 256") && message.len() < 248, "{message}");
        assert!(shortage(&model(), 512, 1 << 20).unwrap().ends_with("MiB free: try a smaller model"));
        assert!(shortage(&model(), 8192, need.total()).unwrap().ends_with("try n_ctx = 512"));
    }
}
