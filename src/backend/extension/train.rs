//! `eb.train/1`: the request, and its steps as they come.

use super::super::abi::*;
use super::super::session::{Backend, failure, on_log};
use super::super::wire::{Failure, FailureKind, Train, TrainStep, Trained};
use crate::clock::now_ns;
use std::ffi::c_void;

/// Takes a step and says whether to stop.
type Each<'a> = &'a mut dyn FnMut(TrainStep) -> bool;

/// Has `backend` train a model; `each` gets every step and says whether to stop.
///
/// # Errors
/// Its own; `Unsupported` where it does not offer `eb.train/1`.
pub fn train(backend: &Backend, wanted: &Train, each: &mut dyn FnMut(TrainStep) -> bool) -> Result<Trained, Failure> {
    let Some(train) = backend.extension::<EbTrainV1>().and_then(|table| table.train) else {
        let message = format!(
            "the backend `{}` cannot train models (it has no {EB_EXT_TRAIN}): train elsewhere, and watch the checkpoints \
             with `edgebench watch`",
            backend.name()
        );
        return Err(Failure::new(FailureKind::Unsupported, message));
    };
    let texts: Vec<EbStr> = wanted.texts.iter().map(|text| EbStr::new(text)).collect();
    let mut each: Each = each;
    let request = EbTrainRequest {
        struct_size: size_of::<EbTrainRequest>() as u32,
        threads: wanted.threads,
        flags: if wanted.force_memory { EB_TRAIN_FORCE_MEMORY } else { 0 },
        model: EbStr::new(&wanted.model),
        out: EbStr::new(&wanted.out),
        n_ctx: wanted.n_ctx,
        epochs: wanted.epochs,
        learning_rate: wanted.learning_rate,
        validation_share: wanted.validation_share,
        texts: texts.as_ptr(),
        n_texts: texts.len(),
        log: Some(on_log),
        log_user: std::ptr::null_mut(),
        step: Some(on_step),
        step_user: std::ptr::from_mut(&mut each).cast(),
    };
    let (mut made, mut error) = (EbTrained::new(), EbError::new());
    // SAFETY: everything passed lives for the call and carries its size; `on_log` uses no state, `on_step` only `each`.
    let status = unsafe { train(&request, &mut made, &mut error) };
    failure(status, &error)?;
    Ok(Trained { n_trained: made.n_trained })
}

unsafe extern "C" fn on_step(user: *mut c_void, step: *const EbTrainStep) -> i32 {
    let at_ns = now_ns();
    if step.is_null() {
        return 0;
    }
    // SAFETY: the plugin's struct says how large it is; version 1 has all that is read here, and a smaller one is none.
    let step = unsafe { if (*step).struct_size < size_of::<EbTrainStep>() as u32 { return 0 } else { *step } };
    // SAFETY: the pointer is to `each` of `train` above, which waits for the call, on this thread.
    let each = unsafe { &mut *user.cast::<Each>() };
    let EbTrainStep { is_validation, epoch, step, n_steps, tokens, loss, .. } = step;
    i32::from(each(TrainStep { at_ns, is_validation: is_validation != 0, epoch, step, n_steps, tokens, loss }))
}
