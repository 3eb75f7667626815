//! Load and clock of GPUs and NPUs, where a driver tells them. It must not know processors.

use super::attribute::{Attribute, entries, name, numbered, text};
use super::slow::Slot;
use crate::sense::tick::Look;
use std::path::{Path, PathBuf};
use std::time::Duration;

type Values = Vec<(Option<f64>, Option<u32>)>;

/// How a driver writes its load.
#[derive(Clone, Copy)]
enum Form {
    /// `37`, `37 %` (Adreno) or `37@1000000000Hz` (devfreq), in %.
    Percent,
    /// In parts of a thousand (Tegra).
    Thousandth,
    /// `NPU load:  Core0: 12%, Core1:  0%, Core2:  0%,` (rknpu): the mean of the cores.
    Cores,
}

/// The accelerators of a board.
pub struct Accelerators {
    pub names: Vec<String>,
    pub paths: Vec<PathBuf>,
    slot: Option<Slot<Values>>,
}

impl Accelerators {
    pub fn open(root: &Path, period: Duration) -> Accelerators {
        let (mut names, mut paths, mut files) = (Vec::new(), Vec::new(), Vec::new());
        let mut add = |label: String, load: PathBuf, form: Form, clock: Option<PathBuf>| {
            if load.exists() && !names.contains(&label) {
                names.push(label);
                paths.push(load.clone());
                files.push((Attribute::new(load), form, clock.map(Attribute::new)));
            }
        };
        let mut tegra = false;
        for device in entries(&root.join("sys/class/devfreq")) {
            let clock = Some(device.join("cur_freq"));
            // Where the governor tells no load, a Tegra's driver may.
            if device.join("load").exists() {
                add(name(&device), device.join("load"), Form::Percent, clock);
            } else if device.join("device/load").exists() {
                tegra = true;
                add(name(&device), device.join("device/load"), Form::Thousandth, clock);
            }
        }
        add("npu".into(), root.join("sys/kernel/debug/rknpu/load"), Form::Cores, None);
        let adreno = root.join("sys/class/kgsl/kgsl-3d0");
        add("gpu".into(), adreno.join("gpu_busy_percentage"), Form::Percent, Some(adreno.join("gpuclk")));
        // JetPack 4 and 5 without a devfreq folder.
        if !tegra {
            add("gpu".into(), root.join("sys/devices/gpu.0/load"), Form::Thousandth, None);
            add("gpu".into(), root.join("sys/devices/platform/gpu.0/load"), Form::Thousandth, None);
        }
        for card in numbered(&root.join("sys/class/drm"), "card") {
            add(name(&card), card.join("device/gpu_busy_percent"), Form::Percent, None);
        }
        let read = move || {
            let one = |(load, form, clock): &mut (Attribute, Form, Option<Attribute>)| {
                let hertz = clock.as_mut().and_then(|c| c.number());
                (parse(load.text(), *form), hertz.map(|hz| (hz / 1e6) as u32))
            };
            files.iter_mut().map(one).collect()
        };
        let slot = (!names.is_empty()).then(|| Slot::start("accelerators", period, read));
        Accelerators { names, paths, slot }
    }

    /// Fills what it knows.
    pub fn look(&self, look: &mut Look) {
        let Some(slot) = &self.slot else { return };
        look.accelerators = match slot.get() {
            Some((_, values)) => values,
            None => {
                look.silent.push(slot.name().to_owned());
                Vec::new()
            }
        };
        look.accelerators.resize(self.names.len(), (None, None));
    }
}

fn parse(load: &str, form: Form) -> Option<f64> {
    let percent = match form {
        Form::Percent => load.split('@').next()?.trim_end_matches('%').trim().parse::<f64>().ok()?,
        Form::Thousandth => load.parse::<f64>().ok()? / 10.0,
        Form::Cores => {
            let cores: Vec<f64> =
                load.split([' ', ',', ':']).filter_map(|w| w.strip_suffix('%')?.parse().ok()).collect();
            if cores.is_empty() {
                return None;
            }
            cores.iter().sum::<f64>() / cores.len() as f64
        }
    };
    (0.0..=100.0).contains(&percent).then_some(percent)
}

/// Does a driver tell of an NPU whose load only root may read?
pub fn hidden_npu(root: &Path) -> bool {
    let devfreq = entries(&root.join("sys/class/devfreq"));
    devfreq.iter().any(|d| name(d).contains("npu")) && text(root.join("sys/kernel/debug/rknpu/load")).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_driver_has_its_way() {
        assert_eq!(parse("37@1000000000Hz", Form::Percent), Some(37.0));
        assert_eq!(parse("12 %", Form::Percent), Some(12.0));
        assert_eq!(parse("990", Form::Thousandth), Some(99.0));
        assert_eq!(parse("NPU load:  Core0: 30%, Core1:  0%, Core2:  0%,", Form::Cores), Some(10.0));
        for (text, form) in [("", Form::Percent), ("900", Form::Percent), ("x", Form::Thousandth), ("NPU", Form::Cores)]
        {
            assert_eq!(parse(text, form), None);
        }
    }
}
