//! `edgebench import ianvs-job`: a benchmarking job of KubeEdge Ianvs, as its LLM examples have them, becomes a job.toml.
//! It owns the order of the work, the keys of benchmarkingjob and testenv, and what is said of that which has no
//! counterpart here; it must not know how a job is run. Nothing of Python is read.
//!
//! `yaml` is the tree, `files` finds what is named, `words` are the metrics and hyperparameters, `algorithm` the objects,
//! `toml` what is written.

mod algorithm;
mod files;
mod toml;
mod words;
mod yaml;

use super::job::{is_import, quoted};
use crate::problem::Problem;
use crate::testenv::dataset::{Need, Reader};
use algorithm::Object;
use files::{Document, Places};
use std::path::{Path, PathBuf};
use yaml::Node;

/// What is to be imported.
pub struct Request<'a> {
    /// benchmarkingjob.yaml.
    pub source: &'a Path,
    /// The job.toml, or a folder for it.
    pub out: &'a Path,
    /// Models in place of those that the algorithms name.
    pub models: Vec<String>,
    /// Take the place of what an earlier import wrote.
    pub force: bool,
}

/// What is wrong, and what a user should know.
#[derive(Debug, Default)]
pub struct Findings {
    pub problems: Vec<Problem>,
    pub notes: Vec<String>,
}

impl Findings {
    /// Something that has no counterpart here, told once.
    pub fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// The new job, before it is written.
#[derive(Debug, Default)]
pub struct New {
    pub name: String,
    pub objects: Vec<Object>,
    pub task: String,
    pub dataset: String,
    /// All answers that were looked at are one of the letters A to D.
    pub letters: bool,
    /// Words of `metrics`.
    pub metrics: Vec<&'static str>,
    /// `acc desc` and so on.
    pub by: Vec<String>,
    /// Columns that the job shows; none: all.
    pub shown: Vec<&'static str>,
    pub selected_only: bool,
}

/// Imports. What comes back is a sentence or more on what was written.
///
/// # Errors
/// All problems of the job; nothing was written.
pub fn run(request: &Request) -> Result<String, Vec<Problem>> {
    let out = if request.out.is_dir() { request.out.join("job.toml") } else { request.out.to_path_buf() };
    let one = |problem: Problem| vec![problem];
    if out.extension().is_none_or(|e| e != "toml") {
        return Err(one(Problem::new(&out, 0, "is no folder and has no name of a job", "write -o job.toml")));
    }
    if out.exists() && !(request.force && is_import(&out)) {
        let todo = "take another name, or --force for what an import wrote";
        return Err(one(Problem::new(&out, 0, "is there already", todo)));
    }
    let places = Places::new(request.source, &out);
    let mut found = Findings::default();
    let job = files::read(request.source, "benchmarkingjob").map_err(one)?;
    let new = read(&job, request, &places, &out, &mut found);
    if !found.problems.is_empty() {
        return Err(found.problems);
    }
    let text = toml::write(&new, &found.notes, request.source, &places);
    std::fs::write(&out, text).map_err(|e| one(Problem::new(&out, 0, format!("cannot be written: {e}"), "")))?;
    Ok(toml::report(&new, &found.notes, &out))
}

fn read(job: &Document, request: &Request, places: &Places, out: &Path, found: &mut Findings) -> New {
    let root = &job.root;
    let mut new = New { name: root.get("name").and_then(Node::text).unwrap_or("job".to_owned()), ..New::default() };
    for (key, node) in root.entries() {
        if !["name", "workspace", "testenv", "test_object", "rank"].contains(&key.as_str()) {
            found.note(format!("line {}: the key {key} means nothing here", node.line));
        }
    }
    objects(job, request, places, &mut new, found);
    let joint = new.objects.iter().any(|object| object.is_joint);
    let testenv = match root.get("testenv") {
        Some(node) => places.read(&job.path, node, "testenv", "testenv"),
        None => Err(Problem::new(
            &job.path,
            root.line,
            "`testenv` is missing",
            "name the YAML file of the test environment",
        )),
    };
    match testenv {
        Ok(testenv) => {
            metrics(&testenv, joint, &mut new, found);
            dataset(&testenv, places, out, request.force, &mut new, found);
        }
        Err(problem) => found.problems.push(problem),
    }
    if let Some(rank) = root.get("rank") {
        self::rank(rank, joint, &mut new, found);
    }
    new
}

fn objects(job: &Document, request: &Request, places: &Places, new: &mut New, found: &mut Findings) {
    let algorithms = job.root.get("test_object").and_then(|node| node.get("algorithms"));
    let Some(algorithms) = algorithms.filter(|node| !node.items().is_empty()) else {
        let what = "`test_object` has no `algorithms`";
        found.problems.push(Problem::new(
            &job.path,
            job.root.line,
            what,
            "list them: - {name: …, url: algorithm.yaml}",
        ));
        return;
    };
    for node in algorithms.items() {
        let name = node.get("name").and_then(Node::text).unwrap_or("algorithm".to_owned());
        let Some(url) = node.get("url") else {
            let what = format!("the algorithm \"{name}\" has no `url`");
            found.problems.push(Problem::new(&job.path, node.line, what, "name its YAML file"));
            continue;
        };
        match places.read(&job.path, url, "url", "algorithm") {
            Ok(document) => {
                new.objects.push(algorithm::object(&name, &document, places, &request.models, found));
            }
            Err(problem) => found.problems.push(problem),
        }
    }
}

fn metrics(testenv: &Document, joint: bool, new: &mut New, found: &mut Findings) {
    for metric in testenv.root.get("metrics").map_or(&[][..], Node::items) {
        let name = metric.get("name").and_then(Node::text).unwrap_or_default();
        let file = metric.get("url").and_then(Node::text).unwrap_or_default();
        match words::metric(&name, joint) {
            Some(column) if words::is_asked_for(column) => new.metrics.push(column),
            Some(_) => {}
            None => found.note(format!("the metric \"{name}\" ({file}) has no counterpart here")),
        }
    }
}

/// Keys for the data that is asked, those of now and of before. The last is a `metadata.json` beside a `data.jsonl`.
const DATA: [&str; 4] = ["test_data", "test_url", "test_index", "test_data_info"];

fn dataset(testenv: &Document, places: &Places, out: &Path, force: bool, new: &mut New, found: &mut Findings) {
    let data = testenv.root.get("dataset");
    let named = data.and_then(|data| DATA.iter().find_map(|key| Some((*key, data.get(key)?))));
    let Some((key, node)) = named else {
        let what = format!("`dataset` has none of {}", DATA.join(", "));
        found.problems.push(Problem::new(&testenv.path, testenv.root.line, what, "name the file with the questions"));
        return;
    };
    let text = node.text().unwrap_or_default();
    new.task = task_name(Path::new(&text));
    new.dataset = places.written(&text);
    let Some(path) = places.find(&text) else {
        let todo = match key {
            "test_data_info" => "put it there, and import anew with --force",
            _ => "put it there, or write its place into the job",
        };
        found.note(format!("the data \"{text}\" is not there: {todo}"));
        return;
    };
    if !found.problems.is_empty() {
        // Then nothing is written.
        return;
    }
    let file = match key {
        "test_data_info" => match converted(&path, out, &new.task, force) {
            Ok((written, file)) => {
                new.dataset = written;
                file
            }
            Err(problems) => return found.problems.extend(problems),
        },
        _ => path,
    };
    new.letters = answers_are_letters(&file);
    if testenv.root.get("use_gpu").and_then(Node::text).as_deref() == Some("true") {
        found.note("use_gpu: this build computes on the processor; a plugin may use more".to_owned());
    }
}

/// Data in the form of `metadata.json` and `data.jsonl`, made records beside the job: path as written, and a file of it.
fn converted(info: &Path, out: &Path, task: &str, force: bool) -> Result<(String, PathBuf), Vec<Problem>> {
    let source = info.parent().unwrap_or(Path::new(""));
    let name = format!("{task}-data");
    let folder = out.with_file_name(&name);
    let (map, splits) = (super::Map::default(), Vec::new());
    let kind = &super::ianvs::KIND;
    super::run(&super::Request { kind, source, out: &folder, splits, map, index_from: 0, force, skip_bad: false })?;
    // One file, or a folder with a file for each subject.
    let file = folder.join("data.jsonl");
    if file.exists() {
        return Ok((format!("{name}/data.jsonl"), file));
    }
    let first = std::fs::read_dir(folder.join("data")).ok().and_then(|mut entries| entries.next()?.ok());
    Ok((format!("{name}/data"), first.map_or(folder, |entry| entry.path())))
}

/// The name of what is asked: that of the file, or of a folder above it if the file is called `data`.
fn task_name(path: &Path) -> String {
    let plain = ["data", "metadata", "test_data", "train_data", "test"];
    let names = path.ancestors().filter_map(|p| Some(p.file_stem()?.to_string_lossy().into_owned()));
    let name = names.into_iter().find(|name| !plain.contains(&name.as_str()));
    name.unwrap_or("data".to_owned())
}

/// How many answers are looked at.
const LOOKED_AT: usize = 100;

fn answers_are_letters(file: &Path) -> bool {
    let Ok(mut reader) = Reader::open(file, Need::Text) else { return false };
    let mut seen = 0;
    while seen < LOOKED_AT {
        // What cannot be read is told by `check`.
        let Ok(Some(record)) = reader.next() else { break };
        if !matches!(record.answer.as_bytes(), [b'A'..=b'D']) {
            return false;
        }
        seen += 1;
    }
    seen > 0
}

fn rank(rank: &Node, joint: bool, new: &mut New, found: &mut Findings) {
    for (name, order) in rank.get("sort_by").map_or(&[][..], Node::items).iter().flat_map(Node::entries) {
        let Some(column) = words::metric(name, joint) else {
            found.note(format!("line {}: sort_by {name}: there is no such figure here", order.line));
            continue;
        };
        let direction = match order.text().unwrap_or_default().as_str() {
            "ascend" => "asc",
            "descend" => "desc",
            other => {
                found.note(format!(
                    "line {}: sort_by {name}: \"{other}\" is taken for descend, as Ianvs does",
                    order.line
                ));
                "desc"
            }
        };
        let small_is_good = ["_ms", "_mib", "energy_j"].iter().any(|unit| column.contains(unit));
        if small_is_good == (direction == "desc") {
            let which = if small_is_good { "slowest or largest" } else { "slowest or worst" };
            found.note(format!("line {}: sort_by {name} puts the {which} first, as the job says", order.line));
        }
        new.by.push(format!("{column} {direction}"));
    }
    let selected = rank.get("selected_dataitem").and_then(|node| node.get("metrics"));
    for name in selected.map_or(&[][..], Node::items).iter().filter_map(Node::text).filter(|name| name != "all") {
        new.shown.extend(words::metric(&name, joint));
    }
    new.selected_only = rank.get("save_mode").and_then(Node::text).as_deref() == Some("selected_only");
}
