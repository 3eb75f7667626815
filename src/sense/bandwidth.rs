//! How fast memory can be read: every core sums its part of a buffer that no cache holds. It must not know who asks.
//!
//! Reading is what decoding does with the weights, so this is a STREAM-like kernel without its writes
//! (J. D. McCalpin, STREAM: sustainable memory bandwidth in high performance computers). The best of several passes
//! counts: whatever disturbs only makes it slower.

use super::sensors;
use super::sensors::attribute::{entries, text};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// The buffer is so many times the last-level cache.
const TIMES_CACHE: usize = 4;
/// Taken for the cache where the kernel does not tell.
const DEFAULT_CACHE: usize = 8 << 20;
const SMALLEST: usize = 64 << 20;
const LARGEST: usize = 512 << 20;
/// Passes go on for so long.
const FOR: Duration = Duration::from_millis(600);

/// First argument that makes the `edgebench` binary measure memory and print bytes/s. A process of its own, so that
/// the buffer is gone afterwards.
pub const ARGUMENT: &str = "__bandwidth";

/// Read bandwidth of all cores in bytes/s, measured by a child process.
pub fn in_child() -> Option<f64> {
    let child = Command::new("/proc/self/exe").arg(ARGUMENT).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(child.stdout).ok()?.trim().parse().ok().filter(|_| child.status.success())
}

/// The child: measures and prints.
pub fn main() -> ExitCode {
    let meminfo = text("/proc/meminfo");
    let free =
        meminfo.lines().find_map(|l| l.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    match measure(&sensors::root(), threads, free.unwrap_or(0u64) * 1024) {
        Some(bytes_s) => {
            println!("{bytes_s:.0}");
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    }
}

/// A bandwidth that is measured when it is first needed.
#[derive(Debug, Default)]
pub struct Once(Option<Option<f64>>);

impl Once {
    /// Bytes/s, measured now if it was not before.
    pub fn need(&mut self) -> Option<f64> {
        *self.0.get_or_insert_with(in_child)
    }

    /// Bytes/s, if it was needed.
    pub fn known(&self) -> Option<f64> {
        self.0.flatten()
    }
}

/// Bytes per second that all `threads` together read; `free` is the memory that may be used, in bytes. `None` when
/// there is too little of it.
pub fn measure(root: &Path, threads: usize, free: u64) -> Option<f64> {
    let threads = threads.max(1);
    let bytes = (last_level_cache(root) * TIMES_CACHE).clamp(SMALLEST, LARGEST);
    if bytes as u64 > free / 2 {
        return None;
    }
    let words = bytes / 8 / threads / 8 * 8;
    let barrier = Barrier::new(threads);
    let best: Vec<Duration> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..threads).map(|_| scope.spawn(|| passes(words, &barrier))).collect();
        readers.into_iter().filter_map(|r| r.join().ok()).collect()
    });
    let slowest = best.into_iter().max().filter(|d| !d.is_zero())?;
    Some((words * 8 * threads) as f64 / slowest.as_secs_f64())
}

/// The shortest pass over `words` of this thread's own memory.
fn passes(words: usize, barrier: &Barrier) -> Duration {
    // Not zero: pages that were never written are all the same one.
    let buffer: Vec<u64> = (0..words as u64).collect();
    let start = Instant::now();
    let mut best = Duration::MAX;
    // A fixed number for all threads would need to know the speed, so each goes on by itself once all have begun.
    barrier.wait();
    while start.elapsed() < FOR {
        let begin = Instant::now();
        std::hint::black_box(sum(std::hint::black_box(&buffer)));
        best = best.min(begin.elapsed());
    }
    best
}

/// Eight sums side by side, which the compiler puts into vector registers.
fn sum(buffer: &[u64]) -> u64 {
    let mut sums = [0u64; 8];
    for eight in buffer.chunks_exact(8) {
        for (sum, word) in sums.iter_mut().zip(eight) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// Bytes of the largest cache of the first core.
fn last_level_cache(root: &Path) -> usize {
    let caches = entries(&root.join("sys/devices/system/cpu/cpu0/cache"));
    let size = |text: String| {
        let digits = text.trim_end_matches(|c: char| c.is_alphabetic());
        let unit = match text.strip_prefix(digits)? {
            "M" => 1 << 20,
            "K" => 1 << 10,
            _ => 1,
        };
        Some(digits.parse::<usize>().ok()? * unit)
    };
    caches.iter().filter_map(|c| size(text(c.join("size")))).max().unwrap_or(DEFAULT_CACHE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_cache_counts() {
        let root = tempfile::tempdir().unwrap();
        for (index, size) in [("index0", "48K"), ("index3", "32M")] {
            let folder = root.path().join("sys/devices/system/cpu/cpu0/cache").join(index);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("size"), size).unwrap();
        }
        assert_eq!(last_level_cache(root.path()), 32 << 20);
        assert_eq!(last_level_cache(Path::new("/nonexistent")), DEFAULT_CACHE);
        assert_eq!(measure(Path::new("/nonexistent"), 2, 1 << 20), None);
    }
}
