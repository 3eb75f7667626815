//! Where hosts come from: programs inside this one, chosen by the backend and the board, or this program itself. It
//! must not know frames, jobs or what a host does.
//!
//! A released `edgebench` is static and cannot load plugins, and its llama.cpp is compiled several times for different
//! processors; so it carries hosts as files: `plugin-glibc`, `plugin-musl`, `llama-<variant>`, and `openai`, so that
//! no TLS is in the others. An ordinary build carries none.

mod describe;
mod start;
pub mod variant;

pub use describe::{Description, HostReport, TRIAL_ARGUMENT, describe};
pub use start::{Way, become_packed, itself, spawn};

use super::elf::{self, Libc};
use super::loader::{OPENAI, is_path};
use ruzstd::decoding::StreamingDecoder;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A program inside this one.
#[derive(Debug)]
pub struct Embedded {
    pub name: &'static str,
    /// Are the bytes a zstd frame?
    packed: bool,
    bytes: &'static [u8],
}

impl Embedded {
    /// The program's bytes.
    fn unpack(&self) -> io::Result<Box<dyn Read>> {
        if !self.packed {
            return Ok(Box::new(self.bytes));
        }
        let decoder = StreamingDecoder::new(self.bytes).map_err(io::Error::other)?;
        Ok(Box::new(decoder))
    }

    /// The dynamic loader that it asks for; `None` when it is static. Looked for once: a packed program is unpacked by the
    /// megabyte, which takes longer than a host's start.
    fn loader(&self) -> Option<PathBuf> {
        static KNOWN: Mutex<BTreeMap<&str, Option<PathBuf>>> = Mutex::new(BTreeMap::new());
        let mut known = KNOWN.lock().unwrap_or_else(|e| e.into_inner());
        known.entry(self.name).or_insert_with(|| self.find_loader()).clone()
    }

    fn find_loader(&self) -> Option<PathBuf> {
        // Headers and the loader's name are at the start of the file.
        let mut start = Vec::new();
        self.unpack().ok()?.take(16 << 10).read_to_end(&mut start).ok()?;
        elf::interpreter(&start).map(PathBuf::from)
    }

    /// The dynamic loader that it asks for and this board does not have. A runner brings its own.
    fn missing_loader(&self) -> Option<PathBuf> {
        self.loader().filter(|l| !l.exists() && std::env::var_os(start::RUNNER).is_none())
    }
}

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Names of hosts that can load plugins begin so.
const PLUGIN: &str = "plugin-";
/// Names of llama.cpp's hosts begin so; the variant follows.
const LLAMA: &str = "llama-";

/// Environment variable with a program to be used for every host, whatever is inside.
const PROGRAM: &str = "EDGEBENCH_HOST";

/// What a host is made of.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file of this name inside this program.
    Embedded(&'static Embedded),
    /// This program, started once more.
    Itself,
    /// A program that the user named.
    Given(PathBuf),
}

impl Source {
    /// For messages: `plugin-glibc`, `this program`, a path.
    pub fn name(&self) -> String {
        match self {
            Source::Embedded(e) => e.name.to_owned(),
            Source::Itself => "this program".to_owned(),
            Source::Given(path) => path.display().to_string(),
        }
    }
}

/// Names of the backends that need no plugin: those that are linked into this program or into a host inside it.
pub fn built_in() -> Vec<&'static str> {
    let mut names = super::loader::BUILT_IN.to_vec();
    for (name, host) in [("llama", LLAMA), (OPENAI, OPENAI)] {
        if EMBEDDED.iter().any(|e| e.name.starts_with(host)) && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Can one of the hosts load the plugin at `path`, and start here? The error is a sentence without the path.
pub fn check_plugin(path: &Path) -> Result<(), String> {
    let all = [("plugin-glibc", Libc::Glibc), ("plugin-musl", Libc::Musl)];
    let libcs: Vec<Libc> = all.into_iter().filter(|(name, _)| embedded(name).is_some()).map(|(_, libc)| libc).collect();
    if libcs.is_empty() {
        return elf::check(path, &[Libc::OWN]);
    }
    elf::check(path, &libcs)?;
    let host = plugin_host(path).map_err(|e| e.to_string())?;
    match embedded(&host).and_then(Embedded::missing_loader) {
        None => Ok(()),
        Some(loader) => Err(format!("needs {}, which this board does not have", loader.display())),
    }
}

fn embedded(name: &str) -> Option<&'static Embedded> {
    EMBEDDED.iter().find(|e| e.name == name)
}

/// The host for `backend`: by the plugin's C library, or llama.cpp's variant for this processor.
pub fn source(backend: &str) -> io::Result<Source> {
    if let Some(program) = std::env::var_os(PROGRAM).filter(|p| !p.is_empty()) {
        return Ok(Source::Given(PathBuf::from(program)));
    }
    if EMBEDDED.is_empty() {
        return Ok(Source::Itself);
    }
    let name = match backend {
        OPENAI => OPENAI.to_owned(),
        _ if is_path(backend) => plugin_host(Path::new(backend))?,
        _ => llama_host(backend)?,
    };
    embedded(&name)
        .map(Source::Embedded)
        .ok_or_else(|| io::Error::other(format!("this build has no host called {name} inside")))
}

fn plugin_host(path: &Path) -> io::Result<String> {
    let libc = elf::read(path).map_err(|e| io::Error::other(format!("{} {e}", path.display())))?.libc();
    let libc = match libc {
        Libc::Musl => "musl",
        Libc::Glibc => "glibc",
        Libc::Bionic => {
            return Err(io::Error::other(format!("{}: Android plugins are not supported yet", path.display())));
        }
        // It fits any: whichever loader this board has.
        Libc::None => {
            if embedded("plugin-glibc").is_some_and(|e| e.missing_loader().is_none()) {
                "glibc"
            } else {
                "musl"
            }
        }
    };
    Ok(format!("{PLUGIN}{libc}"))
}

fn llama_host(backend: &str) -> io::Result<String> {
    if backend != "llama" {
        return Err(io::Error::other(format!("no built-in backend is called `{backend}`")));
    }
    let choice = variant::choose(&variants()).map_err(io::Error::other)?;
    Ok(format!("{LLAMA}{}", choice.name))
}

/// llama.cpp's variants inside.
fn variants() -> Vec<&'static str> {
    EMBEDDED.iter().filter_map(|e| e.name.strip_prefix(LLAMA)).collect()
}
