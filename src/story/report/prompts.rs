//! The questions of records, from the datasets of a run where these are still what they were. It must not know which
//! records are wanted, or why.

use crate::job::{Job, Method};
use crate::story::run_folder::Run;
use crate::testenv::dataset::{Need, Reader, check};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The question of a record, cut to what a page has room for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub question: String,
    /// Texts of the options, A first.
    pub choices: Vec<String>,
}

/// Most characters of a question and of an option.
const QUESTION: usize = 700;
const CHOICE: usize = 160;

/// Task and id → what was asked, of `wanted` records; those whose dataset is gone or changed are left out.
pub fn read(run: &Run, wanted: &BTreeSet<(String, String)>) -> BTreeMap<(String, String), Asked> {
    let mut found = BTreeMap::new();
    let manifest = &run.manifest;
    // What is missing by now leaves its task without datasets, which is as good as a report can do.
    let (Some(job), _) = Job::of_text(Path::new(&manifest.job_path), manifest.job_text.clone()) else { return found };
    for task in job.tasks.iter().filter(|t| wanted.iter().any(|(task, _)| *task == t.name)) {
        let need = match &task.method {
            Method::Choice(_) => Need::Choice,
            Method::Generate { .. } => Need::Text,
            Method::Perplexity(_) | Method::Cloze | Method::Divergence(_) | Method::Finetune(_) => Need::Lm,
        };
        for path in &task.datasets {
            let key = path.to_string_lossy();
            let hash: Option<String> =
                check(path, need, true).hash.map(|h| h.iter().map(|b| format!("{b:02x}")).collect());
            if manifest.datasets.get(&*key).map(|h| &h.sha256) != hash.as_ref() {
                continue;
            }
            let stem = path.file_stem().map_or(String::new(), |s| s.to_string_lossy().into_owned());
            let Ok(mut reader) = Reader::open(path, need) else { continue };
            while let Ok(Some(record)) = reader.next() {
                // As samples.csv has it: behind the file's name when there are several files.
                let id = if task.datasets.len() > 1 { format!("{stem}:{}", record.id) } else { record.id.to_owned() };
                let key = (task.name.clone(), id);
                if wanted.contains(&key) {
                    let context =
                        if record.context.is_empty() { String::new() } else { format!("{}\n\n", record.context) };
                    let question = cut(&format!("{context}{}", record.question), QUESTION);
                    let choices = record.choices.iter().map(|c| cut(c, CHOICE)).collect();
                    found.insert(key, Asked { question, choices });
                }
            }
        }
    }
    found
}

/// At most so many characters, and a mark where some were cut.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}
