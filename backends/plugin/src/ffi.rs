//! Structs that cross the C boundary: reads and writes only as many bytes as both sides know.
//! It also turns C's pointer + length pairs into slices, and panics into failures.
//! It must not know what the structs mean.

use crate::failure::Failure;
use edgebench_abi::{EB_OK, EbError, EbStatus};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Copies all of `value` but its leading `struct_size` into `*out`, as far as `out.struct_size` reaches.
/// Returns how many bytes of `*out` are filled, `struct_size` included.
///
/// # Safety
/// `out` must point to a struct that starts with a `u32` holding its size in bytes, and own that many bytes.
/// `T` must be `repr(C)` and start with that `u32` too.
pub unsafe fn write_sized<T>(out: *mut T, value: &T) -> usize {
    const HEAD: usize = size_of::<u32>();
    // SAFETY: the caller vouches for the leading u32; unaligned, because nothing here needs alignment.
    let known = unsafe { out.cast::<u32>().read_unaligned() } as usize;
    let len = known.min(size_of::<T>());
    if len > HEAD {
        let from = std::ptr::from_ref(value).cast::<u8>();
        // SAFETY: both structs hold at least `len` bytes; a caller's struct never overlaps ours.
        unsafe { std::ptr::copy_nonoverlapping(from.add(HEAD), out.cast::<u8>().add(HEAD), len - HEAD) };
    }
    len.max(HEAD)
}

/// A copy of `*from`, with the fields that its writer did not know taken from `default`.
///
/// # Safety
/// `from` must point to a `repr(C)` struct that starts with a `u32` holding its size in bytes, and that many bytes
/// must be readable. Every bit pattern of `T`'s fields must be valid.
pub unsafe fn read_sized<T>(from: *const T, default: T) -> T {
    // SAFETY: the caller vouches for the leading u32.
    let known = unsafe { from.cast::<u32>().read_unaligned() } as usize;
    let mut copy = MaybeUninit::new(default);
    // SAFETY: `known` bytes are readable, and the copy has size_of::<T>() of them.
    unsafe {
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), known.min(size_of::<T>()))
    };
    // SAFETY: it was initialised with `default`, and any bytes are valid according to the caller.
    unsafe { copy.assume_init() }
}

/// `len` values at `ptr`. NULL is fine for a length of 0 only: `what` names the culprit otherwise.
///
/// # Safety
/// A `ptr` that is not NULL must point to `len` values that live and stay unchanged for `'a`.
pub unsafe fn slice<'a, T>(ptr: *const T, len: usize, what: &str) -> Result<&'a [T], Failure> {
    match (ptr.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Failure::invalid(format!("{what} is NULL, but its length is {len}: a bug of the host"))),
        // SAFETY: not NULL, and the caller vouches for the length.
        _ => Ok(unsafe { std::slice::from_raw_parts(ptr, len) }),
    }
}

/// Runs the body of an exported function: a failure or a panic ends up in `error` and in the returned status.
///
/// # Safety
/// As [`Failure::store`].
pub unsafe fn guard(error: *mut EbError, body: impl FnOnce() -> Result<(), Failure>) -> EbStatus {
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return EB_OK,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Failure::internal(format!("a bug of the backend, please report it: {text}"))
        }
    };
    // SAFETY: passed on to the caller.
    unsafe { failure.store(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgebench_abi::{EB_ERR_INTERNAL, EbInfo, EbStr};

    #[test]
    fn fields_beyond_struct_size_are_neither_written_nor_read() {
        let mut small = [0u8; 12];
        small[..4].copy_from_slice(&12u32.to_ne_bytes());
        let info = EbInfo {
            struct_size: 0,
            n_ctx: 1,
            n_ctx_train: 2,
            n_vocab: 3,
            flags: 4,
            n_weights: 5,
            weights_bytes: 6,
            kv_bytes: 7,
            compute_bytes: 8,
            bos_token: 9,
            eos_token: 10,
            architecture: EbStr::EMPTY,
            quantization: EbStr::EMPTY,
            description: EbStr::EMPTY,
            chat_template: EbStr::EMPTY,
            bos_text: EbStr::EMPTY,
            eos_text: EbStr::EMPTY,
            scored_by: EbStr::EMPTY,
        };
        // SAFETY: 12 bytes, as the struct says.
        assert_eq!(unsafe { write_sized(small.as_mut_ptr().cast(), &info) }, 12);
        assert_eq!(small, [12, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
        // SAFETY: as above.
        let back: EbInfo = unsafe { read_sized(small.as_ptr().cast(), info) };
        assert_eq!((back.struct_size, back.n_ctx, back.n_ctx_train, back.n_vocab), (12, 1, 2, 3));
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let mut error = EbError::new();
        // SAFETY: a full eb_error.
        let status = unsafe { guard(&mut error, || panic!("on purpose {}", 1)) };
        assert_eq!(status, EB_ERR_INTERNAL);
        assert!(error.text().contains("on purpose 1"), "{}", error.text());
    }
}
