//! Smaller models, made of an original before anything is run: by the backend, in a host, into a cache. It owns the cache's
//! folder and names, and that two processes do not make the same model at once; it must not know cases.
//!
//! A model is made under a name that ends in `.part`, which is locked meanwhile, and then renamed: what has its own name is
//! whole. Beside it lies `NAME.json` with what the backend told of it.

use super::case::status_of_host;
use super::lock::ROOM;
use super::manifest::{FileHash, hash_file, hash_path, hex};
use super::plan::Plan;
use crate::backend::client::Client;
use crate::backend::loader::is_path;
use crate::backend::wire::{Quantize as Wanted, Quantized};
use crate::job::Quantize;
use crate::results::{Status, write_whole};
use rustix::fs::{FlockOperation, flock, fstat, stat, statvfs};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest time that a backend gets for one model.
const AT_MOST: Duration = Duration::from_secs(6 * 3600);
/// In a split model's first file.
const FIRST_PART: &str = "-00001-of-";

/// What is told of a model that was made. Unknown numbers are 0.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Made {
    pub bytes: u64,
    /// Tensors that could not have the wanted kind, and have another.
    pub n_fallback: u32,
    pub n_weights: u64,
    pub weights_bytes: u64,
}

impl Made {
    /// `1.4 MiB, 4.50 bits per weight; 3 tensors could not have that kind and have another`
    pub fn text(&self) -> String {
        let mut text = format!("{:.1} MiB", self.bytes as f64 / f64::from(1 << 20));
        if self.n_weights > 0 && self.weights_bytes > 0 {
            text += &format!(", {:.2} bits per weight", 8.0 * self.weights_bytes as f64 / self.n_weights as f64);
        }
        if self.n_fallback > 0 {
            text += &format!("; {} tensors could not have that kind and have another", self.n_fallback);
        }
        text
    }
}

/// Why a model could not be made.
#[derive(Debug, Clone)]
pub struct NotMade {
    pub status: Status,
    pub reason: String,
}

impl NotMade {
    fn io(path: &Path) -> impl Fn(io::Error) -> NotMade {
        move |e| NotMade { status: Status::Failed, reason: format!("{}: {e}", path.display()) }
    }
}

/// What a backend is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub backend: &'a str,
    pub original: &'a Path,
    pub quantize: &'a Quantize,
    /// 0: as many as the backend thinks best.
    pub threads: u32,
    pub sandbox: bool,
}

/// Makes the models of those object instances of `plan` that have to be made, or finds them in the cache, and tells `say` of each that
/// is new. What cannot be made is kept in the plan: its cases will have the reason.
pub fn make(plan: &mut Plan, say: impl Fn(&str)) {
    let sandbox = plan.job.sandbox;
    for number in 0..plan.job.instances.len() {
        let instance = &plan.job.instances[number];
        let Some(quantize) = instance.quantize.as_ref().filter(|q| !q.is_none()) else { continue };
        let Some(original) = instance.model_path.clone() else { continue };
        if !plan.cases.iter().any(|case| case.instance == number) {
            continue;
        }
        let name = format!("{} {}", instance.model, quantize.text());
        let request = Request { backend: &instance.backend, original: &original, quantize, threads: 0, sandbox };
        let say = |made: &Made| say(&format!("made {name}: {}", made.text()));
        let known = plan.hashes.get(&original).cloned();
        let hash = known.map_or_else(|| hash_of(&original), Ok).map_err(NotMade::io(&original));
        let found = hash.and_then(|hash| {
            plan.hashes.insert(original.clone(), hash.clone());
            cached(&request, &hash, say)
        });
        let instance = &mut plan.job.instances[number];
        match found {
            Ok((path, made)) => {
                instance.model_path = Some(path);
                plan.made.insert(instance.id.clone(), Ok(made));
            }
            Err(why) => drop(plan.made.insert(instance.id.clone(), Err(why))),
        }
    }
}

/// The model from the cache, made if it is not there.
fn cached(request: &Request, original: &FileHash, say: impl Fn(&Made)) -> Result<(PathBuf, Made), NotMade> {
    let folder = cache();
    std::fs::create_dir_all(&folder).map_err(NotMade::io(&folder))?;
    let path = folder.join(name(request, original).map_err(NotMade::io(request.original))?);
    if let Some(made) = told(&path) {
        return Ok((path, made));
    }
    let part = with_end(&path, ".part");
    let _lock = lock(&part).map_err(NotMade::io(&part))?;
    // Somebody else may have made it while this one waited.
    if let Some(made) = told(&path) {
        let _ = std::fs::remove_file(&part);
        return Ok((path, made));
    }
    let made = write(request, &part).and_then(|made| {
        let json = serde_json::to_vec_pretty(&made).unwrap_or_default();
        write_whole(&told_in(&path), &json).map_err(NotMade::io(&path))?;
        std::fs::rename(&part, &path).map_err(NotMade::io(&path))?;
        Ok(made)
    });
    match made {
        Ok(made) => {
            say(&made);
            Ok((path, made))
        }
        Err(why) => {
            let _ = std::fs::remove_file(&part);
            Err(why)
        }
    }
}

/// Has a model made into `out`, which is there.
///
/// # Errors
/// The backend cannot do it, or the disk has no room: a sentence for the user.
pub fn write(request: &Request, out: &Path) -> Result<Made, NotMade> {
    let failed = NotMade::io(out);
    shortage(request, out)?;
    let text = |path: &Path| std::path::absolute(path).unwrap_or(path.to_path_buf()).to_string_lossy().into_owned();
    let wanted = Wanted {
        backend: request.backend.to_owned(),
        model: text(request.original),
        out: text(out),
        kind: request.quantize.kind.clone(),
        pure: request.quantize.pure,
        imatrix: request.quantize.imatrix.as_deref().map_or(String::new(), text),
        threads: request.threads,
        sandbox: request.sandbox,
    };
    let made = Client::start(request.backend).and_then(|mut client| {
        let made = client.quantize(wanted, AT_MOST)?;
        client.close()?;
        Ok(made)
    });
    let Quantized { n_fallback, n_weights, weights_bytes } = made.map_err(|e| {
        let (status, why) = status_of_host(&e, false);
        NotMade { status, reason: format!("{} cannot be made: {why}", request.quantize.text()) }
    })?;
    let file = File::open(out).map_err(&failed)?;
    file.sync_all().map_err(&failed)?;
    Ok(Made { bytes: file.metadata().map_err(&failed)?.len(), n_fallback, n_weights, weights_bytes })
}

/// No kind is larger than F32, which is twice an F16.
fn shortage(request: &Request, out: &Path) -> Result<(), NotMade> {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
    let times = if request.quantize.kind.eq_ignore_ascii_case("F32") { 2 } else { 1 };
    let need = parts(request.original).iter().map(|p| size(p)).sum::<u64>() * times + ROOM;
    let free = statvfs(out).ok().map(|s| s.f_bavail.saturating_mul(s.f_frsize));
    match free {
        Some(free) if free < need => {
            let mib = |bytes: u64| bytes.div_ceil(1 << 20);
            let reason = format!(
                "{}: {} MiB are free on its disk, up to {} are needed; set XDG_CACHE_HOME to a folder on a larger one",
                out.display(),
                mib(free),
                mib(need)
            );
            Err(NotMade { status: Status::Failed, reason })
        }
        _ => Ok(()),
    }
}

/// `$XDG_CACHE_HOME/edgebench`, `~/.cache/edgebench`, or where there is no home `/var/tmp/edgebench`.
pub fn cache() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || folder("HOME").map(|home| home.join(".cache"));
    folder("XDG_CACHE_HOME").or_else(home).unwrap_or("/var/tmp".into()).join("edgebench")
}

/// The original's name, the kind, and a hash of all that the result depends on.
fn name(request: &Request, original: &FileHash) -> io::Result<String> {
    let Quantize { kind, pure, imatrix } = request.quantize;
    let mut hasher = Sha256::new();
    let mut add = |text: &str| {
        hasher.update(text.as_bytes());
        hasher.update([0]);
    };
    add(env!("CARGO_PKG_VERSION"));
    add(&original.sha256);
    add(&kind.to_ascii_uppercase());
    add(if *pure { "pure" } else { "" });
    add(&imatrix.as_deref().map_or(Ok(String::new()), |path| hash_path(path).map(|h| h.sha256))?);
    // A plugin that was built anew may do it otherwise.
    let plugin = Path::new(request.backend);
    add(&if is_path(request.backend) { hash_path(plugin)?.sha256 } else { request.backend.to_owned() });
    let stem = request.original.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let stem = stem.split_once(FIRST_PART).map_or(stem.as_str(), |(stem, _)| stem);
    let pure = if *pure { "-pure" } else { "" };
    let end = request.original.extension().map_or(String::new(), |e| format!(".{}", e.to_string_lossy()));
    Ok(format!("{stem}-{kind}{pure}-{}{end}", &hex(&hasher.finalize())[..16]))
}

/// Of all files of the original.
fn hash_of(original: &Path) -> io::Result<FileHash> {
    let files = parts(original);
    if files.len() < 2 {
        return hash_path(original);
    }
    let mut hasher = Sha256::new();
    let bytes = files.iter().map(|file| hash_file(file, &mut hasher)).sum::<io::Result<u64>>()?;
    Ok(FileHash { sha256: hex(&hasher.finalize()), bytes })
}

/// The files of a model that is split as llama.cpp does it; of any other the one.
fn parts(model: &Path) -> Vec<PathBuf> {
    let name = model.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let others = || {
        let (stem, end) = name.split_once(FIRST_PART)?;
        let n: u32 = end.split('.').next()?.parse().ok().filter(|n| *n < 1000)?;
        Some((1..=n).map(|i| model.with_file_name(format!("{stem}-{i:05}-of-{end}"))).collect())
    };
    others().unwrap_or(vec![model.to_path_buf()])
}

/// What was told of a model when it was made, if it is there.
fn told(path: &Path) -> Option<Made> {
    let made: Made = serde_json::from_slice(&std::fs::read(told_in(path)).ok()?).ok()?;
    std::fs::metadata(path).is_ok_and(|m| m.len() == made.bytes).then_some(made)
}

fn told_in(path: &Path) -> PathBuf {
    with_end(path, ".json")
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Opens `part`, empty, and locks it, as soon as nobody else has it.
fn lock(part: &Path) -> io::Result<File> {
    loop {
        let file = File::options().create(true).truncate(false).write(true).open(part)?;
        // Some network file systems have no locks.
        let _ = flock(&file, FlockOperation::LockExclusive);
        // Whoever had it may have renamed or removed it.
        if stat(part).is_ok_and(|there| fstat(&file).is_ok_and(|own| own.st_ino == there.st_ino)) {
            file.set_len(0)?;
            return Ok(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_it_is_and_changes_with_all_that_it_depends_on() {
        let folder = tempfile::tempdir().unwrap();
        let imatrix = folder.path().join("i.dat");
        std::fs::write(&imatrix, "x").unwrap();
        let names: Vec<String> = ["Q4_0", "Q4_0:pure", "q4_0", "Q8_0", "Q4_0"]
            .into_iter()
            .enumerate()
            .map(|(i, kind)| {
                let quantize = Quantize::parse(kind, (i == 4).then(|| imatrix.clone()));
                let original = Path::new("/m/big-00001-of-00002.gguf");
                let request = Request { backend: "llama", original, quantize: &quantize, threads: 0, sandbox: true };
                name(&request, &FileHash { sha256: "abc".to_owned(), bytes: 1 }).unwrap()
            })
            .collect();
        assert!(names[0].starts_with("big-Q4_0-") && names[0].ends_with(".gguf"), "{}", names[0]);
        assert!(names[1].starts_with("big-Q4_0-pure-"), "{}", names[1]);
        let hashes: std::collections::BTreeSet<&str> = names.iter().filter_map(|n| n.rsplit('-').next()).collect();
        assert_eq!(hashes.len(), 4, "case alone changes nothing: {names:?}");
    }

    #[test]
    fn a_split_model_is_all_its_files() {
        let files = parts(Path::new("/m/x-00001-of-00003.gguf"));
        assert_eq!(files.len(), 3);
        assert_eq!(files[2], Path::new("/m/x-00003-of-00003.gguf"));
        assert_eq!(parts(Path::new("/m/x.gguf")), [Path::new("/m/x.gguf")]);
    }
}
