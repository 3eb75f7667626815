//! The job that is written beside imported data, so that `edgebench run` is the next step, and the groups of its
//! subjects. It must not know layouts.

use super::output::Output;
use super::{Kind, Request};
use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::Path;

const JOB: &str = "job.toml";
const GROUPS: &str = "groups.toml";
/// How a job that was written by an import begins.
pub const MARK: &str = "# Made by `edgebench import";

/// Is `folder` what an import wrote?
pub fn is_ours(folder: &Path) -> bool {
    is_import(&folder.join(JOB))
}

/// Is it a job that an import wrote?
pub fn is_import(job: &Path) -> bool {
    let mut start = vec![0; MARK.len()];
    let read = File::open(job).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == MARK.as_bytes()
}

/// The files beside the data, by name.
pub fn files(request: &Request, output: &Output) -> Vec<(&'static str, String)> {
    let kind = request.kind;
    let splits = output.splits();
    let asked = kind.ask.iter().find(|s| splits.contains_key(*s)).copied().or(splits.keys().next().copied());
    let Some(asked) = asked else { return Vec::new() };
    let subjects = &splits[asked].1;
    let path = |split: &str| if splits[split].1.is_empty() { format!("{split}.jsonl") } else { split.to_owned() };

    let groups = groups(kind, subjects);
    let mut text = format!("{MARK} {}`. The data: {}; licence: {}.\n", kind.name, kind.from, kind.licence);
    text +=
        "# Name your model below, then: edgebench run job.toml\n\n[[object]]\nname = \"model\"\nbackend = \"llama\"\n";
    text += "model = \"model.gguf\"            # yours: a path, or a list to compare\nparams = { n_ctx = 4096 }\n\n";
    let _ = writeln!(text, "[[task]]\nname = \"{}\"\ndataset = {}", kind.name, quoted(&path(asked)));
    if !groups.is_empty() {
        let _ = writeln!(text, "groups = \"{GROUPS}\"");
    }
    text += match kind.task {
        "" if output.all_choices() => "method = \"choice\"\n",
        "" => "method = \"generate\"\n",
        task => task,
    };
    let (from, n) = kind.examples;
    if n > 0 && splits.contains_key(from) {
        let _ = writeln!(text, "shots = {{ n = {n}, from = {} }}", quoted(&path(from)));
    }
    text += "# limit = 200                  # only so many records; or sample = 200: drawn at random\n";
    let mut files = vec![(JOB, text)];
    if !groups.is_empty() {
        files.push((GROUPS, groups));
    }
    files
}

/// `STEM = ["anatomy", …]`, of the subjects that are there.
fn groups(kind: &Kind, subjects: &[&str]) -> String {
    let mut text = String::new();
    for (name, members) in kind.groups {
        let there: Vec<String> = members.iter().filter(|m| subjects.contains(m)).map(|m| quoted(m)).collect();
        if !there.is_empty() {
            let _ = writeln!(text, "{} = [{}]", quoted(name), there.join(", "));
        }
    }
    text
}

/// As a TOML string, whose escapes are those of JSON.
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}
