//! Owners of llama.cpp's pointers: a model, an adapter, a context with its threads, a batch. Each frees what it made.
//! Thin: one method per call of llama.cpp, no policy.
//! It must not know options, files or failures.

use super::Logits;
use llama_cpp_sys_2 as sys;
use std::ffi::{CStr, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

/// ggml's abort callback: asked between the operations of a graph.
///
/// # Safety
/// `flag` must point to an `AtomicBool`.
pub unsafe extern "C" fn is_set(flag: *mut c_void) -> bool {
    // SAFETY: the context was made with a pointer into the Arc that its session keeps.
    unsafe { (*flag.cast::<AtomicBool>()).load(Ordering::Relaxed) }
}

/// A loaded model.
pub struct Model(NonNull<sys::llama_model>);

impl Model {
    /// `None`: llama.cpp has logged why.
    pub fn load(path: &CStr, params: sys::llama_model_params) -> Option<Model> {
        // SAFETY: the path is NUL-terminated, and the parameters hold no pointers of ours.
        NonNull::new(unsafe { sys::llama_model_load_from_file(path.as_ptr(), params) }).map(Model)
    }

    pub fn as_ptr(&self) -> *mut sys::llama_model {
        self.0.as_ptr()
    }

    /// Numbers in the model, bytes of its tensors.
    pub fn weights(&self) -> (u64, u64) {
        // SAFETY: the model is alive.
        unsafe { (sys::llama_model_n_params(self.as_ptr()), sys::llama_model_size(self.as_ptr())) }
    }

    /// llama.cpp's description: `llama 1B Q4_K - Medium`.
    pub fn description(&self) -> String {
        let mut buffer = [0u8; 256];
        // SAFETY: llama.cpp writes at most 256 bytes, its NUL included.
        unsafe { sys::llama_model_desc(self.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
        CStr::from_bytes_until_nul(&buffer).map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Does it keep a state that only moves forward, in some layers or all?
    pub fn is_recurrent(&self) -> bool {
        // SAFETY: the model is alive.
        unsafe { sys::llama_model_is_recurrent(self.as_ptr()) || sys::llama_model_is_hybrid(self.as_ptr()) }
    }

    /// What this model is, if it is not one that continues text.
    pub fn unsupported_kind(&self) -> Option<&'static str> {
        let model = self.as_ptr();
        // SAFETY: the model is alive.
        unsafe {
            if sys::llama_model_has_encoder(model) {
                Some("encoder")
            } else if !sys::llama_model_has_decoder(model) {
                Some("embedding")
            } else if sys::llama_model_is_diffusion(model) {
                Some("diffusion")
            } else {
                None
            }
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: made by llama.cpp, freed once; the context that used it is gone (order of Session's fields).
        unsafe { sys::llama_model_free(self.as_ptr()) };
    }
}

/// A LoRA adapter of a model.
pub struct Adapter(NonNull<sys::llama_adapter_lora>);

impl Adapter {
    /// `None`: llama.cpp has logged why.
    pub fn load(model: &Model, path: &CStr) -> Option<Adapter> {
        // SAFETY: the model is alive, the path NUL-terminated.
        NonNull::new(unsafe { sys::llama_adapter_lora_init(model.as_ptr(), path.as_ptr()) }).map(Adapter)
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        // SAFETY: made by llama.cpp, freed once, before its model (order of Session's fields); no context evaluates now.
        unsafe { sys::llama_adapter_lora_free(self.0.as_ptr()) };
    }
}

/// Threads that wait for work.
struct Threads(NonNull<sys::ggml_threadpool>);

impl Threads {
    fn new(n: i32, paused: bool) -> Option<Threads> {
        // SAFETY: fills a plain struct.
        let mut params = unsafe { sys::ggml_threadpool_params_default(n) };
        params.paused = paused;
        // SAFETY: the parameters are only read during the call.
        NonNull::new(unsafe { sys::ggml_threadpool_new(&mut params) }).map(Threads)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // SAFETY: made by ggml, freed once; the context that used it is gone (order of Context's fields).
        unsafe { sys::ggml_threadpool_free(self.0.as_ptr()) };
    }
}

/// Frees the context before the threads that it uses.
struct Raw(NonNull<sys::llama_context>);

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: made by llama.cpp, freed once.
        unsafe { sys::llama_free(self.0.as_ptr()) };
    }
}

/// A context: KV cache, scratch buffers and threads.
pub struct Context {
    raw: Raw,
    _threads: (Threads, Option<Threads>),
}

impl Context {
    /// On failure: what could not be made; llama.cpp may have logged why.
    pub fn new(model: &Model, params: sys::llama_context_params) -> Result<Context, &'static str> {
        // SAFETY: the model is alive; the abort flag behind the parameters is kept by the session.
        let raw = NonNull::new(unsafe { sys::llama_init_from_model(model.as_ptr(), params) });
        let raw = Raw(raw.ok_or("a context")?);
        // Without pools of its own, ggml starts and joins its threads for each token.
        let separate = params.n_threads_batch != params.n_threads;
        let decode = Threads::new(params.n_threads, separate).ok_or("threads")?;
        let batch = if separate { Some(Threads::new(params.n_threads_batch, false).ok_or("threads")?) } else { None };
        let batch_ptr = batch.as_ref().map_or(decode.0, |b| b.0);
        // SAFETY: all three are alive, and the pools outlive the context (order of fields).
        unsafe { sys::llama_attach_threadpool(raw.0.as_ptr(), decode.0.as_ptr(), batch_ptr.as_ptr()) };
        Ok(Context { raw, _threads: (decode, batch) })
    }

    pub fn as_ptr(&self) -> *mut sys::llama_context {
        self.raw.0.as_ptr()
    }

    /// Tokens that a sequence may hold: what was asked for, rounded up by llama.cpp.
    pub fn n_ctx(&self) -> usize {
        // SAFETY: the context is alive.
        unsafe { sys::llama_n_ctx_seq(self.as_ptr()) as usize }
    }

    /// Tokens that one batch may hold.
    pub fn n_batch(&self) -> usize {
        // SAFETY: the context is alive.
        unsafe { sys::llama_n_batch(self.as_ptr()) as usize }
    }

    /// Empties the memory; the buffers keep their bytes.
    pub fn clear(&mut self) {
        // SAFETY: the context is alive; its memory is NULL only for encoders, which are not opened.
        unsafe { sys::llama_memory_clear(sys::llama_get_memory(self.as_ptr()), false) };
    }

    /// Removes the positions of a sequence from `position` on. `false`: not possible for this kind of memory.
    pub fn remove_from(&mut self, sequence: i32, position: i32) -> bool {
        // SAFETY: as in `clear`.
        unsafe { sys::llama_memory_seq_rm(sys::llama_get_memory(self.as_ptr()), sequence, position, -1) }
    }

    /// Gives the first `n` positions of one sequence to another one, too. Nothing is copied.
    pub fn share(&mut self, from: i32, to: i32, n: i32) {
        // SAFETY: as in `clear`.
        unsafe { sys::llama_memory_seq_cp(sys::llama_get_memory(self.as_ptr()), from, to, 0, n) };
    }

    /// Has these adapters, and no others, take part in what is evaluated. They must live until others are set, or this is
    /// dropped.
    pub fn adapt(&mut self, adapters: &[(Adapter, f32)]) {
        let (mut pointers, mut scales): (Vec<_>, Vec<_>) = adapters.iter().map(|(a, s)| (a.0.as_ptr(), *s)).unzip();
        // SAFETY: context and adapters are alive; both arrays have that length, and are only read during the call.
        unsafe {
            sys::llama_set_adapters_lora(self.as_ptr(), pointers.as_mut_ptr(), pointers.len(), scales.as_mut_ptr())
        };
    }

    /// llama_decode's own code: 0 is success.
    pub fn decode(&mut self, batch: &Batch) -> i32 {
        // SAFETY: the batch holds n_tokens valid entries, which llama.cpp reads during the call.
        unsafe { sys::llama_decode(self.as_ptr(), batch.0) }
    }

    /// The `n_vocab` logits of the token at index `row` of the last batch (-1: of the last that has any).
    pub fn logits(&self, row: i32, n_vocab: usize) -> Option<&[f32]> {
        // SAFETY: the context is alive; rows without logits give NULL.
        let row = NonNull::new(unsafe { sys::llama_get_logits_ith(self.as_ptr(), row) })?;
        // SAFETY: a row has n_vocab numbers and stays until the next decode, which needs &mut self.
        Some(unsafe { std::slice::from_raw_parts(row.as_ptr(), n_vocab) })
    }
}

/// Tokens on their way to `llama_decode`.
pub struct Batch(sys::llama_batch, usize);

impl Batch {
    /// Room for `capacity` tokens, at least 1.
    pub fn new(capacity: usize) -> Batch {
        let capacity = capacity.max(1);
        // SAFETY: allocates the arrays.
        let batch = unsafe { sys::llama_batch_init(capacity as i32, 0, 1) };
        for i in 0..capacity {
            // SAFETY: each array has `capacity` entries, and seq_id[i] room for one number.
            unsafe { *batch.n_seq_id.add(i) = 1 };
        }
        Batch(batch, capacity)
    }

    /// Sets the tokens of the sole sequence, which take the positions from `position` on.
    ///
    /// # Panics
    /// If there are more than the batch has room for.
    pub fn fill(&mut self, tokens: &[i32], position: i32, logits: Logits) {
        self.clear();
        self.add(super::SOLE, tokens, position, logits);
    }

    /// No tokens.
    pub fn clear(&mut self) {
        self.0.n_tokens = 0;
    }

    pub fn len(&self) -> usize {
        self.0.n_tokens as usize
    }

    /// How many more fit.
    pub fn room(&self) -> usize {
        self.1 - self.len()
    }

    /// Adds tokens of a sequence, which take the positions from `position` on.
    ///
    /// # Panics
    /// If there are more than the batch has room for.
    pub fn add(&mut self, sequence: i32, tokens: &[i32], position: i32, logits: Logits) {
        assert!(tokens.len() <= self.room(), "{} more tokens in a batch of {}", tokens.len(), self.1);
        let before = self.len();
        for (i, &token) in tokens.iter().enumerate() {
            let wanted = match logits {
                Logits::None => false,
                Logits::Last => i + 1 == tokens.len(),
                Logits::All => true,
            };
            let at = before + i;
            // SAFETY: `at` is below the capacity of the arrays, and seq_id[at] has room for one number.
            unsafe {
                *self.0.token.add(at) = token;
                *self.0.pos.add(at) = position + i as i32;
                *self.0.logits.add(at) = i8::from(wanted);
                **self.0.seq_id.add(at) = sequence;
            }
        }
        self.0.n_tokens = (before + tokens.len()) as i32;
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: made by llama_batch_init, freed once.
        unsafe { sys::llama_batch_free(self.0) };
    }
}
