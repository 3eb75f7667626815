//! The one clock of every measurement.

use rustix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC in ns: the same on both sides of a host's socket.
pub fn now_ns() -> u64 {
    ns(ClockId::Monotonic)
}

/// CLOCK_REALTIME in ns, only to see whether somebody sets it.
pub fn wall_ns() -> u64 {
    ns(ClockId::Realtime)
}

fn ns(clock: ClockId) -> u64 {
    let t = clock_gettime(clock);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
