//! llama.cpp behind the C ABI of `backends/edgebench.h`: owns the exported symbol.
//! It must not know jobs, datasets, hosts or clocks: a host calls the table, and the sink stamps the time.
//! Map: `entry` (for the shared C boundary) → `preflight`, `session`, `generate`, `score` → `gguf`, `memory`, `params`, … (pure).

mod entry;
pub mod fit;
mod generate;
pub mod gguf;
mod log;
pub mod memory;
pub mod params;
mod preflight;
mod probe;
mod repack;
mod sampler;
mod score;
mod session;
mod tokenizer;

use edgebench_abi::EbBackend;
use edgebench_plugin::entry::Tables;
use edgebench_plugin::{cpu, failure};
use session::Session;

pub use failure::Failure;
pub use preflight::inspect;

/// The backend's table, for a host that links this crate instead of loading the plugin.
pub fn table() -> &'static EbBackend {
    Session::TABLE
}

/// The plugin's one symbol. It needs nothing newer than ABI 1.0, so every host of major version 1 gets the table.
///
/// A host that links the rlib carries this symbol too. Nothing clashes: nobody refers to it by name (the host calls
/// [`table`]), and a loader asks for it with the handle of one library.
#[unsafe(no_mangle)]
pub extern "C" fn eb_backend_v1(_host_minor: u32) -> *const EbBackend {
    Session::TABLE
}
