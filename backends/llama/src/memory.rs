//! How much memory a model will take with given options, and whether the machine has it.
//! Pure arithmetic over a GGUF header and the text of `/proc/meminfo`.
//! It must not know llama.cpp: what it estimates is compared with llama.cpp's own numbers in `tests/`.

use crate::gguf::{Gguf, block_of};
use crate::params::Options;

/// Tokens of context when the user does not say: enough for few-shot prompts, affordable on a board.
pub const DEFAULT_CTX: u64 = 4096;
/// llama.cpp rounds the context up to this many tokens.
const CTX_STEP: u64 = 256;
/// Bytes of logits that one batch may produce while scoring: bounds the scratch memory of large vocabularies.
const LOGITS_BYTES: u64 = 64 << 20;

/// Bytes needed to open and use a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// All tensors. Mapped weights count too: each token reads all of them, so they must stay in memory.
    pub weights: u64,
    /// KV cache or recurrent state.
    pub kv: u64,
    /// Scratch buffers; an estimate from above.
    pub compute: u64,
}

impl Need {
    /// Of `model`, whose tensors take `weights` bytes (in all files of a split model), with `n_ctx` tokens of context.
    pub fn of(model: &Gguf, weights: u64, options: &Options, n_ctx: u64) -> Need {
        let n_ctx = padded(n_ctx);
        let ubatch = u64::from(options.n_ubatch).min(n_ctx);
        let rows = u64::from(output_rows(model.n_vocab, options.n_batch, options.n_ubatch)).min(n_ctx);
        // Activations of one layer that are alive together (residual, norm, attention in and out; up, gate, down), in f32.
        let activations = model.n_embd.saturating_mul(6).saturating_add(model.n_ff.saturating_mul(3));
        // Attention scores of one layer: every head, unless they are fused. The mask is shared by the layers.
        let heads = if options.uses_flash_attn() { 0 } else { model.n_head };
        let scores = n_ctx.saturating_mul(heads + 1);
        let logits = rows.saturating_mul(model.n_vocab).saturating_mul(2);
        let floats = ubatch.saturating_mul(activations.saturating_add(scores)).saturating_add(logits);
        Need { weights, kv: kv_bytes(model, options, n_ctx), compute: floats.saturating_mul(4).saturating_add(1 << 20) }
    }

    /// Sum of the parts.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.kv).saturating_add(self.compute)
    }
}

/// Bytes of KV cache (and recurrent state) for `n_ctx` tokens of one sequence, all layers at full length.
pub fn kv_bytes(model: &Gguf, options: &Options, n_ctx: u64) -> u64 {
    let row = |numbers: u64, kind: u32| {
        let (_, block, bytes) = block_of(kind).unwrap_or(("f16", 1, 2));
        numbers.div_ceil(block).saturating_mul(bytes)
    };
    let (k, v) = model.cache_per_token;
    let token = row(k, options.type_k.ggml_type()).saturating_add(row(v, options.type_v.ggml_type()));
    padded(n_ctx).saturating_mul(token).saturating_add(model.state_bytes)
}

/// The context's length in tokens: as asked for, or what suits the model.
pub fn context_length(model: &Gguf, options: &Options) -> u64 {
    match options.n_ctx {
        Some(n) => u64::from(n),
        None if model.n_ctx_train == 0 => DEFAULT_CTX,
        None => model.n_ctx_train.min(DEFAULT_CTX),
    }
}

/// How many tokens of a batch may produce logits at once. It depends on nothing but the model and the options, so
/// that the shape in which a continuation is scored is always the same.
pub fn output_rows(n_vocab: u64, n_batch: u32, n_ubatch: u32) -> u32 {
    let fit = LOGITS_BYTES / n_vocab.saturating_mul(4).max(1);
    (fit.clamp(32, 1 << 16) as u32).min(n_batch).min(n_ubatch)
}

/// What llama.cpp makes of a context of `n` tokens.
fn padded(n: u64) -> u64 {
    n.max(1).checked_next_multiple_of(CTX_STEP).unwrap_or(u64::MAX)
}

/// `MemAvailable` in bytes: what can be had without swapping, page cache that holds the model's file included.
/// `None` where the kernel does not tell.
pub fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The message for a model that does not fit, or `None` if it does.
pub fn shortage(model: &Gguf, weights: u64, options: &Options, free: u64) -> Option<String> {
    let n_ctx = context_length(model, options);
    let need = Need::of(model, weights, options, n_ctx);
    if need.total() <= free {
        return None;
    }
    // The largest power of two below the present context that fits.
    let mut smaller = (n_ctx.max(2) - 1).checked_ilog2().map_or(0, |bits| 1u64 << bits);
    while smaller >= CTX_STEP && Need::of(model, weights, options, smaller).total() > free {
        smaller /= 2;
    }
    let advice = if smaller >= CTX_STEP {
        format!("try n_ctx = {smaller} or a smaller quantisation")
    } else {
        "try a smaller quantisation or a smaller model".to_owned()
    };
    let unit = if need.total() >= 1 << 30 { (1u64 << 30, "GiB") } else { (1 << 20, "MiB") };
    let show = |bytes: u64| format!("{:.1}", bytes as f64 / unit.0 as f64);
    Some(format!(
        "needs {} {unit} (weights {}, KV {}, compute {}), {} {unit} free: {advice}",
        show(need.total()),
        show(need.weights),
        show(need.kv),
        show(need.compute),
        show(free),
        unit = unit.1,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Llama 3.2 1B: 16 layers, 8 KV heads of 64.
    fn model() -> Gguf {
        Gguf {
            n_vocab: 128_256,
            n_embd: 2048,
            n_ff: 8192,
            n_head: 32,
            head_size: (64, 64),
            cache_per_token: (16 * 8 * 64, 16 * 8 * 64),
            n_ctx_train: 131_072,
            ..Gguf::default()
        }
    }

    #[test]
    fn kv_is_layers_times_heads_times_size() {
        let mut options = Options::default();
        assert_eq!(kv_bytes(&model(), &options, 4096), 4096 * 2 * 16 * 8 * 64 * 2);
        options.type_k = crate::params::CacheType::Q8_0;
        assert_eq!(kv_bytes(&model(), &options, 4096), 4096 * (16 * 8 * 64) * 2 + 4096 * (16 * 8 * 64 / 32) * 34);
        // llama.cpp rounds up.
        assert_eq!(kv_bytes(&model(), &options, 1), kv_bytes(&model(), &options, 256));
    }

    #[test]
    fn the_default_context_is_what_the_model_was_trained_for_within_reason() {
        let options = Options::default();
        assert_eq!(context_length(&model(), &options), 4096);
        assert_eq!(context_length(&Gguf { n_ctx_train: 512, ..model() }, &options), 512);
        assert_eq!(context_length(&Gguf { n_ctx_train: 0, ..model() }, &options), 4096);
        assert_eq!(context_length(&model(), &Options { n_ctx: Some(9000), ..options }), 9000);
    }

    #[test]
    fn a_shortage_says_how_much_and_what_to_do() {
        let options = Options { n_ctx: Some(131_072), ..Options::default() };
        assert_eq!(shortage(&model(), 1 << 30, &options, 64 << 30), None);
        let message = shortage(&model(), 1 << 30, &options, 3 << 30).unwrap();
        assert!(message.starts_with("needs 13."), "{message}");
        assert!(message.contains("weights 1.0, KV 4.0") && message.contains("3.0 GiB free"), "{message}");
        assert!(message.contains("try n_ctx = 16384 or"), "{message}");
        let message = shortage(&model(), 1 << 30, &options, 1 << 29).unwrap();
        assert!(message.ends_with("a smaller quantisation or a smaller model"), "{message}");
    }

    #[test]
    fn absurd_headers_saturate() {
        let absurd = Gguf { n_embd: u64::MAX, n_head: u64::MAX - 1, cache_per_token: (u64::MAX, 7), ..model() };
        let need = Need::of(&absurd, u64::MAX, &Options::default(), u64::MAX);
        assert_eq!(need.total(), u64::MAX);
        assert!(shortage(&absurd, 1, &Options::default(), 1 << 40).is_some());
    }

    #[test]
    fn meminfo_is_read() {
        let text = "MemTotal:       24684216 kB\nMemFree:  1 kB\nMemAvailable:   22846000 kB\n";
        assert_eq!(available(text), Some(22_846_000 * 1024));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert_eq!(available("MemAvailable: many kB"), None);
    }

    #[test]
    fn logits_stay_within_their_budget() {
        assert_eq!(output_rows(512, 512, 512), 512);
        assert_eq!(output_rows(151_936, 2048, 512), 110);
        assert_eq!(output_rows(151_936, 16, 16), 16);
        assert_eq!(output_rows(u64::MAX, 512, 512), 32);
        assert_eq!(output_rows(0, 512, 128), 128);
    }
}
