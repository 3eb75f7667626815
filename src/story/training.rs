//! The folder of a watched training run read back: its learning curve, how it ended, and which of its runs tell most. It
//! must not know how checkpoints were found or judged.

use super::run_folder::Run;
use crate::results::{CURVE, CaseRow, MANIFEST, STATUS, read_cases};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A learning curve.
#[derive(Debug, Clone)]
pub struct Curve {
    pub folder: PathBuf,
    /// Rows of curve.csv, in the order in which checkpoints were judged.
    pub rows: Vec<CaseRow>,
    /// `waiting`, `evaluating`, `plateau`, `ended`; empty where status.json is not there.
    pub state: String,
    /// Checkpoints in a row without a significant gain.
    pub without_gain: u32,
}

/// What is needed of status.json.
#[derive(Deserialize, Default)]
struct Standing {
    state: String,
    without_gain: u32,
}

impl Curve {
    /// Reads a folder's curve; `None` where it has none. The error is a sentence with the path.
    pub fn read(folder: &Path) -> Result<Option<Curve>, String> {
        let path = folder.join(CURVE);
        if !path.exists() {
            return Ok(None);
        }
        let rows = read_cases(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let path = folder.join(STATUS);
        let standing: Standing = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", path.display()))?,
            Err(_) => Standing::default(),
        };
        let (state, without_gain) = (standing.state, standing.without_gain);
        Ok(Some(Curve { folder: folder.to_path_buf(), rows, state, without_gain }))
    }

    /// Those that have a value.
    pub fn judged(&self) -> impl DoubleEndedIterator<Item = &CaseRow> {
        self.rows.iter().filter(|r| r.get("status") == "ok")
    }

    /// What best.gguf holds.
    pub fn best(&self) -> Option<&CaseRow> {
        self.judged().rfind(|r| r.get("best") == "true")
    }

    /// Where the training began, its best, and where it is now: what it has brought. Those whose folders are no more
    /// are left out.
    pub fn runs(&self) -> Result<Vec<Run>, String> {
        let mut names: Vec<&str> = Vec::new();
        for row in [self.judged().next(), self.best(), self.judged().next_back()].into_iter().flatten() {
            let name = if row.get("run").is_empty() { row.get("checkpoint") } else { row.get("run") };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let folders = names.iter().map(|name| self.folder.join("runs").join(name));
        folders.filter(|folder| folder.join(MANIFEST).exists()).map(|folder| Run::read(&folder)).collect()
    }
}
