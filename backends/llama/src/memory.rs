//! How much memory a model will take with given options, and whether the machine has it.
//! Pure arithmetic over a GGUF header and the text of `/proc/meminfo`.
//! It must not know llama.cpp: what it estimates is compared with llama.cpp's own numbers in `tests/`.

use crate::gguf::{Gguf, block_of};
use crate::params::{CacheType, FlashAttn, Options};
use crate::repack;

/// Tokens of context when the user does not say: enough for few-shot prompts, affordable on a board.
pub const DEFAULT_CTX: u64 = 4096;
/// llama.cpp rounds the context up to this many tokens.
const CTX_STEP: u64 = 256;
/// Bytes of logits that one batch may produce while scoring: bounds the scratch memory of large vocabularies.
const LOGITS_BYTES: u64 = 64 << 20;

/// Bytes of logits of the requests that run together, where their number is left open.
const BATCH_BYTES: u64 = 16 << 20;

/// Code, threads and small tables of a host. Measured: 11 to 13 MiB.
const HOST_BYTES: u64 = 12 << 20;
/// What the tokenizer's maps take per token and per merge. Measured with vocabularies of 16 to 152 thousand tokens.
const TOKEN_BYTES: u64 = 180;
const MERGE_BYTES: u64 = 145;

/// What is asked of a model, as far as memory is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// One token, or the few of an option, after each prompt.
    Answers,
    /// Whole texts are scored: logits of every token.
    Texts,
}

/// Bytes needed to open and use a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// All tensors. Mapped weights count too: each token reads all of them, so they must stay in memory.
    pub weights: u64,
    /// KV cache or recurrent state.
    pub kv: u64,
    /// Scratch buffers of llama.cpp and ggml, for a prompt that fills the context.
    pub compute: u64,
    /// The process and its tokenizer.
    pub host: u64,
    /// All of the model that guesses ahead, if there is one.
    pub draft: u64,
    /// Pages of the file that stay mapped after their matrices were repacked ([`crate::repack`]). They count in the
    /// RSS of the host, but nothing reads them again and the system takes them back when memory is short: no part of
    /// the need.
    pub twice: u64,
}

impl Need {
    /// Of `model` with `n_ctx` tokens of context.
    pub fn of(model: &Gguf, options: &Options, n_ctx: u64, work: Work) -> Need {
        let n_ctx = padded(n_ctx);
        let rows = match work {
            Work::Answers => 1.max(u64::from(sequences(model.n_vocab, options))),
            Work::Texts => reserved_rows(model, options, n_ctx),
        };
        let repacked = repack::bytes(model);
        // A mapped table of which only some rows are read costs less than the copy that stands in for it.
        let (again, twice) = match (options.mmap, options.mlock) {
            (true, false) => (0, repacked.total()),
            (true, true) => (repacked.total(), 0),
            (false, _) => (repacked.embedding, 0),
        };
        Need {
            weights: model.weights_bytes.saturating_add(again),
            kv: kv_bytes(model, options, n_ctx),
            compute: buffer_bytes(model, options, n_ctx, rows).saturating_add(work_bytes(model, options, n_ctx)),
            host: host_bytes(model),
            draft: 0,
            twice,
        }
    }

    /// The same with `draft` beside it, whose context is as long.
    pub fn with_draft(self, draft: Option<&Gguf>, options: &Options, n_ctx: u64) -> Need {
        let Some(draft) = draft else { return self };
        let own = Need::of(draft, &Options { batch: Some(1), ..options.clone() }, n_ctx, Work::Answers);
        // One process holds both.
        let draft = own.total().saturating_sub(HOST_BYTES);
        Need { draft, twice: self.twice.saturating_add(own.twice), ..self }
    }

    /// What has to be free.
    pub fn total(&self) -> u64 {
        [self.kv, self.compute, self.host, self.draft].into_iter().fold(self.weights, u64::saturating_add)
    }

    /// What the host's RSS comes to where nothing is short.
    pub fn peak_rss(&self) -> u64 {
        self.total().saturating_add(self.twice)
    }
}

/// The process and the tokenizer of `model`.
pub(crate) fn host_bytes(model: &Gguf) -> u64 {
    let tokenizer =
        model.n_vocab.saturating_mul(TOKEN_BYTES).saturating_add(model.n_merges.saturating_mul(MERGE_BYTES));
    HOST_BYTES.saturating_add(tokenizer)
}

/// llama.cpp's compute buffer as it reserves it. Pages for logits that nobody asks for are never touched and so are no
/// need.
pub fn compute_bytes(model: &Gguf, options: &Options, n_ctx: u64) -> u64 {
    let n_ctx = padded(n_ctx);
    let rows = reserved_rows(model, options, n_ctx);
    // The output buffer grows when it is needed.
    buffer_bytes(model, options, n_ctx, rows)
        .saturating_sub(rows.saturating_sub(1).saturating_mul(model.n_vocab).saturating_mul(4))
}

fn reserved_rows(model: &Gguf, options: &Options, n_ctx: u64) -> u64 {
    u64::from(output_rows(model.n_vocab, options.n_batch, options.n_ubatch)).min(n_ctx)
}

/// The largest set of tensors of a batch that are alive together, in f32, and the copy of the logits of `rows` tokens
/// that llama.cpp keeps. Which those are was found by comparing llama.cpp's own numbers ("compute buffer size") over shapes and options; `tests/open.rs` holds
/// it against them.
fn buffer_bytes(model: &Gguf, options: &Options, n_ctx: u64, rows: u64) -> u64 {
    let fused = options.uses_flash_attn();
    let ubatch = u64::from(options.n_ubatch).min(n_ctx);
    let width = model.n_embd.max(model.n_head.saturating_mul(model.head_size.0));
    let kv_width = model.n_head_kv.saturating_mul(model.head_size.0.saturating_add(model.head_size.1));
    // Which token may see which, in f16 where attention is fused.
    let mask = if fused { n_ctx.div_ceil(2) } else { n_ctx };
    let scores = if fused { 0 } else { n_ctx.saturating_mul(model.n_head) };
    let attention = scores.saturating_add(width.saturating_mul(6)).saturating_add(kv_width);
    let feed_forward = model.n_ff.saturating_mul(2).saturating_add(width.saturating_mul(2));
    let output = width.saturating_mul(5).saturating_add(kv_width);
    let layer = ubatch.saturating_mul(attention.max(feed_forward));
    let end = ubatch.saturating_mul(output).saturating_add(rows.saturating_mul(model.n_vocab));
    let graph = layer.max(end).saturating_add(ubatch.saturating_mul(mask));
    graph.saturating_add(rows.saturating_mul(model.n_vocab)).saturating_mul(4)
}

/// What the CPU backend of ggml takes beside: the right side of a product in the type of the left one, two bytes a number
/// at most. The largest is that of the attention scores with V.
fn work_bytes(model: &Gguf, options: &Options, n_ctx: u64) -> u64 {
    let scores = if options.uses_flash_attn() { 0 } else { n_ctx.saturating_mul(model.n_head) };
    u64::from(options.n_ubatch).min(n_ctx).saturating_mul(scores.max(model.n_ff).max(model.n_embd)).saturating_mul(2)
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

/// How many requests may run together.
pub fn sequences(n_vocab: u64, options: &Options) -> u32 {
    let fit = BATCH_BYTES / n_vocab.saturating_mul(4).max(1);
    options.batch.unwrap_or(fit.clamp(4, 32) as u32).min(options.n_batch)
}

/// What llama.cpp makes of a context of `n` tokens.
pub(crate) fn padded(n: u64) -> u64 {
    n.max(1).checked_next_multiple_of(CTX_STEP).unwrap_or(u64::MAX)
}

/// `MemAvailable` in bytes: what can be had without swapping, page cache that holds the model's file included.
/// `None` where the kernel does not tell.
pub fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The message for a model that does not fit, with `draft` if it has one, and what would fit; `None` if it does.
pub fn shortage(model: &Gguf, draft: Option<&Gguf>, options: &Options, work: Work, free: u64) -> Option<String> {
    let n_ctx = context_length(model, options);
    let need = Need::of(model, options, n_ctx, work).with_draft(draft, options, n_ctx);
    if need.total() <= free {
        return None;
    }
    let unit = if need.total() >= 1 << 30 { (1u64 << 30, "GiB") } else { (1 << 20, "MiB") };
    let show = |bytes: u64| format!("{:.1}", bytes as f64 / unit.0 as f64);
    let beside = if draft.is_some() { format!(", draft {}", show(need.draft)) } else { String::new() };
    Some(format!(
        "needs {} {unit} (weights {}, KV {}, compute {}, host {}{beside}), {} {unit} free: try {}",
        show(need.total()),
        show(need.weights),
        show(need.kv),
        show(need.compute),
        show(need.host),
        show(free),
        ways_out(model, draft, options, work, free).join(" or "),
        unit = unit.1,
    ))
}

/// What would fit, the least change first.
fn ways_out(model: &Gguf, draft: Option<&Gguf>, options: &Options, work: Work, free: u64) -> Vec<String> {
    let n_ctx = context_length(model, options);
    let fits = |options: &Options, n_ctx: u64| {
        Need::of(model, options, n_ctx, work).with_draft(draft, options, n_ctx).total() <= free
    };
    // The largest power of two below the present context that fits.
    let largest = |options: &Options| {
        let below = n_ctx.max(2) - 1;
        let mut smaller = below.checked_ilog2().map_or(0, |bits| 1u64 << bits);
        while smaller >= CTX_STEP && !fits(options, smaller) {
            smaller /= 2;
        }
        (smaller >= CTX_STEP).then_some(smaller)
    };
    let mut ways = Vec::new();
    if draft.is_some() && Need::of(model, options, n_ctx, work).total() <= free {
        ways.push("no draft".to_owned());
    }
    // Scores are the most of the scratch memory of a long context.
    let fused = Options { flash_attn: FlashAttn::On, ..options.clone() };
    let fused_fits = fits(&fused, n_ctx);
    if !options.uses_flash_attn() && fused_fits {
        ways.push("flash_attn = on".to_owned());
    }
    // Half of a cache in f16; V in blocks needs fused attention, in which options cannot be scored.
    let k = Options { type_k: CacheType::Q8_0, ..options.clone() };
    let both = Options { type_k: CacheType::Q8_0, type_v: CacheType::Q8_0, ..fused };
    let wide = [options.type_k, options.type_v].iter().any(|t| !t.is_quantised());
    let blocks = model.head_size.0.is_multiple_of(32) && model.head_size.1.is_multiple_of(32);
    if wide && blocks {
        if fits(&k, n_ctx) {
            ways.push("type_k = q8_0".to_owned());
        } else if !fused_fits && fits(&both, n_ctx) {
            ways.push("type_k = type_v = q8_0 with flash_attn = on".to_owned());
        }
    }
    if let Some(n) = largest(options) {
        ways.push(format!("n_ctx = {n}"));
    }
    ways.push("a smaller quantisation".to_owned());
    if ways.len() == 1 {
        ways.push("a smaller model".to_owned());
    }
    ways
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
            n_head_kv: 8,
            weights_bytes: 1 << 30,
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
        assert_eq!(shortage(&model(), None, &options, Work::Answers, 64 << 30), None);
        let message = shortage(&model(), None, &options, Work::Answers, 3 << 30).unwrap();
        assert!(message.starts_with("needs 17.") && message.len() <= 247, "{message}");
        assert!(message.contains("weights 1.0, KV 4.0") && message.contains("3.0 GiB free"), "{message}");
        assert!(message.ends_with("free: try n_ctx = 8192 or a smaller quantisation"), "{message}");
        let message = shortage(&model(), None, &options, Work::Answers, 6 << 30).unwrap();
        assert!(message.contains("free: try flash_attn = on or n_ctx = "), "{message}");
        let message = shortage(&model(), None, &options, Work::Answers, 1 << 29).unwrap();
        assert!(message.ends_with("try a smaller quantisation or a smaller model"), "{message}");
    }

    #[test]
    fn a_draft_is_beside_the_model() {
        let options = Options { n_ctx: Some(4096), ..Options::default() };
        let draft = Gguf { weights_bytes: 1 << 28, ..model() };
        let alone = Need::of(&model(), &options, 4096, Work::Answers);
        let both = alone.with_draft(Some(&draft), &options, 4096);
        assert_eq!(both.total() - alone.total(), both.draft);
        assert!(both.draft > (1 << 28) + both.kv && both.draft < alone.total(), "{both:?}");
        assert_eq!(shortage(&model(), Some(&draft), &options, Work::Answers, both.total()), None);
        let message = shortage(&model(), Some(&draft), &options, Work::Answers, alone.total()).unwrap();
        assert!(message.contains(", draft ") && message.contains("free: try no draft or "), "{message}");
        assert!(message.len() <= 247, "{message}");
    }

    #[test]
    fn a_smaller_cache_is_proposed_where_it_is_enough() {
        let options = Options { n_ctx: Some(4096), n_ubatch: 16, ..Options::default() };
        let need = |options: &Options| Need::of(&model(), options, 4096, Work::Answers).total();
        let k = Options { type_k: CacheType::Q8_0, ..options.clone() };
        let both = Options { type_v: CacheType::Q8_0, flash_attn: FlashAttn::On, ..k.clone() };
        assert!(need(&both) < need(&k) && need(&k) < need(&options));
        let message = shortage(&model(), None, &options, Work::Answers, need(&k)).unwrap();
        assert!(message.ends_with("try type_k = q8_0 or n_ctx = 2048 or a smaller quantisation"), "{message}");
        let message = shortage(&model(), None, &options, Work::Answers, need(&both)).unwrap();
        assert!(message.contains("try type_k = type_v = q8_0 with flash_attn = on or n_ctx = 1024"), "{message}");
    }

    #[test]
    fn repacked_pages_are_no_need_unless_they_are_locked_in() {
        // F16 is not repacked anywhere; a type that is depends on the processor, so its bytes are asked for.
        let mut model = model();
        model.matrices = [(2, 1 << 29)].into();
        let twice = repack::bytes(&model).total();
        let of = |options: &Options| Need::of(&model, options, 4096, Work::Answers);
        let mapped = of(&Options::default());
        assert_eq!((mapped.weights, mapped.twice), (1 << 30, twice));
        assert_eq!(mapped.peak_rss(), mapped.total() + twice);
        let locked = of(&Options { mlock: true, ..Options::default() });
        assert_eq!((locked.weights, locked.twice), ((1 << 30) + twice, 0));
        assert_eq!(of(&Options { mmap: false, ..Options::default() }).twice, 0);
    }

    #[test]
    fn absurd_headers_saturate() {
        let absurd = Gguf {
            n_embd: u64::MAX,
            n_head: u64::MAX - 1,
            weights_bytes: u64::MAX,
            cache_per_token: (u64::MAX, 7),
            ..model()
        };
        let need = Need::of(&absurd, &Options::default(), u64::MAX, Work::Texts);
        assert_eq!((need.total(), need.peak_rss()), (u64::MAX, u64::MAX));
        assert!(shortage(&absurd, None, &Options::default(), Work::Texts, 1 << 40).is_some());
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
        let of = |n_vocab, batch| sequences(n_vocab, &Options { batch, ..Options::default() });
        assert_eq!([of(512, None), of(151_936, None), of(u64::MAX, None), of(512, Some(100))], [32, 27, 4, 100]);
        assert_eq!(sequences(512, &Options { n_batch: 8, batch: None, ..Options::default() }), 8);
    }
}
