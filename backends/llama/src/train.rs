//! `eb.train/1`: a model trained further on texts, through llama.cpp's own optimiser. It owns how texts become steps, and
//! the pointers of the optimiser. It must not know sessions.
//!
//! llama.cpp's example goes through a whole data set in one call that nothing can end. Here its data set is one window long and is filled
//! anew for each step, so that every step's loss is known, and training can stop after any of them.

use crate::failure::Failure;
use crate::gguf::Gguf;
use crate::log::Subscription;
use crate::params::Options;
use crate::preflight::{inspect, refuse_short};
use crate::session::{Batch, Context, Logits, Model, c_path, init, load_model};
use crate::tokenizer::Tokenizer;
use crate::trainable;
use edgebench_abi::{EB_LOG_INFO, EbTrainStep, EbTrained};
use edgebench_plugin::cpu::default_threads;
use edgebench_plugin::entry::Log;
use edgebench_plugin::train::Train;
use llama_cpp_sys_2 as sys;
use std::ffi::{CStr, c_void};
use std::path::Path;
use std::ptr::NonNull;

/// Tensors that llama.cpp leaves as they are: tokens are looked up in the one, positions turned by the other.
const FIXED: [&CStr; 2] = [c"token_embd.weight", c"rope_freqs.weight"];

/// Trains the model and writes it.
///
/// # Errors
/// Those of the header for `train()`.
pub fn train(wanted: &Train, step: &mut dyn FnMut(EbTrainStep) -> bool, log: Log) -> Result<EbTrained, Failure> {
    let log = Subscription::start(log)?;
    let header = inspect(wanted.model)?;
    trainable::check(&header)?;
    let window = trainable::window(&header, wanted.n_ctx);
    if !wanted.force_memory {
        refuse_short(Path::new("/proc/meminfo"), |free| trainable::shortage(&header, window, free))?;
    }
    init();
    // The weights are written to: they cannot be the file's own pages.
    let options = Options { mmap: false, ..Options::default() };
    let model = load_model(wanted.model, &options, &log)?;
    let tokenizer = Tokenizer::new(&model)?;
    let n_ctx = usize::try_from(window).map_err(|_| Failure::invalid("n_ctx is too large"))?;
    let learned = Stream::of(&tokenizer, &wanted.learned)?;
    let validation = Stream::of(&tokenizer, &wanted.validation)?;
    let windows = learned.check(n_ctx, "learn from")?;
    let held = if wanted.validation.is_empty() { 0 } else { validation.check(n_ctx, "validate with")? };

    let threads = if wanted.threads == 0 { default_threads() } else { wanted.threads };
    log.say(EB_LOG_INFO, &format!("training in {windows} windows of {n_ctx} tokens, threads = {threads}"));
    let mut trainer = Trainer::new(&model, n_ctx, threads, wanted.learning_rate, &log)?;

    let n_steps = windows as u64 * u64::from(wanted.epochs);
    let mut made = EbTrained { n_ctx: n_ctx as u32, n_weights: header.n_params, ..EbTrained::new() };
    let mut tell = |is_validation, epoch, step_number, loss| {
        let told = EbTrainStep {
            struct_size: 0,
            is_validation: u32::from(is_validation),
            epoch,
            reserved: 0,
            step: step_number,
            n_steps,
            tokens: step_number * window,
            loss,
        };
        if step(told) { Err(Failure::aborted()) } else { Ok(()) }
    };
    let validate = |trainer: &mut Trainer| -> Result<f64, Failure> {
        let losses: Result<Vec<f64>, Failure> =
            (0..held).map(|i| trainer.step(validation.window(i, n_ctx), false)).collect();
        Ok(losses?.iter().sum::<f64>() / held as f64)
    };
    if held > 0 {
        made.validation_before = validate(&mut trainer)?;
        tell(true, 1, 0, made.validation_before)?;
    }
    for epoch in 1..=wanted.epochs {
        for i in 0..windows {
            let loss = trainer.step(learned.window(i, n_ctx), true)?;
            made.steps += 1;
            if !loss.is_finite() {
                let why = format!("the loss of step {} is no number any more: lower learning_rate", made.steps);
                return Err(Failure::internal(why));
            }
            if made.steps == 1 {
                made.loss_first = loss;
            }
            made.loss_last = loss;
            tell(false, epoch, made.steps, loss)?;
        }
        if held > 0 {
            made.validation_after = validate(&mut trainer)?;
            tell(true, epoch, made.steps, made.validation_after)?;
        }
    }
    made.tokens = made.steps * window;
    made.n_trained = trainer.learned;
    // Its buffers are larger than the model, which is not needed twice while it is written.
    drop(trainer);
    set_context_length(&model, &header, &log)?;
    save(&model, wanted.out, header.n_params)?;
    Ok(made)
}

/// llama.cpp takes the length of a step for what the model was trained for from now on, and writes that. Only another optimiser can
/// tell it otherwise: one in steps of a token, whatever the length is, that is never used.
fn set_context_length(model: &Model, header: &Gguf, log: &Subscription) -> Result<(), Failure> {
    let Some(n_ctx_train) = u32::try_from(header.n_ctx_train).ok().filter(|n| *n > 0) else { return Ok(()) };
    let context = context(model, (1, 1), 1, log)?;
    // SAFETY: returns a plain struct, which lives until the context that points to it is dropped.
    let mut rate = unsafe { sys::ggml_opt_get_default_optimizer_params(std::ptr::null_mut()) };
    optimise(&context, model, n_ctx_train, &mut rate);
    drop(context);
    Ok(())
}

fn save(model: &Model, out: &Path, n_params: u64) -> Result<(), Failure> {
    let path = c_path(out)?;
    // SAFETY: the model is alive, the path NUL-terminated.
    unsafe { sys::llama_model_save_to_file(model.as_ptr(), path.as_ptr()) };
    // It does not say whether it could.
    let written =
        inspect(out).map_err(|f| Failure::internal(format!("the model was not written whole: {}", f.message)))?;
    if written.n_params < n_params {
        return Err(Failure::internal("the model was not written whole: is the disk full?"));
    }
    Ok(())
}

/// Texts in tokens, one behind the other.
struct Stream(Vec<i32>);

impl Stream {
    /// Each text begins and ends as the model's own do.
    fn of(tokenizer: &Tokenizer, texts: &[&[u8]]) -> Result<Stream, Failure> {
        let (_, eos) = tokenizer.bos_eos();
        let mut all = Vec::new();
        for text in texts {
            let mut tokens = tokenizer.prompt(text, false)?;
            tokens.extend(Some(eos).filter(|eos| *eos >= 0 && tokens.last() != Some(eos)));
            all.append(&mut tokens);
        }
        Ok(Stream(all))
    }

    /// How many windows of `n` tokens there are; the last one goes on at the beginning.
    fn check(&self, n: usize, what: &str) -> Result<usize, Failure> {
        if self.0.len() > n {
            return Ok(self.0.len().div_ceil(n));
        }
        let len = self.0.len();
        Err(Failure::invalid(format!(
            "the texts to {what} are {len} tokens, a step takes {n} + 1: give more, or lower n_ctx"
        )))
    }

    /// The tokens of window `i`, and of each the one that follows it.
    fn window(&self, i: usize, n: usize) -> impl Iterator<Item = (i32, i32)> {
        let at = |place: usize| self.0[place % self.0.len()];
        (i * n..(i + 1) * n).map(move |place| (at(place), at(place + 1)))
    }
}

/// A context of `n_ctx` tokens for batches of `n_batch`.
fn context(model: &Model, (n_ctx, n_batch): (u32, u32), threads: u32, log: &Subscription) -> Result<Context, Failure> {
    // SAFETY: returns a plain struct.
    let mut params = unsafe { sys::llama_context_default_params() };
    // Keys and values get gradients only where a batch is the whole context.
    (params.n_ctx, params.n_batch, params.n_ubatch) = (n_ctx, n_batch, n_batch);
    (params.n_outputs_max, params.n_outputs_max_per_seq) = (n_batch, n_batch);
    (params.n_threads, params.n_threads_batch) = (threads as i32, threads as i32);
    params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_DISABLED;
    Context::new(model, params).map_err(|stage| failed(log, &format!("create {stage}")))
}

fn failed(log: &Subscription, what: &str) -> Failure {
    let why = log.take_error().unwrap_or_else(|| "it did not say why, see the log".to_owned());
    Failure::unsupported(format!("llama.cpp cannot {what}: {why}"))
}

/// Puts AdamW on a context, for steps of `n_ctx` tokens; gives the count of numbers that are learned. `rate` has to live as long as the
/// context, which asks for it at each step.
fn optimise(context: &Context, model: &Model, n_ctx: u32, rate: &mut sys::ggml_opt_optimizer_params) -> u64 {
    let mut learned = 0u64;
    let params = sys::llama_opt_params {
        n_ctx_train: n_ctx,
        param_filter: Some(is_learned),
        param_filter_ud: std::ptr::from_mut(&mut learned).cast(),
        get_opt_pars: Some(sys::ggml_opt_get_constant_optimizer_params),
        get_opt_pars_ud: std::ptr::from_mut(rate).cast(),
        optimizer_type: sys::GGML_OPT_OPTIMIZER_TYPE_ADAMW,
    };
    // SAFETY: context and model are alive; the filter's pointer is used during the call only, the caller vouches for that of the rate.
    unsafe { sys::llama_opt_init(context.as_ptr(), model.as_ptr(), params) };
    learned
}

/// llama.cpp's optimiser on a model. Fields are dropped in this order.
struct Trainer {
    dataset: Dataset,
    result: Outcome,
    context: Context,
    /// The context asks for them at each step.
    _rate: Box<sys::ggml_opt_optimizer_params>,
    /// Numbers that are learned.
    learned: u64,
}

impl Trainer {
    fn new(
        model: &Model,
        n_ctx: usize,
        threads: u32,
        learning_rate: f32,
        log: &Subscription,
    ) -> Result<Trainer, Failure> {
        let mut context = context(model, (n_ctx as u32, n_ctx as u32), threads, log)?;
        if context.n_ctx() != n_ctx || context.n_batch() != n_ctx {
            return Err(Failure::unsupported(format!("llama.cpp makes {} tokens of n_ctx = {n_ctx}", context.n_ctx())));
        }
        // The number of threads is set with the first batch that is evaluated, and stays.
        let mut batch = Batch::new(1);
        batch.fill(&[0], 0, Logits::Last);
        if context.decode(&batch) != 0 {
            return Err(failed(log, "evaluate a token"));
        }
        context.clear();
        let (dataset, result) = (Dataset::new(n_ctx as i64)?, Outcome::new()?);
        // SAFETY: returns a plain struct.
        let mut rate = Box::new(unsafe { sys::ggml_opt_get_default_optimizer_params(std::ptr::null_mut()) });
        rate.adamw.alpha = learning_rate;
        let learned = optimise(&context, model, n_ctx as u32, &mut rate);
        Ok(Trainer { dataset, result, context, _rate: rate, learned })
    }

    /// Evaluates a window, and learns from it if that is wanted; its loss before that, nats per token.
    fn step(&mut self, window: impl Iterator<Item = (i32, i32)>, learn: bool) -> Result<f64, Failure> {
        self.dataset.fill(window);
        let (result, none) = (self.result.0.as_ptr(), std::ptr::null_mut());
        let (learned, evaluated) = if learn { (result, none) } else { (none, result) };
        let mut loss = f64::NAN;
        // SAFETY: all three are alive; the data set holds the one window that is asked for.
        unsafe {
            sys::ggml_opt_result_reset(result);
            let dataset = self.dataset.0.as_ptr();
            sys::llama_opt_epoch(self.context.as_ptr(), dataset, learned, evaluated, i64::from(learn), None, None);
            let mut n = 0;
            sys::ggml_opt_result_ndata(result, &mut n);
            if n == 0 {
                return Err(Failure::internal("llama.cpp did not evaluate the batch, see the log"));
            }
            sys::ggml_opt_result_loss(result, &mut loss, std::ptr::null_mut());
        }
        Ok(loss)
    }
}

/// Is a tensor learned? Counts the numbers of those that are.
unsafe extern "C" fn is_learned(tensor: *const sys::ggml_tensor, learned: *mut c_void) -> bool {
    // SAFETY: llama.cpp passes a tensor with a NUL-terminated name.
    let (name, n) = unsafe { (CStr::from_ptr((*tensor).name.as_ptr()), sys::ggml_nelements(tensor)) };
    if FIXED.contains(&name) {
        return false;
    }
    // SAFETY: the pointer to the count that `Trainer::new` passed.
    unsafe { *learned.cast::<u64>() += n.unsigned_abs() };
    true
}

/// A data set of one window.
struct Dataset(NonNull<sys::ggml_opt_dataset>);

impl Dataset {
    fn new(n: i64) -> Result<Dataset, Failure> {
        let i32_type = sys::GGML_TYPE_I32;
        // SAFETY: makes two tensors of that size.
        let made = unsafe { sys::ggml_opt_dataset_init(i32_type, i32_type, n, n, 1, 1) };
        NonNull::new(made).map(Dataset).ok_or_else(|| Failure::out_of_memory("no memory for a data set"))
    }

    fn fill(&mut self, window: impl Iterator<Item = (i32, i32)>) {
        // SAFETY: both tensors have a number for each token of a window, in memory of the CPU.
        let (data, labels, n) = unsafe {
            let (data, labels) =
                (sys::ggml_opt_dataset_data(self.0.as_ptr()), sys::ggml_opt_dataset_labels(self.0.as_ptr()));
            ((*data).data.cast::<i32>(), (*labels).data.cast::<i32>(), (*data).ne[0] as usize)
        };
        for (i, (token, next)) in window.take(n).enumerate() {
            // SAFETY: `i` is below the length of both.
            unsafe {
                data.add(i).write(token);
                labels.add(i).write(next);
            }
        }
    }
}

impl Drop for Dataset {
    fn drop(&mut self) {
        // SAFETY: made by ggml, freed once.
        unsafe { sys::ggml_opt_dataset_free(self.0.as_ptr()) };
    }
}

/// Where the loss is added up.
struct Outcome(NonNull<sys::ggml_opt_result>);

impl Outcome {
    fn new() -> Result<Outcome, Failure> {
        // SAFETY: makes an empty one.
        let made = NonNull::new(unsafe { sys::ggml_opt_result_init() });
        made.map(Outcome).ok_or_else(|| Failure::out_of_memory("no memory for a result"))
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        // SAFETY: made by ggml, freed once.
        unsafe { sys::ggml_opt_result_free(self.0.as_ptr()) };
    }
}
