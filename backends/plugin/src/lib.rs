//! What backends written in Rust share: it owns the safe side of the C boundary (sizes, panics, errors, events) the
//! choice of threads, and the search for stop strings.
//! It must not know any SDK.

pub mod cpu;
pub mod failure;
pub mod ffi;
pub mod sink;
pub mod stop;
