//! How many threads suit this machine, and on which CPUs: the fast physical cores that this process may use and that
//! others leave free. It reads `proc` and `sys` below a given root, so that a fixture tests it.
//! It must not know any SDK.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// How long cores are looked at to know whether they are free.
const LOOK: Duration = Duration::from_millis(100);

/// Threads for `auto`: the fast physical cores ([`fast`]) that are free now, but no more than a container's CPU quota (which
/// the standard library knows) allows. It looks once: the answer stays the same for the life of the process.
pub fn default_threads() -> u32 {
    static THREADS: OnceLock<u32> = OnceLock::new();
    *THREADS.get_or_init(|| threads_on(&fast(Path::new("/"), &allowed(Path::new("/")))))
}

/// Threads for `cpus`: their physical cores that are free now, within the quota; 1 to 512.
pub fn threads_on(cpus: &[u32]) -> u32 {
    let root = Path::new("/");
    let stat = || fs::read_to_string(root.join("proc/stat")).unwrap_or_default();
    let before = stat();
    std::thread::sleep(LOOK);
    let quota = std::thread::available_parallelism().map_or(usize::MAX, |n| n.get());
    let cores = free(&one_per_core(root, cpus), &before, &stat()).len();
    // llama.cpp takes 512 at most.
    cores.min(quota).clamp(1, 512) as u32
}

/// The CPUs in the affinity mask of this process; never empty.
pub fn allowed(root: &Path) -> Vec<u32> {
    let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    let list = status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).and_then(|l| parse_list(l.trim()));
    list.unwrap_or_else(|| (0..std::thread::available_parallelism().map_or(1, |n| n.get() as u32)).collect())
}

/// Those of `cpus` whose capacity is at least two thirds of the greatest: the big cores of a board that also has small
/// ones, but not only the one core of a phone that is clocked a little higher than its equals. llama.cpp's threads meet
/// at a barrier after each operation, so one small core among big ones holds all of them up.
///
/// Capacity is the scheduler's own figure (`cpu_capacity`, of 1024), else the highest clock.
pub fn fast(root: &Path, cpus: &[u32]) -> Vec<u32> {
    let number = |cpu: u32, file: &str| -> Option<u64> {
        let path = root.join(format!("sys/devices/system/cpu/cpu{cpu}/{file}"));
        fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    let all = |file: &str| cpus.iter().map(|&cpu| number(cpu, file)).collect::<Option<Vec<u64>>>();
    let Some(capacities) = all("cpu_capacity").or_else(|| all("cpufreq/cpuinfo_max_freq")) else {
        return cpus.to_vec();
    };
    let most = capacities.iter().copied().max().unwrap_or(0);
    cpus.iter().zip(&capacities).filter(|(_, capacity)| *capacity * 3 >= most * 2).map(|(cpu, _)| *cpu).collect()
}

/// The first CPU of each physical core.
///
/// Matrix products are bound by arithmetic units and memory, which hardware threads of one core share. ONNX Runtime's
/// own default, half of the hardware threads but at most 16, knows neither affinity nor quota.
fn one_per_core(root: &Path, cpus: &[u32]) -> Vec<u32> {
    let mut seen = BTreeSet::new();
    let mut first = |cpu: &u32| {
        let topology = root.join(format!("sys/devices/system/cpu/cpu{cpu}/topology"));
        // The same list for all threads of one core. Without it, each CPU is taken for a core of its own.
        let siblings = fs::read_to_string(topology.join("core_cpus_list"))
            .or_else(|_| fs::read_to_string(topology.join("thread_siblings_list")));
        seen.insert(siblings.map_or_else(|_| cpu.to_string(), |s| s.trim().to_owned()))
    };
    cpus.iter().copied().filter(|cpu| first(cpu)).collect()
}

/// Those of `cpus` that were idle for at least half of the time between two texts of `/proc/stat`; all of them where
/// that is true of none. llama.cpp's barrier spins: a thread that has to share its core makes all others wait.
fn free(cpus: &[u32], before: &str, after: &str) -> Vec<u32> {
    let (before, after) = (idle_and_all(before), idle_and_all(after));
    let is_free = |cpu: &u32| match (before.get(cpu), after.get(cpu)) {
        (Some((idle, all)), Some((idle_now, all_now))) => {
            2 * idle_now.saturating_sub(*idle) >= all_now.saturating_sub(*all)
        }
        _ => true,
    };
    let free: Vec<u32> = cpus.iter().copied().filter(is_free).collect();
    if free.is_empty() { cpus.to_vec() } else { free }
}

/// Ticks that each CPU was idle (or waiting for a disk), and all of its ticks (proc_stat(5)).
fn idle_and_all(stat: &str) -> BTreeMap<u32, (u64, u64)> {
    let one = |line: &str| {
        let (cpu, ticks) = line.strip_prefix("cpu")?.split_once(' ')?;
        let ticks: Vec<u64> = ticks.split_whitespace().take(8).filter_map(|t| t.parse().ok()).collect();
        Some((cpu.parse().ok()?, (ticks.get(3)? + ticks.get(4)?, ticks.iter().sum())))
    };
    stat.lines().filter_map(one).collect()
}

/// `0-3,8` → 0, 1, 2, 3, 8. `None` if it is not such a list.
pub fn parse_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.split(',').filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if last < first || last > 8192 {
            return None;
        }
        cpus.extend(first..=last);
    }
    (!cpus.is_empty()).then_some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(allowed: &str, siblings: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        fs::write(root.path().join("proc/self/status"), format!("Name:\tx\nCpus_allowed_list:\t{allowed}\n")).unwrap();
        for (cpu, list) in siblings.iter().enumerate() {
            write(&root, cpu, "topology/core_cpus_list", list);
        }
        root
    }

    fn write(root: &tempfile::TempDir, cpu: usize, file: &str, text: &str) {
        let path = root.path().join(format!("sys/devices/system/cpu/cpu{cpu}")).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    fn cores(root: &tempfile::TempDir) -> Vec<u32> {
        one_per_core(root.path(), &fast(root.path(), &allowed(root.path())))
    }

    #[test]
    fn hardware_threads_of_one_core_count_once() {
        assert_eq!(cores(&machine("0-3", &["0,2", "1,3", "0,2", "1,3"])), [0, 1]);
        assert_eq!(cores(&machine("0-3", &["0", "1", "2", "3"])), [0, 1, 2, 3]);
    }

    #[test]
    fn only_allowed_cpus_count() {
        assert_eq!(cores(&machine("1-2", &["0", "1", "2", "3"])), [1, 2]);
        assert_eq!(cores(&machine("3", &["0", "1", "2", "3"])), [3]);
    }

    #[test]
    fn without_topology_each_cpu_is_a_core() {
        assert_eq!(cores(&machine("0-1,4", &[])), [0, 1, 4]);
        assert!(!allowed(Path::new("/nonexistent")).is_empty());
    }

    #[test]
    fn big_cores_are_taken_and_small_ones_are_not() {
        // RK3588: four Cortex-A55, four A76.
        let board = machine("0-7", &[]);
        for cpu in 0..8 {
            write(&board, cpu, "cpu_capacity", if cpu < 4 { "530" } else { "1024" });
        }
        assert_eq!(cores(&board), [4, 5, 6, 7]);
        // A phone: four small, three big, one of them clocked higher.
        let phone = machine("0-7", &[]);
        for cpu in 0..8 {
            write(&phone, cpu, "cpufreq/cpuinfo_max_freq", ["1800000", "2420000", "2840000"][cpu / 4 + cpu / 7]);
        }
        assert_eq!(cores(&phone), [4, 5, 6, 7]);
        // Only small ones may be used.
        fs::write(board.path().join("proc/self/status"), "Cpus_allowed_list:\t0-1\n").unwrap();
        assert_eq!(cores(&board), [0, 1]);
    }

    #[test]
    fn busy_cores_do_not_count_unless_all_are() {
        let before = "cpu  0 0 0 0\ncpu0 100 0 0 500 0 0 0 0 0 0\ncpu1 100 0 0 500 10 0 0 0 0 0\nintr 1 2\n";
        let after = "cpu  0 0 0 0\ncpu0 109 0 0 501 0 0 0 0 0 0\ncpu1 101 0 0 505 14 0 0 0 0 0\nintr 1 2\n";
        assert_eq!(free(&[0, 1], before, after), [1]);
        assert_eq!(free(&[0], before, after), [0]);
        assert_eq!(free(&[0, 1, 2], "", ""), [0, 1, 2], "where nothing is told all are free");
    }

    #[test]
    fn lists_are_parsed_or_refused() {
        assert_eq!(parse_list("0-3,8"), Some(vec![0, 1, 2, 3, 8]));
        for bad in ["", "3-1", "x", "0-4294967295"] {
            assert_eq!(parse_list(bad), None, "{bad}");
        }
    }
}
