//! The one clock of every measurement, and the time of day for people.

use rustix::io::Errno;
use rustix::thread::{Timespec, clock_nanosleep_absolute};
use rustix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC in ns: the same on both sides of a host's socket.
pub fn now_ns() -> u64 {
    ns(ClockId::Monotonic)
}

/// Sleeps until CLOCK_MONOTONIC says so.
pub fn sleep_until(ns: u64) {
    let until = Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as _ };
    while clock_nanosleep_absolute(rustix::thread::ClockId::Monotonic, &until) == Err(Errno::INTR) {}
}

/// CLOCK_REALTIME in ns, only to see whether somebody sets it.
pub fn wall_ns() -> u64 {
    ns(ClockId::Realtime)
}

/// Now, in UTC, to the second: `2026-05-09T07:29:33Z`.
pub fn utc() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn ns(clock: ClockId) -> u64 {
    let t = clock_gettime(clock);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
