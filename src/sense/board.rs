//! The board's fingerprint: what has to be equal before two runs may be compared. It must not know results.

use serde::{Deserialize, Serialize};
use std::path::Path;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// What this board is. Empty or 0 where it does not tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Board {
    pub host: String,
    pub os: String,
    pub kernel: String,
    pub arch: String,
    /// As the device tree or the firmware names the board.
    pub model: String,
    pub cpu: String,
    pub cores: usize,
    pub memory_mib: u64,
    /// cpufreq governor of the first core.
    pub governor: String,
}

impl Board {
    /// Reads it; `sys_root` is `/sys` and `proc_root` is `/proc` on a real board.
    pub fn read(sys_root: &Path, proc_root: &Path) -> Board {
        let kinds = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(kinds);
        let text = |path: std::path::PathBuf| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned()
        };
        let device_tree = text(proc_root.join("device-tree/model"));
        let firmware = text(sys_root.join("class/dmi/id/product_name"));
        Board {
            host: System::host_name().unwrap_or_default(),
            os: System::long_os_version().unwrap_or_default(),
            kernel: System::kernel_version().unwrap_or_default(),
            arch: std::env::consts::ARCH.to_owned(),
            model: if device_tree.is_empty() { firmware } else { device_tree },
            cpu: system.cpus().first().map_or(String::new(), |c| c.brand().trim().to_owned()),
            cores: system.cpus().len(),
            memory_mib: system.total_memory() >> 20,
            governor: text(sys_root.join("devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        }
    }
}
