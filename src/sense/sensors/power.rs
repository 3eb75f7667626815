//! Power rails and energy counters of the board: hwmon (INA219, INA226, INA3221 and whatever else tells power or
//! voltage and current), the IIO files of older Jetsons, powercap (RAPL), batteries. It must not know what is
//! measured with them.

use super::attribute::{Attribute, entries, name, number, numbered, text};
use super::heat::{is_input, sibling};
use super::slow::Slot;
use crate::clock::now_ns;
use crate::sense::energy::Kind;
use crate::sense::tick::{Look, Rail};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// More than this is a broken sensor's, W.
const MOST_W: f64 = 10_000.0;

/// How a rail's value is read, in the units of the kernel's files (µW, mA, mV, µA, µV, mW, µJ).
enum Source {
    /// One file times a factor: W or J.
    Scaled(Attribute, f64),
    /// Product of two files times a factor: W.
    Product(Attribute, Attribute, f64),
    /// A battery tells the whole board's power only while nothing charges it.
    Battery(Attribute, Box<Source>),
}

impl Source {
    fn read(&mut self) -> Option<f64> {
        match self {
            Source::Scaled(file, factor) => file.number().map(|v| v * *factor),
            Source::Product(a, b, factor) => Some(a.number()? * b.number()? * *factor),
            // The sign of current and power differs from driver to driver.
            Source::Battery(status, source) => (status.text() == "Discharging").then(|| source.read())?.map(f64::abs),
        }
    }
}

/// A rail that was found.
struct Found {
    rail: Rail,
    source: Source,
    path: PathBuf,
    /// Rails of one device are read by one thread.
    device: PathBuf,
}

/// A rail's newest reading: CLOCK_MONOTONIC in ns, W or J.
type Reading = Option<(u64, f64)>;

/// The board's rails.
#[derive(Default)]
pub struct Rails {
    pub rails: Vec<Rail>,
    pub paths: Vec<PathBuf>,
    /// Counters that are there but may not be read.
    pub refused: Vec<PathBuf>,
    /// Threads, and the numbers of the rails that each reads.
    slots: Vec<(Slot<Vec<Reading>>, Vec<usize>)>,
    last_ns: Vec<u64>,
}

impl Rails {
    pub fn open(root: &Path, period: Duration) -> Rails {
        let mut found = hwmon(root);
        found.extend(iio(root));
        let (counters, refused) = powercap(root);
        found.extend(counters);
        found.extend(batteries(root));
        let mut rails = Rails { refused, ..Rails::default() };
        while let Some(device) = found.first().map(|f| f.device.clone()) {
            let (its, others): (Vec<Found>, Vec<Found>) = found.into_iter().partition(|f| f.device == device);
            found = others;
            let numbers = (rails.rails.len()..rails.rails.len() + its.len()).collect();
            let mut sources = Vec::new();
            for f in its {
                let taken = rails.rails.iter().filter(|r| r.name == f.rail.name).count();
                let name = if taken > 0 { format!("{} {}", name(&device), f.rail.name) } else { f.rail.name };
                rails.rails.push(Rail { name, ..f.rail });
                rails.paths.push(f.path);
                sources.push((f.rail.kind, f.source));
            }
            let read = move || sources.iter_mut().map(|(kind, source)| read(*kind, source)).collect();
            rails.slots.push((Slot::start(&name(&device), period, read), numbers));
        }
        rails.last_ns = vec![0; rails.rails.len()];
        rails
    }

    /// Fills in readings that are newer than at the last look.
    pub fn look(&mut self, look: &mut Look) {
        for (slot, numbers) in &self.slots {
            let Some((_, readings)) = slot.get() else {
                look.silent.push(slot.name().to_owned());
                continue;
            };
            for (&rail, reading) in numbers.iter().zip(readings) {
                let Some((at_ns, value)) = reading.filter(|(at_ns, _)| *at_ns > self.last_ns[rail]) else { continue };
                self.last_ns[rail] = at_ns;
                look.power.push((rail, at_ns, value));
            }
        }
    }
}

fn read(kind: Kind, source: &mut Source) -> Reading {
    let before = now_ns();
    let value = source.read().filter(|v| *v >= 0.0 && (kind != Kind::Power || *v < MOST_W))?;
    // The value is from some time between.
    Some((before + (now_ns() - before) / 2, value))
}

/// How much of the board a rail stands for, by its name: whole inputs first, then what is only a part.
fn rank(name: &str, alone: bool) -> u32 {
    let name = name.to_uppercase();
    let has = |words: &[&str]| words.iter().any(|w| name.contains(w));
    if has(&["VDD_IN", "POM_5V_IN", "5V_IN", "VIN_SYS", "TOTAL", "PSYS", "VDD_TOTAL", "VBUS", "EXT5V"]) {
        100
    } else if alone {
        80
    } else if name.starts_with("BAT") {
        70
    } else if name.starts_with("PACKAGE") {
        60
    } else if has(&["DRAM", "CORE", "UNCORE"]) {
        10
    } else {
        20
    }
}

fn rail(name: &str, kind: Kind, resolution: f64, alone: bool) -> Rail {
    Rail { name: name.to_owned(), kind, resolution, rank: rank(name, alone) }
}

/// `/sys/class/hwmon` (Documentation/hwmon/sysfs-interface.rst of the kernel): power in µW, voltage in mV, current
/// in mA; an INA3221 has the last two, and names its channels `inN_label`.
fn hwmon(root: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    for device in numbered(&root.join("sys/class/hwmon"), "hwmon") {
        let driver = text(device.join("name"));
        let files = entries(&device);
        let powers: Vec<&PathBuf> = files.iter().filter(|f| is_input(f, "power")).collect();
        for file in &powers {
            let label = text(sibling(file, "_input", "_label"));
            let label = if label.is_empty() { &driver } else { &label };
            let source = Source::Scaled(Attribute::new(file.to_path_buf()), 1e-6);
            let rail = rail(label, Kind::Power, 1e-6, powers.len() == 1 && is_monitor(&driver));
            found.push(Found { rail, source, path: file.to_path_buf(), device: device.clone() });
        }
        if !powers.is_empty() {
            continue;
        }
        let currents: Vec<&PathBuf> = files.iter().filter(|f| is_input(f, "curr")).collect();
        for file in &currents {
            let number = name(file).trim_start_matches("curr").trim_end_matches("_input").to_owned();
            let volts = device.join(format!("in{number}_input"));
            let label = text(device.join(format!("in{number}_label")));
            let label = if label.is_empty() { text(sibling(file, "_input", "_label")) } else { label };
            if !volts.exists() {
                continue;
            }
            let label = if label.is_empty() { format!("{driver} {number}") } else { label };
            // A step of 1 mA at the voltage that is there now.
            let step = super::attribute::number(&volts).unwrap_or_default() * 1e-6;
            let source = Source::Product(Attribute::new(file.to_path_buf()), Attribute::new(volts), 1e-6);
            let rail = rail(&label, Kind::Power, step, currents.len() == 1 && is_monitor(&driver));
            found.push(Found { rail, source, path: file.to_path_buf(), device: device.clone() });
        }
    }
    found
}

/// Chips that are put on a board to measure its supply; others (graphics, storage) tell of themselves only.
fn is_monitor(driver: &str) -> bool {
    driver.starts_with("ina") || driver.starts_with("ltc") || driver.starts_with("max")
}

/// Jetson TX2 to Xavier with JetPack 4: `…/ina3221x/*/iio:device*/in_powerN_input` in mW, `rail_name_N`.
fn iio(root: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    for chip in entries(&root.join("sys/bus/i2c/drivers/ina3221x")) {
        for device in numbered(&chip, "iio:device") {
            for file in entries(&device).into_iter().filter(|f| is_input(f, "in_power")) {
                let number = name(&file).trim_start_matches("in_power").trim_end_matches("_input").to_owned();
                let label = text(device.join(format!("rail_name_{number}")));
                let label = if label.is_empty() { format!("ina3221 {number}") } else { label };
                let source = Source::Scaled(Attribute::new(file.clone()), 1e-3);
                found.push(Found {
                    rail: rail(&label, Kind::Power, 1e-3, false),
                    source,
                    path: file,
                    device: device.clone(),
                });
            }
        }
    }
    found
}

/// `/sys/class/powercap/*:*/energy_uj` (Documentation/power/powercap/powercap.rst), and those that may not be read.
fn powercap(root: &Path) -> (Vec<Found>, Vec<PathBuf>) {
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for device in entries(&root.join("sys/class/powercap")) {
        let file = device.join("energy_uj");
        // The same counters come again through memory-mapped registers.
        if !file.exists() || name(&device).contains("mmio") {
            continue;
        }
        let Some(wrap) = number(device.join("max_energy_range_uj")) else { continue };
        if std::fs::read(&file).is_err() {
            refused.push(file);
            continue;
        }
        let kind = Kind::Counter { wrap_j: wrap / 1e6 };
        let source = Source::Scaled(Attribute::new(file.clone()), 1e-6);
        // Steps of 61 µJ on most processors (Intel SDM, MSR_RAPL_POWER_UNIT: 2⁻¹⁴ J).
        let rail = rail(&text(device.join("name")), kind, 61e-6, false);
        found.push(Found { rail, source, path: file, device });
    }
    (found, refused)
}

/// `/sys/class/power_supply` (Documentation/ABI/testing/sysfs-class-power): µW, or µA and µV.
fn batteries(root: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    for device in entries(&root.join("sys/class/power_supply")) {
        if text(device.join("type")) != "Battery" || text(device.join("scope")) == "Device" {
            continue;
        }
        let [power, current, voltage] = ["power_now", "current_now", "voltage_now"].map(|f| device.join(f));
        let (source, path) = if power.exists() {
            (Source::Scaled(Attribute::new(power.clone()), 1e-6), power)
        } else if current.exists() && voltage.exists() {
            (Source::Product(Attribute::new(current.clone()), Attribute::new(voltage), 1e-12), current)
        } else {
            continue;
        };
        let source = Source::Battery(Attribute::new(device.join("status")), Box::new(source));
        let name = name(&device);
        let name = if name.to_uppercase().starts_with("BAT") { name } else { format!("battery {name}") };
        found.push(Found { rail: rail(&name, Kind::Power, 1e-3, false), source, path, device });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_stands_above_its_parts() {
        let order = ["VDD_IN", "BAT0", "package-0", "VDD_CPU_GPU_CV", "dram"].map(|name| rank(name, false));
        assert!(order.is_sorted_by(|a, b| a > b), "{order:?}");
        assert!(rank("ina219", true) > rank("BAT0", false));
    }
}
