//! Finds and loads the two vendor libraries: ONNX Runtime first, then ONNX Runtime GenAI, which looks for the other.
//! It owns the process-wide fact that they are loaded, once, and never unloaded (they leave threads behind).
//! It must not know models or what the functions do.

use crate::failure::Failure;
use crate::genai::Api;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{CStr, c_char};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const GENAI: &str = "libonnxruntime-genai.so";
const ORT: &str = "libonnxruntime.so";
/// Where to look when a job does not say: a file or a folder, as the parameter `lib`.
pub const ENVIRONMENT: &str = "EDGEBENCH_ORT_LIB";
const HINT: &str = "run scripts/ort-genai install, or pip install onnxruntime-genai";

/// Where the libraries are. A bare file name is left to the loader's search path.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub genai: PathBuf,
    pub ort: PathBuf,
    /// Versions as far as the file names tell; empty if they do not.
    pub genai_version: String,
    pub ort_version: String,
}

/// The loaded libraries.
pub struct Libraries {
    pub found: Found,
    pub api: Api,
}

/// Looks for both, without loading anything. `lib` and `ort_lib` as in the job's parameters; `environment` as the
/// variable says.
///
/// # Errors
/// `EB_ERR_UNSUPPORTED`, naming the file that is missing and how to get it.
pub fn find(lib: Option<&Path>, ort_lib: Option<&Path>, environment: Option<&Path>) -> Result<Found, Failure> {
    let given = lib.or(environment);
    let genai = match given {
        Some(place) => genai_in(place).ok_or_else(|| {
            let from = if lib.is_some() { "lib".to_owned() } else { ENVIRONMENT.to_owned() };
            Failure::unsupported(format!("no {GENAI} in {from} = {}: {HINT}", place.display()))
        })?,
        None => PathBuf::from(GENAI),
    };
    let ort = match ort_lib {
        Some(place) => ort_in(place)
            .ok_or_else(|| Failure::unsupported(format!("no {ORT} in ort_lib = {}: {HINT}", place.display())))?,
        None if given.is_none() => PathBuf::from("libonnxruntime.so.1"),
        // Beside it, or where pip puts it: site-packages/onnxruntime/capi beside site-packages/onnxruntime_genai.
        None => genai
            .parent()
            .and_then(|folder| ort_in(folder).or_else(|| ort_in(&folder.join(".."))))
            .or_else(|| given.filter(|place| place.is_dir()).and_then(ort_in))
            .ok_or_else(|| {
                let place = genai.display();
                Failure::unsupported(format!("no {ORT} beside {place}: pip install onnxruntime, or set ort_lib"))
            })?,
    };
    let (genai_version, ort_version) = (wheel_version(&genai), file_version(&ort));
    Ok(Found { genai, ort, genai_version, ort_version })
}

fn genai_in(place: &Path) -> Option<PathBuf> {
    if place.is_file() {
        return Some(place.to_path_buf());
    }
    [place.join(GENAI), place.join("onnxruntime_genai").join(GENAI)].into_iter().find(|p| p.is_file())
}

/// `libonnxruntime.so`, or that name with a version: wheels hold `libonnxruntime.so.1.32.0`.
fn ort_in(place: &Path) -> Option<PathBuf> {
    if place.is_file() {
        return Some(place.to_path_buf());
    }
    let in_folder = |folder: PathBuf| {
        let names = std::fs::read_dir(&folder).ok()?.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
        let wanted = |name: &String| name.strip_prefix(ORT).is_some_and(|v| v.is_empty() || v.starts_with('.'));
        names.filter(wanted).max().map(|name| folder.join(name)).filter(|p| p.is_file())
    };
    in_folder(place.to_path_buf()).or_else(|| in_folder(place.join("onnxruntime/capi")))
}

fn file_version(ort: &Path) -> String {
    let name = ort.file_name().unwrap_or_default().to_string_lossy();
    let version = name.strip_prefix(ORT).unwrap_or_default().trim_start_matches('.');
    // The major version alone is the name of the interface.
    if version.contains('.') { version.to_owned() } else { String::new() }
}

/// GenAI cannot be asked, but pip notes `onnxruntime_genai-0.18.0.dist-info` beside its folder.
fn wheel_version(genai: &Path) -> String {
    let packages = genai.parent().map(|p| p.join(".."));
    let names = packages.and_then(|p| std::fs::read_dir(p).ok()).into_iter().flatten().flatten();
    let version = |name: &str| {
        let rest = name.strip_prefix("onnxruntime_genai")?.strip_suffix(".dist-info")?;
        rest.rsplit_once('-').map(|(_, version)| version.to_owned())
    };
    names.filter_map(|e| version(&e.file_name().to_string_lossy())).next().unwrap_or_default()
}

static LOADED: Mutex<Option<&'static Libraries>> = Mutex::new(None);

/// Loads both, or returns them if they are loaded already.
///
/// # Errors
/// `EB_ERR_UNSUPPORTED` if the loader refuses them, or if others are loaded in this process already.
pub fn load(found: Found) -> Result<&'static Libraries, Failure> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(libraries) = *loaded {
        if (&libraries.found.genai, &libraries.found.ort) == (&found.genai, &found.ort) {
            return Ok(libraries);
        }
        let present = libraries.found.genai.display();
        return Err(Failure::unsupported(format!(
            "{present} is loaded in this process already, and there can be only one: run the other in its own process"
        )));
    }
    // Both libraries send telemetry unless this is set before they are loaded; their own switch comes too late.
    // SAFETY: this runs on the host's one backend thread, before the libraries start threads that read it.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
    let ort = dlopen(&found.ort)?;
    let ort_version = ort_version(&ort).unwrap_or_else(|| found.ort_version.clone());
    let genai = dlopen(&found.genai)?;
    // SAFETY: it is the library of that name, and is leaked below.
    let api = unsafe { Api::load(&genai) }.map_err(|name| {
        let place = found.genai.display();
        Failure::unsupported(format!("{place} has no {name}: this plugin needs onnxruntime-genai 0.18 or newer"))
    })?;
    // Never closed: their threads and exit handlers outlive every session.
    std::mem::forget((ort, genai));
    let found = Found { ort_version, ..found };
    let libraries: &'static Libraries = Box::leak(Box::new(Libraries { found, api }));
    *loaded = Some(libraries);
    Ok(libraries)
}

fn dlopen(path: &Path) -> Result<Library, Failure> {
    // SAFETY: a vendor's library, named by the user, whose initialisers are trusted as the vendor is.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
        let mut text = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            text = format!("{text}: {source}");
        }
        if path.components().count() == 1 {
            text = format!("no {} on the loader's path: {HINT}, and set `lib`", path.display());
        }
        Failure::unsupported(text)
    })
}

/// The head of `struct OrtApiBase` in onnxruntime_c_api.h, unchanged since 1.0.
#[repr(C)]
struct OrtApiBase {
    get_api: unsafe extern "C" fn(u32) -> *const std::ffi::c_void,
    get_version_string: unsafe extern "C" fn() -> *const c_char,
}

fn ort_version(library: &Library) -> Option<String> {
    type GetApiBase = unsafe extern "C" fn() -> *const OrtApiBase;
    // SAFETY: the type is that of the header.
    let get = unsafe { library.get::<GetApiBase>(b"OrtGetApiBase\0") }.ok()?;
    // SAFETY: returns a constant table, or NULL.
    let base = unsafe { get().as_ref() }?;
    // SAFETY: returns a constant string.
    let version = unsafe { CStr::from_ptr((base.get_version_string)()) };
    Some(version.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgebench_abi::EB_ERR_UNSUPPORTED;
    use std::fs;

    /// site-packages as pip leaves it.
    fn wheels() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in [
            "onnxruntime_genai/libonnxruntime-genai.so",
            "onnxruntime_genai-0.18.0.dist-info/METADATA",
            "onnxruntime/capi/libonnxruntime.so.1.32.0",
            "onnxruntime/capi/libonnxruntime_providers_shared.so",
        ] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        root
    }

    #[test]
    fn the_wheels_are_found_from_any_of_their_places() {
        let root = wheels();
        let file = root.path().join("onnxruntime_genai/libonnxruntime-genai.so");
        for lib in [root.path(), file.parent().unwrap(), &file] {
            let found = find(Some(lib), None, None).unwrap();
            assert_eq!(found.genai, file);
            assert!(found.ort.ends_with("onnxruntime/capi/libonnxruntime.so.1.32.0"), "{found:?}");
            assert_eq!((found.genai_version.as_str(), found.ort_version.as_str()), ("0.18.0", "1.32.0"));
        }
        assert_eq!(find(None, None, Some(root.path())).unwrap().genai, file);
    }

    #[test]
    fn what_is_missing_is_named_with_the_way_to_get_it() {
        let root = wheels();
        let nowhere = Path::new("/nonexistent/place");
        let refused = |lib, ort_lib, environment| {
            let failure = find(lib, ort_lib, environment).unwrap_err();
            assert_eq!(failure.code, EB_ERR_UNSUPPORTED);
            assert!(failure.message.contains("pip install onnxruntime"), "{}", failure.message);
            failure.message
        };
        assert!(refused(Some(nowhere), None, None).contains("lib = /nonexistent/place"));
        assert!(refused(None, None, Some(nowhere)).contains(ENVIRONMENT));
        assert!(refused(Some(root.path()), Some(nowhere), None).contains("ort_lib = /nonexistent/place"));
        fs::remove_dir_all(root.path().join("onnxruntime")).unwrap();
        assert!(refused(Some(root.path()), None, None).contains("no libonnxruntime.so beside"));
    }

    #[test]
    fn without_a_place_the_loader_searches() {
        let found = find(None, None, None).unwrap();
        assert_eq!(found.genai, Path::new(GENAI));
        assert_eq!((found.genai_version.as_str(), found.ort_version.as_str()), ("", ""));
        let failure = dlopen(Path::new("libedgebench-no-such-thing.so")).unwrap_err();
        assert!(failure.message.contains("set `lib`"), "{}", failure.message);
    }
}
