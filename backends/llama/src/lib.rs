//! llama.cpp behind the C ABI of `backends/edgebench.h`: owns the exported symbol.
//! It must not know jobs, datasets, hosts or clocks: a host calls the table, and the sink stamps the time.
//! Map: `entry` (for the shared C boundary) → `preflight`, `session`, `generate`, `together`, `score`, `quantize`, `train` → `shape`, `width`, `gguf`, `memory`, `params`, … (pure).
//! Without the feature `link` only `fit` and what it needs is left: what is known of models without llama.cpp.

#[cfg(feature = "link")]
mod affinity;
#[cfg(feature = "link")]
mod entry;
pub mod fit;
#[cfg(feature = "link")]
mod generate;
pub mod gguf;
#[cfg(feature = "link")]
mod imatrix;
#[cfg(feature = "link")]
mod log;
pub mod memory;
pub mod params;
mod preflight;
#[cfg(feature = "link")]
mod probe;
#[cfg(feature = "link")]
mod quantize;
mod repack;
#[cfg(feature = "link")]
mod sampler;
#[cfg(feature = "link")]
mod score;
#[cfg(feature = "link")]
mod session;
#[cfg(feature = "link")]
mod shape;
#[cfg(feature = "link")]
mod table;
#[cfg(feature = "link")]
mod together;
#[cfg(feature = "link")]
mod tokenizer;
#[cfg(feature = "link")]
mod train;
pub mod trainable;
#[cfg(feature = "link")]
mod width;

use edgebench_plugin::failure;

pub use failure::Failure;
pub use preflight::{check_memory, inspect};
#[cfg(feature = "link")]
pub use table::table;
