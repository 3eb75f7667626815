//! How many threads suit this machine: the physical cores that this process may use.
//! It reads `/proc/self/status` and `/sys/devices/system/cpu` below a given root, so that a fixture tests it.
//! It must not know any SDK.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Physical cores in the affinity mask of the process, at least 1.
///
/// Matrix products are bound by arithmetic units and memory, which hardware threads of one core share, and llama.cpp's
/// threads meet at a spinning barrier after each operation, where one thread too many makes all of them wait: so this
/// counts cores. ONNX Runtime's own default, half of the hardware threads but at most 16, knows neither affinity nor quota.
pub fn usable_cores(root: &Path) -> usize {
    let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    let allowed = status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).and_then(|l| parse_list(l.trim()));
    let Some(allowed) = allowed else {
        return std::thread::available_parallelism().map_or(1, |n| n.get());
    };
    let cores: BTreeSet<String> = allowed
        .iter()
        .map(|cpu| {
            let topology = root.join(format!("sys/devices/system/cpu/cpu{cpu}/topology"));
            // The same list for all threads of one core. Without it, each CPU is taken for a core of its own.
            fs::read_to_string(topology.join("core_cpus_list"))
                .or_else(|_| fs::read_to_string(topology.join("thread_siblings_list")))
                .map_or_else(|_| cpu.to_string(), |siblings| siblings.trim().to_owned())
        })
        .collect();
    cores.len().max(1)
}

/// Threads for `auto`: cores, but no more than a container's CPU quota (which the standard library knows) allows.
pub fn default_threads() -> u32 {
    let quota = std::thread::available_parallelism().map_or(usize::MAX, |n| n.get());
    // llama.cpp takes 512 at most.
    usable_cores(Path::new("/")).min(quota).clamp(1, 512) as u32
}

/// `0-3,8` → 0, 1, 2, 3, 8. `None` if it is not such a list.
fn parse_list(text: &str) -> Option<Vec<u32>> {
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
            let topology = root.path().join(format!("sys/devices/system/cpu/cpu{cpu}/topology"));
            fs::create_dir_all(&topology).unwrap();
            fs::write(topology.join("core_cpus_list"), format!("{list}\n")).unwrap();
        }
        root
    }

    #[test]
    fn hardware_threads_of_one_core_count_once() {
        let pc = machine("0-3", &["0,2", "1,3", "0,2", "1,3"]);
        assert_eq!(usable_cores(pc.path()), 2);
        let board = machine("0-3", &["0", "1", "2", "3"]);
        assert_eq!(usable_cores(board.path()), 4);
    }

    #[test]
    fn only_allowed_cpus_count() {
        assert_eq!(usable_cores(machine("1-2", &["0", "1", "2", "3"]).path()), 2);
        assert_eq!(usable_cores(machine("3", &["0", "1", "2", "3"]).path()), 1);
    }

    #[test]
    fn without_topology_each_cpu_is_a_core() {
        assert_eq!(usable_cores(machine("0-1,4", &[]).path()), 3);
        assert!(usable_cores(Path::new("/nonexistent")) >= 1);
    }

    #[test]
    fn lists_are_parsed_or_refused() {
        assert_eq!(parse_list("0-3,8"), Some(vec![0, 1, 2, 3, 8]));
        for bad in ["", "3-1", "x", "0-4294967295"] {
            assert_eq!(parse_list(bad), None, "{bad}");
        }
    }
}
