//! Clocks and governors of the clusters, and the kernel's counters of throttling. It must not know temperatures.

use super::attribute::{Attribute, core_list, name, number, numbered, text};
use crate::sense::tick::{Cluster, Look};
use std::path::Path;

/// A cluster's files.
struct Policy {
    clock: Attribute,
    governor: Attribute,
}

/// Every cluster of the board.
pub struct Clocks {
    pub clusters: Vec<Cluster>,
    policies: Vec<Policy>,
    /// `thermal_throttle/*_throttle_count` of x86.
    counters: Vec<Attribute>,
}

impl Clocks {
    pub fn open(root: &Path) -> Clocks {
        let cpu = root.join("sys/devices/system/cpu");
        let folders = numbered(&cpu.join("cpufreq"), "policy");
        let clusters = folders.iter().map(|folder| Cluster {
            name: name(folder),
            cores: core_list(&text(folder.join("related_cpus"))),
            max_mhz: number(folder.join("cpuinfo_max_freq")).map(|khz| (khz / 1000.0) as u32),
        });
        let policies = folders.iter().map(|folder| Policy {
            clock: Attribute::new(folder.join("scaling_cur_freq")),
            governor: Attribute::new(folder.join("scaling_governor")),
        });
        let cores = numbered(&cpu, "cpu");
        let counters = cores.iter().flat_map(|core| {
            let folder = core.join("thermal_throttle");
            ["core_throttle_count", "package_throttle_count"].map(|f| folder.join(f)).into_iter().filter(|f| f.exists())
        });
        Clocks {
            clusters: clusters.collect(),
            policies: policies.collect(),
            counters: counters.map(Attribute::new).collect(),
        }
    }

    /// Does the kernel count throttling?
    pub fn counts_throttling(&self) -> bool {
        !self.counters.is_empty()
    }

    /// Fills what it knows.
    pub fn look(&mut self, look: &mut Look) {
        for policy in &mut self.policies {
            look.clocks_mhz.push(policy.clock.number().filter(|khz| *khz > 0.0).map(|khz| (khz / 1000.0) as u32));
            look.governors.push(Some(policy.governor.text().to_owned()).filter(|g| !g.is_empty()));
        }
        let counts = self.counters.iter_mut().filter_map(|c| c.number()).map(|n| n as u64);
        look.throttle_events = counts.fold(None, |sum, n| Some(sum.unwrap_or(0) + n));
    }
}
