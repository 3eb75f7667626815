//! The command `probe`: what this board is, what can be measured on it and what cannot, and why. It puts together
//! what `sense` finds; it must not know jobs.

mod print;

use crate::backend::hosts::{Description, describe};
use crate::fit::{self, Fit};
use crate::sense::bandwidth;
use crate::sense::board::Board;
use crate::sense::energy::Kind;
use crate::sense::sensors::attribute::{number, text};
use crate::sense::sensors::{self, Absent, Sensors};
use crate::sense::tick::{Layout, Look};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long sensors behind a bus get for their first value.
const PATIENCE: Duration = Duration::from_millis(800);
/// Instructions that LLM kernels have variants for, as `/proc/cpuinfo` names them.
const FEATURES: &[&str] = &[
    "sse4_2",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "neon",
    "asimd",
    "vfpv4",
    "fphp",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
    "sme",
];

/// Everything that is known of a board.
#[derive(Debug, Serialize)]
pub struct Probe {
    pub edgebench: &'static str,
    pub board: Board,
    /// Dynamic loaders that are there: what plugins can be built for.
    pub loaders: Vec<String>,
    /// The programs that backends run in: which of them start here, and how.
    pub hosts: Description,
    pub cpu_features: Vec<String>,
    pub clusters: Vec<Cluster>,
    pub memory_free_mib: Option<f64>,
    pub swap_free_mib: Option<f64>,
    /// Read bandwidth of all cores together, GB/s (10⁹).
    pub bandwidth_gb_s: Option<f64>,
    pub sensors: Vec<Sensor>,
    pub absent: Vec<AbsentRow>,
    /// Whether the model that was asked about fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Fit>,
}

/// Cores that share a clock.
#[derive(Debug, Serialize)]
pub struct Cluster {
    pub name: String,
    pub cores: Vec<usize>,
    /// Of 1024, as the scheduler sees it; `None` where all cores are equal.
    pub capacity: Option<u32>,
    pub max_mhz: Option<u32>,
    pub mhz: Option<u32>,
    pub governor: Option<String>,
}

/// A sensor and what it shows.
#[derive(Debug, Serialize)]
pub struct Sensor {
    pub kind: &'static str,
    pub name: String,
    pub value: Option<f64>,
    pub unit: &'static str,
    pub path: String,
    /// Trip point, range, or what it is for.
    pub note: String,
}

/// A kind of sensor that is not there.
#[derive(Debug, Serialize)]
pub struct AbsentRow {
    pub what: &'static str,
    pub why: String,
    pub todo: String,
}

impl From<&Absent> for AbsentRow {
    fn from(a: &Absent) -> AbsentRow {
        AbsentRow { what: a.what, why: a.why.clone(), todo: a.todo.clone() }
    }
}

/// What `probe` is asked.
pub struct Request<'a> {
    pub json: bool,
    /// A model to be held against the free memory, and the backend's parameters.
    pub model: Option<&'a Path>,
    pub params: &'a [String],
}

/// Looks at the board and prints it.
///
/// # Errors
/// What is wrong with the model or its parameters.
pub fn run(request: &Request) -> Result<(), String> {
    let root = sensors::root();
    let model = request.model.map(|m| fit_of(m, request.params, &root)).transpose()?;
    let probe = Probe { model, ..look(&root) };
    match request.json {
        // Strings and numbers only: it cannot fail.
        true => println!("{}", serde_json::to_string_pretty(&probe).unwrap_or_default()),
        false => print::probe(&probe),
    }
    Ok(())
}

/// Everything but a model.
fn look(root: &Path) -> Probe {
    let mut sensors = Sensors::open(root, Duration::from_millis(50));
    let (look, watts) = values(&mut sensors);
    let layout = &sensors.layout;
    Probe {
        edgebench: env!("CARGO_PKG_VERSION"),
        board: Board::read(&root.join("sys"), &root.join("proc")),
        loaders: loaders(),
        hosts: describe(),
        cpu_features: features(&text(root.join("proc/cpuinfo"))),
        clusters: clusters(root, layout, &look),
        memory_free_mib: look.memory_free_mib,
        swap_free_mib: look.swap_free_mib,
        bandwidth_gb_s: bandwidth::in_child().map(|b| b / 1e9),
        sensors: rows(&sensors, &look, &watts),
        absent: sensors.absent.iter().map(AbsentRow::from).collect(),
        model: None,
    }
}

/// The board when every sensor has given a value, or patience has ended; and the power of each rail.
fn values(sensors: &mut Sensors) -> (Look, Vec<Option<f64>>) {
    let kinds: Vec<Kind> = sensors.layout.rails.iter().map(|r| r.kind).collect();
    let mut first: Vec<Option<(u64, f64)>> = vec![None; kinds.len()];
    let mut watts = vec![None; kinds.len()];
    let until = Instant::now() + PATIENCE;
    loop {
        let look = sensors.board();
        for &(rail, at_ns, value) in &look.power {
            watts[rail] = match (kinds[rail], first[rail]) {
                (Kind::Power, _) => Some(value),
                // A counter shows power only between two readings.
                (Kind::Counter { .. }, Some((before_ns, before))) if value >= before => {
                    Some((value - before) * 1e9 / (at_ns - before_ns) as f64)
                }
                (Kind::Counter { .. }, _) => None,
            };
            first[rail].get_or_insert((at_ns, value));
        }
        // A battery that is being charged tells nothing, which is no reason to wait.
        let complete =
            look.silent.is_empty() && watts.iter().zip(&kinds).all(|(w, k)| w.is_some() || *k == Kind::Power);
        if complete || Instant::now() >= until {
            return (look, watts);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn rows(sensors: &Sensors, look: &Look, watts: &[Option<f64>]) -> Vec<Sensor> {
    let layout = &sensors.layout;
    let shown = |path: &PathBuf| path.display().to_string();
    let mut rows = Vec::new();
    for ((zone, path), value) in layout.zones.iter().zip(&sensors.zone_paths).zip(&look.temps_c) {
        let trip = zone.trip_c.map_or(String::new(), |c| format!("trips at {c:.0} °C"));
        let note = if zone.is_cpu { format!("processor; {trip}") } else { trip };
        let note = note.trim_end_matches("; ").to_owned();
        rows.push(Sensor {
            kind: "temperature",
            name: zone.name.clone(),
            value: *value,
            unit: "°C",
            path: shown(path),
            note,
        });
    }
    let main = layout.rails.iter().enumerate().max_by_key(|(i, r)| (r.rank, std::cmp::Reverse(*i))).map(|(i, _)| i);
    for (i, (rail, path)) in layout.rails.iter().zip(&sensors.rail_paths).enumerate() {
        let mut note = match rail.kind {
            Kind::Power => String::new(),
            Kind::Counter { wrap_j } => format!("energy counter, wraps at {wrap_j:.0} J"),
        };
        if Some(i) == main {
            note = format!("energy columns are about this rail; {note}").trim_end_matches("; ").to_owned();
        }
        rows.push(Sensor {
            kind: "power",
            name: rail.name.clone(),
            value: watts[i],
            unit: "W",
            path: shown(path),
            note,
        });
    }
    for (cooling, state) in layout.cooling.iter().zip(&look.cooling) {
        let note = if cooling.slows { "slows the processor down when above 0" } else { "" };
        let (name, value) = (cooling.name.clone(), state.map(f64::from));
        rows.push(Sensor { kind: "cooling", name, value, unit: "state", path: String::new(), note: note.to_owned() });
    }
    for ((name, path), value) in layout.accelerators.iter().zip(&sensors.accelerator_paths).zip(&look.accelerators) {
        let note = value.1.map_or(String::new(), |mhz| format!("{mhz} MHz"));
        rows.push(Sensor { kind: "load", name: name.clone(), value: value.0, unit: "%", path: shown(path), note });
    }
    if layout.counts_throttling {
        let note = look.firmware.clone().unwrap_or_else(|| "not throttled now".to_owned());
        let value = look.throttle_events.map(|n| n as f64);
        rows.push(Sensor { kind: "throttling", name: "events".into(), value, unit: "", path: String::new(), note });
    }
    rows
}

fn clusters(root: &Path, layout: &Layout, look: &Look) -> Vec<Cluster> {
    let one = |(i, c): (usize, &crate::sense::tick::Cluster)| {
        let core = c.cores.first().copied().unwrap_or(0);
        Cluster {
            name: c.name.clone(),
            cores: c.cores.clone(),
            capacity: number(root.join(format!("sys/devices/system/cpu/cpu{core}/cpu_capacity"))).map(|n| n as u32),
            max_mhz: c.max_mhz,
            mhz: look.clocks_mhz.get(i).copied().flatten(),
            governor: look.governors.get(i).cloned().flatten(),
        }
    };
    layout.clusters.iter().enumerate().map(one).collect()
}

/// Dynamic loaders by the paths that every distribution has them at.
fn loaders() -> Vec<String> {
    let known = [
        ("glibc", "/lib64/ld-linux-x86-64.so.2"),
        ("glibc", "/lib/ld-linux-aarch64.so.1"),
        ("glibc", "/lib/ld-linux-armhf.so.3"),
        ("musl", "/lib/ld-musl-x86_64.so.1"),
        ("musl", "/lib/ld-musl-aarch64.so.1"),
        ("musl", "/lib/ld-musl-armhf.so.1"),
        ("bionic", "/system/bin/linker64"),
    ];
    known.iter().filter(|(_, path)| Path::new(path).exists()).map(|(name, path)| format!("{name} ({path})")).collect()
}

/// The known ones of the first `flags` or `Features` line.
fn features(cpuinfo: &str) -> Vec<String> {
    let line = cpuinfo.lines().find(|l| l.starts_with("flags") || l.starts_with("Features")).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    FEATURES.iter().filter(|f| words.contains(f)).map(|f| (*f).to_owned()).collect()
}

/// Holds the model against the free memory; `params` are `key=value`.
fn fit_of(model: &Path, params: &[String], root: &Path) -> Result<Fit, String> {
    let pair = |p: &String| p.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    let pairs: Vec<_> = params.iter().map(pair).collect::<Option<_>>().ok_or("--param is key=value")?;
    fit::of(model, &pairs, false, root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_those_with_kernels_of_their_own() {
        assert_eq!(features("processor: 0\nflags\t\t: fpu avx avx2 fma\n"), ["avx", "fma", "avx2"]);
        assert_eq!(features("Features\t: fp asimd asimddp i8mm\n"), ["asimd", "asimddp", "i8mm"]);
        assert!(features("").is_empty());
    }
}
