//! A backend's own power rails (`eb.power/1`), read in the host by a thread of its own while calls run. It owns
//! the extension's pointers and the pace; it must not know what the readings are used for.

use super::abi::{EB_OK, EbError, EbPowerReadFn, EbPowerV1};
use super::session::Backend;
use super::wire::PowerReading;
use crate::clock::now_ns;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Rails beyond this are left alone: no board has so many, and a broken table may claim any number.
const MAX_RAILS: u32 = 64;

/// The rails that a backend offers.
pub struct Rails {
    read: EbPowerReadFn,
    /// By number.
    pub names: Vec<String>,
}

impl Rails {
    /// The backend's rails; `None` where it offers none.
    pub fn of(backend: &Backend) -> Option<Rails> {
        let table = backend.extension::<EbPowerV1>()?;
        let (name, read) = (table.name?, table.read?);
        let text = |rail| {
            // SAFETY: [any] thread; the name lives until the process ends.
            unsafe { name(rail).to_string_lossy() }
        };
        let names = (0..table.n_rails.min(MAX_RAILS)).map(text).take_while(|name| !name.is_empty()).collect();
        Some(Rails { read, names }).filter(|rails| !rails.names.is_empty())
    }

    /// All rails now. A rail that gives an error or no number is left out.
    fn read(&self) -> PowerReading {
        let at_ns = now_ns();
        let watts = (0..self.names.len() as u32).filter_map(|rail| {
            let mut watts = f64::NAN;
            let mut error = EbError::new();
            // SAFETY: [any] thread; both out parameters live for the call.
            let status = unsafe { (self.read)(rail, &mut watts, &mut error) };
            (status == EB_OK && watts.is_finite()).then_some((rail, watts))
        });
        PowerReading { watts: watts.collect(), at_ns }
    }

    /// Reads at `hz` and hands each reading to `send`, until the guard is dropped.
    pub fn watch(self, hz: u32, send: impl Fn(PowerReading) + Send + 'static) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let period = Duration::from_secs(1) / hz.clamp(1, 100);
        let watch = move || {
            while !stopped.load(Ordering::Relaxed) {
                send(self.read());
                std::thread::sleep(period);
            }
        };
        // Without a thread there are no readings, which is said by their absence.
        let _ = std::thread::Builder::new().name("power".into()).spawn(watch);
        Watch { stop }
    }
}

/// Ends the reading when dropped; does not wait for a read that hangs.
pub struct Watch {
    stop: Arc<AtomicBool>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
