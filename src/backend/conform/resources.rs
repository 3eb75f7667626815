//! Checks of what a plugin takes and leaves: memory, descriptors, threads, and words on stdout. It must not
//! know what the calls in between give.

use super::calls::PROMPTS;
use super::child::Bench;
use super::collect::Ask;
use super::{Check, Checked, Outcome};
use crate::sense::process;
use std::path::Path;
use std::time::{Duration, Instant};

/// How much memory may grow between the 20th and the 100th call.
const GROWTH_PART: f64 = 0.10;
const GROWTH_MIB: f64 = 8.0;
/// What a short call may take beyond what stays, in MiB.
const BURST_MIB: f64 = 512.0;

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "memory-growth",
        "memory does not grow over 100 calls, nor for a moment by much",
        "inputs are borrowed for the duration of the call; a run makes thousands of calls in one session",
        memory_growth,
    ),
    Check::new(
        "descriptors",
        "close() leaves no descriptor open",
        "close() frees everything that open() took",
        descriptors,
    ),
    Check::new("threads", "close() leaves no thread", "close() frees everything that open() took", threads),
    Check {
        quiet: true,
        ..Check::new(
            "quiet",
            "nothing is printed to stdout or stderr",
            "log lines go to eb_open_params.log; nothing else reaches the user in order",
            quiet,
        )
    },
];

/// Resident memory of this process now and at its highest, in MiB.
fn rss_mib() -> Result<(f64, f64), Outcome> {
    let mib = |key| process::status_mib(Path::new("/proc"), std::process::id(), key);
    let both = mib("VmRSS:").zip(mib("VmHWM:"));
    both.ok_or_else(|| Outcome::skipped("/proc/self/status tells no VmRSS and VmHWM"))
}

fn entries(folder: &str) -> Result<usize, Outcome> {
    Ok(std::fs::read_dir(folder).map_err(|e| Outcome::skipped(format!("{folder}: {e}")))?.count())
}

fn memory_growth(b: &Bench) -> Checked {
    let session = b.open()?;
    let (_, opened) = rss_mib()?;
    let mut after_20 = 0.0;
    for i in 1..=100 {
        session.well(&Ask::text(&format!("{} {i}", PROMPTS[i % PROMPTS.len()]), 4))?;
        if i == 20 {
            (after_20, _) = rss_mib()?;
        }
    }
    let (after_100, peak) = rss_mib()?;
    if after_100 > after_20 * (1.0 + GROWTH_PART) + GROWTH_MIB {
        let seen = format!("resident memory grew from {after_20:.1} MiB after 20 calls to {after_100:.1} after 100");
        return Err(Outcome::failed(seen, "free at the end of a call what it took"));
    }
    let burst = peak - opened.max(after_100);
    if burst > BURST_MIB {
        let seen = format!("a short call took {burst:.0} MiB for a moment");
        return Err(Outcome::warning(seen, "allocate in open(), where too little memory is told before a run"));
    }
    Ok(())
}

fn use_it(b: &Bench) -> Checked {
    let session = b.open()?;
    session.well(&Ask::text(PROMPTS[0], 4))?;
    session.well(&Ask::text(PROMPTS[1], 4)).map(drop)
}

fn descriptors(b: &Bench) -> Checked {
    // The first time may open what stays for all sessions: a device, a log file.
    use_it(b)?;
    let before = entries("/proc/self/fd")?;
    use_it(b)?;
    use_it(b)?;
    let after = entries("/proc/self/fd")?;
    if after != before {
        let seen = format!("{before} descriptors are open after one session, {after} after three");
        return Err(Outcome::warning(seen, "close in close() what open() has opened"));
    }
    Ok(())
}

fn threads(b: &Bench) -> Checked {
    let before = entries("/proc/self/task")?;
    use_it(b)?;
    let first = settled(before)?;
    use_it(b)?;
    let second = settled(first)?;
    if second > first {
        let seen = format!("{first} threads after one session, {second} after two");
        return Err(Outcome::warning(seen, "join in close() what open() has started"));
    }
    if first > before {
        let seen = format!("{} threads stay after close()", first - before);
        return Err(Outcome::warning(seen, "fine for a pool that all sessions share and that sleeps; else join it"));
    }
    Ok(())
}

/// The number of threads, once it is down to `expected` or a second has passed.
fn settled(expected: usize) -> Result<usize, Outcome> {
    let until = Instant::now() + Duration::from_secs(1);
    loop {
        let now = entries("/proc/self/task")?;
        if now <= expected || Instant::now() > until {
            return Ok(now);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn quiet(b: &Bench) -> Checked {
    // Whoever collects the output of this process judges it.
    let session = b.open()?;
    for prompt in PROMPTS {
        session.well(&Ask::text(prompt, 4))?;
    }
    session.reset()
}
