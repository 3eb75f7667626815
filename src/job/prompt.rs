//! The words of the job file for what a model sees: examples, templates, styles, chat, windows. Style files, a
//! user's own or built in, are read here too. It must not know how anything is rendered or asked.

use super::data;
use super::read::{FILE_TODO, file, strings, word};
use super::scoring;
use super::toml::{Source, Table, Value, distance};
use super::*;
use crate::testenv::prompt::{self, chat::Chat, style};
use std::cell::RefCell;

/// What a style says about one method; what it leaves open is `None`.
#[derive(Default)]
pub struct Style {
    pub options: Option<Options>,
    pub stop: Option<Vec<String>>,
    pub max_tokens: Option<u32>,
    pub scoring: Scoring,
    templates: Templates,
    subject_names: Vec<(String, String)>,
}

/// Keys of a [`PromptSpec`] and what they are set to.
type Templates = Vec<(&'static str, String)>;

/// `shots = { n = 5, from = "dev.jsonl", pick = "random", seed = 1, turns = false }`
pub fn shots(mut table: Table, folder: &Path) -> Option<Shots> {
    let n = table.need("n", "say how many examples").and_then(|v| v.integer(0, 1000));
    let from = table.need("from", "give the JSONL file with the examples, a folder, or a list of files");
    let from = from.map_or(Vec::new(), |v| data::files(&v, folder).paths);
    let picks = [("first", Pick::First), ("random", Pick::Random), ("random-per-record", Pick::RandomPerRecord)];
    let pick = table.get("pick").map_or(Some(Pick::First), |v| word(&v, &picks));
    let seed = table.get("seed");
    if let (Some(Pick::First), Some(seed)) = (pick, &seed) {
        seed.problem("the first examples need no seed", "leave it out, or set pick = \"random\"");
    }
    let seed = seed.and_then(|v| v.integer(0, u64::MAX)).unwrap_or(data::SEED);
    let turns = table.get("turns").and_then(|v| v.boolean()).unwrap_or(true);
    table.finish();
    let (n, pick) = (n?, pick?);
    (n > 0 && !from.is_empty()).then_some(Shots { n: n as usize, from, pick, seed, turns })
}

/// `style = "lm-eval"` (the benchmark is the task's name), `"lm-eval:mmlu"`, or `"style.toml"`.
pub fn style(value: Value, source: &Source, folder: &Path, task: &str, method: &'static str) -> Option<Style> {
    let text = value.name()?;
    let (tool, benchmark) = text.split_once(':').map_or((text, None), |(tool, b)| (tool, Some(b)));
    if !style::is_tool(tool) {
        if Path::new(text).extension().is_none_or(|e| e != "toml") {
            let todo = "use \"lm-eval\", \"opencompass\", or the path of a style file (.toml)";
            value.problem(format!("no style is called \"{text}\""), todo);
            return None;
        }
        let (_, path) = file(&value, folder, false)?;
        return match std::fs::read_to_string(&path) {
            Ok(content) => read_style(value, source, &path, content, method),
            Err(e) => {
                value.problem(format!("\"{text}\" cannot be read: {e}"), FILE_TODO);
                None
            }
        };
    }
    let known = style::benchmarks(tool);
    let Some(name) = benchmark.or(style::benchmark_of(tool, task)) else {
        let todo = format!("name the benchmark: \"{tool}:{}\" (there are {})", known[0], known.join(", "));
        value.problem(format!("the task's name \"{task}\" is not that of a benchmark of {tool}"), todo);
        return None;
    };
    let Some(content) = style::built_in(tool, name) else {
        let near = known.iter().min_by_key(|k| distance(k, name)).filter(|k| distance(k, name) <= 2);
        let todo = match near {
            Some(near) => format!("did you mean \"{tool}:{near}\"?"),
            None => format!("there are {}", known.join(", ")),
        };
        value.problem(format!("{tool} has no prompt for \"{name}\" here"), todo);
        return None;
    };
    read_style(value, source, Path::new(&format!("{tool}:{name}")), content.to_owned(), method)
}

/// Reads a style file's part for `method`. What is wrong in the file is told with its own lines.
fn read_style(value: Value, source: &Source, path: &Path, text: String, method: &'static str) -> Option<Style> {
    let own = Source { path: path.to_path_buf(), text: &text, problems: RefCell::default() };
    let mut found = None;
    if let Some(document) = own.parse() {
        let mut root = Table::new(&own, "the style file", document.get_ref(), 0);
        let subject_names = root.get("subjects").map_or(Vec::new(), subject_names);
        for section in ["choice", "generate"] {
            let Some(mut table) = root.get(section).and_then(|v| v.table("a method's section")) else { continue };
            // The other method's section is read too: a file is sound or it is not.
            let mut style = Style { templates: templates(&mut table), ..Style::default() };
            if section == "choice" {
                style.options = table.get("options").and_then(|v| word(&v, OPTIONS));
            } else {
                style.stop = table.get("stop").map(|v| strings(&v));
                style.max_tokens = table.get("max_tokens").and_then(|v| v.integer(1, 1 << 20)).map(|n| n as u32);
                style.scoring = scoring::read(scoring::keys(&mut table), Scoring::default());
            }
            table.finish();
            if section == method {
                found = Some(style);
            }
        }
        root.finish();
        if let Some(style) = &mut found {
            style.subject_names = subject_names;
        } else {
            let todo = "change the method, or the style";
            value.problem(format!("the style {} has no prompt for method = \"{method}\"", path.display()), todo);
        }
    }
    source.problems.borrow_mut().extend(own.problems.into_inner());
    found
}

/// What stands for an option, by its word.
pub const OPTIONS: &[(&str, Options)] = &[
    ("letter", Options::Letter),
    ("text", Options::Text),
    ("whole", Options::Whole),
    ("in-question", Options::InQuestion),
];

/// `prompt = "template"` or `prompt = { question = …, answer = …, … }`, on top of the style, on top of the
/// method's own.
pub fn prompt_spec(value: Option<Value>, style: &Style, method: &Method) -> PromptSpec {
    let mut spec = prompt::defaults(method);
    apply(&mut spec, style.templates.clone());
    spec.subject_names = style.subject_names.clone();
    let Some(value) = value else { return spec };
    if value.is_table() {
        let Some(mut table) = value.table("prompt") else { return spec };
        apply(&mut spec, templates(&mut table));
        if let Some(subjects) = table.get("subjects") {
            spec.subject_names = subject_names(subjects);
        }
        table.finish();
    } else if let Some(text) = value.text() {
        spec.question = text.to_owned();
    }
    if let Err(e) = prompt::Prompt::compile(&spec) {
        value.problem(format!("the prompt's template is not Jinja: {e}"), "mend the template");
    }
    spec
}

/// The templates in a table.
fn templates(table: &mut Table) -> Templates {
    let keys = ["question", "answer", "separator", "last_separator", "prefix", "system", "unconditional"];
    keys.into_iter().filter_map(|key| Some((key, table.get(key)?.text()?.to_owned()))).collect()
}

fn apply(spec: &mut PromptSpec, templates: Templates) {
    for (key, text) in templates {
        *match key {
            "question" => &mut spec.question,
            "answer" => &mut spec.answer,
            "separator" => &mut spec.separator,
            "prefix" => &mut spec.prefix,
            "system" => &mut spec.system,
            "last_separator" => spec.last_separator.get_or_insert_default(),
            _ => &mut spec.unconditional,
        } = text;
    }
}

/// `subjects = "cmmlu"`, or a table of names.
fn subject_names(value: Value) -> Vec<(String, String)> {
    if value.is_table() {
        let entries = value.table("subjects").into_iter().flat_map(Table::entries);
        return entries.filter_map(|(key, name)| Some((key, name.text()?.to_owned()))).collect();
    }
    let Some(name) = value.text() else { return Vec::new() };
    let Some(text) = style::subjects(name) else {
        let todo = format!("use {}, or a table: {{ law = \"Law\" }}", style::subject_lists().join(", "));
        value.problem(format!("no list of subjects is called \"{name}\""), todo);
        return Vec::new();
    };
    let own = Source { path: PathBuf::from(name), text, problems: RefCell::default() };
    let Some(document) = own.parse() else { return Vec::new() };
    let entries = Table::new(&own, "the list", document.get_ref(), 0).entries();
    entries.filter_map(|(key, name)| Some((key, name.text()?.to_owned()))).collect()
}

/// `chat = true`, `"template.jinja"`, or `{ template = "…", variables = { … } }`.
pub fn chat(value: &Value, folder: &Path) -> Option<ChatSpec> {
    let mut spec = ChatSpec { variables: serde_json::json!({}), text: "true".to_owned(), ..ChatSpec::default() };
    let mut template = Some(*value);
    if value.is_table() {
        let mut table = value.table("chat")?;
        template = table.get("template");
        if let Some(variables) = table.get("variables").and_then(|v| v.table("variables")) {
            for (key, value) in variables.entries() {
                spec.text += &format!(" {key}={}", value.scalar()?);
                spec.variables[key] = value.json()?;
            }
        }
        table.finish();
    }
    spec.template = match template {
        None => ChatTemplate::Model,
        Some(value) if value.is_boolean() => {
            if value.boolean()? {
                ChatTemplate::Model
            } else {
                ChatTemplate::Off
            }
        }
        Some(value) => {
            let (text, path) = file(&value, folder, false)?;
            spec.text = spec.text.replacen("true", &text, 1);
            let compiled = std::fs::read_to_string(&path)
                .map_err(|e| e.to_string())
                .and_then(|template| Chat::compile(&template, "", "", &spec.variables));
            if let Err(e) = compiled {
                value.problem(format!("\"{text}\" is no chat template: {e}"), "mend it, or use chat = true");
                return None;
            }
            ChatTemplate::File(path)
        }
    };
    Some(spec)
}

/// `windows = { style = "lm-eval", size = 512, stride = 256 }`
pub fn windows(mut table: Table) -> Windows {
    let styles = [("lm-eval", WindowScheme::Rolling), ("llama.cpp", WindowScheme::LlamaCpp)];
    let scheme = table.get("style").and_then(|v| word(&v, &styles)).unwrap_or(WindowScheme::Rolling);
    let size = table.get("size").and_then(|v| v.integer(2, 1 << 24)).map(|n| n as u32);
    let stride = table.get("stride");
    if let (Some(stride), WindowScheme::LlamaCpp) = (&stride, scheme) {
        stride.problem("llama.cpp's windows have no stride", "leave it out, or use style = \"lm-eval\"");
    }
    let most = u64::from(size.unwrap_or(1 << 24));
    let stride = stride.and_then(|v| v.integer(1, most)).map(|n| n as u32);
    table.finish();
    Windows { scheme, window: size, stride }
}
