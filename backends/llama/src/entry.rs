//! This backend as the shared entry points want it: parses parameters, and says what is loaded.
//! It must not know the C boundary, nor what happens inside a call.

use crate::failure::Failure;
use crate::params::Options;
use crate::session::Session;
use crate::{generate as generation, probe as probing, quantize as quantization, score as scoring, train as training};
use edgebench_abi::{EB_INFO_BATCH, EB_INFO_PREFIX, EB_INFO_SAMPLING, EB_INFO_TOKENIZER};
use edgebench_abi::{EbInfo, EbQuantized, EbStr, EbTrainStep, EbTrained};
use edgebench_plugin::entry::{Backend, Log, Probe};
use edgebench_plugin::request::{Generate, Quantize, Score};
use edgebench_plugin::sink::Sink;
use edgebench_plugin::train::Train;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

impl Backend for Session {
    const NAME: &'static str = "llama";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Abort = AtomicBool;

    fn probe() -> Probe {
        let report = probing::report();
        Probe {
            device_count: report.device_count,
            runtime: &report.runtime,
            device: &report.device,
            note: &report.note,
        }
    }

    fn open(model: &Path, params: &[(String, String)], log: Log, abort: Arc<AtomicBool>) -> Result<Session, Failure> {
        let options = Options::parse(params.iter().map(|(key, value)| (key.as_str(), value.as_str())))?;
        Session::load(log, model, options, abort)
    }

    fn info(&self) -> EbInfo {
        let (n_weights, weights_bytes) = self.weights();
        let (bos_token, eos_token) = self.tokenizer.bos_eos();
        EbInfo {
            struct_size: 0,
            n_ctx: self.n_ctx as u32,
            n_ctx_train: u32::try_from(self.header.n_ctx_train).unwrap_or(u32::MAX),
            n_vocab: self.tokenizer.n_vocab() as u32,
            flags: EB_INFO_TOKENIZER
                | EB_INFO_SAMPLING
                | if self.can_take_up() { EB_INFO_PREFIX } else { 0 }
                | if self.width.max > 1 { EB_INFO_BATCH } else { 0 },
            n_weights,
            weights_bytes,
            kv_bytes: self.kv_bytes(),
            compute_bytes: self.compute_bytes,
            bos_token,
            eos_token,
            architecture: EbStr::new(&self.header.architecture),
            quantization: EbStr::new(&self.header.quantization),
            description: EbStr::new(&self.description),
            chat_template: EbStr::new(self.tokenizer.template()),
            bos_text: EbStr::new(self.tokenizer.bos_eos_text().0),
            eos_text: EbStr::new(self.tokenizer.bos_eos_text().1),
            scored_by: EbStr::EMPTY,
        }
    }

    fn tokenize(&self, text: &[u8], special: bool, parse: bool, out: &mut [i32]) -> Result<usize, Failure> {
        self.tokenizer.tokenize(text, special, parse, out)
    }

    fn detokenize(&self, tokens: &[i32], out: &mut [u8]) -> Result<usize, Failure> {
        self.tokenizer.detokenize(tokens, out)
    }

    fn generate(&mut self, requests: &[(u64, Generate)], sink: &Sink) -> Result<(), Failure> {
        generation::generate(self, requests, sink)
    }

    fn score(&mut self, requests: &[(u64, Score)], sink: &Sink) -> Result<(), Failure> {
        scoring::score(self, requests, sink)
    }

    const ADAPTS: bool = true;

    fn adapt(&mut self, adapters: &[(&Path, f32)]) -> Result<(), Failure> {
        Session::adapt(self, adapters)
    }

    const SHOWS_LOGITS: bool = true;

    fn evaluate(&mut self, tokens: &[i32], first: usize, row: &mut dyn FnMut(&[f32]) -> bool) -> Result<(), Failure> {
        scoring::evaluate(self, tokens, first, row)
    }

    const QUANTIZES: bool = true;

    fn quantize(wanted: &Quantize, log: Log) -> Result<EbQuantized, Failure> {
        quantization::quantize(wanted, log)
    }

    const TRAINS: bool = true;

    fn train(wanted: &Train, step: &mut dyn FnMut(EbTrainStep) -> bool, log: Log) -> Result<EbTrained, Failure> {
        training::train(wanted, step, log)
    }

    fn reset(&mut self) -> Result<(), Failure> {
        self.forget();
        Ok(())
    }
}
