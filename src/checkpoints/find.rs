//! Which checkpoints of a folder are finished: by a name that fits, and by not having changed for a while. It only
//! looks; it must not know what is done with them.

use crate::pattern::fits;
use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A checkpoint as it lies in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub name: String,
    pub path: PathBuf,
    /// The last number in its name.
    pub step: Option<u64>,
    /// What changes when it is written to.
    pub print: Print,
    pub is_folder: bool,
}

/// Size and time of a file, or of the files of a folder together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Print {
    pub bytes: u64,
    /// Of the newest file, ns since 1970.
    pub modified_ns: i64,
    files: u64,
}

/// What a look has found.
#[derive(Debug, Default)]
pub struct Found {
    /// Finished checkpoints in the order of their steps.
    pub ready: Vec<Candidate>,
    /// Names of those that are still being written.
    pub growing: Vec<String>,
    /// Names of those that have stopped growing before they were whole: whoever wrote them may be dead.
    pub torn: Vec<String>,
}

/// Looks at a folder again and again.
pub struct Finder<'a> {
    folder: &'a Path,
    pattern: &'a str,
    settle: Duration,
    /// Since when each has been as it is.
    since: HashMap<String, (Print, Instant)>,
}

impl<'a> Finder<'a> {
    pub fn new(folder: &'a Path, pattern: &'a str, settle: Duration) -> Finder<'a> {
        Finder { folder, pattern, settle, since: HashMap::new() }
    }

    /// Looks at what is there now.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn look(&mut self) -> io::Result<Found> {
        let mut found = Found::default();
        for entry in fs::read_dir(self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || !fits(self.pattern, &name) {
                continue;
            }
            // What goes away while it is looked at is not there.
            let Some(one) = candidate(self.folder, name) else { continue };
            let now = Instant::now();
            let (print, since) = self.since.entry(one.name.clone()).or_insert((one.print, now));
            if *print != one.print {
                (*print, *since) = (one.print, now);
            }
            match now.duration_since(*since) >= self.settle {
                false => found.growing.push(one.name),
                true if is_whole(&one) => found.ready.push(one),
                true => found.torn.push(one.name),
            }
        }
        found.ready.sort_by(|a, b| (a.step, a.print.modified_ns, &a.name).cmp(&(b.step, b.print.modified_ns, &b.name)));
        Ok(found)
    }
}

/// What is called `name` in `folder` now.
pub fn candidate(folder: &Path, name: String) -> Option<Candidate> {
    let path = folder.join(&name);
    let meta = fs::metadata(&path).ok()?;
    let mut print = Print { bytes: 0, modified_ns: 0, files: 0 };
    if meta.is_dir() {
        for entry in fs::read_dir(&path).ok()? {
            print.add(&entry.ok()?.metadata().ok()?);
        }
    } else {
        print.add(&meta);
    }
    Some(Candidate { step: step(&name), name, path, print, is_folder: meta.is_dir() })
}

impl Print {
    fn add(&mut self, meta: &Metadata) {
        self.bytes += meta.len();
        self.files += 1;
        self.modified_ns = self.modified_ns.max(meta.mtime() * 1_000_000_000 + meta.mtime_nsec());
    }
}

/// `model-step2000-q8_0.gguf` has two numbers; what comes after `step`, `checkpoint-` or the like is meant: the longest
/// run of digits, and of equal ones the last.
fn step(name: &str) -> Option<u64> {
    let runs = name.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty());
    runs.max_by_key(|run| run.len())?.parse().ok()
}

/// Is there anything in it, and does a GGUF have all the bytes that its header speaks of? Others cannot tell.
fn is_whole(one: &Candidate) -> bool {
    if one.print.bytes == 0 {
        return false;
    }
    #[cfg(feature = "gguf")]
    if one.path.extension().is_some_and(|e| e == "gguf") {
        let read = fs::File::open(&one.path).map(|file| edgebench_llama::gguf::Gguf::read(io::BufReader::new(file)));
        // What is no GGUF at all is told when it is evaluated.
        return !matches!(read, Ok(Err(what)) if what.contains("truncated"));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_in_the_names() {
        assert_eq!(step("checkpoint-500"), Some(500));
        assert_eq!(step("model-step02000-q8_0.gguf"), Some(2000));
        assert_eq!((step("a-7.gguf"), step("final.gguf")), (Some(7), None));
    }

    #[test]
    fn a_checkpoint_is_taken_when_it_has_settled() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        file("b-20.bin", b"20");
        file("a-3.bin", b"3");
        file(".hidden-1.bin", b"1");
        file("notes.txt", b"x");
        file("empty-9.bin", b"");
        let mut finder = Finder::new(folder.path(), "*.bin", Duration::from_millis(40));
        let names = |found: Found| found.ready.into_iter().map(|c| c.name).collect::<Vec<_>>();
        assert_eq!(names(finder.look().unwrap()), [""; 0]);
        std::thread::sleep(Duration::from_millis(60));
        file("a-3.bin", b"33"); // still being written
        let found = finder.look().unwrap();
        assert_eq!(
            (&found.growing[..], &found.torn[..]),
            (&["a-3.bin".to_owned()][..], &["empty-9.bin".to_owned()][..])
        );
        assert_eq!(names(found), ["b-20.bin"]);
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(names(finder.look().unwrap()), ["a-3.bin", "b-20.bin"]);
        fs::remove_file(folder.path().join("b-20.bin")).unwrap();
        assert_eq!(names(finder.look().unwrap()), ["a-3.bin"]);
    }
}
