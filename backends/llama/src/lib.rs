//! llama.cpp behind the C ABI of `backends/edgebench.h`: owns the table of functions and the exported symbol.
//! It must not know jobs, datasets, hosts or clocks: a host calls the table, and the sink stamps the time.
//! Map: `entry` (C boundary) → `preflight`, `session`, `generate`, `score` → `gguf`, `memory`, `params`, … (pure).

mod entry;
pub mod fit;
mod generate;
pub mod gguf;
mod log;
pub mod memory;
pub mod params;
mod preflight;
mod probe;
mod sampler;
mod score;
mod session;
mod tokenizer;

use edgebench_abi::{EB_ABI_MINOR, EbBackend, EbScoreV1, EbStr};
use edgebench_plugin::{cpu, failure, ffi, sink};

pub use failure::Failure;
pub use preflight::inspect;

static TABLE: EbBackend = EbBackend {
    struct_size: size_of::<EbBackend>() as u32,
    abi_minor: EB_ABI_MINOR,
    name: EbStr::new("llama"),
    version: EbStr::new(env!("CARGO_PKG_VERSION")),
    probe: Some(entry::probe),
    open: Some(entry::open),
    close: Some(entry::close),
    info: Some(entry::info),
    tokenize: Some(entry::tokenize),
    detokenize: Some(entry::detokenize),
    generate: Some(entry::generate),
    reset: Some(entry::reset),
    abort: Some(entry::abort),
    get_extension: Some(entry::get_extension),
};

static SCORE: EbScoreV1 =
    EbScoreV1 { struct_size: size_of::<EbScoreV1>() as u32, reserved: 0, score: Some(entry::score) };

/// The backend's table, for a host that links this crate instead of loading the plugin.
pub fn table() -> &'static EbBackend {
    &TABLE
}

/// The plugin's one symbol. It needs nothing newer than ABI 1.0, so every host of major version 1 gets the table.
///
/// A host that links the rlib carries this symbol too. Nothing clashes: nobody refers to it by name (the host calls
/// [`table`]), and a loader asks for it with the handle of one library.
#[unsafe(no_mangle)]
pub extern "C" fn eb_backend_v1(_host_minor: u32) -> *const EbBackend {
    &TABLE
}
