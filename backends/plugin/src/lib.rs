//! What backends written in Rust share: it owns the C side of the boundary (the table, sizes, panics, errors, events),
//! the number of threads, the reading of logits, and the search for stop strings.
//! It must not know any SDK.
//! Map: `entry` (implement its trait [`entry::Backend`], export [`entry::Tables::TABLE`]) → `request`, `sink` → the rest.

pub mod cpu;
pub mod entry;
pub mod failure;
pub mod ffi;
pub mod logits;
pub mod request;
pub mod sink;
pub mod stop;
pub mod train;
