//! Sensors behind a bus: a driver may take long or never come back. Each group is read by a thread of its own,
//! which leaves its latest values in a slot, so that a look never waits. It must not know what is read.

use crate::clock::now_ns;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// The latest values of one group.
pub struct Slot<T> {
    name: String,
    latest: Arc<Mutex<Option<(u64, T)>>>,
    stale_ns: u64,
}

impl<T: Clone + Send + 'static> Slot<T> {
    /// Calls `read` every `period`, until the slot is dropped. `name` is how the group is called when it is silent.
    pub fn start(name: &str, period: Duration, mut read: impl FnMut() -> T + Send + 'static) -> Slot<T> {
        let latest = Arc::new(Mutex::new(None));
        let theirs: Weak<Mutex<Option<(u64, T)>>> = Arc::downgrade(&latest);
        let run = move || {
            while theirs.strong_count() > 0 {
                let at_ns = now_ns();
                let values = read();
                let Some(slot) = theirs.upgrade() else { return };
                *slot.lock().unwrap_or_else(|e| e.into_inner()) = Some((at_ns, values));
                drop(slot);
                std::thread::sleep(period.saturating_sub(Duration::from_nanos(now_ns() - at_ns)));
            }
        };
        // Without a thread the group stays silent, which is told.
        let _ = std::thread::Builder::new().name("sensor".into()).spawn(run);
        let stale_ns = (period * 4).max(Duration::from_millis(500)).as_nanos() as u64;
        Slot { name: name.to_owned(), latest, stale_ns }
    }

    /// The latest values and when their reading began; `None` when that is too long ago.
    pub fn get(&self) -> Option<(u64, T)> {
        let latest = self.latest.lock().unwrap_or_else(|e| e.into_inner());
        latest.as_ref().filter(|(at, _)| now_ns().saturating_sub(*at) < self.stale_ns).cloned()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_that_does_not_come_back_holds_up_nobody() {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let mut calls = 0;
        let slot = Slot::start("x", Duration::from_millis(5), move || {
            calls += 1;
            if calls > 3 {
                let _ = receiver.recv();
            }
            calls
        });
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while slot.get().is_none_or(|(_, n)| n < 3) && std::time::Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(slot.get().map(|(_, n)| n), Some(3));
        std::thread::sleep(Duration::from_millis(600));
        assert_eq!(slot.get(), None, "values of half a second ago are told no more");
        drop(sender);
    }
}
