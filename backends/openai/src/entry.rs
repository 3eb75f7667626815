//! This backend as the shared entry points want it: parses parameters, and says what was found.
//! It must not know the C boundary, nor what happens inside a call.

use crate::body::{CONVERSATION, NO_CONVERSATION};
use crate::failure::Failure;
use crate::params::{Api, Options};
use crate::session::Session;
use crate::{generate as generation, score as scoring};
use edgebench_abi::{EB_INFO_BATCH, EB_INFO_SAMPLING, EB_LOG_INFO, EbInfo, EbStr};
use edgebench_plugin::entry::{Backend, Log, Probe, Scores};
use edgebench_plugin::request::{Generate, ScoreText};
use edgebench_plugin::sink::Sink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// What the first server that was met is.
static MET: OnceLock<(String, String)> = OnceLock::new();

impl Backend for Session {
    const NAME: &'static str = "openai";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Abort = AtomicBool;
    const SCORES: Scores = Scores::Text;

    fn probe() -> Probe {
        let (runtime, device) = MET.get().map_or(("", "a server"), |(runtime, url)| (runtime, url));
        Probe { device_count: 1, runtime, device, note: "" }
    }

    fn open(model: &Path, params: &[(String, String)], log: Log, abort: Arc<AtomicBool>) -> Result<Session, Failure> {
        let options = Options::parse(params.iter().map(|(key, value)| (key.as_str(), value.as_str())))?;
        let session = Session::open(&model.to_string_lossy(), options, abort)?;
        MET.get_or_init(|| (session.runtime.clone(), session.options.url.clone()));
        let line = format!("model {}, options scored by {:?}", session.model, session.scored_by.name());
        log.line(EB_LOG_INFO, line.as_bytes());
        Ok(session)
    }

    fn info(&self) -> EbInfo {
        let chat = self.options.api == Api::Chat;
        EbInfo {
            struct_size: 0,
            n_ctx: self.n_ctx,
            n_ctx_train: 0,
            n_vocab: 0,
            flags: EB_INFO_SAMPLING | EB_INFO_BATCH,
            n_weights: 0,
            weights_bytes: 0,
            kv_bytes: 0,
            compute_bytes: 0,
            bos_token: -1,
            eos_token: -1,
            architecture: EbStr::EMPTY,
            quantization: EbStr::EMPTY,
            description: EbStr::new(&self.model),
            chat_template: EbStr::new(if chat { CONVERSATION } else { NO_CONVERSATION }),
            bos_text: EbStr::EMPTY,
            eos_text: EbStr::EMPTY,
            scored_by: EbStr::new(self.scored_by.name()),
        }
    }

    fn generate(&mut self, requests: &[(u64, Generate)], sink: &Sink) -> Result<(), Failure> {
        self.abort.store(false, Ordering::Relaxed);
        generation::generate(self, requests, sink)
    }

    fn score_text(&mut self, requests: &[(u64, ScoreText)], sink: &Sink) -> Result<(), Failure> {
        self.abort.store(false, Ordering::Relaxed);
        scoring::score(self, requests, sink)
    }

    fn reset(&mut self) -> Result<(), Failure> {
        // What a server keeps of earlier requests is its own business; it tells it as cached tokens.
        Ok(())
    }
}
