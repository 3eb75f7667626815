//! Memory and processor time of a process and all that it started, and the kernel's out-of-memory killings. It must
//! not know what the process is for.

use super::sensors::attribute::{Attribute, text};
use super::tick::Tree;
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How often children, swap and context switches are looked at, ns.
const SOMETIMES_NS: u64 = 1_000_000_000;
/// How often shared pages are counted, which makes the kernel walk the page tables, ns.
const SELDOM_NS: u64 = 5_000_000_000;
/// Descendants that are followed.
const MOST: usize = 256;

/// CPU time that this process has used, s.
pub fn own_cpu_s() -> f64 {
    let t = clock_gettime(ClockId::ProcessCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}

/// Highest resident set of process `pid` so far, in MiB (`VmHWM`; mapped model files count once they were
/// read). `None` when it is gone or the kernel does not tell.
pub fn rss_peak_mib(proc_root: &Path, pid: u32) -> Option<f64> {
    status_mib(proc_root, pid, "VmHWM:")
}

/// Lets [`rss_peak_mib`] begin anew, where the kernel allows it (`5` to `/proc/<pid>/clear_refs`, Linux 4.0 and later).
pub fn reset_rss_peak(proc_root: &Path, pid: u32) -> bool {
    std::fs::write(proc_root.join(pid.to_string()).join("clear_refs"), "5").is_ok()
}

/// What `/proc/<pid>/status` tells behind `key` in kB, in MiB.
pub fn status_mib(proc_root: &Path, pid: u32, key: &str) -> Option<f64> {
    kib(&text(proc_root.join(pid.to_string()).join("status")), key).map(|kib| kib / 1024.0)
}

/// How many processes the kernel has killed for want of memory since it started (`oom_kill` in
/// `/proc/vmstat`, Linux 4.13 and later).
pub fn oom_kills(proc_root: &Path) -> Option<u64> {
    let vmstat = std::fs::read_to_string(proc_root.join("vmstat")).ok()?;
    vmstat.lines().find_map(|l| l.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// The number behind `key` at a line's start, in kB.
fn kib(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|l| l.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// A process tree that is looked at again and again.
pub struct Processes {
    proc: PathBuf,
    root: u32,
    /// `stat` of each process of the tree.
    stats: BTreeMap<u32, Attribute>,
    sometimes_ns: u64,
    seldom_ns: u64,
    swap_mib: f64,
    switches: u64,
    pss_mib: Option<f64>,
    /// CPU time and faults of processes that have ended, so that sums do not fall.
    ended: (f64, u64),
    last: BTreeMap<u32, (f64, u64)>,
}

impl Processes {
    pub fn new(proc: &Path) -> Processes {
        Processes {
            proc: proc.to_path_buf(),
            root: 0,
            stats: BTreeMap::new(),
            sometimes_ns: 0,
            seldom_ns: 0,
            swap_mib: 0.0,
            switches: 0,
            pss_mib: None,
            ended: (0.0, 0),
            last: BTreeMap::new(),
        }
    }

    /// What `pid` and its descendants use now; `None` when it is gone.
    pub fn tree(&mut self, pid: u32, now_ns: u64) -> Option<Tree> {
        if pid != self.root {
            *self = Processes { root: pid, ..Processes::new(&self.proc) };
        }
        if now_ns >= self.sometimes_ns {
            self.sometimes_ns = now_ns + SOMETIMES_NS;
            self.look_closer(now_ns);
        }
        let mut tree = Tree { pid, swap_mib: self.swap_mib, switches: self.switches, ..Tree::default() };
        let mut found = false;
        for (&pid, stat) in &mut self.stats {
            let Some(one) = parse_stat(stat.text()) else {
                if let Some((cpu_s, faults)) = self.last.remove(&pid) {
                    self.ended = (self.ended.0 + cpu_s, self.ended.1 + faults);
                }
                continue;
            };
            found |= pid == self.root;
            self.last.insert(pid, (one.cpu_s, one.major_faults));
            tree.rss_mib += one.rss_mib;
            tree.cpu_s += one.cpu_s;
            tree.major_faults += one.major_faults;
            tree.threads += one.threads;
        }
        tree.cpu_s += self.ended.0;
        tree.major_faults += self.ended.1;
        tree.pss_mib = self.pss_mib;
        found.then_some(tree)
    }

    /// Who belongs to the tree, and what is costly to know of them.
    fn look_closer(&mut self, now_ns: u64) {
        let mut pids = vec![self.root];
        let mut next = 0;
        while next < pids.len() && pids.len() < MOST {
            let children = self.children(pids[next]);
            pids.extend(children.into_iter().filter(|c| !pids.contains(c)).collect::<Vec<_>>());
            next += 1;
        }
        for pid in &pids {
            let path = self.proc.join(pid.to_string()).join("stat");
            self.stats.entry(*pid).or_insert_with(|| Attribute::new(path));
        }
        (self.swap_mib, self.switches) = (0.0, 0);
        for pid in &pids {
            let folder = self.proc.join(pid.to_string());
            self.swap_mib += kib(&text(folder.join("status")), "VmSwap:").unwrap_or(0.0) / 1024.0;
            for task in super::sensors::attribute::entries(&folder.join("task")) {
                let status = text(task.join("status"));
                let counts = ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"];
                let count = |key| status.lines().find_map(|l| l.strip_prefix(key)?.trim().parse::<u64>().ok());
                self.switches += counts.into_iter().filter_map(count).sum::<u64>();
            }
        }
        if now_ns >= self.seldom_ns {
            self.seldom_ns = now_ns + SELDOM_NS;
            let pss =
                pids.iter().filter_map(|pid| kib(&text(self.proc.join(pid.to_string()).join("smaps_rollup")), "Pss:"));
            self.pss_mib = pss.fold(None, |sum, kib| Some(sum.unwrap_or(0.0) + kib / 1024.0));
        }
    }

    /// `/proc/<pid>/task/<tid>/children`, which kernels with checkpoint support have.
    fn children(&self, pid: u32) -> Vec<u32> {
        let tasks = super::sensors::attribute::entries(&self.proc.join(pid.to_string()).join("task"));
        let of = |task: PathBuf| {
            text(task.join("children")).split_whitespace().filter_map(|w| w.parse().ok()).collect::<Vec<u32>>()
        };
        tasks.into_iter().flat_map(of).collect()
    }
}

/// The fields of `/proc/<pid>/stat` that are used (proc(5): 12 majflt, 14 utime, 15 stime, 20 num_threads, 24 rss).
fn parse_stat(stat: &str) -> Option<Tree> {
    // The name, field 2, may hold blanks and parentheses.
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().collect();
    // A zombie has ended.
    let state = *fields.first()?;
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    if matches!(state, "Z" | "X") {
        return None;
    }
    Some(Tree {
        major_faults: number(12)?,
        cpu_s: (number(14)? + number(15)?) as f64 / rustix::param::clock_ticks_per_second() as f64,
        threads: number(20)? as u32,
        rss_mib: number(24)? as f64 * rustix::param::page_size() as f64 / f64::from(1 << 20),
        ..Tree::default()
    })
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

    fn process(root: &Path, pid: u32, ticks: u64, children: &str) {
        let folder = root.join(pid.to_string());
        let task = folder.join("task").join(pid.to_string());
        std::fs::create_dir_all(&task).unwrap();
        let stat = format!("{pid} (a) b)) S 1 1 1 0 -1 0 5 0 3 0 {ticks} 0 0 0 20 0 2 0 100 1000 256 0");
        std::fs::write(folder.join("stat"), stat).unwrap();
        let status = "Name: a\nVmSwap:\t1024 kB\nvoluntary_ctxt_switches:\t4\nnonvoluntary_ctxt_switches:\t3\n";
        std::fs::write(folder.join("status"), status).unwrap();
        std::fs::write(task.join("status"), status).unwrap();
        std::fs::write(task.join("children"), children).unwrap();
        std::fs::write(folder.join("smaps_rollup"), "Rss: 9 kB\nPss:    512 kB\n").unwrap();
    }

    #[test]
    fn a_tree_is_summed_and_what_ended_is_not_forgotten() {
        let root = tempfile::tempdir().unwrap();
        process(root.path(), 10, 200, "11 ");
        process(root.path(), 11, 50, "");
        let mut processes = Processes::new(root.path());
        let tree = processes.tree(10, 0).unwrap();
        assert_eq!((tree.cpu_s, tree.threads, tree.major_faults), (2.5, 4, 6));
        assert_eq!((tree.swap_mib, tree.pss_mib, tree.switches), (2.0, Some(1.0), 14));
        assert_eq!(tree.rss_mib, 512.0 * rustix::param::page_size() as f64 / 1048576.0);
        std::fs::remove_dir_all(root.path().join("11")).unwrap();
        // The open file of a real process gives ESRCH; a deleted one must be seen anew.
        processes.stats.insert(11, Attribute::new(root.path().join("11/stat")));
        let tree = processes.tree(10, 1).unwrap();
        assert_eq!((tree.cpu_s, tree.threads), (2.5, 2));
        std::fs::remove_dir_all(root.path().join("10")).unwrap();
        processes.stats.insert(10, Attribute::new(root.path().join("10/stat")));
        assert_eq!(processes.tree(10, 2), None);
    }
}
