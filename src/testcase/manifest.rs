//! manifest.json: what was run, on what, and when. It owns the hashes of all files that a job names; it must not know
//! results.

use crate::backend::wire::{Device, Opened};
use crate::clock::utc;
use crate::job::Job;
use crate::sense::board::Board;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The whole of manifest.json.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub edgebench: String,
    pub job: String,
    pub job_path: String,
    pub job_sha256: String,
    pub job_text: String,
    /// Path → hash and size.
    pub models: BTreeMap<String, FileHash>,
    pub datasets: BTreeMap<String, FileHash>,
    /// LoRA adapters.
    #[serde(default)]
    pub adapters: BTreeMap<String, FileHash>,
    /// Files that parameters name: a draft model.
    #[serde(default)]
    pub files: BTreeMap<String, FileHash>,
    pub board: Board,
    /// Read bandwidth of all cores together, GB/s (10⁹); `null` where it was not measured.
    pub bandwidth_gb_s: Option<f64>,
    /// Object instance → what its backend said it loaded.
    pub instances: BTreeMap<String, Loaded>,
    pub n_cases: usize,
    /// UTC, RFC 3339.
    pub start: String,
    /// UTC, RFC 3339: each time that the run was taken up again.
    #[serde(default)]
    pub resumed: Vec<String>,
    /// UTC, RFC 3339; `null` until the run has ended.
    pub end: Option<String>,
}

/// Identity of a file or, for a folder, of all files in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FileHash {
    pub sha256: String,
    pub bytes: u64,
}

/// What a backend said of a loaded model. Unknown numbers are 0, unknown texts empty.
#[derive(Debug, Serialize, Deserialize)]
pub struct Loaded {
    pub backend: String,
    pub backend_version: String,
    pub runtime: String,
    pub device: String,
    /// What `eb.device/1` says; empty where a backend does not offer it.
    pub devices: Vec<Device>,
    /// What kept the host from writing.
    pub sandbox: String,
    /// Which program it ran in, and how that was started.
    pub host: String,
    pub architecture: String,
    pub quantization: String,
    pub description: String,
    pub n_weights: u64,
    pub weights_bytes: u64,
    pub kv_bytes: u64,
    pub compute_bytes: u64,
    pub n_ctx: u32,
    pub n_ctx_train: u32,
    pub n_vocab: u32,
}

impl From<Opened> for Loaded {
    fn from(o: Opened) -> Loaded {
        Loaded {
            backend: o.backend,
            backend_version: o.backend_version,
            runtime: o.runtime,
            device: o.device,
            devices: o.devices,
            sandbox: o.sandbox,
            host: o.host,
            architecture: o.architecture,
            quantization: o.quantization,
            description: o.description,
            n_weights: o.n_weights,
            weights_bytes: o.weights_bytes,
            kv_bytes: o.kv_bytes,
            compute_bytes: o.compute_bytes,
            n_ctx: o.n_ctx,
            n_ctx_train: o.n_ctx_train,
            n_vocab: o.n_vocab,
        }
    }
}

impl Manifest {
    /// The manifest of a run that starts now. Reads every model and dataset once, for its hash, whose hash is not among
    /// `known`.
    pub fn start(job: &Job, known: &BTreeMap<PathBuf, FileHash>, board: Board) -> io::Result<Manifest> {
        let (mut models, mut datasets) = (BTreeMap::new(), BTreeMap::new());
        for path in job.instances.iter().filter_map(|i| i.model_path.as_deref()) {
            hash_into(&mut models, path, known)?;
        }
        let mut adapters = BTreeMap::new();
        for adapter in job.instances.iter().filter_map(|i| i.lora.as_ref()).flatten() {
            hash_into(&mut adapters, &adapter.path, known)?;
        }
        let mut files = BTreeMap::new();
        for (_, value) in job.instances.iter().flat_map(|i| &i.params) {
            // Only the backend knows which of its parameters are files.
            let path = Path::new(value);
            if path.is_absolute() && path.is_file() {
                hash_into(&mut files, path, known)?;
            }
        }
        for task in &job.tasks {
            for path in task.datasets.iter().chain(task.shots.iter().flat_map(|s| &s.from)) {
                hash_into(&mut datasets, path, known)?;
            }
        }
        Ok(Manifest {
            edgebench: env!("CARGO_PKG_VERSION").to_owned(),
            job: job.name.clone(),
            job_path: job.path.to_string_lossy().into_owned(),
            job_sha256: hex(&Sha256::digest(job.text.as_bytes())),
            job_text: job.text.clone(),
            models,
            datasets,
            adapters,
            files,
            board,
            bandwidth_gb_s: None,
            instances: BTreeMap::new(),
            n_cases: 0,
            start: utc(),
            resumed: Vec::new(),
            end: None,
        })
    }

    /// The manifest of a run that `then` began and that goes on now.
    pub fn resume(self, then: Manifest) -> Manifest {
        let mut resumed = then.resumed;
        resumed.push(utc());
        Manifest { start: then.start, instances: then.instances, resumed, end: None, ..self }
    }

    /// Marks the end of the run.
    pub fn finish(&mut self) {
        self.end = Some(utc());
    }
}

fn hash_into(
    hashes: &mut BTreeMap<String, FileHash>,
    path: &Path,
    known: &BTreeMap<PathBuf, FileHash>,
) -> io::Result<()> {
    let key = path.to_string_lossy().into_owned();
    if let Entry::Vacant(entry) = hashes.entry(key) {
        let error = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        entry.insert(known.get(path).cloned().map_or_else(|| hash_path(path).map_err(error), Ok)?);
    }
    Ok(())
}

/// SHA-256 of a file; of a folder: of the names and hashes of its files, sorted, folders within left out.
pub(super) fn hash_path(path: &Path) -> io::Result<FileHash> {
    let mut hasher = Sha256::new();
    if path.is_file() {
        let bytes = hash_file(path, &mut hasher)?;
        return Ok(FileHash { sha256: hex(&hasher.finalize()), bytes });
    }
    let mut files: Vec<_> = std::fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    files.sort_by_key(|f| f.file_name());
    let mut total = 0;
    for file in files.iter().filter(|f| f.path().is_file()) {
        let mut inner = Sha256::new();
        total += hash_file(&file.path(), &mut inner)?;
        hasher.update(file.file_name().as_encoded_bytes());
        hasher.update([0]);
        hasher.update(inner.finalize());
    }
    Ok(FileHash { sha256: hex(&hasher.finalize()), bytes: total })
}

pub(super) fn hash_file(path: &Path, hasher: &mut Sha256) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                bytes += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
