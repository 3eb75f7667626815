//! A loaded model with its one sequence: opens them, evaluates tokens, forgets and rewinds.
//! It owns every object of the vendor's library, and which tokens the KV cache holds.
//! It must not know requests, events or the C boundary.

use crate::control::Control;
use crate::failure::Failure;
use crate::genai::{Api, Brake, Logits, Object};
use crate::libs::{self, Libraries};
use crate::model::Folder;
use crate::params::Options;
use crate::tokenizer::Tokenizer;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// Most logits that one call may produce: models compute them for every token, also where nobody reads them.
const MAX_LOGIT_BYTES: usize = 256 << 20;
/// Most tokens per call; matrix products gain nothing from more.
const MAX_BATCH: usize = 512;

/// A loaded model, ready to evaluate one sequence.
pub struct Session {
    // Dropped in this order, after Drop::drop has taken the generator away from `control`.
    generator: Option<Object>,
    pub tokenizer: Tokenizer,
    model: Object,
    control: Arc<Control>,
    api: &'static Api,
    /// As parsed.
    pub options: Options,
    /// What the model's folder says.
    pub folder: Folder,
    /// The folder's last component.
    pub name: String,
    logits_name: CString,
    /// Tokens that the sequence may hold.
    pub n_ctx: usize,
    /// Tokens per call of the library.
    n_batch: usize,
    /// What the KV cache holds.
    held: Vec<i32>,
    /// The prefix hint under which that was evaluated; 0: none.
    held_for: u64,
    /// An evaluation failed: nothing that the generator holds is trusted.
    broken: bool,
    /// The model gives logits for the last position only, or not in fp32.
    last_row_only: bool,
    /// The prefix that requests share: its id and tokens.
    pub prefix: Option<(u64, Vec<i32>)>,
}

impl Session {
    /// Loads the libraries, if need be, and the model in the folder `path`.
    ///
    /// # Errors
    /// Those of the header for `open()`.
    pub fn load(path: &Path, options: Options, control: Arc<Control>) -> Result<Session, Failure> {
        let folder = Folder::read(path)?;
        let n_ctx = folder.n_ctx(options.n_ctx)?;
        let Libraries { api, .. } = libraries(&options)?;
        let refused = |text: String| open_failure(&folder, &options, n_ctx, &text);
        let c_path = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Failure::model("the model's path holds a NUL: check it"))?;
        let config = api.config(&c_path).map_err(refused)?;
        api.use_provider(&config, &options.provider, &options.provider_options).map_err(refused)?;
        let overlay = format!(
            r#"{{"model":{{"decoder":{{"session_options":{{"intra_op_num_threads":{},"log_severity_level":4}}}}}}}}"#,
            options.threads
        );
        api.overlay(&config, &overlay).map_err(refused)?;
        let model = api.model(&config).map_err(refused)?;
        let tokenizer = Tokenizer::new(api, &model, &folder).map_err(refused)?;
        let logits_name = CString::new(folder.logits.as_str())
            .map_err(|_| Failure::model("genai_config.json names an output with a NUL: export the model again"))?;
        let mut session = Session {
            generator: None,
            tokenizer,
            model,
            control,
            api,
            n_batch: rows_within(MAX_LOGIT_BYTES, folder.n_vocab),
            options,
            name: folder.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            folder,
            logits_name,
            n_ctx,
            held: Vec::with_capacity(n_ctx),
            held_for: 0,
            broken: false,
            last_row_only: false,
            prefix: None,
        };
        session.new_generator()?;
        Ok(session)
    }

    /// Begins a call: an abort() before it no longer counts.
    ///
    /// # Errors
    /// `EB_ERR_INTERNAL`.
    pub fn begin(&mut self) -> Result<(), Failure> {
        self.control.clear()
    }

    /// Fails with `EB_ERR_ABORTED` after abort().
    ///
    /// # Errors
    /// Only that.
    pub fn check_abort(&self) -> Result<(), Failure> {
        if self.control.is_aborted() { Err(Failure::aborted()) } else { Ok(()) }
    }

    /// Forgets the sequence and the shared prefix.
    ///
    /// # Errors
    /// `EB_ERR_OUT_OF_MEMORY` or `EB_ERR_INTERNAL` if a new sequence cannot be made.
    pub fn forget_all(&mut self) -> Result<(), Failure> {
        self.prefix = None;
        self.forget()
    }

    fn new_generator(&mut self) -> Result<(), Failure> {
        self.control.attach(None);
        // The old cache goes before a new one is allocated.
        self.generator = None;
        let generator = self
            .api
            .generator(&self.model, self.n_ctx)
            .map_err(|text| open_failure(&self.folder, &self.options, self.n_ctx, &text))?;
        // SAFETY: it is taken away again here and in drop(), before the generator is destroyed.
        self.control.attach(Some(unsafe { Brake::new(self.api, &generator) }));
        self.generator = Some(generator);
        self.held.clear();
        self.broken = false;
        Ok(())
    }

    fn generator(&self) -> Result<&Object, Failure> {
        self.generator.as_ref().ok_or_else(|| Failure::internal("the last sequence could not be made: open again"))
    }

    fn forget(&mut self) -> Result<(), Failure> {
        // A failed append leaves tokens behind that `held` does not know, so ask even if that is empty.
        if let Some(generator) = &self.generator
            && self.api.rewind(generator, 0).is_ok()
        {
            self.held.clear();
            self.broken = false;
            return Ok(());
        }
        // Some kinds of model cannot rewind.
        self.new_generator()
    }

    /// Keeps the first `length` tokens. `false`: this model cannot; nothing has changed. Logits must not be read
    /// before more has been evaluated.
    pub fn keep(&mut self, length: usize) -> bool {
        if self.broken || length > self.held.len() {
            return false;
        }
        let rewound = length == self.held.len()
            || self.generator.as_ref().is_some_and(|generator| self.api.rewind(generator, length).is_ok());
        if rewound {
            self.held.truncate(length);
        }
        rewound
    }

    /// Evaluates a whole prompt, of which the first `kept` tokens are taken over if they are still there from a request
    /// with the same `prefix_id`. Returns how many were.
    ///
    /// # Errors
    /// As [`Session::evaluate`].
    pub fn prefill(&mut self, tokens: &[i32], kept: usize, prefix_id: u64) -> Result<usize, Failure> {
        let there = kept > 0 && self.held_for == prefix_id && self.held.get(..kept) == tokens.get(..kept);
        let reused = if there && self.keep(kept) { kept } else { 0 };
        if reused == 0 {
            self.forget()?;
            // In the same pieces as if it were taken over, so that the result is the same to the last bit.
            self.evaluate_pieces(&tokens[..kept])?;
        }
        self.held_for = prefix_id;
        self.evaluate_pieces(&tokens[kept..])?;
        Ok(reused)
    }

    fn evaluate_pieces(&mut self, tokens: &[i32]) -> Result<(), Failure> {
        let mut rest = tokens;
        while !rest.is_empty() {
            let mut n = rest.len().min(self.n_batch);
            // A single token takes another path through the kernels, with other rounding: leave none over.
            n -= usize::from(rest.len() == n + 1 && n > 2);
            self.evaluate(&rest[..n])?;
            rest = &rest[n..];
        }
        Ok(())
    }

    /// Evaluates tokens that follow those that are held.
    ///
    /// # Errors
    /// `EB_ERR_ABORTED`, `EB_ERR_OUT_OF_MEMORY`, `EB_ERR_INTERNAL`; the sequence is lost then.
    pub fn evaluate(&mut self, tokens: &[i32]) -> Result<(), Failure> {
        self.check_abort()?;
        let outcome = self.api.append(self.generator()?, tokens);
        if let Err(text) = outcome {
            self.broken = true;
            self.held.clear();
            self.check_abort()?;
            return Err(run_failure(&self.options, &text));
        }
        self.held.extend_from_slice(tokens);
        Ok(())
    }

    /// Logits after the last token that was evaluated.
    ///
    /// # Errors
    /// `EB_ERR_MODEL` if they are not one number per token of the vocabulary, `EB_ERR_INTERNAL`.
    pub fn last_logits(&self) -> Result<Logits, Failure> {
        let logits = self.api.last_logits(self.generator()?).or_else(|text| {
            self.check_abort()?;
            Err(run_failure(&self.options, &text))
        })?;
        self.check_width(&logits)?;
        Ok(logits)
    }

    fn check_width(&self, logits: &Logits) -> Result<(), Failure> {
        if logits.width == self.folder.n_vocab {
            return Ok(());
        }
        Err(Failure::model(format!(
            "the model gives {} logits, but genai_config.json says vocab_size = {}: export it again",
            logits.width, self.folder.n_vocab
        )))
    }

    /// Evaluates tokens and hands the logits after each of them to `see`, with its index.
    ///
    /// # Errors
    /// As [`Session::evaluate`] and [`Session::last_logits`], and those of `see`.
    pub fn evaluate_rows(
        &mut self,
        tokens: &[i32],
        mut see: impl FnMut(usize, &[f32]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        // The library copies what it hands out, so a smaller piece than for a prefill.
        let n_rows = rows_within(MAX_LOGIT_BYTES / 4, self.folder.n_vocab);
        let mut done = 0;
        while done < tokens.len() {
            let n = if self.last_row_only { 1 } else { n_rows.min(tokens.len() - done) };
            let start = self.held.len();
            self.evaluate(&tokens[done..done + n])?;
            if n == 1 {
                see(done, self.last_logits()?.row(0))?;
                done += 1;
                continue;
            }
            match self.api.all_logits(self.generator()?, &self.logits_name) {
                Ok(Some(logits)) if logits.rows == n => {
                    self.check_width(&logits)?;
                    for row in 0..n {
                        see(done + row, logits.row(row))?;
                    }
                    done += n;
                }
                // Pruned to the last position, in pieces, or in half precision: one token at a time works everywhere.
                _ if self.keep(start) => self.last_row_only = true,
                _ => return Err(Failure::unsupported("this model shows no logits but the last, and cannot rewind")),
            }
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.control.attach(None);
    }
}

/// The libraries that the options, or the environment, name.
///
/// # Errors
/// `EB_ERR_UNSUPPORTED`.
fn libraries(options: &Options) -> Result<&'static Libraries, Failure> {
    let environment = std::env::var_os(libs::ENVIRONMENT).filter(|v| !v.is_empty());
    let found = libs::find(options.lib.as_deref(), options.ort_lib.as_deref(), environment.as_deref().map(Path::new))?;
    let libraries = libs::load(found)?;
    crate::device::loaded(libraries, options);
    Ok(libraries)
}

/// Positions whose logits fit into `bytes`.
fn rows_within(bytes: usize, n_vocab: usize) -> usize {
    (bytes / (size_of::<f32>() * n_vocab)).clamp(2, MAX_BATCH)
}

/// Does the library's text speak of memory?
fn is_memory(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["bad_alloc", "failed to allocate", "could not allocate", "out of memory"].iter().any(|word| text.contains(word))
}

fn open_failure(folder: &Folder, options: &Options, n_ctx: usize, text: &str) -> Failure {
    if is_memory(text) {
        let mib = |bytes: u64| bytes >> 20;
        let kv = folder.kv_bytes_per_token * n_ctx as u64;
        return Failure::out_of_memory(format!(
            "needs about {} MiB for weights and {} MiB for n_ctx = {n_ctx}, free are {} MiB: lower n_ctx, or take a \
             smaller model",
            mib(folder.weights_bytes),
            mib(kv),
            mib(crate::device::memory().1)
        ));
    }
    if options.is_cpu() {
        return Failure::model(format!("ONNX Runtime GenAI cannot load it: {text}"));
    }
    Failure::unsupported(format!("provider {} does not take this model: {text}", options.provider))
}

fn run_failure(options: &Options, text: &str) -> Failure {
    if is_memory(text) {
        return Failure::out_of_memory(format!(
            "{text}; free are {} MiB: lower n_ctx",
            crate::device::memory().1 >> 20
        ));
    }
    if text.contains("Continuous decoding is not supported") {
        return Failure::unsupported(format!("provider {} cannot go on after a prompt: {text}", options.provider));
    }
    if options.is_cpu() { Failure::internal(text) } else { Failure::device(format!("{}: {text}", options.provider)) }
}
