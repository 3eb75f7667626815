//! What a host may touch: it reads the model, the plugin and the system, uses devices, and writes nothing. It
//! must not know what a plugin does. Landlock (Linux 5.13) enforces it; on older kernels nothing does.

use super::wire::Open;
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
    match restrict(&needed(open)) {
        Ok(status) => status,
        Err(e) => format!("off: {e}"),
    }
}

/// What a case needs to read: its model (a folder, a file, or all parts of a split file), the folders of the
/// plugin, of each parameter that is a path, and of LD_LIBRARY_PATH.
fn needed(open: &Open) -> Vec<PathBuf> {
    let folder = |path: &Path| if path.is_dir() { path.to_path_buf() } else { path.with_file_name("") };
    let model = Path::new(&open.model);
    let split = model.file_name().is_some_and(|n| n.to_string_lossy().contains("-of-"));
    let mut paths = vec![if split { folder(model) } else { model.to_path_buf() }];
    let values = open.params.iter().map(|(_, value)| value);
    paths.extend(values.chain([&open.backend]).filter(|v| v.contains('/')).map(|v| folder(Path::new(v))));
    // A library may look for others in the folder beside its own, as Python's wheels lay them.
    let library = |v: &&String| v.contains('/') && v.contains(".so");
    let beside = open.params.iter().map(|(_, value)| value).filter(library);
    paths.extend(beside.filter_map(|v| Some(Path::new(v).parent()?.parent()?.to_path_buf())));
    let own = std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("EDGEBENCH_"));
    paths.extend(own.map(|(_, value)| PathBuf::from(value)).filter(|p| p.is_absolute()));
    paths.extend(std::env::split_paths(&std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default()));
    paths
}

fn restrict(files: &[PathBuf]) -> Result<String, landlock::RulesetError> {
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
