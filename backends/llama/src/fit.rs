//! Will it fit? The memory that a model takes with given parameters, held against what is free, for those who
//! want to know before anything is started. It must not know llama.cpp.

use crate::failure::Failure;
use crate::memory::{Need, Work, context_length, shortage};
use crate::params::Options;
use crate::preflight::{inspect, inspect_draft};
use std::path::Path;

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// Bytes by part.
    pub need: Need,
    /// Tokens of context that it was asked with, or that it gets by itself.
    pub n_ctx: u64,
    /// Why it does not fit and what to do, if it does not.
    pub shortage: Option<String>,
}

/// Holds `model`, opened with `params` for `work`, against `free` bytes of memory; `None`: the system does not tell.
///
/// # Errors
/// A file that is no GGUF, or a parameter that the backend would refuse.
pub fn fit(model: &Path, params: &[(String, String)], work: Work, free: Option<u64>) -> Result<Fit, Failure> {
    let options = Options::parse(params.iter().map(|(k, v)| (k.as_str(), v.as_str())))?;
    let header = inspect(model)?;
    let draft = inspect_draft(&options)?;
    let n_ctx = context_length(&header, &options);
    Ok(Fit {
        need: Need::of(&header, &options, n_ctx, work).with_draft(draft.as_ref(), &options, n_ctx),
        n_ctx,
        shortage: free.and_then(|free| shortage(&header, draft.as_ref(), &options, work, free)),
    })
}
