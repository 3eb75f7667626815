//! What the backend runs on, for probe() and `eb.device/1`, without loading a model.
//! It owns those strings, which live until the process ends.
//! It must not know sessions.

use crate::libs::{self, Found, Libraries};
use crate::params::Options;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The answer to `probe()`. Strings live until the process ends.
pub struct Report {
    pub runtime: &'static str,
    pub device: &'static str,
    /// What is missing, or empty.
    pub note: &'static str,
}

/// Looks, without loading anything: a job may name other libraries than those that are found here. After open() it
/// tells what has been loaded.
pub fn report() -> Report {
    let environment = std::env::var_os(libs::ENVIRONMENT).filter(|v| !v.is_empty());
    let unknown = "ONNX Runtime GenAI";
    let (runtime, note) = match (latest(), libs::find(None, None, environment.as_deref().map(Path::new))) {
        (Some(device), _) => (device.driver, ""),
        (None, Ok(found)) if environment.is_some() => (intern(versions(&found)), ""),
        // A bare name says nothing about whether the loader will find it.
        (None, Ok(_)) => (unknown, ELSEWHERE),
        (None, Err(failure)) => (unknown, intern(failure.message)),
    };
    Report { runtime, device: latest().map_or("CPU, or the device of the job's provider", |d| d.name), note }
}

const ELSEWHERE: &str = "libraries: those of the parameter `lib`, of EDGEBENCH_ORT_LIB, or of the loader's path; to \
                         get them, run scripts/ort-genai install or pip install onnxruntime-genai";

fn versions(found: &Found) -> String {
    let with =
        |name: &str, version: &str| if version.is_empty() { name.to_owned() } else { format!("{name} {version}") };
    let genai = with("ONNX Runtime GenAI", &found.genai_version);
    format!("{genai}, {}", with("ONNX Runtime", &found.ort_version))
}

/// What `eb.device/1` tells.
#[derive(Clone, Copy)]
pub struct Device {
    pub name: &'static str,
    pub driver: &'static str,
    pub cores: u32,
    /// Provider cpu: its memory is the machine's.
    pub is_cpu: bool,
}

static DEVICE: Mutex<Option<Device>> = Mutex::new(None);

/// Notes what a session runs on from now on.
pub fn loaded(libraries: &Libraries, options: &Options) {
    let is_cpu = options.is_cpu();
    let name = if is_cpu {
        cpu_name()
    } else {
        let pairs: Vec<_> = options.provider_options.iter().map(|(k, v)| format!("{k}={v}")).collect();
        format!("{} {}", options.provider, pairs.join(" ")).trim_end().to_owned()
    };
    let device =
        Device { name: intern(name), driver: intern(versions(&libraries.found)), cores: options.threads, is_cpu };
    *DEVICE.lock().unwrap_or_else(PoisonError::into_inner) = Some(device);
}

fn latest() -> Option<Device> {
    *DEVICE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The device of the latest session, or the CPU.
pub fn current() -> Device {
    latest().unwrap_or_else(|| Device {
        name: intern(cpu_name()),
        driver: report().runtime,
        cores: Options::default().threads,
        is_cpu: true,
    })
}

/// Strings that live until the process ends; each different one is kept once.
fn intern(text: String) -> &'static str {
    static KNOWN: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(same) = known.iter().find(|k| **k == text) {
        return same;
    }
    let text: &'static str = Box::leak(text.into_boxed_str());
    known.push(text);
    text
}

/// `model name` on x86; ARM kernels tell numbers only.
fn cpu_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |key: &str| info.lines().find_map(|l| l.strip_prefix(key)?.trim_start().strip_prefix(':'));
    field("model name").or(field("Model")).map_or("CPU".to_owned(), |name| format!("CPU: {}", name.trim()))
}

/// The machine's memory, all and available, in bytes; 0 where unknown.
pub fn memory() -> (u64, u64) {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |key: &str| {
        let line = info.lines().find_map(|l| l.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    (kib("MemTotal:").unwrap_or(0) << 10, kib("MemAvailable:").unwrap_or(0) << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_and_a_name() {
        let (all, free) = memory();
        assert!(all > 0 && free <= all);
        assert!(cpu_name().starts_with("CPU"));
        assert!(std::ptr::eq(intern("x".to_owned()), intern("x".to_owned())));
    }
}
