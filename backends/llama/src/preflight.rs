//! Looks at a model's files before llama.cpp does: is it there, is it whole, does it fit into memory?
//! It owns the file system side of the checks; `gguf` and `memory` own the rules.
//! It must not know llama.cpp.

use crate::failure::Failure;
use crate::gguf::Gguf;
use crate::memory::{Work, available, shortage};
use crate::params::Options;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Reads the header of the model at `path`, and the tensors of its other files if it is split.
///
/// # Errors
/// `EB_ERR_MODEL`: missing, not a file, not a GGUF, truncated, damaged.
pub fn inspect(path: &Path) -> Result<Gguf, Failure> {
    if path.as_os_str().is_empty() {
        return Err(Failure::model("no model is given: set `model` to the path of a .gguf file"));
    }
    let mut header = read_file(path)?;
    if header.is_adapter() {
        return Err(about(path, "is a LoRA adapter, not a model: name it in `lora`, and its base as `model`"));
    }
    if header.architecture.is_empty() {
        return Err(about(path, "the file has no general.architecture: it is not a model (a split?)"));
    }
    for other in other_files(path, header.n_files)? {
        header.add_tensors(&read_file(&other)?);
    }
    Ok(header)
}

/// As [`inspect`], of the model that is to guess ahead, if `options` name one.
///
/// # Errors
/// As there; the message begins with the parameter's name.
pub fn inspect_draft(options: &Options) -> Result<Option<Gguf>, Failure> {
    let about = |failure: Failure| Failure { message: format!("draft: {}", failure.message), ..failure };
    options.draft.as_deref().map(inspect).transpose().map_err(about)
}

/// Looks at an adapter for a model of this architecture.
///
/// # Errors
/// What is wrong with it: missing, not a GGUF, truncated, damaged, no LoRA adapter, or one for another architecture.
#[cfg(feature = "link")]
pub fn inspect_adapter(path: &Path, architecture: &str) -> Result<(), String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let header = Gguf::read(file)?;
    if !header.is_adapter() {
        return Err(
            "it is no adapter (general.type is not `adapter`): convert one with convert_lora_to_gguf.py".to_owned()
        );
    }
    if header.architecture != architecture {
        return Err(format!("it is for the architecture `{}`, this model is `{architecture}`", header.architecture));
    }
    Ok(())
}

/// Refuses a model that needs, with its draft if it has one, more than is free, unless the user insists.
///
/// # Errors
/// `EB_ERR_OUT_OF_MEMORY` with the needed and the free memory. A machine that does not tell (no `/proc`) passes.
pub fn check_memory(model: &Gguf, draft: Option<&Gguf>, options: &Options, meminfo: &Path) -> Result<(), Failure> {
    if options.force_memory {
        return Ok(());
    }
    refuse_short(meminfo, |free| shortage(model, draft, options, Work::Answers, free))
}

/// Refuses what is short of memory, by the message that `shortage` makes of the bytes that are free.
///
/// # Errors
/// As [`check_memory`].
pub fn refuse_short(meminfo: &Path, shortage: impl FnOnce(u64) -> Option<String>) -> Result<(), Failure> {
    let free = fs::read_to_string(meminfo).ok().as_deref().and_then(available);
    match free.and_then(shortage) {
        Some(message) => Err(Failure::out_of_memory(message)),
        None => Ok(()),
    }
}

fn read_file(path: &Path) -> Result<Gguf, Failure> {
    let meta = fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => about(path, "no such file: check `model`"),
        _ => about(path, &e.to_string()),
    })?;
    if meta.is_dir() {
        return Err(about(path, "is a folder: give the .gguf file in it"));
    }
    if !meta.is_file() {
        return Err(about(path, "is not a regular file"));
    }
    let file = File::open(path).map_err(|e| about(path, &e.to_string()))?;
    Gguf::read(file).map_err(|e| about(path, &e))
}

/// The other files of a split model: llama.cpp wants `<name>-00001-of-0000N.gguf` and so on.
fn other_files(path: &Path, n: u64) -> Result<Vec<PathBuf>, Failure> {
    if n <= 1 {
        return Ok(Vec::new());
    }
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let end = format!("-00001-of-{n:05}.gguf");
    match name.strip_suffix(&end) {
        Some(stem) if n < 1000 => {
            Ok((2..=n).map(|i| path.with_file_name(format!("{stem}-{i:05}-of-{n:05}.gguf"))).collect())
        }
        _ => Err(about(path, &format!("is one of {n} files of a split model: give the first, named …{end}"))),
    }
}

/// The message leaves room for the explanation: of a long path only the end is shown.
fn about(path: &Path, what: &str) -> Failure {
    let shown = path.display().to_string();
    let cut = shown.char_indices().rev().nth(59).map_or(0, |(at, _)| at);
    let dots = if cut > 0 { "…" } else { "" };
    Failure::model(format!("{dots}{}: {what}", &shown[cut..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_names_follow_llama_cpp() {
        let files = other_files(Path::new("/m/x-00001-of-00003.gguf"), 3).ok().unwrap();
        assert_eq!(files, [Path::new("/m/x-00002-of-00003.gguf"), Path::new("/m/x-00003-of-00003.gguf")]);
        assert!(other_files(Path::new("/m/x.gguf"), 1).ok().unwrap().is_empty());
        let error = other_files(Path::new("/m/x-00002-of-00003.gguf"), 3).err().unwrap();
        assert!(error.message.contains("give the first"), "{}", error.message);
    }

    #[test]
    fn long_paths_leave_room_for_the_reason() {
        let error = about(&Path::new("/模型").join("很长的名字".repeat(40)), "no such file: check `model`");
        assert!(error.message.len() <= 247, "{}", error.message);
        assert!(error.message.starts_with('…') && error.message.ends_with("check `model`"), "{}", error.message);
    }

    #[test]
    fn an_unreadable_meminfo_lets_the_model_pass() {
        let model = Gguf { weights_bytes: u64::MAX, ..Gguf::default() };
        assert!(check_memory(&model, None, &Options::default(), Path::new("/nonexistent")).is_ok());
    }
}
