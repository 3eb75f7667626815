//! ONNX Runtime GenAI behind the C ABI of `backends/edgebench.h`: owns the exported symbol.
//! It must not know jobs, datasets, hosts or clocks: a host calls the table, and the sink stamps the time.
//! Map: `entry` (for the shared C boundary) → `session`, `generate`, `score` → `genai`, `libs` (vendor) and pure modules.

mod control;
mod device;
mod entry;
mod genai;
mod generate;
mod libs;
mod model;
mod params;
mod sampler;
mod score;
mod session;
mod tokenizer;

use edgebench_abi::EbBackend;
use edgebench_plugin::entry::Tables;
use edgebench_plugin::{cpu, failure};
use session::Session;

/// The plugin's one symbol. It needs nothing newer than ABI 1.0, so every host of major version 1 gets the table.
#[unsafe(no_mangle)]
pub extern "C" fn eb_backend_v1(_host_minor: u32) -> *const EbBackend {
    Session::TABLE
}
