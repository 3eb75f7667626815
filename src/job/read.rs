//! The words of the job file: which keys there are, what they may hold, and what they default to.
//! It must not know how anything is run, and opens no file but to see whether it is there.

use super::data::{self, Files};
use super::finetune;
use super::gate;
use super::load;
use super::lora;
use super::measure;
use super::prompt::{self, OPTIONS};
use super::quantize;
use super::scoring;
use super::server;
use super::suite;
use super::toml::{Source, Table, Value, did_you_mean, distance};
use super::watch::{self, CHECKPOINT, Watch};
use super::*;
use std::cell::RefCell;

pub const FILE_TODO: &str = "paths are relative to the job file; correct it, or put the file there";

/// Reads `text`; `shown` is the path as the user gave it, `absolute` the same made absolute.
pub fn job(shown: &Path, absolute: &Path, text: String) -> (Option<Job>, Vec<Problem>) {
    let source = Source { path: shown.to_path_buf(), text: &text, problems: RefCell::default() };
    let job = read(&source, absolute);
    let mut problems = source.problems.into_inner();
    problems.sort_by_key(|p| p.line);
    (job.map(|job| Job { text, ..job }), problems)
}

fn read(source: &Source, absolute: &Path) -> Option<Job> {
    let document = source.parse()?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    let mut root = Table::new(source, "the job file", document.get_ref(), 0);

    let stem = absolute.file_stem().map_or("job".into(), |s| s.to_string_lossy().into_owned());
    let mut job = Job {
        path: absolute.to_path_buf(),
        text: String::new(),
        name: stem,
        warmup: 1,
        repeat: 1,
        timeout: Duration::from_secs(60),
        load_timeout: Duration::from_secs(300),
        sandbox: true,
        force_memory: false,
        measure: Measure::default(),
        instances: Vec::new(),
        tasks: Vec::new(),
        suites: Vec::new(),
        rank_by: Vec::new(),
        watch: Watch::default(),
    };
    if let Some(table) = root.get("job").and_then(|v| v.table("[job]")) {
        head(table, &mut job);
    }
    for value in named(&mut root, "object", "add an [[object]] with name, backend and model") {
        if let Some(table) = value.table("[[object]]") {
            object(source, table, folder, &mut job.instances);
        }
    }
    for value in named(&mut root, "task", "add a [[task]] with name, dataset and method") {
        for task in value.table("[[task]]").map_or(Vec::new(), |t| tasks(source, t, folder)) {
            if job.tasks.iter().any(|t| t.name == task.name) {
                value.problem(format!("two tasks are called \"{}\"", task.name), "give each its own name");
            }
            job.tasks.push(task);
        }
    }
    finetune::check(source, &job.instances, &job.tasks);
    if let Some(suites) = root.get("suite") {
        job.suites = suite::read(&suites, &job.tasks);
    }
    if let Some(table) = root.get("power").and_then(|v| v.table("[power]")) {
        job.measure.power = measure::power(table);
    }
    if let Some(table) = root.get("verdict").and_then(|v| v.table("[verdict]")) {
        job.measure.limits = measure::limits(table);
    }
    if let Some(table) = root.get("gate").and_then(|v| v.table("[gate]")) {
        // Only `compare` uses it, from the manifest's copy of the job; here it is checked.
        gate::read(table);
    }
    if let Some(table) = root.get("watch").and_then(|v| v.table("[watch]")) {
        job.watch = watch::read(table);
    }
    if let Some(table) = root.get("rank").and_then(|v| v.table("[rank]")) {
        job.rank_by = rank(table);
    }
    root.finish();

    let cases = job.instances.len() * job.tasks.len();
    if cases > MAX_CASES {
        source.problem(0, format!("{cases} test cases are more than {MAX_CASES}"), "sweep over fewer values");
    }
    Some(job)
}

/// The elements of `[[key]]`; none at all is a problem.
fn named<'a>(root: &mut Table<'a>, key: &'static str, todo: &str) -> Vec<Value<'a>> {
    root.need(key, todo).map_or(Vec::new(), |v| v.list())
}

fn head(mut table: Table, job: &mut Job) {
    if let Some(name) = table.get("name").and_then(|v| v.name().filter(|n| file_name(&v, n))) {
        job.name = name.to_owned();
    }
    let number = |value: Option<Value>, min, default| {
        value.and_then(|v| v.integer(min, 1_000_000)).map_or(default, |n| n as u32)
    };
    job.warmup = number(table.get("warmup"), 0, job.warmup);
    job.repeat = number(table.get("repeat"), 1, job.repeat);
    if let Some(timeout) = table.get("timeout").and_then(|v| v.duration()) {
        job.timeout = timeout;
    }
    if let Some(sandbox) = table.get("sandbox").and_then(|v| word(&v, &[("on", true), ("off", false)])) {
        job.sandbox = sandbox;
    }
    job.force_memory = table.get("force_memory").and_then(|v| v.boolean()).unwrap_or(false);
    if let Some(timeout) = table.get("load_timeout").and_then(|v| v.duration()) {
        job.load_timeout = timeout;
    }
    if let Some(hz) = table.get("sample_hz").and_then(|v| v.integer(1, 100)) {
        job.measure.hz = hz as u32;
    }
    job.measure.cooldown = table.get("cooldown").and_then(|v| measure::cooldown(&v));
    job.measure.cold_load = table.get("cold_load").and_then(|v| v.boolean()).unwrap_or(false);
    table.finish();
}

/// Names become parts of paths and of case ids.
fn file_name(value: &Value, name: &str) -> bool {
    let good = !name.contains(['/', '\\', '\n', '\0', '"', ',']) && name != "." && name != "..";
    if !good {
        value.problem(
            format!("the name \"{name}\" cannot be part of a file name or column"),
            "use letters, digits, - and _",
        );
    }
    good
}

fn object(source: &Source, mut table: Table, folder: &Path, instances: &mut Vec<Instance>) {
    let name = table.need("name", "name the object").and_then(|v| v.name().filter(|n| file_name(&v, n)));
    let backends: Vec<String> = table
        .need("backend", "name a built-in backend (\"llama\") or give a plugin's path")
        .map_or(Vec::new(), |v| v.sweep())
        .into_iter()
        .filter_map(|v| backend(&v, folder))
        .collect();
    let served = !backends.is_empty() && backends.iter().all(|b| b == OPENAI);
    let model = |v: &Value| match v.name()? {
        name if served => Some((name.to_owned(), None)),
        CHECKPOINT => Some((CHECKPOINT.to_owned(), None)),
        _ => file(v, folder, true).map(|(text, path)| (text, Some(path))),
    };
    let models: Vec<Option<(String, Option<PathBuf>)>> = match table.get("model") {
        None => vec![None],
        Some(value) => value.sweep().iter().filter_map(|v| model(v).map(Some)).collect(),
    };
    let mut swept = backends.len() > 1 || models.len() > 1;
    let mut sweeps: Vec<(String, Vec<String>)> = Vec::new();
    if let Some(urls) = server::urls(&mut table, served) {
        swept |= urls.len() > 1;
        sweeps.push(("url".to_owned(), urls));
    }
    let mut loras = vec![None];
    if let Some(params) = table.get("params").and_then(|v| v.table("params")) {
        for (key, value) in params.entries() {
            if key == lora::KEY {
                loras = lora::sweep(&value, folder).into_iter().map(Some).collect();
                continue;
            }
            let values: Vec<String> =
                value.sweep().iter().filter_map(|v| v.scalar()).map(|v| path_param(v, folder)).collect();
            swept |= values.len() > 1;
            sweeps.push((key, values));
        }
    }
    let files = models.iter().flatten().filter(|(_, path)| path.is_some()).count();
    let quantized = quantize::sweep(&mut table, folder, files, served);
    swept |= quantized.len() > 1;
    let chats: Vec<ChatSpec> = match table.get("chat") {
        None => vec![ChatSpec::default()],
        Some(value) => value.sweep().iter().filter_map(|v| prompt::chat(v, folder)).collect(),
    };
    swept |= chats.len() > 1 || loras.len() > 1;
    let paradigm = table.get("paradigm").and_then(|v| word(&v, Paradigm::ALL));
    let offset = table.offset();
    table.finish();

    let fixed = backends.len() * models.len() * quantized.len() * chats.len() * loras.len();
    let n = sweeps.iter().map(|(_, v)| v.len()).fold(fixed, usize::saturating_mul);
    if n > MAX_CASES {
        source.problem(
            offset,
            format!("its sweeps make {n} instances, more than {MAX_CASES}"),
            "sweep over fewer values",
        );
        return;
    }
    let Some(name) = name else { return };
    if instances.iter().any(|i| i.object == name) {
        source.problem(offset, format!("two objects are called \"{name}\""), "give each its own name");
    }
    let mut number = 0;
    let chats = |q| chats.iter().map(move |chat| (q, chat));
    let models: Vec<_> =
        models.iter().flat_map(|m| quantized.iter().flat_map(chats).map(move |(q, chat)| (m, q, chat))).collect();
    for backend in &backends {
        for &(model, quantize, chat) in &models {
            let params = product(&sweeps);
            for (params, lora) in params.iter().flat_map(|params| loras.iter().map(move |lora| (params, lora))) {
                number += 1;
                instances.push(Instance {
                    object: name.to_owned(),
                    id: if swept { format!("{name}.{number}") } else { name.to_owned() },
                    backend: backend.clone(),
                    model: model.as_ref().map_or(String::new(), |(text, _)| text.clone()),
                    model_path: model.as_ref().and_then(|(_, path)| path.clone()),
                    params: params.clone(),
                    folder: folder.to_path_buf(),
                    chat: chat.clone(),
                    lora: lora.clone(),
                    paradigm,
                    quantize: quantize.clone(),
                });
            }
        }
    }
}

/// Every combination, the last key changing fastest.
fn product(sweeps: &[(String, Vec<String>)]) -> Vec<Vec<(String, String)>> {
    sweeps.iter().fold(vec![Vec::new()], |rows, (key, values)| {
        let extended = |row: &Vec<(String, String)>| {
            let row = row.clone();
            values.iter().map(move |v| [row.as_slice(), &[(key.clone(), v.clone())]].concat()).collect::<Vec<_>>()
        };
        rows.iter().flat_map(extended).collect()
    })
}

fn backend(value: &Value, folder: &Path) -> Option<String> {
    let text = value.name()?;
    if crate::backend::loader::is_path(text) {
        let (_, path) = file(value, folder, false)?;
        if let Err(e) = crate::backend::hosts::check_plugin(&path) {
            value.problem(format!("the plugin \"{text}\" {e}"), "give a plugin (.so) that is built for this board");
            return None;
        }
        return Some(path.to_string_lossy().into_owned());
    }
    let built_in = crate::backend::hosts::built_in();
    if built_in.contains(&text) {
        return Some(text.to_owned());
    }
    let there = if built_in.is_empty() { "none in this build".to_owned() } else { built_in.join(", ") };
    value.problem(
        format!("no built-in backend is called \"{text}\" (there is: {there})"),
        "use one of these, or a plugin's path with a / in it (\"./plugin.so\")",
    );
    None
}

/// A path as it is written and made absolute; what is not there is a problem.
pub fn file(value: &Value, folder: &Path, folder_allowed: bool) -> Option<(String, PathBuf)> {
    let text = value.name()?;
    let path = folder.join(text);
    match std::fs::metadata(&path) {
        Ok(meta) if meta.is_file() || (folder_allowed && meta.is_dir()) => Some((text.to_owned(), path)),
        Ok(_) => {
            value.problem(format!("\"{text}\" is not a file"), FILE_TODO);
            None
        }
        Err(e) => {
            value.problem(format!("\"{text}\" cannot be found: {e}"), FILE_TODO);
            None
        }
    }
}

/// One of a few words.
pub fn word<T: Copy>(value: &Value, words: &[(&str, T)]) -> Option<T> {
    let text = value.name()?;
    if let Some((_, found)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*found);
    }
    let all: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
    let todo = did_you_mean(text, all.iter().copied(), &format!("use {}", all.join(", ")));
    value.problem(format!("\"{text}\" is not known here"), todo);
    None
}

#[derive(Clone, Copy, PartialEq)]
enum MethodWord {
    Choice,
    Generate,
    Perplexity,
    Cloze,
    Divergence,
    Finetune,
}

impl MethodWord {
    const ALL: &[(&str, MethodWord)] = &[
        ("choice", MethodWord::Choice),
        ("generate", MethodWord::Generate),
        ("perplexity", MethodWord::Perplexity),
        ("cloze", MethodWord::Cloze),
        ("divergence", MethodWord::Divergence),
        ("finetune", MethodWord::Finetune),
    ];

    /// Is it about texts as they stand?
    fn is_of_texts(self) -> bool {
        !matches!(self, MethodWord::Choice | MethodWord::Generate)
    }
}

/// The task of a table; one for each value where its load is swept.
fn tasks(source: &Source, mut table: Table, folder: &Path) -> Vec<Task> {
    let keys = load::Keys::take(&mut table);
    let place = table.offset();
    let Some(task) = task(source, table, folder) else { return Vec::new() };
    let loads = keys.read(task.scenario, &task.method, &|what, todo| source.problem(place, what, todo));
    let one = |(suffix, load): (String, Option<Load>)| Task { name: task.name.clone() + &suffix, load, ..task.clone() };
    loads.into_iter().map(one).collect()
}

fn task(source: &Source, mut table: Table, folder: &Path) -> Option<Task> {
    let place = table.offset();
    let line = source.line(place);
    let name = table.need("name", "name the task").and_then(|v| v.name().filter(|n| file_name(&v, n)));
    let data = table.need("dataset", "give a JSONL file, a folder of them, or a list");
    let Files { paths: datasets, groups: folders } = data.map_or(Files::default(), |v| data::files(&v, folder));
    let groups = table.get("groups").map_or(folders, |v| data::groups(&v, source, folder));
    let selection = data::selection(&mut table);
    let method =
        table.need("method", "use \"choice\", \"generate\", \"perplexity\", \"cloze\", \"divergence\" or \"finetune\"");
    let method = method.and_then(|v| word(&v, MethodWord::ALL));
    let scenario = table.get("scenario").map_or(Some(Scenario::SingleStream), |v| word(&v, Scenario::ALL));
    let (shots, style, prompt) = (table.get("shots"), table.get("style"), table.get("prompt"));
    let windows = table.get("windows");
    let options = table.get("options");
    let stop = table.get("stop");
    let max_tokens = table.get("max_tokens");
    let mut metrics = Vec::new();
    if let Some(value) = table.get("metrics") {
        for value in value.list() {
            metrics.extend(word(&value, Metric::ALL).map(|m| (value, m)));
        }
    }
    let scoring = scoring::keys(&mut table);
    let training = finetune::Keys::take(&mut table);
    let sustained = table.get("sustained").and_then(|v| v.duration());
    let batch = table.get("batch");
    let paradigm = table.get("paradigm").and_then(|v| word(&v, Paradigm::ALL));

    let method = method?;
    let raw = method.is_of_texts();
    if raw {
        [shots, style, prompt, options, stop, max_tokens]
            .into_iter()
            .for_each(|v| only_for("choice\" or \"generate", v));
    }
    let training = if method == MethodWord::Finetune {
        Some(training.read(source))
    } else {
        training.refuse();
        None
    };
    let windows = if method == MethodWord::Perplexity {
        windows
    } else {
        only_for("perplexity\" or \"divergence", windows);
        None
    };
    let section = if method == MethodWord::Choice { "choice" } else { "generate" };
    let style = style.filter(|_| !raw);
    let style = style.and_then(|v| prompt::style(v, source, folder, name.unwrap_or_default(), section));
    let style = style.unwrap_or_default();
    let scoring = if method == MethodWord::Generate {
        scoring::read(scoring, style.scoring.clone())
    } else {
        scoring.into_iter().for_each(|value| only_for("generate", value));
        Scoring::default()
    };
    let method = match method {
        MethodWord::Choice => {
            only_for("generate", stop);
            only_for("generate", max_tokens);
            let options = options.and_then(|v| word(&v, OPTIONS)).or(style.options);
            Method::Choice(options.unwrap_or(Options::Letter))
        }
        MethodWord::Generate => {
            only_for("choice", options);
            let max_tokens = max_tokens.and_then(|v| v.integer(1, 1 << 20)).map(|n| n as u32);
            Method::Generate {
                stop: stop.map(|v| strings(&v)).or(style.stop.clone()).unwrap_or(vec!["\n".to_owned()]),
                max_tokens: max_tokens.or(style.max_tokens).unwrap_or(64),
            }
        }
        MethodWord::Perplexity | MethodWord::Divergence => {
            let unset = Windows { scheme: WindowScheme::Rolling, window: None, stride: None };
            let windows = windows.and_then(|v| v.table("windows")).map_or(unset, prompt::windows);
            if method == MethodWord::Perplexity { Method::Perplexity(windows) } else { Method::Divergence(windows) }
        }
        MethodWord::Cloze => Method::Cloze,
        MethodWord::Finetune => Method::Finetune(training?),
    };
    if let Some(value) =
        batch.filter(|_| scenario != Some(Scenario::Offline) || !matches!(method, Method::Generate { .. }))
    {
        value.problem(
            "`batch` is for answers that are generated offline",
            "leave it out, or set scenario = \"offline\"",
        );
    }
    for (value, metric) in &metrics {
        if let Some((what, todo)) = metric.misfit(&method) {
            value.problem(format!("{} {what}", metric.name()), todo);
        }
    }
    let mut metrics: Vec<Metric> = metrics.into_iter().map(|(_, m)| m).collect();
    match method {
        Method::Perplexity(_) => metrics = Metric::LANGUAGE.to_vec(),
        Method::Cloze => metrics = vec![Metric::TargetPerplexity],
        Method::Finetune(_) => metrics.clear(),
        _ => {}
    }
    if let Method::Finetune(_) = method
        && (scenario != Some(Scenario::SingleStream) || sustained.is_some())
    {
        let todo = "leave `scenario` and `sustained` out: a model is trained once";
        source.problem(place, "method = \"finetune\" asks no records", todo);
    }
    if let Method::Divergence(_) = method {
        metrics = Metric::DIVERGENCE.to_vec();
        if scenario != Some(Scenario::SingleStream) || sustained.is_some() {
            let todo = "leave `scenario` and `sustained` out, or change the method";
            source.problem(place, "method = \"divergence\" measures no speed", todo);
        }
    }
    let shots = shots.and_then(|v| v.table("shots")).and_then(|t| prompt::shots(t, folder));
    let prompt = prompt::prompt_spec(prompt, &style, &method);
    table.finish();
    Some(Task {
        name: name?.to_owned(),
        line,
        datasets,
        groups,
        method,
        scenario: scenario?,
        batch: batch.and_then(together),
        load: None,
        shots,
        prompt,
        metrics,
        scoring,
        selection,
        sustained,
        paradigm,
    })
}

/// `batch`: a number, or `"auto"`, which is none.
fn together(value: Value) -> Option<u32> {
    if value.is_text() { word(&value, &[("auto", None)])? } else { value.integer(1, 128).map(|n| n as u32) }
}

pub(super) fn only_for(method: &str, value: Option<Value>) {
    if let Some(value) = value {
        value.problem(format!("this key belongs to method = \"{method}\""), "leave it out, or change the method");
    }
}

pub fn strings(value: &Value) -> Vec<String> {
    value.list().iter().filter_map(|v| v.text()).filter(|s| !s.is_empty()).map(str::to_owned).collect()
}

/// `["acc desc", "ttft_ms_p50 asc"]`
fn rank(mut table: Table) -> Vec<SortKey> {
    let mut keys = Vec::new();
    for value in table.get("by").map_or(Vec::new(), |v| v.list()) {
        let Some(text) = value.name() else { continue };
        let (column, direction) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
        let metrics: Vec<&str> = Metric::ALL.iter().flat_map(|(_, metric)| metric.columns()).collect();
        let columns = crate::results::case_columns(&metrics);
        if !columns.contains(&column) {
            let near = columns.iter().min_by_key(|c| distance(c, column)).copied().unwrap_or("acc");
            value.problem(format!("no column is called `{column}`"), format!("did you mean `{near}`?"));
            continue;
        }
        match direction.trim() {
            "asc" | "desc" => keys.push(SortKey { column: column.to_owned(), descending: direction.trim() == "desc" }),
            other => value
                .problem(format!("\"{other}\" is no order"), format!("write \"{column} desc\" or \"{column} asc\"")),
        }
    }
    table.finish();
    keys
}
