//! Which CPUs a session's threads stay on: the parameter `affinity`. It must not know llama.cpp, whose threads are
//! started by the thread that opens a session and inherit its mask.

use crate::failure::Failure;
use crate::params::Affinity;
use edgebench_plugin::cpu::{allowed, default_threads, fast, threads_on};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::path::Path;

/// Keeps this thread, and those that it starts, on some CPUs until it is dropped.
pub struct Pinned {
    before: Option<CpuSet>,
    /// Threads for `auto`.
    pub threads: u32,
    /// Where they may run, for the log.
    pub place: String,
}

impl Pinned {
    /// Pins the calling thread as `affinity` says; `auto`: the number of threads is left open.
    ///
    /// # Errors
    /// `EB_ERR_INVALID` for CPUs that this process may not use.
    pub fn new(affinity: &Affinity, auto: bool) -> Result<Pinned, Failure> {
        let mine = allowed(Path::new("/"));
        let anywhere = || Pinned { before: None, threads: default_threads(), place: "any CPU".to_owned() };
        let cpus = match affinity {
            Affinity::Off => return Ok(anywhere()),
            Affinity::Auto => match fast(Path::new("/"), &mine) {
                fast if auto && fast.len() < mine.len() => fast,
                _ => return Ok(anywhere()),
            },
            Affinity::List(cpus) => {
                if let Some(other) = cpus.iter().find(|c| !mine.contains(c)) {
                    return Err(Failure::invalid(format!(
                        "affinity names CPU {other}, which this process may not use: it has {mine:?}"
                    )));
                }
                cpus.clone()
            }
        };
        let before = sched_getaffinity(None).map_err(|e| cannot(&e))?;
        let mut set = CpuSet::new();
        for &cpu in cpus.iter().filter(|c| (**c as usize) < CpuSet::MAX_CPU) {
            set.set(cpu as usize);
        }
        let threads = threads_on(&cpus);
        sched_setaffinity(None, &set).map_err(|e| cannot(&e))?;
        Ok(Pinned { before: Some(before), threads, place: format!("CPUs {cpus:?}") })
    }
}

fn cannot(error: &rustix::io::Errno) -> Failure {
    Failure::unsupported(format!("the system refuses affinity ({error}): set affinity = \"off\""))
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Nothing is left to do where it fails.
            let _ = sched_setaffinity(None, before);
        }
    }
}
