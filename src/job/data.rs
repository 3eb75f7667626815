//! The words of a task for its data: files, folders and patterns, groups of subjects, and which records are asked. It
//! must not know what is in a dataset.

use super::read::{FILE_TODO, file};
use super::toml::{Source, Table, Value};
use super::{Group, Selection};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// The seed where a job gives none.
pub const SEED: u64 = 1234;

/// Files of a task, and the groups that their folders make.
#[derive(Default)]
pub struct Files {
    pub paths: Vec<PathBuf>,
    pub groups: Vec<Group>,
}

/// A file, a folder of `.jsonl` files, a pattern with `*`, or a list of these. The names of several files are
/// subjects, so no two may be the same.
pub fn files(value: &Value, folder: &Path) -> Files {
    let mut files = Files::default();
    for value in value.sweep() {
        let Some(text) = value.name() else { continue };
        let path = folder.join(text);
        let found = if path.is_dir() {
            tree(&value, text, &path)
        } else if !path.exists() && text.contains(['*', '?', '[']) {
            matching(&value, text, folder)
        } else {
            file(&value, folder, false).into_iter().map(|(_, path)| (path, String::new())).collect()
        };
        for (path, group) in found {
            let subject = stem(&path);
            if let Some(other) = files.paths.iter().find(|p| stem(p) == subject && **p != path) {
                let what = format!("two files are called \"{subject}\": {} and {}", other.display(), path.display());
                value.problem(what, "rename one: the name of a file is the subject of its records");
                continue;
            }
            if !group.is_empty() {
                match files.groups.iter_mut().find(|g| g.name == group) {
                    Some(group) => group.subjects.push(subject),
                    None => files.groups.push(Group { name: group, subjects: vec![subject] }),
                }
            }
            files.paths.push(path);
        }
    }
    files
}

/// The `.jsonl` files of a folder and of those in it, by name, each with the path of its folder in there.
fn tree(value: &Value, text: &str, root: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    if let Err(e) = walk(root, root, 0, &mut found) {
        value.problem(format!("the folder \"{text}\" cannot be read: {e}"), FILE_TODO);
    } else if found.is_empty() {
        value.problem(format!("the folder \"{text}\" has no .jsonl files"), FILE_TODO);
    }
    found.sort();
    found
}

/// Deeper folders are a loop of links.
const MAX_DEPTH: u32 = 16;

fn walk(root: &Path, folder: &Path, depth: u32, found: &mut Vec<(PathBuf, String)>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && depth < MAX_DEPTH {
            walk(root, &path, depth + 1, found)?;
        } else if path.extension().is_some_and(|e| e == "jsonl") {
            let group = folder.strip_prefix(root).unwrap_or(folder).to_string_lossy().into_owned();
            found.push((path, group));
        }
    }
    Ok(())
}

/// The files that fit a pattern, each with its folder's name if they are in several.
fn matching(value: &Value, text: &str, folder: &Path) -> Vec<(PathBuf, String)> {
    // The job's own folder may have a `[` in its name.
    let pattern = if Path::new(text).is_absolute() {
        text.to_owned()
    } else {
        format!("{}/{text}", glob::Pattern::escape(&folder.to_string_lossy()))
    };
    let paths: Vec<PathBuf> = match glob::glob(&pattern) {
        Ok(paths) => paths.flatten().filter(|p| p.is_file()).collect(),
        Err(e) => {
            value.problem(format!("\"{text}\" is no pattern: {e}"), "use * and ? for parts of names");
            return Vec::new();
        }
    };
    if paths.is_empty() {
        value.problem(format!("no file fits \"{text}\""), FILE_TODO);
    }
    let several = paths.windows(2).any(|w| w[0].parent() != w[1].parent());
    let group = |path: &Path| path.parent().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
    let group = |path: &Path| if several { group(path).unwrap_or_default() } else { String::new() };
    paths.into_iter().map(|path| (path.clone(), group(&path))).collect()
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or(String::new(), |s| s.to_string_lossy().into_owned())
}

/// `groups = { STEM = ["algebra", "physics"] }`, or the path of a TOML file with such lines.
pub fn groups(value: &Value, source: &Source, folder: &Path) -> Vec<Group> {
    if value.is_table() {
        return value.table("groups").map_or(Vec::new(), read_groups);
    }
    let Some((text, path)) = file(value, folder, false) else { return Vec::new() };
    let content = match std::fs::read_to_string(&path) {
        Ok(content) => content,
        Err(e) => {
            value.problem(format!("\"{text}\" cannot be read: {e}"), FILE_TODO);
            return Vec::new();
        }
    };
    let own = Source { path, text: &content, problems: RefCell::default() };
    let groups = match own.parse() {
        Some(document) => read_groups(Table::new(&own, "the groups", document.get_ref(), 0)),
        None => Vec::new(),
    };
    source.problems.borrow_mut().extend(own.problems.into_inner());
    groups
}

fn read_groups(table: Table) -> Vec<Group> {
    let group = |(name, value): (String, Value)| {
        let subjects = value.list().iter().filter_map(|v| v.name()).map(str::to_owned).collect();
        Group { name, subjects }
    };
    table.entries().map(group).collect()
}

/// `offset`, `limit`, `sample`: which records are asked.
pub fn selection(table: &mut Table) -> Selection {
    let offset = table.get("offset").and_then(|v| v.integer(0, u64::MAX / 2)).unwrap_or(0);
    let limit = table.get("limit").and_then(|v| v.integer(1, u64::MAX / 2));
    let sample = table.get("sample");
    if let (Some(sample), Some(_)) = (&sample, limit) {
        sample.problem("`limit` and `sample` exclude each other", "keep one: the first so many, or so many at random");
    }
    let sample = sample.and_then(|v| {
        if !v.is_table() {
            return Some((v.integer(1, u64::MAX / 2)?, SEED));
        }
        let mut table = v.table("sample")?;
        let n = table.need("n", "say how many records").and_then(|v| v.integer(1, u64::MAX / 2));
        let seed = table.get("seed").and_then(|v| v.integer(0, i64::MAX as u64)).unwrap_or(SEED);
        table.finish();
        Some((n?, seed))
    });
    match sample {
        Some((n, seed)) => Selection { offset, n: Some(n), seed: Some(seed) },
        None => Selection { offset, n: limit, seed: None },
    }
}
