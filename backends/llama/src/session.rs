//! A loaded model with its context: opens them, evaluates tokens, frees everything in the right order.
//! It owns every pointer that llama.cpp hands out; `generate` and `score` only ask it to evaluate.
//! It must not know requests, events or the C boundary.

mod draft;
mod lora;
mod raw;
mod sequences;

use crate::affinity::Pinned;
use crate::failure::Failure;
use crate::gguf::{Gguf, block_of};
use crate::log::Subscription;
use crate::memory::{compute_bytes, context_length, kv_bytes, output_rows, sequences};
use crate::params::{CacheType, Options};
use crate::preflight::{check_memory, inspect, inspect_draft};
use crate::probe;
use crate::shape::Shape;
use crate::tokenizer::Tokenizer;
use crate::width::Width;
use draft::Draft;
use edgebench_abi::{EB_LOG_INFO, EB_LOG_WARN};
use edgebench_plugin::entry::Log;
use edgebench_plugin::request::Prefix;
use llama_cpp_sys_2 as sys;
use raw::Adapter;
pub use raw::{Batch, Context, Model};
use std::ffi::{CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// Which tokens of a batch are to produce logits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Logits {
    None,
    Last,
    All,
}

/// The sequence that has the cache for itself, or, where several run together, keeps what their prompts begin with.
const SOLE: i32 = 0;

/// The last prompt that came with a prefix hint: its tokens are in the cache.
#[derive(Default)]
struct Kept {
    /// 0: none.
    id: u64,
    tokens: Vec<i32>,
}

/// A loaded model, ready to evaluate one sequence at a time.
pub struct Session {
    // Fields are dropped in this order: what is used goes after what uses it.
    draft: Option<Draft>,
    batch: Batch,
    context: Context,
    /// Those that the context uses, with their scales.
    adapters: Vec<(Adapter, f32)>,
    model: Model,
    log: Subscription,
    abort: Arc<AtomicBool>,
    _pinned: Pinned,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// As parsed.
    pub options: Options,
    /// The file's header.
    pub header: Gguf,
    /// The model's name for itself, or what llama.cpp says about it.
    pub description: String,
    /// Tokens that a sequence may hold.
    pub n_ctx: usize,
    /// How prompts are cut.
    shape: Shape,
    /// What is in the cache, as far as the next prompt may begin with it.
    kept: Kept,
    /// Tokens that may produce logits in one call.
    pub n_rows: usize,
    /// How many requests run together.
    pub width: Width,
    /// Bytes of scratch buffers.
    pub compute_bytes: u64,
    /// For the sampler: one entry per token of the vocabulary, filled when it is first needed.
    pub candidates: Vec<sys::llama_token_data>,
}

impl Session {
    /// Loads the model.
    ///
    /// # Errors
    /// Those of the header for `open()`.
    pub fn load(log: Log, path: &Path, options: Options, abort: Arc<AtomicBool>) -> Result<Self, Failure> {
        let report = probe::report();
        if report.device_count == 0 {
            return Err(Failure::unsupported(&report.note));
        }
        let log = Subscription::start(log)?;
        let header = inspect(path)?;
        check_options(&header, &options)?;
        let draft_header = inspect_draft(&options)?;
        check_memory(&header, draft_header.as_ref(), &options, Path::new("/proc/meminfo"))?;

        init();
        // Threads are started from here on.
        let pinned = Pinned::new(&options.affinity, options.threads.is_none())?;
        let model = load_model(path, &options, &log)?;
        let n_ctx = context_length(&header, &options);
        let tokenizer = Tokenizer::new(&model)?;
        let (n_batch, n_ubatch) = (options.n_batch, options.n_ubatch);
        let n_rows = output_rows(tokenizer.n_vocab() as u64, n_batch, n_ubatch);
        let width = width(&model, &tokenizer, &options, &log);
        let context = new_context(&model, &options, n_ctx as u32, (n_rows, width.max), &abort, &pinned, &log)?;
        let (n_ctx, n_batch) = (context.n_ctx(), context.n_batch());
        let compute_bytes = match log.compute_bytes() {
            0 => compute_bytes(&header, &options, n_ctx as u64),
            told => told,
        };
        let draft = match options.draft.as_deref().zip(draft_header.as_ref()) {
            Some(draft) => {
                Some(load_draft(draft, (&model, &tokenizer), &options, (n_ctx, n_rows), &abort, &pinned, &log)?)
            }
            None => None,
        };
        let description = if header.name.is_empty() { model.description() } else { header.name.clone() };
        Ok(Session {
            draft,
            batch: Batch::new(n_batch),
            n_rows: (n_rows as usize).min(n_batch),
            width,
            candidates: Vec::new(),
            context,
            adapters: Vec::new(),
            model,
            log,
            abort,
            _pinned: pinned,
            tokenizer,
            options,
            header,
            description,
            n_ctx,
            shape: Shape { n_batch, n_ubatch: (n_ubatch as usize).min(n_batch) },
            kept: Kept::default(),
            compute_bytes,
        })
    }

    /// Bytes of KV cache for the whole context.
    pub fn kv_bytes(&self) -> u64 {
        kv_bytes(&self.header, &self.options, self.n_ctx as u64)
    }

    /// Numbers in the model, bytes of its tensors.
    pub fn weights(&self) -> (u64, u64) {
        self.model.weights()
    }

    /// Begins a call: an abort() before it no longer counts.
    pub fn clear_abort(&self) {
        self.abort.store(false, Ordering::Relaxed);
    }

    /// Was abort() called since [`Session::clear_abort`]?
    pub fn is_aborted(&self) -> bool {
        self.abort.load(Ordering::Relaxed)
    }

    /// A line for the host's log.
    pub fn say(&self, level: i32, line: &str) {
        self.log.say(level, line);
    }

    /// Forgets all sequences.
    pub fn forget(&mut self) {
        self.kept.id = 0;
        self.context.clear();
    }

    /// Can a prompt be taken up behind its first tokens? Recurrent state cannot.
    pub fn can_take_up(&self) -> bool {
        !self.model.is_recurrent()
    }

    /// Forgets what is at `position` and after it. `false`: this model cannot (recurrent state); nothing has changed.
    pub fn forget_from(&mut self, position: usize) -> bool {
        self.context.remove_from(SOLE, position as i32)
    }

    /// Evaluates a whole prompt, in chunks, with logits for its last token only. Of its first tokens those are taken from
    /// the cache that are there from the last prompt with the same prefix id; gives how many.
    ///
    /// # Errors
    /// As [`Session::evaluate`]; the sequence is empty then.
    pub fn prefill(&mut self, tokens: &[i32], prefix: Prefix) -> Result<usize, Failure> {
        let cached = self.take_up(tokens, prefix.id);
        let mut done = cached;
        while done < tokens.len() {
            let next = self.shape.next(done, tokens.len());
            let logits = if next == tokens.len() { Logits::Last } else { Logits::None };
            self.evaluate(&tokens[done..next], done, logits)?;
            done = next;
        }
        if let Some(draft) = &mut self.draft {
            draft.begin(tokens);
        }
        self.kept.id = prefix.id;
        if prefix.id != 0 {
            self.kept.tokens.truncate(cached);
            self.kept.tokens.extend_from_slice(&tokens[cached..]);
        }
        Ok(cached)
    }

    /// Leaves in the cache what a prompt begins with, if it may be used; gives its length.
    fn take_up(&mut self, tokens: &[i32], prefix_id: u64) -> usize {
        let mut cut = 0;
        if prefix_id != 0 && prefix_id == self.kept.id {
            let common = self.kept.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
            cut = self.shape.cut(common, tokens.len());
        }
        if cut == 0 || !self.forget_from(cut) {
            self.forget();
            return 0;
        }
        cut
    }

    /// Evaluates up to `n_batch` tokens that follow the `position` tokens evaluated before.
    ///
    /// # Errors
    /// `EB_ERR_ABORTED`, `EB_ERR_CONTEXT_FULL`, `EB_ERR_INTERNAL`; the sequence is empty then.
    pub fn evaluate(&mut self, tokens: &[i32], position: usize, logits: Logits) -> Result<(), Failure> {
        if self.is_aborted() {
            self.forget();
            return Err(Failure::aborted());
        }
        self.batch.fill(tokens, position as i32, logits);
        self.decode(position)
    }

    /// Has the batch evaluated, whose first token has this `position`.
    fn decode(&mut self, position: usize) -> Result<(), Failure> {
        let code = self.context.decode(&self.batch);
        if code == 0 {
            return Ok(());
        }
        self.forget();
        Err(match code {
            2 => Failure::aborted(),
            1 => Failure::context_full(format!(
                "no room for {} tokens at position {position} in n_ctx = {}: raise n_ctx",
                self.batch.len(),
                self.n_ctx
            )),
            _ => Failure::internal(format!(
                "llama_decode failed ({code}): {}",
                self.log.take_error().unwrap_or_else(|| "see the log".to_owned())
            )),
        }
        .with_vendor_code(i64::from(code)))
    }

    /// The logits of the `row`-th token of the last batch, one number per entry of the vocabulary. -1: of the last.
    ///
    /// # Errors
    /// `EB_ERR_INTERNAL` if that token produced none.
    pub fn logits(&self, row: i32) -> Result<&[f32], Failure> {
        self.context
            .logits(row, self.tokenizer.n_vocab())
            .ok_or_else(|| Failure::internal(format!("llama.cpp has no logits for row {row}")))
    }

    /// Both the logits, as [`Session::logits`], and the scratch space of the sampler.
    pub fn logits_and_candidates(&mut self, row: i32) -> Result<(&[f32], &mut Vec<sys::llama_token_data>), Failure> {
        let logits = self
            .context
            .logits(row, self.tokenizer.n_vocab())
            .ok_or_else(|| Failure::internal(format!("llama.cpp has no logits for row {row}")))?;
        Ok((logits, &mut self.candidates))
    }
}

/// Before anything else of llama.cpp.
pub fn init() {
    static BACKEND: Once = Once::new();
    // SAFETY: initialises globals of ggml, once.
    BACKEND.call_once(|| unsafe { sys::llama_backend_init() });
}

/// What can be told from the header and llama.cpp would only assert.
fn check_options(header: &Gguf, options: &Options) -> Result<(), Failure> {
    // SAFETY: asks for a constant of the build.
    if options.n_gpu_layers != 0 && !unsafe { sys::llama_supports_gpu_offload() } {
        return Err(Failure::unsupported("this build of llama.cpp has no GPU support: remove n_gpu_layers"));
    }
    let check = |name: &str, kind: CacheType, size: u64| {
        let (label, block, _) = block_of(kind.ggml_type()).unwrap_or(("?", 1, 0));
        if size.is_multiple_of(block) {
            return Ok(());
        }
        Err(Failure::unsupported(format!(
            "{name} = {label} needs attention heads of a multiple of {block}, this model has {size}: use f16"
        )))
    };
    check("type_k", options.type_k, header.head_size.0)?;
    check("type_v", options.type_v, header.head_size.1)
}

/// A path as C takes it.
///
/// # Errors
/// `EB_ERR_MODEL`.
pub fn c_path(path: &Path) -> Result<CString, Failure> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Failure::model("a path contains a NUL byte: check `model`"))
}

/// # Errors
/// What llama.cpp logged; `EB_ERR_UNSUPPORTED` for a model that does not continue text.
pub fn load_model(path: &Path, options: &Options, log: &Subscription) -> Result<Model, Failure> {
    let c_path = c_path(path)?;
    // SAFETY: returns a plain struct.
    let mut params = unsafe { sys::llama_model_default_params() };
    params.n_gpu_layers = options.n_gpu_layers;
    params.load_mode = match (options.mmap, options.mlock) {
        (true, false) => sys::LLAMA_LOAD_MODE_MMAP,
        (true, true) => sys::LLAMA_LOAD_MODE_MMAP_MLOCK,
        (false, true) => sys::LLAMA_LOAD_MODE_MLOCK,
        (false, false) => sys::LLAMA_LOAD_MODE_NONE,
    };
    let Some(model) = Model::load(&c_path, params) else {
        let why = log.take_error().unwrap_or_else(|| "it did not say why, see the log".to_owned());
        let message = format!("llama.cpp cannot load the model: {why}");
        return Err(if is_allocation(&why) { Failure::out_of_memory(message) } else { Failure::model(message) });
    };
    if let Some(kind) = model.unsupported_kind() {
        return Err(Failure::unsupported(format!("{kind} models do not continue text: use a decoder model")));
    }
    Ok(model)
}

/// How many requests run together: a state that only moves forward cannot be shared, and is kept for one.
fn width(model: &Model, tokenizer: &Tokenizer, options: &Options, log: &Subscription) -> Width {
    let wanted = sequences(tokenizer.n_vocab() as u64, options) as usize;
    let alone = if model.is_recurrent() { "a recurrent model" } else { "a model with a draft" };
    if wanted > 1 && (model.is_recurrent() || options.draft.is_some()) {
        log.say(EB_LOG_WARN, &format!("{alone} runs one request at a time: batch is not used"));
        return Width::fixed(1);
    }
    match options.batch {
        Some(_) => Width::fixed(wanted),
        None => Width::searched(wanted),
    }
}

/// The model that guesses for another one, whose contexts hold `n_ctx` tokens and give logits for `n_rows` at once.
fn load_draft(
    (path, header): (&Path, &Gguf),
    (target, tokenizer): (&Model, &Tokenizer),
    options: &Options,
    (n_ctx, n_rows): (usize, u32),
    abort: &Arc<AtomicBool>,
    pinned: &Pinned,
    log: &Subscription,
) -> Result<Draft, Failure> {
    let about = |failure: Failure| Failure { message: format!("draft: {}", failure.message), ..failure };
    check_options(header, options).map_err(about)?;
    let model = load_model(path, options, log).map_err(about)?;
    if target.is_recurrent() || model.is_recurrent() {
        return Err(Failure::unsupported("a recurrent model cannot take back wrong guesses: leave draft out"));
    }
    if let Some(why) = draft::misfit(tokenizer, &Tokenizer::new(&model).map_err(about)?) {
        return Err(Failure::model(format!("draft: {why}: use a smaller model of the same family")));
    }
    let context = new_context(&model, options, n_ctx as u32, (1, 1), abort, pinned, log).map_err(about)?;
    let most = options.draft_max.min(n_rows.saturating_sub(1)) as usize;
    Ok(Draft::new(model, context, tokenizer.n_vocab(), most, options.draft_p_min))
}

fn new_context(
    model: &Model,
    options: &Options,
    n_ctx: u32,
    (n_rows, together): (u32, usize),
    abort: &Arc<AtomicBool>,
    pinned: &Pinned,
    log: &Subscription,
) -> Result<Context, Failure> {
    let auto = pinned.threads;
    let threads = options.threads.unwrap_or(auto);
    let threads_batch = options.threads_batch.unwrap_or(auto);
    if threads.max(threads_batch) > auto {
        log.say(EB_LOG_WARN, &format!("more threads than the {auto} fast cores that are free: expect it to be slower"));
    }
    let place = &pinned.place;
    log.say(EB_LOG_INFO, &format!("threads = {threads}, threads_batch = {threads_batch} on {place}, n_ctx = {n_ctx}"));
    // SAFETY: returns a plain struct.
    let mut params = unsafe { sys::llama_context_default_params() };
    params.n_ctx = n_ctx;
    params.n_batch = options.n_batch;
    params.n_ubatch = options.n_ubatch;
    if together > 1 {
        // One for what prompts have in common, and one each. They share the cache, so that more of them take no more.
        params.n_seq_max = together as u32 + 1;
        params.kv_unified = true;
    }
    params.n_outputs_max = n_rows.max(params.n_seq_max);
    params.n_threads = threads as i32;
    params.n_threads_batch = threads_batch as i32;
    params.flash_attn_type = if options.uses_flash_attn() {
        sys::LLAMA_FLASH_ATTN_TYPE_ENABLED
    } else {
        sys::LLAMA_FLASH_ATTN_TYPE_DISABLED
    };
    params.type_k = options.type_k.ggml_type() as sys::ggml_type;
    params.type_v = options.type_v.ggml_type() as sys::ggml_type;
    params.abort_callback = Some(raw::is_set);
    params.abort_callback_data = Arc::as_ptr(abort).cast_mut().cast::<c_void>();
    Context::new(model, params).map_err(|stage| {
        let why = log.take_error().unwrap_or_else(|| "it did not say why, see the log".to_owned());
        let message = format!("llama.cpp cannot create {stage}: {why}");
        if is_allocation(&why) {
            Failure::out_of_memory(format!("{message}; try a smaller n_ctx or n_ubatch"))
        } else {
            Failure::unsupported(message)
        }
    })
}

fn is_allocation(why: &str) -> bool {
    ["alloc", "out of memory", "mmap failed"].iter().any(|word| why.contains(word))
}
