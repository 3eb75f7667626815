//! What one look at the board gives, and what stays the same between looks: plain values, `None` where a board
//! does not tell. It must not know files or how anything is read.

use super::energy::Kind;

/// What sensors there are, in the order of the values of a [`Look`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layout {
    pub cores: usize,
    pub clusters: Vec<Cluster>,
    pub zones: Vec<Zone>,
    pub cooling: Vec<Cooling>,
    pub rails: Vec<Rail>,
    /// Names of accelerators that tell their load.
    pub accelerators: Vec<String>,
    /// Does a counter or the firmware tell of throttling?
    pub counts_throttling: bool,
}

/// Cores that share a clock.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    /// `policy4`
    pub name: String,
    /// Its cores' numbers.
    pub cores: Vec<usize>,
    /// As the hardware has it, MHz.
    pub max_mhz: Option<u32>,
}

/// A place whose temperature is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Zone {
    /// `cpu-thermal`
    pub name: String,
    /// Lowest trip point at which the kernel or the hardware does something, °C.
    pub trip_c: Option<f64>,
    /// Is it the processor's, as far as its name tells?
    pub is_cpu: bool,
}

/// Something that cools: a fan, or a limit on somebody's clock.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cooling {
    /// `cpufreq-cpu4`, `pwm-fan`
    pub name: String,
    /// Does it cool by slowing the processor down?
    pub slows: bool,
}

/// Something whose power is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Rail {
    /// `VDD_IN`, `package-0`
    pub name: String,
    pub kind: Kind,
    /// Smallest step of a reading: W, or J for a counter. 0 where unknown.
    pub resolution: f64,
    /// How much of the board it stands for; the highest is the main rail.
    pub rank: u32,
}

/// One look.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tick {
    /// CLOCK_MONOTONIC when it began, ns.
    pub at_ns: u64,
    /// How late it began, ns.
    pub late_ns: u64,
    /// How long it took, ns.
    pub took_ns: u64,
    /// Wall clock − monotonic clock, ns.
    pub wall_offset_ns: i64,
    /// The host and what it started; `None` when there is none.
    pub host: Option<Tree>,
    /// CPU time of edgebench itself, s.
    pub own_cpu_s: f64,
    pub board: Look,
}

/// A process and its descendants, summed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tree {
    /// Process id of its root.
    pub pid: u32,
    pub rss_mib: f64,
    /// Shared pages split among their users; looked at more rarely, since it costs the kernel a walk.
    pub pss_mib: Option<f64>,
    pub swap_mib: f64,
    /// User and system time, s.
    pub cpu_s: f64,
    pub major_faults: u64,
    pub threads: u32,
    pub switches: u64,
}

/// The board. Vectors are in the order of the [`Layout`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Look {
    /// Time that all cores together worked or were taken by a hypervisor, s.
    pub busy_s: Option<f64>,
    /// Likewise per core, by number.
    pub core_busy_s: Vec<f64>,
    pub memory_free_mib: Option<f64>,
    pub swap_free_mib: Option<f64>,
    /// Pages in and out since the start of the system, MiB.
    pub swap_traffic_mib: Option<f64>,
    /// Time that some process waited for memory (PSI), s.
    pub pressure_s: Option<f64>,
    /// Read from storage since the start of the system, MiB.
    pub disk_read_mib: Option<f64>,
    pub clocks_mhz: Vec<Option<u32>>,
    pub governors: Vec<Option<String>>,
    pub temps_c: Vec<Option<f64>>,
    /// Current state; 0: not cooling.
    pub cooling: Vec<Option<u32>>,
    /// Events of throttling since the start of the system.
    pub throttle_events: Option<u64>,
    /// Does the firmware hold the clock back now, and why?
    pub firmware: Option<String>,
    /// Readings newer than the last look's: position in the layout's rails, CLOCK_MONOTONIC in ns, and W or J.
    pub power: Vec<(usize, u64, f64)>,
    /// Load in %, and clock in MHz.
    pub accelerators: Vec<(Option<f64>, Option<u32>)>,
    /// Sensors that do not answer now.
    pub silent: Vec<String>,
}
