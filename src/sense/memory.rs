//! How much memory a program may still take: what the kernel says is available, or less where a container has a limit.
//! It must not know who wants it.

use super::sensors::attribute::text;
use std::path::Path;

/// Bytes that can be had without swapping; `None` where the system does not tell.
pub fn free_bytes(root: &Path) -> Option<u64> {
    let meminfo = text(root.join("proc/meminfo"));
    let board = field(&meminfo, "MemAvailable:").and_then(|kib| kib.checked_mul(1024));
    match (board, left_in_group(root)) {
        (Some(board), Some(group)) => Some(board.min(group)),
        (board, group) => board.or(group),
    }
}

/// What this process's control group, and those above it, leave: Documentation/admin-guide/cgroup-v2.rst of the kernel.
/// Page cache that nobody used lately makes room.
fn left_in_group(root: &Path) -> Option<u64> {
    let membership = text(root.join("proc/self/cgroup"));
    let path = membership.lines().find_map(|l| l.strip_prefix("0::/"))?;
    let top = root.join("sys/fs/cgroup");
    let number = |file: &Path| text(file).parse::<u64>().ok();
    let left = |group: &Path| {
        let limit = number(&group.join("memory.max"))?;
        let cache = field(&text(group.join("memory.stat")), "inactive_file").unwrap_or(0);
        Some(limit.saturating_sub(number(&group.join("memory.current"))?.saturating_sub(cache)))
    };
    top.join(path).ancestors().take_while(|group| group.starts_with(&top)).filter_map(left).min()
}

/// The number behind `key` at a line's start.
fn field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(key).filter(|rest| rest.starts_with([' ', '\t'])))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, content: &str) {
        let file = root.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }

    #[test]
    fn the_kernels_word_counts_unless_a_group_leaves_less() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!(free_bytes(root), None);
        write(root, "proc/meminfo", "MemTotal: 4000 kB\nMemAvailable:    2000 kB\n");
        assert_eq!(free_bytes(root), Some(2_048_000));
        write(root, "proc/self/cgroup", "1:name=x:/old\n0::/docker/abc\n");
        write(root, "sys/fs/cgroup/docker/abc/memory.max", "max\n");
        assert_eq!(free_bytes(root), Some(2_048_000), "no limit");
        write(root, "sys/fs/cgroup/docker/memory.max", "1000000\n");
        write(root, "sys/fs/cgroup/docker/memory.current", "900000\n");
        write(root, "sys/fs/cgroup/docker/memory.stat", "anon 1\ninactive_file 300000\n");
        assert_eq!(free_bytes(root), Some(400_000), "the group above has one, and cache makes room");
        write(root, "sys/fs/cgroup/docker/memory.current", "2000000\n");
        assert_eq!(free_bytes(root), Some(0));
    }
}
