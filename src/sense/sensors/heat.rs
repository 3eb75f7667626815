//! Temperatures, trip points, cooling devices, and what the Raspberry Pi's firmware says of throttling. It must not
//! know clocks or power.

use super::attribute::{Attribute, entries, name, number, numbered, text};
use super::slow::Slot;
use crate::sense::tick::{Cooling, Look, Zone};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Drivers of processors' own sensors, which have no thermal zone.
const PROCESSOR_DRIVERS: [&str; 4] = ["coretemp", "k10temp", "zenpower", "via_cputemp"];
/// Words in the names of a processor's zones.
const PROCESSOR_WORDS: [&str; 7] = ["cpu", "soc", "x86_pkg", "bigcore", "littlecore", "center", "apss"];
/// Temperatures outside of these are a broken sensor's, °C.
const PLAUSIBLE: std::ops::Range<f64> = -40.0..150.0;

/// What is known of the heat, and the thread that reads it.
pub struct Heat {
    pub zones: Vec<Zone>,
    pub cooling: Vec<Cooling>,
    pub has_firmware: bool,
    /// Value files of the zones.
    pub paths: Vec<PathBuf>,
    slot: Option<Slot<Values>>,
}

#[derive(Clone, Default)]
struct Values {
    temps_c: Vec<Option<f64>>,
    cooling: Vec<Option<u32>>,
    firmware: Option<String>,
}

impl Heat {
    pub fn open(root: &Path, period: Duration) -> Heat {
        let thermal = root.join("sys/class/thermal");
        let (mut zones, mut paths) = (Vec::new(), Vec::new());
        for folder in numbered(&thermal, "thermal_zone") {
            let name = text(folder.join("type"));
            let is_cpu = PROCESSOR_WORDS.iter().any(|w| name.to_lowercase().contains(w));
            zones.push(Zone { trip_c: lowest_trip(&folder), is_cpu, name });
            paths.push(folder.join("temp"));
        }
        for folder in numbered(&root.join("sys/class/hwmon"), "hwmon") {
            let driver = text(folder.join("name"));
            if PROCESSOR_DRIVERS.contains(&driver.as_str()) {
                for file in entries(&folder).into_iter().filter(|f| is_input(f, "temp")) {
                    let label = text(sibling(&file, "_input", "_label"));
                    let trip_c = number(sibling(&file, "_input", "_crit")).map(|m| m / 1000.0);
                    zones.push(Zone { name: format!("{driver} {label}").trim().to_owned(), trip_c, is_cpu: true });
                    paths.push(file);
                }
            }
        }
        unique(&mut zones);
        let folders = numbered(&thermal, "cooling_device");
        let cooling = folders.iter().map(|folder| {
            let name = text(folder.join("type"));
            let slows =
                ["cpufreq", "processor", "powerclamp", "cpu-cooling"].iter().any(|w| name.to_lowercase().contains(w));
            Cooling { name, slows }
        });
        let cooling: Vec<Cooling> = cooling.collect();
        let (firmware, parse) = firmware_file(root).unwrap_or((PathBuf::new(), throttled));
        let mut temps: Vec<Attribute> = paths.iter().cloned().map(Attribute::new).collect();
        let mut states: Vec<Attribute> = folders.iter().map(|f| Attribute::new(f.join("cur_state"))).collect();
        let has_firmware = firmware.exists();
        let mut firmware = Attribute::new(firmware);
        let something = !temps.is_empty() || !states.is_empty() || has_firmware;
        let read = move || Values {
            temps_c: temps
                .iter_mut()
                .map(|t| t.number().map(|m| m / 1000.0).filter(|c| PLAUSIBLE.contains(c)))
                .collect(),
            cooling: states.iter_mut().map(|s| s.number().map(|n| n as u32)).collect(),
            firmware: if has_firmware { parse(firmware.text()) } else { None },
        };
        let slot = something.then(|| Slot::start("thermal", period, read));
        Heat { zones, cooling, has_firmware, paths, slot }
    }

    /// Fills what it knows.
    pub fn look(&self, look: &mut Look) {
        let Some(slot) = &self.slot else { return };
        let values = match slot.get() {
            Some((_, values)) => values,
            None => {
                look.silent.push(slot.name().to_owned());
                Values::default()
            }
        };
        look.temps_c = values.temps_c;
        look.temps_c.resize(self.zones.len(), None);
        look.cooling = values.cooling;
        look.cooling.resize(self.cooling.len(), None);
        look.firmware = values.firmware;
    }
}

/// How a word of the firmware is read: what slows the board down now, if anything does.
type Parse = fn(&str) -> Option<String>;

/// `soc/soc:firmware/get_throttled`, on a Raspberry Pi 5 with the bus' address in both names; kernels that lack it
/// still have the under-voltage alarm (Documentation/hwmon/raspberrypi-hwmon.rst).
fn firmware_file(root: &Path) -> Option<(PathBuf, Parse)> {
    let buses = entries(&root.join("sys/devices/platform")).into_iter().filter(|p| name(p).starts_with("soc"));
    let word = |bus: PathBuf| (bus.join(format!("{}:firmware/get_throttled", name(&bus))), throttled as Parse);
    let monitors = numbered(&root.join("sys/class/hwmon"), "hwmon");
    let voltage = monitors.into_iter().filter(|m| text(m.join("name")) == "rpi_volt");
    let alarm = |monitor: PathBuf| (monitor.join("in0_lcrit_alarm"), under_voltage as Parse);
    buses.map(word).chain(voltage.map(alarm)).find(|(file, _)| file.exists())
}

fn under_voltage(alarm: &str) -> Option<String> {
    (alarm == "1").then(|| "firmware: under-voltage".to_owned())
}

/// The lowest trip point at which the kernel slows something down or worse; fans are `active`.
fn lowest_trip(zone: &Path) -> Option<f64> {
    let trips = entries(zone).into_iter().filter(|f| {
        let name = name(f);
        name.starts_with("trip_point_") && name.ends_with("_temp")
    });
    let harmful = |f: &PathBuf| ["passive", "hot", "critical"].contains(&text(sibling(f, "_temp", "_type")).as_str());
    let degrees = trips.filter(harmful).filter_map(number).map(|m| m / 1000.0);
    degrees.filter(|c| PLAUSIBLE.contains(c) && *c > 0.0).min_by(f64::total_cmp)
}

/// Bits 0 to 3 of the Raspberry Pi firmware's word are about now: under-voltage, frequency capped, throttled, soft
/// temperature limit (documentation of `vcgencmd get_throttled`).
fn throttled(word: &str) -> Option<String> {
    let bits = u32::from_str_radix(word.trim_start_matches("0x"), 16).ok()?;
    let names = ["under-voltage", "frequency capped", "throttled", "soft temperature limit"];
    let now: Vec<&str> = names.iter().enumerate().filter(|(i, _)| bits & (1 << i) != 0).map(|(_, n)| *n).collect();
    (!now.is_empty()).then(|| format!("firmware: {}", now.join(" and ")))
}

/// `temp1_input` for prefix `temp`.
pub fn is_input(path: &Path, prefix: &str) -> bool {
    let name = name(path);
    let middle = name.strip_prefix(prefix).and_then(|n| n.strip_suffix("_input"));
    middle.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// The same path with another ending.
pub fn sibling(path: &Path, ending: &str, other: &str) -> PathBuf {
    let name = name(path);
    path.with_file_name(format!("{}{other}", name.strip_suffix(ending).unwrap_or(&name)))
}

/// Names are columns: the second of the same name gets a number.
fn unique(zones: &mut [Zone]) {
    for i in 1..zones.len() {
        let same =
            zones[..i].iter().filter(|z| z.name == zones[i].name || z.name.starts_with(&format!("{}#", zones[i].name)));
        let n = same.count();
        if n > 0 {
            zones[i].name = format!("{}#{}", zones[i].name, n + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_firmwares_word_is_about_now_in_its_low_bits() {
        assert_eq!(throttled("50000"), None, "bits 16 and 18: it happened before");
        assert_eq!(throttled("0x50005").as_deref(), Some("firmware: under-voltage and throttled"));
        assert_eq!(throttled("garbage"), None);
        assert_eq!(under_voltage("1").as_deref(), Some("firmware: under-voltage"));
        assert_eq!(under_voltage("0"), None);
    }

    #[test]
    fn inputs_have_numbers() {
        assert!(is_input(Path::new("/x/temp1_input"), "temp"));
        assert!(!is_input(Path::new("/x/temp_input"), "temp") && !is_input(Path::new("/x/temp1_label"), "temp"));
    }
}
