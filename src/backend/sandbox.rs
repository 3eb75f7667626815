//! What a host may touch: it reads the model, the plugin and the system, uses devices, and writes nothing but the one
//! file that is its work, if there is one. It must not know what a plugin does. Landlock (Linux 5.13) enforces it; on older kernels nothing does.

use super::wire::{Open, Quantize, Train};
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus,
};
use std::path::{Path, PathBuf};

/// Where programs, libraries, drivers and their settings are, on any distribution that was seen.
const READ: &[&str] = &[
    "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt", "/etc", "/vendor", "/system", "/nix", "/proc", "/sys",
];
/// Device nodes, written to by every driver; no file can be made there.
const DEVICES: &str = "/dev";

/// Restricts this process for good, before any foreign code runs. Gives what is in force, for the manifest.
pub fn enter(open: &Open) -> String {
    if !open.sandbox {
        return "off: the job says so".to_owned();
    }
    let logits = open.logits.as_ref();
    let (write, read) = (logits.filter(|l| l.write), logits.filter(|l| !l.write));
    let files: Vec<PathBuf> = needed(open).into_iter().chain(read.map(|l| l.path.clone().into())).collect();
    match restrict(&files, write.map(|l| Path::new(&l.path))) {
        Ok(status) => status,
        Err(e) => format!("off: {e}"),
    }
}

/// The same before a model is made smaller.
pub fn enter_to_quantize(wanted: &Quantize) {
    if wanted.sandbox {
        enter_to_write(&wanted.backend, &wanted.model, &wanted.imatrix, &wanted.out);
    }
}

/// The same before a model is trained.
pub fn enter_to_train(wanted: &Train) {
    if wanted.sandbox {
        enter_to_write(&wanted.backend, &wanted.model, "", &wanted.out);
    }
}

/// Leaves one file to be written, and what is needed for it to be read.
fn enter_to_write(backend: &str, model: &str, also: &str, out: &str) {
    let reads = Open {
        backend: backend.to_owned(),
        model: model.to_owned(),
        params: vec![("also".to_owned(), also.to_owned())],
        title: String::new(),
        sandbox: true,
        power_hz: 0,
        adapters: Vec::new(),
        logits: None,
    };
    // What is not in force is no reason to make nothing.
    let _ = restrict(&needed(&reads), Some(Path::new(out)));
}

/// What a case needs to read: its model (a folder, a file, or all parts of a split file), adapters, and the folders of the
/// plugin, of each parameter and each `EDGEBENCH_…` variable that is a path, and of LD_LIBRARY_PATH.
fn needed(open: &Open) -> Vec<PathBuf> {
    let model = Path::new(&open.model);
    let split = model.file_name().is_some_and(|n| n.to_string_lossy().contains("-of-"));
    let mut paths = vec![if split { folder(model) } else { model.to_path_buf() }];
    paths.extend(open.adapters.iter().map(PathBuf::from));
    let values = open.params.iter().map(|(_, value)| value.clone()).chain([open.backend.clone()]);
    let variables = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("EDGEBENCH_"));
    let variables = variables.filter_map(|(_, value)| value.into_string().ok());
    for place in values.chain(variables).filter(|v| v.contains('/')) {
        let place = folder(Path::new(&place));
        paths.extend(wheels(&place));
        paths.push(place);
    }
    paths.extend(std::env::split_paths(&std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default()));
    paths
}

/// `path` itself if it is a folder, else where it lies.
fn folder(path: &Path) -> PathBuf {
    if path.is_dir() { path.to_path_buf() } else { path.with_file_name("") }
}

/// The folder above `place` into which pip has installed, if there is one: vendors' wheels find each other there.
fn wheels(place: &Path) -> Option<PathBuf> {
    let holds_wheels = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.into_iter().any(|e| Path::new(&e.file_name()).extension().is_some_and(|x| x == "dist-info"))
    };
    place.ancestors().skip(1).take(3).find(|folder| holds_wheels(folder)).map(Path::to_path_buf)
}

fn restrict(files: &[PathBuf], written: Option<&Path>) -> Result<String, landlock::RulesetError> {
    let abi = ABI::V3;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .create()?;
    let read = AccessFs::from_read(abi);
    let paths = READ.iter().map(Path::new).chain(files.iter().map(PathBuf::as_path));
    for path in paths.filter(|p| !p.as_os_str().is_empty()) {
        let access = if path.is_dir() { read } else { read & AccessFs::from_file(abi) };
        // What is not there needs no right.
        if let Ok(fd) = PathFd::new(path) {
            ruleset = ruleset.add_rule(PathBeneath::new(fd, access))?;
        }
    }
    if let Some(fd) = written.and_then(|path| PathFd::new(path).ok()) {
        ruleset = ruleset.add_rule(PathBeneath::new(fd, AccessFs::from_all(abi) & AccessFs::from_file(abi)))?;
    }
    if let Ok(fd) = PathFd::new(DEVICES) {
        ruleset = ruleset.add_rule(PathBeneath::new(fd, read | AccessFs::WriteFile))?;
    }
    let status = ruleset.restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => "landlock".to_owned(),
        RulesetStatus::PartiallyEnforced => "landlock, in part: this kernel is older than 6.2".to_owned(),
        RulesetStatus::NotEnforced => "off: this kernel has no Landlock".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(model: &Path, param: &Path) -> Open {
        Open {
            backend: "/plugins/libx.so".to_owned(),
            model: model.to_string_lossy().into_owned(),
            params: vec![("threads".to_owned(), "2".to_owned()), ("lib".to_owned(), param.display().to_string())],
            title: String::new(),
            sandbox: true,
            power_hz: 0,
            adapters: vec!["/adapters/a.gguf".to_owned()],
            logits: None,
        }
    }

    #[test]
    fn what_a_case_names_is_readable_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let packages = root.path().join("site-packages");
        let genai = packages.join("vendor_genai");
        std::fs::create_dir_all(&genai).unwrap();
        let lib = genai.join("libgenai.so");
        std::fs::write(&lib, "").unwrap();
        let model = root.path().join("m-00001-of-00002.gguf");
        std::fs::write(&model, "").unwrap();

        let paths = needed(&open(&model, &lib));
        for expected in [root.path(), genai.as_path(), Path::new("/plugins"), Path::new("/adapters/a.gguf")] {
            assert!(paths.iter().any(|p| p.components().eq(expected.components())), "{expected:?}: {paths:?}");
        }
        assert!(!paths.contains(&packages), "{paths:?}");
        std::fs::create_dir(packages.join("vendor_runtime-1.0.dist-info")).unwrap();
        for place in [&lib, &genai] {
            assert!(needed(&open(&model, place)).contains(&packages), "wheels find each other");
        }
        assert!(needed(&open(&root.path().join("one.gguf"), &lib)).contains(&root.path().join("one.gguf")));
    }
}
