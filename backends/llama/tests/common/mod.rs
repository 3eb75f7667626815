//! The shared harness over this backend's table, and the demo model.

#![allow(dead_code, reason = "each test binary uses its own part")]

#[path = "../../../plugin/tests/harness/mod.rs"]
mod harness;
pub mod reference;

use edgebench_abi::EbBackend;
pub use harness::*;
use std::path::{Path, PathBuf};

/// The committed demo model, or the one named by `EDGEBENCH_TEST_MODEL`.
pub fn model() -> PathBuf {
    match std::env::var_os("EDGEBENCH_TEST_MODEL") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/demo/demo-q8_0.gguf"),
    }
}

/// The adapter that was trained on it.
pub fn adapter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/demo/demo-lora-smallest.gguf")
}

pub fn table() -> &'static EbBackend {
    edgebench_llama::table()
}

impl Session {
    pub fn open(model: &Path, params: &[(&str, &str)]) -> Result<Session, Error> {
        Session::open_with(table(), model, params)
    }

    /// The demo model with one thread, so that tests bear a busy machine.
    pub fn demo(params: &[(&str, &str)]) -> Session {
        let threads = [("threads", "1")];
        Session::open(&model(), &[params, &threads].concat()).unwrap_or_else(|e| panic!("{}: {e:?}", model().display()))
    }
}
