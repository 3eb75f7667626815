//! An algorithm of Ianvs, with the cross product of its hyperparameters, as an `[[object]]`. It must not know of
//! datasets or ranks.

use super::Findings;
use super::files::{Document, Places, read_whole};
use super::words::{Sets, hyperparameter};
use super::yaml::{Node, Value};
use crate::problem::Problem;

/// One object of the new job; what it holds is TOML already.
#[derive(Debug, Default)]
pub struct Object {
    pub name: String,
    pub backend: String,
    pub models: Vec<String>,
    pub params: Vec<(&'static str, Vec<String>)>,
    pub max_tokens: Option<u64>,
    /// A template in Jinja.
    pub prompt: Option<String>,
    pub stop: Option<Vec<String>>,
    /// A job for edge and cloud.
    pub is_joint: bool,
}

/// Reads the algorithm called `name`. `models`, if there are any, take the place of all that it names.
pub fn object(name: &str, document: &Document, places: &Places, models: &[String], found: &mut Findings) -> Object {
    let root = &document.root;
    let mut object = Object { name: name.to_owned(), backend: "llama".to_owned(), ..Object::default() };
    let paradigm = root.get("paradigm_type").and_then(Node::text).unwrap_or_default();
    let wanted = match paradigm.as_str() {
        "singletasklearning" | "singletasklearning_with_compression" | "singletasklearningwithcompression" => {
            "basemodel"
        }
        "jointinference" => "edgemodel",
        _ => {
            let line = root.get("paradigm_type").map_or(root.line, |n| n.line);
            let what = format!("the paradigm \"{paradigm}\" trains or needs several nodes");
            let todo = "only singletasklearning and jointinference become a job here; run this one with Ianvs";
            found.problems.push(Problem::new(&document.path, line, what, todo));
            return object;
        }
    };
    object.is_joint = wanted == "edgemodel";
    let kind = |module: &Node| module.get("type").and_then(Node::text).unwrap_or_default();
    let modules = root.get("modules").map_or(&[][..], Node::items);
    for module in modules.iter().filter(|m| kind(m) != wanted) {
        found.note(format!("{name}: the module {} is no part of what runs on the board", kind(module)));
    }
    match modules.iter().find(|m| kind(m) == wanted) {
        Some(module) => hyperparameters(module, document, places, &mut object, found),
        None => {
            let what = format!("there is no module of the type {wanted}");
            found.problems.push(Problem::new(&document.path, root.line, what, "add it: Ianvs needs one, too"));
        }
    }
    if object.models.is_empty() {
        object.models.extend(root.get("initial_model_url").and_then(Node::text).filter(|text| !text.is_empty()));
    }
    compression(name, root, &mut object, found);
    if !models.is_empty() {
        object.models = models.to_vec();
    }
    if object.models.is_empty() {
        found.note(format!("{name}: its Python file knows the model; give --model, or write it into the job"));
        object.models.push("model.gguf".to_owned());
        return object;
    }
    for model in object.models.iter().filter(|model| places.find(model).is_none()) {
        found.note(format!("{name}: the model \"{model}\" is not there: a GGUF is needed, or a plugin that reads it"));
    }
    object
}

/// `mode: with_compression`: the model and what Ianvs makes of it, side by side.
fn compression(name: &str, root: &Node, object: &mut Object, found: &mut Findings) {
    let text = |key: &str| root.get(key).and_then(Node::text).filter(|text| !text.is_empty());
    let (Some("with_compression"), Some(quantization)) = (text("mode").as_deref(), text("quantization_type")) else {
        return;
    };
    for model in object.models.clone() {
        let Some(stem) = model.strip_suffix(".gguf") else { continue };
        let compressed = format!("{stem}_{quantization}.gguf");
        let program = text("llama_quantize_path").unwrap_or("llama-quantize".to_owned());
        found.note(format!("{name}: make the second model first: {program} {model} {compressed} {quantization}"));
        object.models.push(compressed);
    }
}

/// `hyperparameters: [{n_ctx: {values: [1024, 2048]}}, …]`, and files of further ones with one value each.
fn hyperparameters(module: &Node, document: &Document, places: &Places, object: &mut Object, found: &mut Findings) {
    for (key, value) in module.get("hyperparameters").map_or(&[][..], Node::items).iter().flat_map(Node::entries) {
        let Some(values) = value.get("values").map(Node::items) else {
            let what = format!("the hyperparameter `{key}` has no list of `values`");
            found.problems.push(Problem::new(
                &document.path,
                value.line,
                what,
                format!("write {key}: {{values: […]}}"),
            ));
            continue;
        };
        if key != "other_hyperparameters" {
            set(key, values, document, object, found);
            continue;
        }
        for file in values {
            let path = file.text().and_then(|text| places.find(&text));
            let read = path.map(|path| read_whole(&path)).unwrap_or_else(|| {
                let what = format!("`{key}`: {} cannot be found", file.text().unwrap_or_default());
                Err(Problem::new(&document.path, file.line, what, "mend the path"))
            });
            match read {
                Ok(other) => {
                    for (key, value) in other.root.entries() {
                        set(key, std::slice::from_ref(value), &other, object, found);
                    }
                }
                Err(problem) => found.problems.push(problem),
            }
        }
    }
}

fn set(key: &str, values: &[Node], document: &Document, object: &mut Object, found: &mut Findings) {
    let texts: Vec<String> = values.iter().filter_map(Node::text).collect();
    let (first, line) = (texts.first().cloned().unwrap_or_default(), values.first().map_or(0, |v| v.line));
    match hyperparameter(key) {
        Sets::Model => object.models = texts,
        Sets::Backend if first == "llama" || first.contains('/') => object.backend = first,
        Sets::MaxTokens => {
            let most = texts.iter().filter_map(|t| t.parse().ok()).max();
            if texts.len() > 1 {
                found.note(format!("{}: of `{key}` only the largest value is asked", object.name));
            }
            object.max_tokens = object.max_tokens.max(most);
        }
        // What another basemodel puts its questions into is not known.
        Sets::Prompt if first.contains("{{") => {
            only_first(key, texts.len(), &object.name, found);
            object.prompt = Some(first);
        }
        Sets::Stop if !values.is_empty() => {
            only_first(key, values.len(), &object.name, found);
            let words = match &values[0].value {
                Value::List(words) => words.iter().filter_map(Node::text).collect(),
                _ => vec![first],
            };
            object.stop = Some(words);
        }
        Sets::Parameter(name) => match values.iter().map(scalar).collect::<Option<Vec<String>>>() {
            Some(written) if !written.is_empty() => {
                object.params.retain(|(other, _)| *other != name);
                object.params.push((name, written));
            }
            _ => {
                let what = format!("the values of `{key}` are no scalars");
                found.problems.push(Problem::new(&document.path, line, what, "give numbers, words, true or false"));
            }
        },
        Sets::Backend | Sets::Prompt | Sets::Stop | Sets::Nothing => {
            found.note(format!("{}: the hyperparameter {key} = {} means nothing here", object.name, texts.join(", ")));
        }
    }
}

/// A task has one of them.
fn only_first(key: &str, values: usize, object: &str, found: &mut Findings) {
    if values > 1 {
        found.note(format!("{object}: of `{key}` only the first value is asked"));
    }
}

/// As TOML.
fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(super::quoted(text)),
        Value::Number(_) | Value::Bool(_) => node.text(),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}
