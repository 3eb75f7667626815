//! Small text files of `/proc` and `/sys`: opened once, read again and again. It must not know what they mean.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Most bytes that are looked at; the longest, `/proc/stat` of many cores, is cut behind its cores.
const MOST: usize = 64 << 10;

/// A file that is read at every look. One that has gone is looked for again.
#[derive(Debug)]
pub struct Attribute {
    path: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
}

impl Attribute {
    pub fn new(path: PathBuf) -> Attribute {
        Attribute { path, file: None, buffer: vec![0; 256] }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it now; empty when it is gone, refused, or no UTF-8.
    pub fn text(&mut self) -> &str {
        let length = self.read().unwrap_or_else(|_| {
            self.file = None;
            0
        });
        std::str::from_utf8(&self.buffer[..length]).unwrap_or_default().trim()
    }

    fn read(&mut self) -> io::Result<usize> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::open(&self.path)?,
        };
        let file = self.file.insert(file);
        let mut length = 0;
        loop {
            let n = file.read_at(&mut self.buffer[length..], length as u64)?;
            length += n;
            if n == 0 || self.buffer.len() >= MOST {
                return Ok(length);
            }
            if length == self.buffer.len() {
                self.buffer.resize(length * 4, 0);
            }
        }
    }

    /// The number in it, if it is one.
    pub fn number(&mut self) -> Option<f64> {
        self.text().parse().ok()
    }
}

/// What a file holds, for what is read once; empty when it cannot be.
pub fn text(path: impl AsRef<Path>) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned()
}

/// The number that a file holds.
pub fn number(path: impl AsRef<Path>) -> Option<f64> {
    text(path).parse().ok()
}

/// Entries of `folder` whose name is `prefix` and a number, in the order of the numbers.
pub fn numbered(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let number = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix(prefix)?.parse::<u32>().ok();
    let mut found: Vec<(u32, PathBuf)> =
        entries(folder).into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// Entries of `folder` by name; none when it is not there.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).map_or(Vec::new(), |d| d.flatten().map(|e| e.path()).collect());
    found.sort();
    found
}

/// The last part of a path.
pub fn name(path: &Path) -> String {
    path.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned())
}

/// `0-3,6` as numbers, or `0 1 2 3`, as the kernel writes lists of cores.
pub fn core_list(text: &str) -> Vec<usize> {
    let mut cores = Vec::new();
    for part in text.split([',', ' ', '\n']).filter(|p| !p.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(from), Ok(to)) = (from.parse::<usize>(), to.parse::<usize>()) {
            cores.extend(from..=to.min(from + 4096));
        }
    }
    cores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists_come_in_two_ways() {
        assert_eq!(core_list("0-3,6"), [0, 1, 2, 3, 6]);
        assert_eq!(core_list("4 5 6 7\n"), [4, 5, 6, 7]);
        assert!(core_list("x,2-1").is_empty());
    }

    #[test]
    fn a_file_is_read_anew_and_may_go_and_come() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("temp");
        let mut attribute = Attribute::new(path.clone());
        assert_eq!(attribute.number(), None);
        std::fs::write(&path, "45000\n").unwrap();
        assert_eq!(attribute.number(), Some(45000.0));
        std::fs::write(&path, "46000\n").unwrap();
        assert_eq!(attribute.number(), Some(46000.0));
        std::fs::write(&path, b"\xff\xfe").unwrap();
        assert_eq!(attribute.number(), None);
        std::fs::write(&path, "9".repeat(1000)).unwrap();
        assert_eq!(attribute.text().len(), 1000);
    }
}
