//! ONNX Runtime GenAI behind the C ABI of `backends/edgebench.h`: owns the table of functions and the exported symbol.
//! It must not know jobs, datasets, hosts or clocks: a host calls the table, and the sink stamps the time.
//! Map: `entry` (C boundary) → `session`, `generate`, `score` → `genai`, `libs` (vendor) and pure modules.

mod control;
mod device;
mod entry;
mod genai;
mod generate;
mod libs;
mod model;
mod params;
mod requests;
mod sampler;
mod score;
mod session;
mod tokenizer;

use edgebench_abi::{EB_ABI_MINOR, EbBackend, EbDeviceV1, EbScoreV1, EbStr};
use edgebench_plugin::{cpu, failure, ffi, sink};

static TABLE: EbBackend = EbBackend {
    struct_size: size_of::<EbBackend>() as u32,
    abi_minor: EB_ABI_MINOR,
    name: EbStr::new("ort-genai"),
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

static DEVICE: EbDeviceV1 =
    EbDeviceV1 { struct_size: size_of::<EbDeviceV1>() as u32, reserved: 0, get: Some(entry::device) };

/// The plugin's one symbol. It needs nothing newer than ABI 1.0, so every host of major version 1 gets the table.
#[unsafe(no_mangle)]
pub extern "C" fn eb_backend_v1(_host_minor: u32) -> *const EbBackend {
    &TABLE
}
