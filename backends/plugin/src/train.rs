//! `eb.train/1` for any [`Backend`]: the request as C hands it over, turned into a borrowed Rust one, and what it refuses
//! without an SDK. It must not know how anything is trained.

use crate::entry::{Backend, Log, fill};
use crate::failure::Failure;
use crate::ffi::{guard, read_sized, slice};
use edgebench_abi::*;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};

/// Most of the texts that may be kept for validation.
const MOST_KEPT: f32 = 0.9;

/// A model file to be trained further.
pub struct Train<'a> {
    pub model: &'a Path,
    /// There, and empty.
    pub out: &'a Path,
    /// Tokens of one step; 0: as the backend thinks best.
    pub n_ctx: u32,
    /// At least 1.
    pub epochs: u32,
    /// Finite, above 0.
    pub learning_rate: f32,
    /// Not empty.
    pub learned: Vec<&'a [u8]>,
    /// Held back, to be evaluated only; may be empty.
    pub validation: Vec<&'a [u8]>,
    /// 0: as many as the backend thinks best.
    pub threads: u32,
    /// Start also where memory looks too short.
    pub force_memory: bool,
}

/// How many of `n` texts are held back, if `share` of them are to be: at least one where it is not 0, and never all.
fn held_back(n: usize, share: f32) -> usize {
    let wanted = (n as f64 * f64::from(share)).round() as usize;
    if share > 0.0 { wanted.max(1).min(n - 1) } else { 0 }
}

type StepFn = dyn FnMut(EbTrainStep) -> bool;

/// For train(), with where its log and its steps go.
///
/// # Errors
/// `EB_ERR_INVALID` for NULL, empty paths, no texts, and numbers out of the header's ranges.
///
/// # Safety
/// The header's rules for requests; all that is behind it must live for `'a`.
unsafe fn to_train<'a>(request: *const EbTrainRequest) -> Result<(Train<'a>, Log, Box<StepFn>), Failure> {
    if request.is_null() {
        return Err(Failure::null("the request"));
    }
    let none = EbTrainRequest {
        struct_size: 0,
        threads: 0,
        flags: 0,
        model: EbStr::EMPTY,
        out: EbStr::EMPTY,
        n_ctx: 0,
        epochs: 0,
        learning_rate: 0.0,
        validation_share: 0.0,
        texts: null(),
        n_texts: 0,
        log: None,
        log_user: null_mut(),
        step: None,
        step_user: null_mut(),
    };
    // SAFETY: not NULL, and the struct says how large it is.
    let request = unsafe { read_sized(request, none) };
    // SAFETY: borrowed for this call, like everything behind a request.
    let path = |text: EbStr| Path::new(OsStr::from_bytes(unsafe { text.bytes() }));
    let (model, out) = (path(request.model), path(request.out));
    if model.as_os_str().is_empty() || out.as_os_str().is_empty() {
        return Err(Failure::invalid("train() needs the paths of a model and of the file to write"));
    }
    let EbTrainRequest { n_ctx, epochs, learning_rate, validation_share: share, threads, .. } = request;
    if epochs == 0 {
        return Err(Failure::invalid("epochs is 0: learn from the texts at least once"));
    }
    if !(learning_rate > 0.0 && learning_rate.is_finite()) {
        return Err(Failure::invalid(format!("a learning rate of {learning_rate} is not possible: use above 0")));
    }
    if !(0.0..=MOST_KEPT).contains(&share) {
        return Err(Failure::invalid(format!("a validation share of {share} is not possible: use 0 to {MOST_KEPT}")));
    }
    // SAFETY: as above.
    let texts = unsafe { slice(request.texts, request.n_texts, "texts") }?;
    if texts.is_empty() {
        return Err(Failure::invalid("there are no texts: give at least one"));
    }
    // SAFETY: as above.
    let mut learned: Vec<&[u8]> = texts.iter().map(|text| unsafe { text.bytes() }).collect();
    let validation = learned.split_off(learned.len() - held_back(learned.len(), share));
    // SAFETY: the header's rule for the log.
    let log = unsafe { Log::new(request.log, request.log_user) };
    let (step, user) = (request.step, request.step_user);
    let step = move |told: EbTrainStep| match step {
        // SAFETY: the header's rule for step(): it may be called until train() returns, on this thread.
        Some(step) => unsafe { step(user, &EbTrainStep { struct_size: size_of::<EbTrainStep>() as u32, ..told }) != 0 },
        None => false,
    };
    let force_memory = request.flags & EB_TRAIN_FORCE_MEMORY != 0;
    let wanted = Train { model, out, n_ctx, epochs, learning_rate, learned, validation, threads, force_memory };
    Ok((wanted, log, Box::new(step)))
}

pub(crate) unsafe extern "C" fn train<B: Backend>(
    request: *const EbTrainRequest,
    out: *mut EbTrained,
    error: *mut EbError,
) -> EbStatus {
    let body = || {
        // SAFETY: the header's rules for requests.
        let (wanted, log, mut step) = unsafe { to_train(request) }?;
        let trained = B::train(&wanted, &mut step, log)?;
        // SAFETY: the caller's struct says how large it is.
        unsafe { fill(out, &trained) }
    };
    // SAFETY: the header's rules for `error`.
    unsafe { guard(error, body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_texts_are_held_back_but_never_all() {
        assert_eq!([0.0, 0.1, 0.5, 0.9].map(|share| held_back(10, share)), [0, 1, 5, 9]);
        assert_eq!((held_back(3, 0.01), held_back(1, 0.5), held_back(2, 0.9)), (1, 0, 1));
    }
}
