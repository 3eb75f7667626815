//! The new job as TOML, and the report. It must not know Ianvs' files.

use super::files::Places;
use super::{New, quoted};
use crate::testenv::import::job::MARK;
use std::fmt::Write;
use std::path::Path;

/// Most new tokens where the job does not say: as long as an answer in prose is.
const MAX_TOKENS: u64 = 512;

/// The prompt where no algorithm has a template.
const AS_IT_STANDS: &str = "{% if context %}{{ context }}\n{% endif %}{{ question }}";

/// The job file.
pub fn write(new: &New, notes: &[String], source: &Path, places: &Places) -> String {
    let mut text = format!("{MARK} ianvs-job` from {}.\n", source.display());
    if !notes.is_empty() {
        text += "# What is to be known:\n";
        notes.iter().for_each(|note| text += &format!("# - {}\n", one_line(note)));
    }
    let _ = write!(text, "\n[job]\nname = {}\n", quoted(&name(&new.name)));
    for object in &new.objects {
        let models: Vec<String> = object.models.iter().map(|model| quoted(&places.written(model))).collect();
        let _ = write!(
            text,
            "\n[[object]]\nname = {}\nbackend = {}\n",
            quoted(&name(&object.name)),
            quoted(&object.backend)
        );
        let _ = writeln!(text, "model = {}", swept(&models));
        let params: Vec<String> =
            object.params.iter().map(|(key, values)| format!("{key} = {}", swept(values))).collect();
        if !params.is_empty() {
            let _ = writeln!(text, "params = {{ {} }}", params.join(", "));
        }
    }
    let most = new.objects.iter().filter_map(|object| object.max_tokens).max().unwrap_or(MAX_TOKENS);
    let _ = write!(text, "\n[[task]]\nname = {}\ndataset = {}\n", quoted(&name(&new.task)), quoted(&new.dataset));
    text += "method = \"generate\"\n";
    match new.objects.iter().find_map(|object| object.prompt.as_deref()) {
        Some(prompt) => text += &format!("prompt = {}\n", quoted(prompt)),
        None => text += &format!("prompt = {}    # as it stands in the data\n", quoted(AS_IT_STANDS)),
    }
    let stop = new.objects.iter().find_map(|object| object.stop.as_deref()).unwrap_or_default();
    let stop: Vec<String> = stop.iter().map(|word| quoted(word)).collect();
    let _ = writeln!(text, "stop = [{}]\nmax_tokens = {most}", stop.join(", "));
    if new.letters {
        text += "extract = [\"strip_think\", \"last_option:ABCD\"]    # all answers are letters\n";
    }
    let metrics: Vec<String> = new.metrics.iter().map(|word| quoted(word)).collect();
    if !metrics.is_empty() {
        let _ = writeln!(text, "metrics = [{}]", metrics.join(", "));
    }
    let by: Vec<String> = new.by.iter().map(|key| quoted(key)).collect();
    if !by.is_empty() {
        let _ = write!(text, "\n[rank]\nby = [{}]\n", by.join(", "));
    }
    let _ = write!(text, "\n# Ianvs' leaderboard of a run:\n# {}\n", leaderboard(new, "RUN"));
    text
}

/// What was written, what was not, and the next steps.
pub fn report(new: &New, notes: &[String], out: &Path) -> String {
    let names: Vec<&str> = new.objects.iter().map(|object| object.name.as_str()).collect();
    let mut text = format!("objects: {}; task: {}; by: {}\n", names.join(", "), new.task, new.by.join(", "));
    notes.iter().for_each(|note| text += &format!("note: {note}\n"));
    let _ =
        write!(text, "next: edgebench check {}, then run; its leaderboard: {}", out.display(), leaderboard(new, "RUN"));
    text
}

/// The command that gives Ianvs' files.
fn leaderboard(new: &New, run: &str) -> String {
    let columns: String = new.shown.iter().map(|column| format!(" --column {column}")).collect();
    let end = if new.selected_only { " > selected_rank.csv" } else { " --out rank" };
    format!("edgebench rank {run} --format ianvs{columns}{end}")
}

fn swept(values: &[String]) -> String {
    match values {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// A name as jobs take it.
fn name(text: &str) -> String {
    let text: String = text.chars().map(|c| if "/\\\n\0\",".contains(c) { '-' } else { c }).collect();
    match text.as_str() {
        "" | "." | ".." => "job".to_owned(),
        _ => text,
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
