//! The command `bench`: how fast a backend evaluates prompts and generates, with token requests of given lengths, no dataset
//! and no judging. `shape` says what is measured, `measure` does it once, `runner` does all of it on one object and
//! goes on past whatever fails, `print` writes the table. It must not know tasks or run folders.

mod measure;
mod print;
pub mod runner;
pub mod shape;

pub use print::{Format, status};

use crate::backend::hosts;
use crate::backend::loader::is_path;
use crate::job::{ChatSpec, Instance, path_param};
use crate::testcase::run::Verbosity;
use runner::Runner;
use shape::Test;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The backend whose context is made as large as the tests need, unless a parameter says otherwise.
const LLAMA: &str = "llama";
/// Its parameter for that.
const N_CTX: &str = "n_ctx";
/// llama.cpp makes contexts of a multiple of this many tokens.
const N_CTX_STEP: u32 = 256;

/// Objects to measure: models, a backend, and lists of values for its parameters.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    pub models: Vec<PathBuf>,
    /// A built-in name, or a plugin's path.
    pub backend: String,
    pub sweeps: Vec<(String, Vec<String>)>,
}

/// How often and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub repetitions: u32,
    /// More repetitions until so much was timed.
    pub at_least: Duration,
    /// Do each test once before it is timed.
    pub warmup: bool,
    /// Of one request.
    pub timeout: Duration,
    /// Hosts write nothing, where the kernel can see to it.
    pub sandbox: bool,
}

/// What `bench` is asked.
pub struct Request {
    pub objects: Objects,
    pub tests: Vec<Test>,
    pub settings: Settings,
    pub format: Format,
    pub verbosity: Verbosity,
}

/// Measures all tests on all objects and prints each row as it comes: did every one come to its end?
///
/// # Errors
/// Something is wrong with the objects, or the table cannot be written; in the latter case what was printed stands.
pub fn run(request: &Request) -> Result<bool, BenchError> {
    let instances = request.objects.instances().map_err(BenchError::Input)?;
    let mut runner = Runner::start(request.settings)?;
    let steps = instances.len() * request.tests.len() * runner.steps() as usize;
    let progress = runner.show_progress(request.verbosity, steps as u64);
    let mut stdout = std::io::stdout().lock();
    let mut out = print::Printer::start(request.format, &mut stdout, &instances, &request.tests)?;
    let mut all_ok = true;
    for instance in &instances {
        runner.measure(instance, &request.tests, &mut |row| {
            all_ok &= row.get("status") == "ok";
            progress.aside(|| out.row(row))
        })?;
    }
    progress.finish();
    Ok(all_ok)
}

/// Why `bench` gives no table.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Nothing was measured.
    #[error("{0}")]
    Input(String),
    /// The table cannot be written, or the board cannot be watched.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl Objects {
    /// One for each combination of model and values, the last list changing fastest.
    ///
    /// # Errors
    /// A sentence: there is no such backend or file.
    pub fn instances(&self) -> Result<Vec<Instance>, String> {
        let backend = backend(&self.backend)?;
        let folder = std::env::current_dir().unwrap_or_default();
        let mut models = Vec::new();
        for model in &self.models {
            let path = std::path::absolute(model).unwrap_or_else(|_| model.clone());
            std::fs::metadata(&path).map_err(|e| format!("{}: {e}", model.display()))?;
            models.push((model.display().to_string(), Some(path)));
        }
        if models.is_empty() {
            if is_llama(&backend) {
                return Err("give a model: -m MODEL.gguf".to_owned());
            }
            models.push((String::new(), None));
        }
        let mut combinations: Vec<Vec<(String, String)>> = vec![Vec::new()];
        for (key, values) in &self.sweeps {
            let with = |row: &Vec<(String, String)>| {
                let row = row.clone();
                let value = |v: &String| (key.clone(), path_param(v.clone(), &folder));
                values.iter().map(move |v| [&row[..], &[value(v)]].concat()).collect::<Vec<_>>()
            };
            combinations = combinations.iter().flat_map(with).collect();
        }
        let one = |(model, path): &(String, Option<PathBuf>), params: &Vec<(String, String)>| Instance {
            object: "bench".to_owned(),
            id: "bench".to_owned(),
            backend: backend.clone(),
            model: model.clone(),
            model_path: path.clone(),
            params: params.clone(),
            folder: folder.clone(),
            chat: ChatSpec::default(),
            lora: None,
            paradigm: None,
            quantize: None,
        };
        Ok(models.iter().flat_map(|model| combinations.iter().map(move |params| one(model, params))).collect())
    }
}

/// A built-in backend's name, or the absolute path of a plugin that can be loaded here; empty: the first built-in one.
///
/// # Errors
/// There is none of that name, or the plugin cannot be loaded here.
pub fn backend(text: &str) -> Result<String, String> {
    let built_in = hosts::built_in();
    if is_path(text) {
        hosts::check_plugin(Path::new(text)).map_err(|e| format!("--backend {text}: the plugin {e}"))?;
        let path = std::path::absolute(text).map_err(|e| format!("--backend {text}: {e}"))?;
        return Ok(path.to_string_lossy().into_owned());
    }
    match built_in.iter().find(|name| text.is_empty() || **name == text) {
        Some(name) => Ok((*name).to_owned()),
        None if text.is_empty() => Err("no backend is built in: give a plugin, --backend ./plugin.so".to_owned()),
        None => Err(format!(
            "--backend {text}: built in is {}; a plugin's path has a / in it: ./plugin.so",
            if built_in.is_empty() { "none".to_owned() } else { built_in.join(", ") }
        )),
    }
}

/// Is it the one whose parameters are known?
pub fn is_llama(backend: &str) -> bool {
    backend == LLAMA
}

/// The parameters that `instance` is opened with for `test`. Its context is just large enough, as in llama-bench: a larger
/// one is slower, so that a test's figure would depend on the tests beside it.
fn params(instance: &Instance, test: &Test) -> Vec<(String, String)> {
    let mut params = instance.params.clone();
    if is_llama(&instance.backend) && params.iter().all(|(key, _)| key != N_CTX) {
        params.push((N_CTX.to_owned(), test.context().next_multiple_of(N_CTX_STEP).to_string()));
    }
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_has_a_context_of_its_own() {
        let n_ctx = |backend: &str, given: &[(&str, &str)], prompt, output, depth| {
            let instance = Instance {
                object: String::new(),
                id: String::new(),
                backend: backend.to_owned(),
                model: String::new(),
                model_path: None,
                params: given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
                folder: PathBuf::new(),
                chat: ChatSpec::default(),
                lora: None,
                paradigm: None,
                quantize: None,
            };
            let params = params(&instance, &Test { prompt, output, depth });
            params.into_iter().find(|(key, _)| key == N_CTX).map(|(_, value)| value)
        };
        assert_eq!(n_ctx(LLAMA, &[], 512, 0, 0).as_deref(), Some("768"), "a prompt and the token after it");
        assert_eq!(n_ctx(LLAMA, &[], 0, 128, 0).as_deref(), Some("256"));
        assert_eq!(n_ctx(LLAMA, &[], 0, 128, 4096).as_deref(), Some("4352"));
        assert_eq!(n_ctx(LLAMA, &[(N_CTX, "2048")], 512, 0, 0).as_deref(), Some("2048"), "what is given stands");
        assert_eq!(n_ctx("/plugin.so", &[], 512, 0, 0), None, "a parameter of llama.cpp's only");
    }
}
