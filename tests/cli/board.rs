//! Boards that stand in for real ones: folders with a `proc` and a `sys`, which a test may change while a run goes on.

use crate::common::root;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder that `EDGEBENCH_SYSROOT` points to.
pub struct Board {
    dir: TempDir,
}

impl Board {
    /// One of `tests/fixtures/boards`.
    pub fn fixture(name: &str) -> Board {
        let board = Board::empty();
        let file = root().join("tests/fixtures/boards").join(name).with_extension("txt");
        for line in std::fs::read_to_string(file).unwrap().lines().filter(|l| !l.starts_with('#')) {
            let (path, content) = line.split_once(" = ").unwrap_or_else(|| panic!("{line}"));
            board.set(path, &content.replace("\\n", "\n").replace("\\t", "\t").replace("\\0", "\0"));
        }
        board
    }

    pub fn empty() -> Board {
        Board { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn file(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }

    /// Writes a file as sysfs changes: at once, never half.
    pub fn set(&self, path: &str, content: &str) {
        let file = self.file(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
}
