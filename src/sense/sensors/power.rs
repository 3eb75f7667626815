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
    /// All channels of a chip: W.
    Sum(Vec<Source>),
    /// A battery tells the whole board's power only while nothing charges it.
    Battery(Attribute, Box<Source>),
}

impl Source {
    fn read(&mut self) -> Option<f64> {
        match self {
            Source::Scaled(file, factor) => file.number().map(|v| v * *factor),
            Source::Product(a, b, factor) => Some(a.number()? * b.number()? * *factor),
            Source::Sum(sources) => sources.iter_mut().map(Source::read).sum(),
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

/// Rank of rails that stand for the whole board.
const WHOLE: u32 = 100;

/// How much of the board a rail stands for, by its name: whole inputs first, then what is only a part.
fn rank(name: &str, alone: bool) -> u32 {
    let name = name.to_uppercase();
    let has = |words: &[&str]| words.iter().any(|w| name.contains(w));
    if has(&["VDD_IN", "POM_5V_IN", "5V_IN", "TOTAL", "PSYS", "VBUS", "EXT5V"]) {
        WHOLE
    } else if has(&["+"]) {
        90
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

/// `/sys/class/hwmon` (Documentation/hwmon/sysfs-interface.rst of the kernel): power in µW, or voltage in mV and
/// current in mA.
fn hwmon(root: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    for device in numbered(&root.join("sys/class/hwmon"), "hwmon") {
        let driver = text(device.join("name"));
        let powers = powers(&device, &driver);
        found.extend(if powers.is_empty() { currents(&device, &driver) } else { powers });
    }
    found
}

/// Channels that tell power; of graphics chips some tell only an average.
fn powers(device: &Path, driver: &str) -> Vec<Found> {
    let files = entries(device);
    let of = |ending: &str| -> Vec<PathBuf> {
        let is = |f: &&PathBuf| is_input(&sibling(f, ending, "_input"), "power") && name(f).ends_with(ending);
        files.iter().filter(is).cloned().collect()
    };
    let (inputs, averages) = (of("_input"), of("_average"));
    let (files, ending) = if inputs.is_empty() { (averages, "_average") } else { (inputs, "_input") };
    let alone = files.len() == 1 && is_monitor(driver);
    // The power registers of the INA2xx count in steps, drivers/hwmon/ina2xx.c.
    let step = match driver {
        "ina219" | "ina220" => 0.02,
        "ina226" | "ina230" | "ina231" => 0.025,
        _ => 1e-6,
    };
    let one = |path: PathBuf| {
        let label = text(sibling(&path, ending, "_label"));
        let label = if label.is_empty() { driver } else { &label };
        let source = Source::Scaled(Attribute::new(path.clone()), 1e-6);
        Found { rail: rail(label, Kind::Power, step, alone), source, path, device: device.to_path_buf() }
    };
    files.into_iter().map(one).collect()
}

/// Channels that tell current and voltage, as those of an INA3221 (Documentation/hwmon/ina3221.rst), which names them
/// `inN_label`; a Jetson's that measure nothing are called NC.
fn currents(device: &Path, driver: &str) -> Vec<Found> {
    let channel = |file: PathBuf| {
        is_input(&file, "curr").then(|| name(&file).trim_start_matches("curr").trim_end_matches("_input").to_owned())
    };
    // Its fourth current is the sum of the others, its fourth voltage a shunt's.
    let real = |n: &String| driver != "ina3221" || ["1", "2", "3"].contains(&n.as_str());
    let channels = entries(device).into_iter().filter_map(channel).filter(real);
    let source = |n: &String| {
        let file = |what: &str| Attribute::new(device.join(format!("{what}{n}_input")));
        Source::Product(file("curr"), file("in"), 1e-6)
    };
    let mut labelled = Vec::new();
    for n in channels.filter(|n| device.join(format!("in{n}_input")).exists()) {
        let label = ["in", "curr"].map(|what| text(device.join(format!("{what}{n}_label"))));
        let label = label.into_iter().find(|l| !l.is_empty()).unwrap_or(format!("{driver} {n}"));
        if label != "NC" {
            labelled.push((n, label));
        }
    }
    let alone = labelled.len() == 1 && is_monitor(driver);
    let found = |label: &str, n: &String, step: f64, source| Found {
        rail: rail(label, Kind::Power, step, alone),
        source,
        path: device.join(format!("curr{n}_input")),
        device: device.to_path_buf(),
    };
    let mut rails: Vec<Found> = labelled.iter().map(|(n, l)| found(l, n, step(device, n), source(n))).collect();
    // A chip without a channel for the whole board, as a Jetson AGX Orin's: its channels together come nearest.
    if driver == "ina3221" && rails.len() > 1 && rails.iter().all(|f| f.rail.rank < WHOLE) {
        let names: Vec<&str> = labelled.iter().map(|(_, label)| label.as_str()).collect();
        let step = rails.iter().map(|f| f.rail.resolution).sum();
        let sum = Source::Sum(labelled.iter().map(|(n, _)| source(n)).collect());
        rails.insert(0, found(&names.join("+"), &labelled[0].0, step, sum));
    }
    rails
}

/// W that one step of a channel's current means at the voltage that is there now: 40 µV across the shunt of an INA3221
/// (its data sheet; the resistance is in µΩ), else the 1 mA that hwmon counts in.
fn step(device: &Path, channel: &str) -> f64 {
    let volts = number(device.join(format!("in{channel}_input"))).unwrap_or_default() * 1e-3;
    let shunt = number(device.join(format!("shunt{channel}_resistor"))).filter(|r| *r > 0.0);
    volts * shunt.map_or(1e-3, |micro_ohm| (40.0 / micro_ohm).max(1e-3))
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
                let channel = name(&file).trim_start_matches("in_power").trim_end_matches("_input").to_owned();
                let label = text(device.join(format!("rail_name_{channel}")));
                let label = if label.is_empty() { format!("ina3221 {channel}") } else { label };
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
        let order = ["VDD_IN", "VDD_GPU_SOC+VDD_CPU_CV+VIN_SYS_5V0", "BAT0", "package-0", "VIN_SYS_5V0", "dram"]
            .map(|name| rank(name, false));
        assert!(order.is_sorted_by(|a, b| a > b), "{order:?}");
        assert!(rank("ina219", true) > rank("BAT0", false));
    }
}
