//! The part of the mirror of `backends/edgebench.h` that is about training: `eb.train/1`. As `abi`, it has no behaviour.

use super::{EbError, EbStatus, EbStr};
use core::ffi::c_void;

/// Name of the extension that trains models.
pub const EB_EXT_TRAIN: &str = "eb.train/1";

pub const EB_TRAIN_FORCE_MEMORY: u64 = 1 << 0;

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct EbTrainStep {
    pub struct_size: u32,
    pub is_validation: u32,
    pub epoch: u32,
    pub reserved: u32,
    pub step: u64,
    pub n_steps: u64,
    pub tokens: u64,
    pub loss: f64,
}

/// Takes one step of a training.
pub type EbStepFn = unsafe extern "C" fn(step_user: *mut c_void, step: *const EbTrainStep) -> i32;

#[repr(C)]
pub struct EbTrainRequest {
    pub struct_size: u32,
    pub threads: u32,
    pub flags: u64,
    pub model: EbStr,
    pub out: EbStr,
    pub n_ctx: u32,
    pub epochs: u32,
    pub learning_rate: f32,
    pub validation_share: f32,
    pub texts: *const EbStr,
    pub n_texts: usize,
    pub log: Option<unsafe extern "C" fn(log_user: *mut c_void, level: i32, line: EbStr)>,
    pub log_user: *mut c_void,
    pub step: Option<EbStepFn>,
    pub step_user: *mut c_void,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct EbTrained {
    pub struct_size: u32,
    pub n_ctx: u32,
    pub steps: u64,
    pub tokens: u64,
    pub n_trained: u64,
    pub n_weights: u64,
    pub loss_first: f64,
    pub loss_last: f64,
    pub validation_before: f64,
    pub validation_after: f64,
}

impl EbTrained {
    /// Nothing is known yet.
    pub const fn new() -> EbTrained {
        EbTrained {
            struct_size: size_of::<EbTrained>() as u32,
            n_ctx: 0,
            steps: 0,
            tokens: 0,
            n_trained: 0,
            n_weights: 0,
            loss_first: f64::NAN,
            loss_last: f64::NAN,
            validation_before: f64::NAN,
            validation_after: f64::NAN,
        }
    }
}

impl Default for EbTrained {
    fn default() -> Self {
        EbTrained::new()
    }
}

pub type EbTrainFn = unsafe extern "C" fn(*const EbTrainRequest, *mut EbTrained, *mut EbError) -> EbStatus;

#[repr(C)]
pub struct EbTrainV1 {
    pub struct_size: u32,
    pub reserved: u32,
    pub train: Option<EbTrainFn>,
}
