//! This backend as the shared entry points want it: parses parameters, and says what is loaded.
//! It must not know the C boundary, nor what happens inside a call.

use crate::control::Control;
use crate::failure::Failure;
use crate::params::Options;
use crate::session::Session;
use crate::{device as devices, generate as generation, score as scoring};
use edgebench_abi::{EB_INFO_PREFIX, EB_INFO_SAMPLING, EB_INFO_TOKENIZER, EB_LOG_INFO, EbDevice, EbInfo, EbStr};
use edgebench_plugin::entry::{Abort, Backend, Log, Probe, store};
use edgebench_plugin::request::{Generate, Score};
use edgebench_plugin::sink::Sink;
use std::path::Path;
use std::sync::Arc;

impl Abort for Control {
    fn abort(&self) {
        self.stop();
    }
}

impl Backend for Session {
    const NAME: &'static str = "ort-genai";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Abort = Control;

    fn probe() -> Probe {
        let devices::Report { runtime, device, note } = devices::report();
        // Whether the libraries are there is known in open() only: a job may say where.
        Probe { device_count: 1, runtime, device, note }
    }

    fn open(model: &Path, params: &[(String, String)], log: Log, abort: Arc<Control>) -> Result<Session, Failure> {
        let options = Options::parse(params.iter().map(|(key, value)| (key.as_str(), value.as_str())))?;
        let session = Session::load(model, options, abort)?;
        let line = format!(
            "{}; provider {}, {} threads, n_ctx {}",
            devices::current().driver,
            session.options.provider,
            session.options.threads,
            session.n_ctx
        );
        log.line(EB_LOG_INFO, line.as_bytes());
        Ok(session)
    }

    fn info(&self) -> EbInfo {
        let folder = &self.folder;
        EbInfo {
            struct_size: 0,
            n_ctx: self.n_ctx as u32,
            n_ctx_train: u32::try_from(folder.context_length).unwrap_or(u32::MAX),
            n_vocab: folder.n_vocab as u32,
            flags: EB_INFO_TOKENIZER | EB_INFO_SAMPLING | EB_INFO_PREFIX,
            n_weights: 0,
            weights_bytes: folder.weights_bytes,
            // Other providers may keep it in another type.
            kv_bytes: if self.options.is_cpu() { folder.kv_bytes_per_token * self.n_ctx as u64 } else { 0 },
            compute_bytes: 0,
            bos_token: folder.bos,
            eos_token: folder.eos.first().copied().unwrap_or(-1),
            architecture: EbStr::new(&folder.architecture),
            quantization: EbStr::EMPTY,
            description: EbStr::new(&self.name),
            chat_template: EbStr::new(&folder.chat_template),
            bos_text: EbStr::new(&folder.bos_text),
            eos_text: EbStr::new(&folder.eos_text),
            scored_by: EbStr::EMPTY,
        }
    }

    fn tokenize(&self, text: &[u8], special: bool, parse: bool, out: &mut [i32]) -> Result<usize, Failure> {
        Ok(store(&self.tokenizer.encode(text, special, parse)?, out))
    }

    fn detokenize(&self, tokens: &[i32], out: &mut [u8]) -> Result<usize, Failure> {
        Ok(store(&self.tokenizer.decode(tokens)?, out))
    }

    fn generate(&mut self, requests: &[(u64, Generate)], sink: &Sink) -> Result<(), Failure> {
        generation::generate(self, requests, sink)
    }

    fn score(&mut self, requests: &[(u64, Score)], sink: &Sink) -> Result<(), Failure> {
        scoring::score(self, requests, sink)
    }

    fn reset(&mut self) -> Result<(), Failure> {
        self.forget_all()
    }

    fn device(index: u32) -> Option<EbDevice> {
        let devices::Device { name, driver, cores, is_cpu } = devices::current();
        let (memory_bytes, memory_free_bytes) = if is_cpu { devices::memory() } else { (0, 0) };
        (index == 0).then(|| EbDevice {
            struct_size: 0,
            cores,
            name: EbStr::new(name),
            driver: EbStr::new(driver),
            memory_bytes,
            memory_free_bytes,
        })
    }
}
