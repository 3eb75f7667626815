//! What a call of this backend fails with: a status of the ABI and a sentence for the user.
//! It owns the way from there into a caller's `eb_error`, whatever size that caller knew.
//! It must not know any SDK.

use edgebench_abi::{
    EB_ERR_ABORTED, EB_ERR_BUFFER, EB_ERR_CONTEXT_FULL, EB_ERR_DEVICE, EB_ERR_INTERNAL, EB_ERR_INVALID, EB_ERR_MODEL,
    EB_ERR_OUT_OF_MEMORY, EB_ERR_UNSUPPORTED, EbError, EbStatus,
};

/// Why a call failed. The message says what is wrong and what to do; 247 bytes of it reach the caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// `EB_ERR_*`, never `EB_OK`.
    pub code: EbStatus,
    /// The vendor's own number, 0 if there is none.
    pub vendor_code: i64,
    /// For the user.
    pub message: String,
}

impl Failure {
    fn new(code: EbStatus, message: impl Into<String>) -> Failure {
        Failure { code, vendor_code: 0, message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(EB_ERR_INVALID, message)
    }

    /// A pointer that must not be NULL is.
    pub(crate) fn null(what: &str) -> Failure {
        Failure::invalid(format!("{what} is NULL: a bug of the host"))
    }

    pub fn unsupported(message: impl Into<String>) -> Failure {
        Failure::new(EB_ERR_UNSUPPORTED, message)
    }

    pub fn out_of_memory(message: impl Into<String>) -> Failure {
        Failure::new(EB_ERR_OUT_OF_MEMORY, message)
    }

    pub fn model(message: impl Into<String>) -> Failure {
        Failure::new(EB_ERR_MODEL, message)
    }

    pub fn context_full(message: impl Into<String>) -> Failure {
        Failure::new(EB_ERR_CONTEXT_FULL, message)
    }

    pub fn aborted() -> Failure {
        Failure::new(EB_ERR_ABORTED, "aborted")
    }

    pub fn buffer(message: impl Into<String>) -> Failure {
        Failure::new(EB_ERR_BUFFER, message)
    }

    pub fn device(message: impl Into<String>) -> Failure {
        Failure::new(EB_ERR_DEVICE, message)
    }

    pub fn internal(message: impl Into<String>) -> Failure {
        Failure::new(EB_ERR_INTERNAL, message)
    }

    pub fn with_vendor_code(mut self, code: i64) -> Failure {
        self.vendor_code = code;
        self
    }

    /// Fills the caller's error, if there is one, and returns the status to hand back.
    ///
    /// # Safety
    /// `error` must be NULL or point to an `eb_error` of at least its own `struct_size` bytes.
    pub unsafe fn store(&self, error: *mut EbError) -> EbStatus {
        if error.is_null() {
            return self.code;
        }
        let mut full = EbError::new();
        full.set(self.code, self.vendor_code, &self.message);
        // SAFETY: passed on to the caller.
        let written = unsafe { crate::ffi::write_sized(error, &full) };
        // A caller with a shorter message still gets a NUL at its end.
        let message_at = std::mem::offset_of!(EbError, message);
        if written > message_at && written < size_of::<EbError>() {
            // SAFETY: `written` bytes of the caller's struct have just been written.
            unsafe { error.cast::<u8>().add(written - 1).write(0) };
        }
        self.code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_error_struct_is_not_overrun() {
        let mut block = [0xAAu8; 64];
        block[..4].copy_from_slice(&24u32.to_ne_bytes());
        let failure = Failure::model("a message that is longer than eight bytes").with_vendor_code(-7);
        // SAFETY: the block holds the 24 bytes it claims; alignment is not needed because bytes are copied.
        let status = unsafe { failure.store(block.as_mut_ptr().cast()) };
        assert_eq!(status, EB_ERR_MODEL);
        assert_eq!(&block[..4], &24u32.to_ne_bytes());
        assert_eq!(&block[8..16], &(-7i64).to_ne_bytes());
        assert_eq!(&block[16..24], b"a messa\0");
        assert!(block[24..].iter().all(|&b| b == 0xAA));
    }
}
