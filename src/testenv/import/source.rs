//! The files of SRC: of a folder, one by one in the order of their names, or out of a zip or tar, unpacked as they are
//! read. It owns compression, and must not know what is in a file.

use super::shown;
use crate::problem::Problem;
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Folders within folders; more are a loop of links.
const MAX_DEPTH: u32 = 32;
const BUFFER: usize = 128 << 10;

/// One file of SRC.
pub struct Entry<'a> {
    /// Its path inside SRC, with `/`, without `.gz`.
    pub path: String,
    /// How messages call it.
    pub shown: PathBuf,
    pub input: &'a mut dyn BufRead,
}

impl Entry<'_> {
    /// Has it this extension?
    pub fn is(&self, extension: &str) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, e)| e.eq_ignore_ascii_case(extension))
    }
}

type Each<'e> = dyn FnMut(&mut Entry) -> Result<(), Problem> + 'e;

/// Calls `each` with every file of `source`.
///
/// # Errors
/// Something that cannot be read, or the error of `each`.
pub fn walk(source: &Path, each: &mut Each) -> Result<(), Problem> {
    let meta = std::fs::metadata(source).map_err(|e| failed(source, &e))?;
    if meta.is_dir() {
        return folder(source, "", 0, each);
    }
    let name = source.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned());
    file(source, name, each)
}

fn folder(path: &Path, inside: &str, depth: u32, each: &mut Each) -> Result<(), Problem> {
    if depth > MAX_DEPTH {
        return Err(Problem::new(path, 0, format!("more than {MAX_DEPTH} folders deep"), "give a folder further down"));
    }
    let mut entries: Vec<_> =
        std::fs::read_dir(path).and_then(|d| d.collect::<io::Result<Vec<_>>>()).map_err(|e| failed(path, &e))?;
    entries.sort_by_key(|e| e.file_name());
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_hidden(&name) {
            continue;
        }
        let (path, inside) = (entry.path(), if inside.is_empty() { name } else { format!("{inside}/{name}") });
        // Links are followed: caches of downloads are made of them.
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => folder(&path, &inside, depth + 1, each)?,
            Ok(_) => file(&path, inside, each)?,
            Err(e) => return Err(failed(&path, &e)),
        }
    }
    Ok(())
}

/// What systems put beside the data.
fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || name == "__MACOSX"
}

fn file(path: &Path, inside: String, each: &mut Each) -> Result<(), Problem> {
    let open = File::open(path).map_err(|e| failed(path, &e))?;
    if has_extension(&inside, &["zip"]) {
        return zip(path, open, each);
    }
    stream(path, "", inside, Box::new(open), each)
}

/// One file, gzip or not; a tar is taken apart.
fn stream(archive: &Path, inner: &str, name: String, raw: Box<dyn Read + '_>, each: &mut Each) -> Result<(), Problem> {
    let place = shown(archive, inner);
    let mut raw = BufReader::with_capacity(BUFFER, raw);
    // By its first bytes, as browsers like to unpack and keep the name.
    let zipped = raw.fill_buf().map_err(|e| failed(&place, &e))?.starts_with(b"\x1f\x8b");
    let name = name.strip_suffix(".gz").map(str::to_owned).unwrap_or(name);
    let mut input: Box<dyn BufRead> =
        if zipped { Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(raw))) } else { Box::new(raw) };
    if has_extension(&name, &["tar", "tgz"]) {
        return tar(&place, input, each);
    }
    each(&mut Entry { path: name, shown: place, input: &mut input })
}

fn tar(archive: &Path, input: impl Read, each: &mut Each) -> Result<(), Problem> {
    let mut tar = tar::Archive::new(input);
    for entry in tar.entries().map_err(|e| failed(archive, &e))? {
        let entry = entry.map_err(|e| failed(archive, &e))?;
        let inner = entry.path().map_err(|e| failed(archive, &e))?.to_string_lossy().into_owned();
        if entry.header().entry_type().is_file() && !inner.split('/').any(is_hidden) {
            stream(archive, &inner, inner.clone(), Box::new(entry), each)?;
        }
    }
    Ok(())
}

fn zip(path: &Path, file: File, each: &mut Each) -> Result<(), Problem> {
    let broken = |e: zip::result::ZipError| Problem::new(path, 0, format!("the zip cannot be read: {e}"), AGAIN);
    let mut zip = zip::ZipArchive::new(BufReader::new(file)).map_err(broken)?;
    for index in 0..zip.len() {
        let entry = zip.by_index(index).map_err(broken)?;
        let inner = entry.name().map_err(broken)?.into_owned();
        if entry.is_file() && !inner.split('/').any(is_hidden) {
            stream(path, &inner, inner.clone(), Box::new(entry), each)?;
        }
    }
    Ok(())
}

const AGAIN: &str = "it may not have arrived whole: get it again";

fn has_extension(name: &str, extensions: &[&str]) -> bool {
    name.rsplit_once('.').is_some_and(|(_, e)| extensions.contains(&e.to_ascii_lowercase().as_str()))
}

/// The problem of something that cannot be read.
pub fn failed(path: &Path, error: &io::Error) -> Problem {
    let todo = match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => AGAIN,
        _ => "",
    };
    Problem::new(path, 0, format!("cannot be read: {error}"), todo)
}
