//! Will it fit? What a model takes of memory, by part, against what is free: asked by `check` and `probe`, and before
//! each case, so that nothing is started that the kernel would kill. It must not know hosts.
//!
//! Only models of the built-in llama.cpp are known well enough; other backends see for themselves.

use crate::job::{Instance, Job, Method, Scenario, Task};
use crate::problem::Problem;
use serde::Serialize;
use std::path::Path;

/// The backend whose models are known.
const LLAMA: &str = "llama";
/// Its parameter that switches off its own check; the job has a key of the same name.
const FORCE: &str = "force_memory";
/// Its parameter for requests that run together.
const BATCH: &str = "batch";
/// Its largest value.
const MOST_TOGETHER: u32 = 128;

/// Memory that a model takes, by part, against what is free. MiB.
#[derive(Debug, Serialize)]
pub struct Fit {
    pub model: String,
    pub weights_mib: f64,
    pub kv_mib: f64,
    pub compute_mib: f64,
    /// The process and its tokenizer.
    pub host_mib: f64,
    /// All of the model that guesses ahead, if there is one.
    pub draft_mib: f64,
    /// Sum of these: what has to be free.
    pub need_mib: f64,
    /// What the RSS of the host comes to: beside the need, pages of the file that were repacked and can be dropped.
    pub rss_mib: f64,
    pub n_ctx: u64,
    pub free_mib: Option<f64>,
    pub fits: bool,
    /// What to do where it does not.
    pub advice: String,
}

/// Holds a model with the llama backend's parameters against the memory that is free below `root`. `texts`: whole texts
/// will be scored, which takes logits for every token.
///
/// # Errors
/// What is wrong with the file or the parameters.
#[cfg(feature = "gguf")]
pub fn of(model: &Path, params: &[(String, String)], texts: bool, root: &Path) -> Result<Fit, String> {
    use edgebench_llama::memory::Work;
    let free = crate::sense::memory::free_bytes(root);
    let fit = edgebench_llama::fit::fit(model, params, if texts { Work::Texts } else { Work::Answers }, free)
        .map_err(|f| f.message)?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Ok(Fit {
        model: model.display().to_string(),
        weights_mib: mib(fit.need.weights),
        kv_mib: mib(fit.need.kv),
        compute_mib: mib(fit.need.compute),
        host_mib: mib(fit.need.host),
        draft_mib: mib(fit.need.draft),
        need_mib: mib(fit.need.total()),
        rss_mib: mib(fit.need.peak_rss()),
        n_ctx: fit.n_ctx,
        free_mib: free.map(mib),
        fits: fit.shortage.is_none(),
        advice: fit.shortage.unwrap_or_default(),
    })
}

/// As above, in a build that knows no model.
///
/// # Errors
/// Always.
#[cfg(not(feature = "gguf"))]
pub fn of(model: &Path, _params: &[(String, String)], _texts: bool, _root: &Path) -> Result<Fit, String> {
    Err(format!("{}: this build has no llama.cpp, whose memory it would estimate; use the full one", model.display()))
}

/// Holds the training of a model, in steps of `n_ctx` tokens (0: as the llama backend thinks best), against `free` bytes of memory: why
/// it does not fit, or nothing.
///
/// # Errors
/// Why it cannot be trained at all.
#[cfg(feature = "gguf")]
fn training_of(model: &Path, n_ctx: u32, free: Option<u64>) -> Result<Option<String>, String> {
    use edgebench_llama::trainable;
    let header = edgebench_llama::inspect(model).map_err(|f| f.message)?;
    trainable::check(&header).map_err(|f| f.message)?;
    Ok(free.and_then(|free| trainable::shortage(&header, trainable::window(&header, n_ctx), free)))
}

/// As above, in a build that knows no model: nothing is known to be wrong.
#[cfg(not(feature = "gguf"))]
fn training_of(_model: &Path, _n_ctx: u32, _free: Option<u64>) -> Result<Option<String>, String> {
    Ok(None)
}

/// Why `instance` does not fit with `task` into the memory that is free now; `None`: it does, or nobody can tell, or the user
/// insists. What is wrong with the model itself is told by the backend that opens it.
pub fn shortage(job: &Job, instance: &Instance, task: &Task, root: &Path) -> Option<String> {
    if job.force_memory || instance.backend != LLAMA || has_word(instance) {
        return None;
    }
    if let Method::Finetune(training) = &task.method {
        // One that cannot be trained is told by the backend.
        let free = crate::sense::memory::free_bytes(root)?;
        return training_of(instance.model_path.as_deref()?, training.n_ctx, Some(free)).ok()?;
    }
    let texts = task.method.windows().is_some();
    let params: Vec<_> = instance.params.iter().cloned().chain(batch(instance, task)).collect();
    let fit = of(instance.model_path.as_deref()?, &params, texts, root).ok()?;
    (!fit.fits).then_some(fit.advice)
}

/// Why `task` cannot train `instance`, as far as it can be seen in the model's file.
fn untrainable(instance: &Instance, task: &Task) -> Option<String> {
    let Method::Finetune(_) = &task.method else { return None };
    training_of(instance.model_path.as_deref().filter(|_| instance.backend == LLAMA)?, 0, None).err()
}

/// The parameters that `instance` is opened with: its own, and the job's word on memory.
pub fn params(job: &Job, instance: &Instance) -> Vec<(String, String)> {
    let mut params = instance.params.clone();
    if job.force_memory && instance.backend == LLAMA && !has_word(instance) {
        params.push((FORCE.to_owned(), "true".to_owned()));
    }
    params
}

/// Does the object say itself what is to be done?
fn has_word(instance: &Instance) -> bool {
    has(instance, FORCE)
}

fn has(instance: &Instance, key: &str) -> bool {
    instance.params.iter().any(|(k, _)| k == key)
}

/// The parameter that `task` adds to those of `instance`: how many requests the llama backend is to run together.
pub fn batch(instance: &Instance, task: &Task) -> Option<(String, String)> {
    if instance.backend != LLAMA || has(instance, BATCH) || !matches!(task.method, Method::Generate { .. }) {
        return None;
    }
    let number = match (task.scenario, &task.load) {
        (Scenario::Offline, _) => task.batch.map_or("auto".to_owned(), |n| n.to_string()),
        (_, Some(load)) if load.concurrency > 1 => load.concurrency.min(MOST_TOGETHER).to_string(),
        _ => return None,
    };
    Some((BATCH.to_owned(), number))
}

/// Objects of a job, whose file is `shown` to the user, that would not fit now, or cannot be trained. Memory may be free when they
/// run, and a case without a result costs no other one, so these are no errors.
pub fn warnings(job: &Job, shown: &Path, root: &Path) -> Vec<Problem> {
    let one = |instance: &Instance| {
        if let Some(why) = job.tasks.iter().find_map(|task| untrainable(instance, task)) {
            return Some(Problem::new(shown, 0, format!("object \"{}\" cannot be trained: {why}", instance.id), ""));
        }
        let why = job.tasks.iter().find_map(|task| shortage(job, instance, task, root))?;
        let what = format!("object \"{}\" does not fit: {why}", instance.id);
        Some(Problem::new(shown, 0, what, ""))
    };
    // How large a model will be that has yet to be made is seen when it is there.
    let there = |instance: &&Instance| instance.quantize.as_ref().is_none_or(|q| q.is_none());
    job.instances.iter().filter(there).filter_map(one).collect()
}
