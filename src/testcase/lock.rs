//! One run per folder, and room on the disk. It must not know what is written there.

use rustix::fs::{FlockOperation, flock, fstat, statvfs};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// A run does not begin, and does not go on, with less than this free: its tables are small, but their end has to fit.
pub const ROOM: u64 = 8 << 20;

/// How long a folder may stay held by a process that is gone: when it was killed while it started a host, until that
/// runs its own program.
const PATIENCE: Duration = Duration::from_secs(5);

/// Holds a folder until it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    _folder: OwnedFd,
}

impl Lock {
    /// Takes `folder`, which must be there.
    ///
    /// # Errors
    /// Somebody else has it: the sentence says who.
    pub fn take(folder: &Path) -> io::Result<Lock> {
        let file = OwnedFd::from(File::open(folder)?);
        let until = Instant::now() + PATIENCE;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock { _folder: file }),
                Err(Errno::WOULDBLOCK) => {}
                // Some network file systems have no locks: one run is then as safe as it was.
                Err(_) => return Ok(Lock { _folder: file }),
            }
            let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
            let holder = holder(&locks, fstat(&file)?.st_ino);
            if holder.is_some_and(is_there) || Instant::now() >= until {
                let who = holder.map_or("another process".to_owned(), describe);
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("{who} is writing into it")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The process that holds the lock on the file with this inode (proc_locks(5):
/// `1: FLOCK ADVISORY WRITE 1234 fe:00:5678 0 EOF`).
fn holder(locks: &str, inode: u64) -> Option<u32> {
    let line = locks.lines().find(|l| l.contains(" FLOCK ") && l.contains(&format!(":{inode} ")))?;
    line.split_whitespace().nth(4)?.parse().ok()
}

fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// `process 1234 (edgebench run job.toml)`
fn describe(pid: u32) -> String {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = words.split(|b| *b == 0).filter(|w| !w.is_empty()).map(String::from_utf8_lossy).collect();
    match words.is_empty() {
        true => format!("process {pid}"),
        false => format!("process {pid} ({})", words.join(" ")),
    }
}

/// Says how much is free in `folder` if that is too little. A file system that does not tell has enough.
pub fn shortage(folder: &Path) -> Option<io::Error> {
    let free = statvfs(folder).ok().map(|s| s.f_bavail.saturating_mul(s.f_frsize))?;
    (free < ROOM).then(|| {
        let text = format!("{:.1} MiB are free on its disk, a run needs {} MiB", free as f64 / 1048576.0, ROOM >> 20);
        io::Error::new(io::ErrorKind::StorageFull, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        let error = Lock::take(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        Lock::take(folder.path()).unwrap();
    }

    #[test]
    fn a_folder_that_a_killed_process_left_held_for_a_moment_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        // The process that took the lock is gone, its child still has the descriptor.
        let script = "exec 9<\"$1\"; flock 9; (sleep 0.5) & exit 0";
        let status = std::process::Command::new("sh").args(["-c", script, "sh", path]).status().unwrap();
        assert!(status.success(), "flock(1) of util-linux");
        Lock::take(folder.path()).unwrap();
    }

    #[test]
    fn the_holder_is_found_by_inode() {
        let locks = "1: POSIX  ADVISORY  READ  10 fe:00:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 4321 fe:00:5678 0 EOF\n";
        assert_eq!(holder(locks, 5678), Some(4321));
        assert_eq!(holder(locks, 77), None);
    }
}
