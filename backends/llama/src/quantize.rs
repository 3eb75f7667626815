//! `eb.quantize/1`: a smaller model out of a large one, as llama-quantize makes it. It owns llama.cpp's words for its types
//! and what is told of the result. It must not know sessions.

use crate::failure::Failure;
use crate::gguf::file_type_name;
use crate::imatrix::Imatrix;
use crate::log::Subscription;
use crate::preflight::inspect;
use crate::session::{c_path, init};
use edgebench_abi::EbQuantized;
use edgebench_plugin::cpu::default_threads;
use edgebench_plugin::entry::Log;
use edgebench_plugin::request::Quantize;
use llama_cpp_sys_2 as sys;

/// Rows that are held in memory at once, bytes: llama.cpp's own limit is more than boards have. The result is the same.
const BUFFER: usize = 256 << 20;
/// The types that people ask for; all have llama-quantize's names.
const USUAL: &str = "Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q4_K_S, Q4_0, IQ4_NL, Q3_K_M, Q2_K, F16, F32";
/// Larger than any `llama_ftype`.
const TYPES: i64 = 64;

/// Makes the model.
///
/// # Errors
/// Those of the header for `quantize()`.
pub fn quantize(wanted: &Quantize, log: Log) -> Result<EbQuantized, Failure> {
    let ftype = ftype(&wanted.kind)?;
    let log = Subscription::start(log)?;
    let original = inspect(wanted.model)?;
    init();
    let imatrix = wanted.imatrix.map(Imatrix::read).transpose()?;
    let (model, out) = (c_path(wanted.model)?, c_path(wanted.out)?);
    // SAFETY: returns a plain struct.
    let mut params = unsafe { sys::llama_model_quantize_default_params() };
    params.ftype = ftype;
    params.nthread = if wanted.threads == 0 { default_threads() } else { wanted.threads } as i32;
    params.pure_ = wanted.pure;
    params.max_buf_size = BUFFER;
    let list = imatrix.as_ref().map(Imatrix::list);
    params.imatrix = list.as_ref().map_or(std::ptr::null(), |list| list.as_ptr());
    // SAFETY: the strings and the list, which ends with an empty entry, live for the call.
    if unsafe { sys::llama_model_quantize(model.as_ptr(), out.as_ptr(), &params) } != 0 {
        return Err(refused(&log.take_error().unwrap_or_default(), &wanted.kind, &original.quantization));
    }
    let made = inspect(wanted.out)?;
    Ok(EbQuantized {
        struct_size: 0,
        n_fallback: log.n_fallback(),
        n_weights: made.n_params,
        weights_bytes: made.weights_bytes,
    })
}

/// `Q4_K_M` → 15.
fn ftype(kind: &str) -> Result<sys::llama_ftype, Failure> {
    let named = |n: &i64| file_type_name(*n).is_some_and(|name| name.eq_ignore_ascii_case(kind.trim()));
    let found = (0..TYPES).find(named).and_then(|n| sys::llama_ftype::try_from(n).ok());
    found.ok_or_else(|| Failure::invalid(format!("\"{kind}\" is none of llama.cpp's types, such as {USUAL}")))
}

fn refused(why: &str, kind: &str, original: &str) -> Failure {
    let why = why.trim().trim_start_matches("failed to quantize: ");
    if why.contains("requires an imatrix") {
        return Failure::unsupported(format!(
            "{kind} needs an importance matrix: set imatrix, as llama-imatrix makes it"
        ));
    }
    if why.contains("requantizing") {
        return Failure::model(format!("the model is {original} already: take the F16, BF16 or F32 one ({why})"));
    }
    Failure::model(format!("llama.cpp cannot make {kind} of it: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_words_of_llama_quantize() {
        for (kind, number) in
            [("q8_0", sys::LLAMA_FTYPE_MOSTLY_Q8_0), ("Q4_K_M", sys::LLAMA_FTYPE_MOSTLY_Q4_K_M), ("F32", 0)]
        {
            assert_eq!(ftype(kind).unwrap(), number);
        }
        let error = ftype("Q4_X").unwrap_err().message;
        assert!(error.contains("Q4_K_S") && error.len() < 248, "it has to fit an eb_error: {error}");
        // What is named can be made.
        assert!(USUAL.split(", ").all(|kind| ftype(kind).is_ok()));
    }
}
