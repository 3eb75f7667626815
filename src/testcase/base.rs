//! A host with its model, as a case gets it: loaded for it, or kept from the case before, which differs in its LoRA
//! adapters only. It owns what such cases share and how each still has figures of its own; it must not know records.

use crate::backend::client::{Client, HostError};
use crate::backend::wire::{Adapter, Open, Opened};
use crate::job::{self, Instance};
use crate::sense::process;
use std::path::Path;
use std::time::Duration;

/// A host that loads `open`, or has loaded it.
pub struct Base {
    pub client: Client,
    open: Open,
    opened: Option<Opened>,
    /// The peak of its RSS while it loaded, in MiB: part of what each of its cases takes.
    loaded_mib: Option<f64>,
}

/// A model that can be asked.
pub struct Ready {
    pub opened: Opened,
    /// Was it loaded for this case?
    pub loaded: bool,
    /// Time that its adapters took, in ns; `None`: there was nothing to set.
    pub adapter_ns: Option<u64>,
}

impl Base {
    /// Starts a host.
    pub fn start(open: Open) -> Result<Base, HostError> {
        Ok(Base { client: Client::start(&open.backend)?, open, opened: None, loaded_mib: None })
    }

    /// Is this what it has loaded? Its title does not count.
    pub fn has(&self, open: &Open) -> bool {
        let titled = Open { title: open.title.clone(), ..self.open.clone() };
        self.opened.is_some() && titled == *open
    }

    /// Loads the model, unless that was done, and sets the adapters of `instance`.
    pub fn ready(
        &mut self,
        instance: &Instance,
        title: &str,
        timeout: Duration,
        proc_root: &Path,
    ) -> Result<Ready, HostError> {
        let pid = self.client.pid();
        let (opened, loaded) = match &self.opened {
            Some(opened) => (opened.clone(), false),
            None => {
                let opened = self.client.open(self.open.clone(), timeout)?;
                self.loaded_mib = process::rss_peak_mib(proc_root, pid);
                (self.opened.insert(opened).clone(), true)
            }
        };
        let adapters = adapters(instance);
        let adapter_ns =
            if loaded && adapters.is_empty() { None } else { Some(self.client.adapt(adapters, title, timeout)?) };
        Ok(Ready { opened, loaded, adapter_ns })
    }

    /// The peak of its RSS in the case that it has now, its load included, in MiB.
    pub fn rss_peak_mib(&self, proc_root: &Path) -> Option<f64> {
        let now = process::rss_peak_mib(proc_root, self.client.pid());
        now.into_iter().chain(self.loaded_mib).reduce(f64::max)
    }

    /// Makes it ready for another case. `false`: that case is to load for itself, as the kernel does not let the peak
    /// of its memory be told from this one's, or readings of power that this one left would go to it.
    pub fn can_go_on(&self, proc_root: &Path) -> bool {
        self.opened.as_ref().is_some_and(|o| o.rails.is_empty())
            && process::reset_rss_peak(proc_root, self.client.pid())
    }
}

/// The LoRA adapters of `instance`, for its host.
pub fn adapters(instance: &Instance) -> Vec<Adapter> {
    let adapter = |a: &job::Adapter| Adapter { path: a.path.to_string_lossy().into_owned(), scale: a.scale };
    instance.lora.iter().flatten().map(adapter).collect()
}
