//! From a backend's name or path to a complete table: the linked-in ones by name, plugins through dlopen.
//! It runs in hosts only. It must not know sessions' use or frames.

use super::abi::{EB_ABI_MINOR, EB_SYMBOL, EbBackend, EbBackendV1Fn};
use super::elf;
use super::session::Backend;
use std::path::Path;

/// Is `backend` a plugin's path rather than the name of a linked-in one?
pub fn is_path(backend: &str) -> bool {
    backend.contains('/')
}

/// The backend whose objects are servers: its model is a name, not a file.
pub const OPENAI: &str = "openai";

/// Names of the backends that are linked in.
pub const BUILT_IN: &[&str] = &[
    #[cfg(feature = "llama")]
    "llama",
    #[cfg(feature = "openai")]
    OPENAI,
];

/// The table behind `backend`. The error is a sentence for the user.
pub fn load(backend: &str) -> Result<Backend, String> {
    let (table, who) =
        if is_path(backend) { (plugin(Path::new(backend))?, backend) } else { (built_in(backend)?, backend) };
    Backend::new(table).map_err(|missing| {
        format!("{who}: the function `{missing}` of the table is NULL; every function of edgebench.h has to be there")
    })
}

fn built_in(name: &str) -> Result<&'static EbBackend, String> {
    match name {
        #[cfg(feature = "llama")]
        "llama" => Ok(edgebench_llama::table()),
        #[cfg(feature = "openai")]
        OPENAI => Ok(edgebench_openai::table()),
        _ => Err(format!(
            "no built-in backend is called `{name}` (there is: {}); a plugin is given by its path, with a `/` in it",
            if BUILT_IN.is_empty() { "none in this build".to_owned() } else { BUILT_IN.join(", ") }
        )),
    }
}

/// Opens the shared library and asks it for its table. It stays loaded until the process ends.
fn plugin(path: &Path) -> Result<&'static EbBackend, String> {
    elf::check(path, &[elf::Libc::OWN]).map_err(|e| format!("{} {e}", path.display()))?;
    // SAFETY: loading runs the library's initialisers. That is what a plugin is for, and this is the process
    // that may be lost to it.
    let library = unsafe { libloading::Library::new(path) }
        .map_err(|e| format!("{}: cannot be loaded: {}", path.display(), with_source(&e)))?;
    let library = Box::leak(Box::new(library));
    // SAFETY: a symbol of this name has this type by the contract.
    let entry = unsafe { library.get::<EbBackendV1Fn>(EB_SYMBOL) }.map_err(|e| {
        format!(
            "{}: not an edgebench plugin, the function {EB_SYMBOL} is missing ({}); export it as edgebench.h says",
            path.display(),
            with_source(&e)
        )
    })?;
    // SAFETY: the contract's type; the argument is a number.
    let table = unsafe { entry(EB_ABI_MINOR) };
    if table.is_null() {
        return Err(format!(
            "{}: {EB_SYMBOL}({EB_ABI_MINOR}) returned NULL: the plugin needs a newer edgebench",
            path.display()
        ));
    }
    // SAFETY: not NULL, and every version of the table starts with struct_size.
    let size = unsafe { (*table).struct_size } as usize;
    if size < size_of::<EbBackend>() {
        return Err(format!(
            "{}: its table has {size} bytes, version 1.0 has {}; set struct_size to sizeof(eb_backend)",
            path.display(),
            size_of::<EbBackend>()
        ));
    }
    // SAFETY: as large as this version needs, and it lives until the process ends by the contract.
    Ok(unsafe { &*table })
}

/// libloading's own text says only "dlopen failed"; the reason is its source.
fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}
