//! The shared harness over this plugin's table, the exported demo model, and what was computed for it elsewhere.

#![allow(dead_code, reason = "each test binary uses its own part")]

#[path = "../../../plugin/tests/harness/mod.rs"]
mod harness;

use edgebench_abi::*;
pub use harness::*;
use std::path::{Path, PathBuf};

/// This plugin's table.
pub fn table() -> &'static EbBackend {
    unsafe { &*edgebench_ort_genai::eb_backend_v1(EB_ABI_MINOR) }
}

/// The exported demo model, if both it and the libraries are there; else says why the test is skipped.
/// `scripts/ort-genai install` and `export` print both variables.
pub fn model() -> Option<PathBuf> {
    if std::env::var_os("EDGEBENCH_ORT_LIB").is_none() {
        eprintln!(
            "skipped: EDGEBENCH_ORT_LIB does not say where libonnxruntime-genai.so is (scripts/ort-genai install)"
        );
        return None;
    }
    let model = std::env::var_os("EDGEBENCH_ORT_MODEL");
    if model.is_none() {
        eprintln!("skipped: EDGEBENCH_ORT_MODEL does not say where the model is (scripts/ort-genai export)");
    }
    model.map(PathBuf::from)
}

/// What `tests/reference.py` computed for the model.
#[derive(serde::Deserialize)]
pub struct Reference {
    pub prompts: Vec<Prompt>,
}

#[derive(serde::Deserialize)]
pub struct Prompt {
    pub text: String,
    pub tokens: Vec<i32>,
    pub greedy: Vec<i32>,
    /// Why `greedy` ends: `eos`, `limit`, or `tie` (two tokens that rounding may swap).
    pub end: String,
    pub options: Vec<Vec<i32>>,
    pub scores: Vec<f64>,
}

pub fn reference(model: &Path) -> Reference {
    let path = model.join("reference.json");
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; scripts/ort-genai export", path.display()));
    serde_json::from_slice(&text).unwrap()
}

impl Session {
    pub fn open(model: &Path, params: &[(&str, &str)]) -> Result<Session, Error> {
        Session::open_with(table(), model, params)
    }

    /// The demo model with one thread, so that tests bear a busy machine; `None`: skip the test.
    pub fn demo(params: &[(&str, &str)]) -> Option<Session> {
        let model = model()?;
        let threads = [("threads", "1")];
        let session = Session::open(&model, &[&threads, params].concat());
        Some(session.unwrap_or_else(|e| panic!("{}: {e:?}", model.display())))
    }
}
