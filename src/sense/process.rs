//! Memory of one process, from `/proc/<pid>/status`, and the kernel's out-of-memory killings. It must not
//! know what the process is for.

use std::path::Path;

/// Highest resident set of process `pid` so far, in MiB (`VmHWM`; mapped model files count once they were
/// read). `None` when it is gone or the kernel does not tell.
pub fn rss_peak_mib(proc_root: &Path, pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(proc_root.join(pid.to_string()).join("status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// How many processes the kernel has killed for want of memory since it started (`oom_kill` in
/// `/proc/vmstat`, Linux 4.13 and later).
pub fn oom_kills(proc_root: &Path) -> Option<u64> {
    let vmstat = std::fs::read_to_string(proc_root.join("vmstat")).ok()?;
    vmstat.lines().find_map(|l| l.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_in_mib() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("7")).unwrap();
        std::fs::write(root.path().join("7/status"), "Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t    2560 kB\n").unwrap();
        assert_eq!(rss_peak_mib(root.path(), 7), Some(2.5));
        assert_eq!(rss_peak_mib(root.path(), 8), None);
    }
}
