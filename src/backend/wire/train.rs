//! The messages about training.

use serde::{Deserialize, Serialize};

/// A model that is to be trained further; all paths are absolute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Train {
    /// As in [`super::Open`].
    pub backend: String,
    pub model: String,
    /// There, and empty: the one file that the host may write.
    pub out: String,
    /// In the order in which they are learned from.
    pub texts: Vec<String>,
    /// This part of them, the last, is evaluated only.
    pub validation_share: f32,
    /// Tokens of one step; 0: as the backend thinks best.
    pub n_ctx: u32,
    pub epochs: u32,
    pub learning_rate: f32,
    /// 0: as many as the backend thinks best.
    pub threads: u32,
    pub force_memory: bool,
    /// Name of the process, as in [`super::Open`].
    pub title: String,
    pub sandbox: bool,
}

/// A step of a training, or an evaluation of its validation texts. Unknown numbers are 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrainStep {
    /// CLOCK_MONOTONIC when it was done, in ns.
    pub at_ns: u64,
    pub is_validation: bool,
    pub epoch: u32,
    /// From 1; of a validation that of the step before it.
    pub step: u64,
    /// In all.
    pub n_steps: u64,
    /// Learned from up to now.
    pub tokens: u64,
    /// Nats per token.
    pub loss: f64,
}

/// What a training came to, beside its steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// Numbers of the model that were learned; 0: unknown.
    pub n_trained: u64,
}
