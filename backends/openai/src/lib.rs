//! OpenAI-compatible servers behind the C ABI of `backends/edgebench.h`: owns the table.
//! It must not know jobs, datasets, hosts or clocks: a host calls the table, and the sink stamps the time.
//! Map: `entry` (for the shared C boundary) → `session` (what the server can do), `generate`, `score` → `pool` (requests in
//! parallel) → `http` (one try, and the next) → `sse`, `answer`, `body`, `params`, `align` (pure).

mod align;
mod answer;
mod body;
mod entry;
mod generate;
mod http;
pub mod params;
mod pool;
mod score;
mod session;
mod sse;

use edgebench_abi::EbBackend;
use edgebench_plugin::entry::Tables;
use edgebench_plugin::failure;
use session::Session;

/// The backend's table, for a host that links this crate.
pub fn table() -> &'static EbBackend {
    Session::TABLE
}
