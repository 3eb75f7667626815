//! The files that a job of Ianvs names. Its paths are relative to the folder in which `ianvs` is started, which no file
//! tells: it is looked for from here and from the folders above the job. It must not know what is in the files.

use super::yaml::{self, Node, Value};
use crate::problem::Problem;
use std::path::{Path, PathBuf};

/// Where paths may start.
pub struct Places {
    job: PathBuf,
    /// The folder in which the new job will be.
    out: PathBuf,
}

/// One YAML file that was read.
pub struct Document {
    pub path: PathBuf,
    pub root: Node,
}

impl Places {
    pub fn new(job: &Path, out: &Path) -> Places {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let out = absolute(out);
        Places { job: absolute(job), out: out.parent().unwrap_or(Path::new("/")).to_path_buf() }
    }

    /// The file or folder that `text` names.
    pub fn find(&self, text: &str) -> Option<PathBuf> {
        let starts = [Path::new("")].into_iter().chain(self.job.ancestors().skip(1));
        starts.map(|start| start.join(text)).find(|path| path.exists())
    }

    /// `text` as the new job has to write it: from its own folder, if it is in there; as it stands, if there is no such
    /// file.
    pub fn written(&self, text: &str) -> String {
        let Some(path) = self.find(text) else { return text.to_owned() };
        let path = path.canonicalize().unwrap_or(path);
        let out = self.out.canonicalize().unwrap_or_else(|_| self.out.clone());
        path.strip_prefix(&out).unwrap_or(&path).to_string_lossy().into_owned()
    }

    /// The file that `text` names, in an example that was moved: an end of its path, beside the job.
    fn moved(&self, text: &str) -> Option<PathBuf> {
        let folder = self.job.parent()?;
        let parts: Vec<_> = Path::new(text).components().collect();
        // A file's name alone says too little.
        let ends = (1..parts.len().saturating_sub(1)).map(|first| parts[first..].iter().collect::<PathBuf>());
        ends.map(|end| folder.join(end)).find(|path| path.is_file())
    }

    /// Reads the YAML file that `node` of `from` names under the key `what`; its content is under the key `root`.
    pub fn read(&self, from: &Path, node: &Node, what: &str, root: &str) -> Result<Document, Problem> {
        let todo = "start in the folder in which `ianvs` is started, or mend the path";
        let Some(text) = node.text() else {
            return Err(Problem::new(from, node.line, format!("`{what}` is no path"), "give the path of a YAML file"));
        };
        let Some(path) = self.find(&text).or_else(|| self.moved(&text)) else {
            return Err(Problem::new(from, node.line, format!("`{what}`: \"{text}\" cannot be found"), todo));
        };
        read(&path, root)
    }
}

/// Reads a YAML file, of which all is under the key `root`.
pub fn read(path: &Path, root: &str) -> Result<Document, Problem> {
    let whole = read_whole(path)?;
    let Value::Map(entries) = whole.root.value else { return Err(no_root(path, root)) };
    match entries.into_iter().find(|(key, _)| key == root) {
        Some((_, node)) => Ok(Document { root: node, ..whole }),
        None => Err(no_root(path, root)),
    }
}

/// Reads a YAML file.
pub fn read_whole(path: &Path) -> Result<Document, Problem> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Problem::new(path, 0, format!("cannot be read: {e}"), "give a YAML file of Ianvs"))?;
    Ok(Document { path: path.to_path_buf(), root: yaml::parse(path, &text)? })
}

fn no_root(path: &Path, root: &str) -> Problem {
    Problem::new(path, 0, format!("has no `{root}:`"), "give the benchmarkingjob.yaml of a job of Ianvs")
}
