//! What abort() reaches while another thread is inside a call: a flag, and the brake of the running generator.
//! It owns the order of the two, so that an abort is never lost between calls and never hits the next one.
//! It must not know sessions or requests.

use crate::failure::Failure;
use crate::genai::Brake;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shared between the session and abort().
#[derive(Default)]
pub struct Control {
    aborted: AtomicBool,
    /// Held for the length of a flag's change only, never while the model runs.
    brake: Mutex<Option<Brake>>,
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, Option<Brake>> {
        self.brake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the generator that an abort is to stop; `None` before it is destroyed.
    pub fn attach(&self, brake: Option<Brake>) {
        *self.lock() = brake;
    }

    /// [any thread] Makes the call that is running now end.
    pub fn stop(&self) {
        let brake = self.lock();
        self.aborted.store(true, Ordering::Relaxed);
        // If the library refuses, the flag still ends the call at the next token.
        let _ = brake.as_ref().map(|b| b.set(true));
    }

    /// Begins a call: an abort before it no longer counts.
    ///
    /// # Errors
    /// `EB_ERR_INTERNAL` if the library does not release its brake.
    pub fn clear(&self) -> Result<(), Failure> {
        let brake = self.lock();
        self.aborted.store(false, Ordering::Relaxed);
        brake.as_ref().map_or(Ok(()), |b| b.set(false)).map_err(Failure::internal)
    }

    /// Was abort() called since [`Control::clear`]?
    pub fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }
}
