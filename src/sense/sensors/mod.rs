//! Every sensor of the board, found once and read at each look. `root` is `/` on a real board; a folder that holds
//! a `proc` and a `sys` stands in for one (tests, or a container that has its host's under another path).
//!
//! `/proc` and clocks are read by the caller's thread; what sits behind a bus (`slow`) by threads of their own.

mod accelerator;
pub mod attribute;
mod clocks;
mod heat;
mod kernel;
mod power;
mod slow;

use super::process::Processes;
use super::sampler;
use super::tick::{Layout, Look, Tick};
use accelerator::Accelerators;
use attribute::number;
use clocks::Clocks;
use heat::Heat;
use kernel::Kernel;
use power::Rails;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Environment variable with the root of the board's files.
pub const ROOT_VARIABLE: &str = "EDGEBENCH_SYSROOT";

/// The root of the board's files: `/`, unless the environment names another.
pub fn root() -> PathBuf {
    std::env::var_os(ROOT_VARIABLE).filter(|r| !r.is_empty()).map_or(PathBuf::from("/"), PathBuf::from)
}

/// A kind of sensor that this board does not have, or does not show.
#[derive(Debug, Clone, PartialEq)]
pub struct Absent {
    /// `power`
    pub what: &'static str,
    pub why: String,
    /// How to get it.
    pub todo: String,
}

/// The sensors of a board.
pub struct Sensors {
    pub layout: Layout,
    /// Value files of zones, rails and accelerators, in the order of the layout.
    pub zone_paths: Vec<PathBuf>,
    pub rail_paths: Vec<PathBuf>,
    pub accelerator_paths: Vec<PathBuf>,
    pub absent: Vec<Absent>,
    kernel: Kernel,
    clocks: Clocks,
    heat: Heat,
    power: Rails,
    accelerators: Accelerators,
    processes: Processes,
}

impl Sensors {
    /// Finds every sensor; those behind a bus are read every `period`.
    pub fn open(root: &Path, period: Duration) -> Sensors {
        let (kernel, clocks) = (Kernel::open(root), Clocks::open(root));
        let (heat, power) = (Heat::open(root, period), Rails::open(root, period));
        let accelerators = Accelerators::open(root, period);
        let layout = Layout {
            cores: cores(root),
            clusters: clocks.clusters.clone(),
            zones: heat.zones.clone(),
            cooling: heat.cooling.clone(),
            rails: power.rails.clone(),
            accelerators: accelerators.names.clone(),
            counts_throttling: clocks.counts_throttling() || heat.has_firmware,
        };
        Sensors {
            zone_paths: heat.paths.clone(),
            rail_paths: power.paths.clone(),
            accelerator_paths: accelerators.paths.clone(),
            absent: absent(root, &layout, &power),
            // The host runs here, whatever board stands in.
            processes: Processes::new(Path::new("/proc")),
            layout,
            kernel,
            clocks,
            heat,
            power,
            accelerators,
        }
    }

    /// The board now.
    pub fn board(&mut self) -> Look {
        let mut look = Look::default();
        self.kernel.look(&mut look);
        self.clocks.look(&mut look);
        self.heat.look(&mut look);
        self.power.look(&mut look);
        self.accelerators.look(&mut look);
        look
    }
}

impl sampler::Look for Sensors {
    fn look(&mut self, pid: Option<u32>, tick: &mut Tick) {
        tick.host = pid.and_then(|pid| self.processes.tree(pid, tick.at_ns));
        tick.own_cpu_s = super::process::own_cpu_s();
        tick.board = self.board();
    }
}

/// Cores that are switched on.
fn cores(root: &Path) -> usize {
    let online = attribute::core_list(&attribute::text(root.join("sys/devices/system/cpu/online")));
    let here = || std::thread::available_parallelism().map_or(1, usize::from);
    if online.is_empty() { here() } else { online.len() }
}

fn absent(root: &Path, layout: &Layout, power: &Rails) -> Vec<Absent> {
    let mut absent = Vec::new();
    let mut add = |what, why: &str, todo: &str| absent.push(Absent { what, why: why.into(), todo: todo.into() });
    let virtual_machine = attribute::text(root.join("proc/cpuinfo")).contains("hypervisor");
    if layout.clusters.is_empty() {
        let why = if virtual_machine { "a virtual machine has no cpufreq" } else { "no cpufreq policy in sysfs" };
        add("clock", why, "needs a kernel with CONFIG_CPU_FREQ and the board's cpufreq driver (or device-tree OPPs)");
    }
    if layout.zones.is_empty() {
        let why =
            if virtual_machine { "a virtual machine has no thermal zones" } else { "no thermal zone, no coretemp" };
        add("temperature", why, "load the thermal driver of the board (x86: modprobe coretemp or k10temp)");
    }
    for file in &power.refused {
        add(
            "power",
            &format!("{}: permission denied", file.display()),
            "run as root, or: sudo chmod a+r /sys/class/powercap/*/energy_uj (until the next boot)",
        );
    }
    if layout.rails.is_empty() && power.refused.is_empty() {
        let pi5 = attribute::text(root.join("proc/device-tree/model")).starts_with("Raspberry Pi 5");
        let todo = if pi5 {
            "its power chip is read through the firmware: sum up `vcgencmd pmic_read_adc` in a script that prints \
             t_s,watts, as [power] source = \"exec: SCRIPT\"; or an external meter"
        } else {
            "an INA219/226/3221 on I²C with its hwmon driver, or an external meter: [power] source = \"exec: …\""
        };
        add("power", "no hwmon power, powercap, or battery in sysfs", todo);
    }
    if number(root.join("proc/pressure/memory")).is_none() && !root.join("proc/pressure/memory").exists() {
        add("memory pressure", "no /proc/pressure", "needs CONFIG_PSI (and psi=1 on the kernel's command line)");
    }
    if accelerator::hidden_npu(root) {
        add("NPU load", "sys/kernel/debug/rknpu/load cannot be read", "run as root, with debugfs mounted");
    }
    absent
}
