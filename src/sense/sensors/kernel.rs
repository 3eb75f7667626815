//! What the kernel counts for the whole board: time of its cores, memory, swap, pressure, disks. Files of `/proc`
//! that answer at once. It must not know clocks, heat or processes.

use super::attribute::{Attribute, entries, name};
use crate::sense::tick::Look;
use std::path::Path;

const SECTOR: f64 = 512.0;
const MIB: f64 = 1048576.0;

/// The files, kept open.
pub struct Kernel {
    stat: Attribute,
    meminfo: Attribute,
    vmstat: Attribute,
    pressure: Attribute,
    diskstats: Attribute,
    disks: Vec<String>,
    tick_s: f64,
}

impl Kernel {
    pub fn open(root: &Path) -> Kernel {
        let proc = root.join("proc");
        let real = |name: &String| !["loop", "ram", "zram", "dm-", "md"].iter().any(|p| name.starts_with(p));
        Kernel {
            stat: Attribute::new(proc.join("stat")),
            meminfo: Attribute::new(proc.join("meminfo")),
            vmstat: Attribute::new(proc.join("vmstat")),
            pressure: Attribute::new(proc.join("pressure/memory")),
            diskstats: Attribute::new(proc.join("diskstats")),
            disks: entries(&root.join("sys/block")).iter().map(|p| name(p)).filter(real).collect(),
            tick_s: 1.0 / rustix::param::clock_ticks_per_second() as f64,
        }
    }

    /// Fills what it knows.
    pub fn look(&mut self, look: &mut Look) {
        (look.busy_s, look.core_busy_s) = busy(self.stat.text(), self.tick_s);
        let meminfo = self.meminfo.text();
        let kib = |key| field(meminfo, key).map(|kib| kib / 1024.0);
        look.memory_free_mib = kib("MemAvailable:");
        look.swap_free_mib = kib("SwapFree:");
        let vmstat = self.vmstat.text();
        let pages = field(vmstat, "pswpin").zip(field(vmstat, "pswpout"));
        look.swap_traffic_mib = pages.map(|(a, b)| (a + b) * rustix::param::page_size() as f64 / MIB);
        look.pressure_s = pressure(self.pressure.text());
        look.disk_read_mib = read_mib(self.diskstats.text(), &self.disks);
    }
}

/// The first number behind `key` at a line's start.
fn field(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|l| l.strip_prefix(key).filter(|rest| rest.starts_with([' ', '\t'])))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Seconds that all cores, and each core, were not idle (proc(5): user nice system idle iowait irq softirq steal;
/// what guests got is in user). Time that a hypervisor took is not idle: nobody here had it.
fn busy(stat: &str, tick_s: f64) -> (Option<f64>, Vec<f64>) {
    let (mut all, mut cores) = (None, Vec::new());
    for line in stat.lines().take_while(|l| l.starts_with("cpu")) {
        let mut words = line.split_whitespace();
        let Some(core) = words.next().and_then(|w| w.strip_prefix("cpu")) else { continue };
        let ticks: Vec<f64> = words.map_while(|w| w.parse().ok()).take(8).collect();
        if ticks.len() < 4 {
            continue;
        }
        let idle = ticks[3] + ticks.get(4).unwrap_or(&0.0);
        let busy = (ticks.iter().sum::<f64>() - idle) * tick_s;
        match core.parse::<usize>() {
            Err(_) => all = Some(busy),
            Ok(core) if core < 4096 => {
                if cores.len() <= core {
                    cores.resize(core + 1, 0.0);
                }
                cores[core] = busy;
            }
            Ok(_) => {}
        }
    }
    (all, cores)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=123`, in µs → s.
fn pressure(text: &str) -> Option<f64> {
    let some = text.lines().find(|l| l.starts_with("some"))?;
    let total = some.split_whitespace().find_map(|w| w.strip_prefix("total="))?;
    Some(total.parse::<f64>().ok()? / 1e6)
}

/// Third and sixth column of `/proc/diskstats`: name and sectors read.
fn read_mib(text: &str, disks: &[String]) -> Option<f64> {
    let mut sum = None;
    for line in text.lines() {
        let mut words = line.split_whitespace().skip(2);
        let (Some(name), Some(sectors)) = (words.next(), words.nth(2)) else { continue };
        if let (true, Ok(sectors)) = (disks.iter().any(|d| d == name), sectors.parse::<f64>()) {
            *sum.get_or_insert(0.0) += sectors * SECTOR / MIB;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_as_proc_5_has_them() {
        let stat =
            "cpu  100 0 50 800 30 5 5 10 0 0\ncpu0 60 0 20 400 20 0 5 5 0 0\ncpu1 40 0 30 400 10 5 0 5\nintr 1\n";
        assert_eq!(busy(stat, 0.01), (Some(1.7), vec![0.9, 0.8]));
        assert_eq!(busy("garbage", 0.01), (None, vec![]));
        assert_eq!(pressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull total=1"), Some(2.5));
        assert_eq!(field("MemAvailable:   2048 kB\n", "MemAvailable:"), Some(2048.0));
        assert_eq!(field("pswpinx 7\npswpin 3", "pswpin"), Some(3.0));
        let disks = " 179 0 mmcblk0 100 0 4096 5 0 0\n 179 1 mmcblk0p1 90 0 4000 5 0 0\n 7 0 loop0 1 0 2048 0";
        assert_eq!(read_mib(disks, &["mmcblk0".into()]), Some(2.0));
        assert_eq!(read_mib(disks, &[]), None);
    }
}
