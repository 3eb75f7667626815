//! `job.toml` → `Job`: objects (swept into instances) and tasks, with every problem of the file found at once.
//! It owns the words of the job file and must not know how anything is run.
//!
//! `read` turns TOML into these types, `data` the words of a task for its files, `prompt` those parts of it that concern
//! what a model sees, `finetune` those about training, `load` those about how much is asked at a time, `lora` the adapters of an object, `metric` and `scoring` those about judging,
//! `paradigm` what kind of learning it is about, `measure` those about sampling, power and limits, `gate` those about regressions, `suite` scores over several tasks,
//! `watch` following a training run, `server` where a server is, `quantize` models that are made smaller; `toml` is the table reader that remembers lines.

mod data;
mod finetune;
mod gate;
mod load;
mod lora;
mod measure;
mod metric;
mod paradigm;
mod prompt;
mod quantize;
mod read;
mod scoring;
mod server;
mod suite;
mod toml;
pub mod watch;

pub use finetune::Finetune;
pub use gate::Gate;
pub use load::{Latency, Load, Rate};
pub use lora::Adapter;
pub use measure::{Cooldown, Limits, Measure, Power, PowerSource};
pub use metric::Metric;
pub use paradigm::Paradigm;
pub use quantize::{Quantize, variant_and_setting};
pub use scoring::{Compat, Scoring, Tolerance};
pub use server::Address;
pub use suite::{Average, Suite};
pub use toml::parse_duration as duration;

use crate::backend::loader::OPENAI;
use crate::problem::Problem;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most test cases that one job may make; a sweep beyond that is a slip.
pub const MAX_CASES: usize = 10_000;

/// A benchmarking job.
#[derive(Debug, Clone)]
pub struct Job {
    pub path: PathBuf,
    /// The file as it was read.
    pub text: String,
    pub name: String,
    /// Untimed calls of the measured shape, per case.
    pub warmup: u32,
    /// Timed passes over the dataset, at least 1.
    pub repeat: u32,
    /// Per record.
    pub timeout: Duration,
    /// For loading backend and model.
    pub load_timeout: Duration,
    /// Hosts read what they need and write nothing, where the kernel can see to it.
    pub sandbox: bool,
    /// Start also what needs more memory than is free.
    pub force_memory: bool,
    pub measure: Measure,
    /// Object instances: sweeps are resolved.
    pub instances: Vec<Instance>,
    pub tasks: Vec<Task>,
    pub suites: Vec<Suite>,
    pub rank_by: Vec<SortKey>,
    pub watch: watch::Watch,
}

/// One system under test, every parameter fixed.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Name of its `[[object]]`.
    pub object: String,
    /// The object's name, with its number in the sweep when there is one: `tiny`, or `tiny.3`.
    pub id: String,
    /// A built-in name or an absolute path of a plugin.
    pub backend: String,
    /// As written in the job; empty when the object has none. A server's model has a name only.
    pub model: String,
    /// Absolute; `None` when the object has none, or a name only.
    pub model_path: Option<PathBuf>,
    /// In the order of the job file, as the backend gets them: see [`path_param`].
    pub params: Vec<(String, String)>,
    /// The job file's, absolute.
    pub folder: PathBuf,
    pub chat: ChatSpec,
    /// LoRA adapters that act on the model together; `None`: the object does not speak of any.
    pub lora: Option<Vec<Adapter>>,
    /// As the job says; `None`: see [`Paradigm::of`].
    pub paradigm: Option<Paradigm>,
    /// The model is made out of `model` before it is run; then `model_path` is where it is.
    pub quantize: Option<Quantize>,
}

/// Whether a model is asked in the form of a conversation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChatSpec {
    pub template: ChatTemplate,
    /// For the template, beyond what every chat template gets: `enable_thinking`. An object.
    pub variables: serde_json::Value,
    /// As written in the job.
    pub text: String,
}

/// Where a chat template comes from.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum ChatTemplate {
    /// No chat: the prompt is the text.
    #[default]
    Off,
    /// The backend tells the model's own.
    Model,
    /// Absolute.
    File(PathBuf),
}

impl Instance {
    /// Does it stand for each checkpoint of a training run in turn?
    pub fn is_checkpoint(&self) -> bool {
        self.model == watch::CHECKPOINT
    }

    /// `quantize=Q4_0 threads=2 n_ctx=1024`, as written in the job, `chat=…` where there is one, and `lora=a.gguf@0.5` or `lora=none`.
    pub fn params_text(&self) -> String {
        let folder = format!("{}/", self.folder.display());
        let written = |v: &'_ String| v.strip_prefix(&folder).filter(|v| is_beside(v)).unwrap_or(v).to_owned();
        let chat = (self.chat.template != ChatTemplate::Off).then(|| format!("chat={}", self.chat.text));
        let quantize = self.quantize.as_ref().map(|q| format!("quantize={}", q.text()));
        let lora = self.lora.as_ref().map(|adapters| format!("{}={}", lora::KEY, lora::text(adapters)));
        let pairs = self.params.iter().map(|(k, v)| format!("{k}={}", written(v)));
        quantize.into_iter().chain(pairs).chain(chat).chain(lora).collect::<Vec<_>>().join(" ")
    }

    /// Is `other` the same model, opened in the same way, with other adapters?
    pub fn shares_base(&self, other: &Instance) -> bool {
        let with_own = Instance { id: other.id.clone(), lora: other.lora.clone(), ..self.clone() };
        self.lora.is_some() && other.lora.is_some() && with_own == *other
    }
}

impl Instance {
    /// Where the object is, if it is a server.
    pub fn address(&self) -> Option<Address> {
        let url = self.params.iter().find(|(key, _)| key == "url").filter(|_| self.backend == OPENAI);
        url.and_then(|(_, url)| Address::parse(url))
    }
}

/// Is a parameter's value a path from the job file's folder? It begins with `./` or `../`.
fn is_beside(value: &str) -> bool {
    value.starts_with("./") || value.starts_with("../")
}

/// A parameter's value as a backend gets it: what begins with `./` or `../` becomes absolute, from `folder` on; all
/// else stays as it is, because only the backend knows what is a path.
pub fn path_param(value: String, folder: &Path) -> String {
    if is_beside(&value) { format!("{}/{value}", folder.display()) } else { value }
}

/// Dataset + prompt + method + scenario + metrics.
#[derive(Debug, Clone)]
pub struct Task {
    pub name: String,
    /// Line of the task in the job file, for problems found later.
    pub line: u64,
    /// Absolute; several files are subjects of one task.
    pub datasets: Vec<PathBuf>,
    /// Subjects whose results are put together, too.
    pub groups: Vec<Group>,
    pub method: Method,
    pub scenario: Scenario,
    /// `offline`: how many requests run together; `None`: as many as pay.
    pub batch: Option<u32>,
    /// Under `server` and `multi-stream`.
    pub load: Option<Load>,
    pub shots: Option<Shots>,
    pub prompt: PromptSpec,
    pub metrics: Vec<Metric>,
    pub scoring: Scoring,
    pub selection: Selection,
    /// Passes go on, one after the other, until so long has gone by; the first and the last part are compared.
    pub sustained: Option<Duration>,
    /// As the job says; `None`: see [`Paradigm::of`].
    pub paradigm: Option<Paradigm>,
}

/// Subjects of a task under one name; a subject may be in several groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub subjects: Vec<String>,
}

/// Which records of a task are asked, over all its files, in their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Selection {
    /// So many at the beginning are passed over.
    pub offset: u64,
    /// Of those behind, so many at the most; `None`: all.
    pub n: Option<u64>,
    /// Drawn at random, with this seed; `None`: the first.
    pub seed: Option<u64>,
}

/// How a record is scored.
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    /// Log-likelihood of each option.
    Choice(Options),
    /// Greedy text, compared with the answer.
    Generate {
        /// The output ends before the first of these.
        stop: Vec<String>,
        /// Most new tokens.
        max_tokens: u32,
    },
    /// Log-likelihood of whole texts.
    Perplexity(Windows),
    /// The last word of texts.
    Cloze,
    /// Distributions over whole texts, against those of the original.
    Divergence(Windows),
    /// The model is trained further on texts, and may be judged by another task before and after.
    Finetune(Finetune),
}

impl Method {
    /// Are its records raw texts, to which nobody wrote questions or answers?
    pub fn is_of_raw_text(&self) -> bool {
        matches!(self, Method::Perplexity(_) | Method::Cloze)
    }

    /// Is each of its records answered right or wrong?
    pub fn is_right_or_wrong(&self) -> bool {
        matches!(self, Method::Choice(_) | Method::Generate { .. } | Method::Cloze)
    }

    /// Its word in the job file.
    pub fn name(&self) -> &'static str {
        match self {
            Method::Choice(_) => "choice",
            Method::Generate { .. } => "generate",
            Method::Perplexity(_) => "perplexity",
            Method::Cloze => "cloze",
            Method::Divergence(_) => "divergence",
            Method::Finetune(_) => "finetune",
        }
    }

    /// How whole texts are cut, if it is about them: nothing is right or wrong then.
    pub fn windows(&self) -> Option<&Windows> {
        match self {
            Method::Perplexity(windows) | Method::Divergence(windows) => Some(windows),
            _ => None,
        }
    }
}

/// What stands for an option of a `choice` task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Options {
    /// `" A"`, `" B"`, …
    Letter,
    /// A blank and the option's own text.
    Text,
    /// The option is all that a model sees; its mean log-likelihood per token counts.
    Whole,
    /// Each stands in the question, and the answer, a text that is the same for all, is scored after it.
    InQuestion,
}

/// How a text that does not fit the context is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    pub scheme: WindowScheme,
    /// Tokens of one window; `None`: as many as fit.
    pub window: Option<u32>,
    /// New tokens per window after the first; `None`: all of it.
    pub stride: Option<u32>,
}

/// Whose windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowScheme {
    /// lm-eval's `loglikelihood_rolling`: every token once.
    Rolling,
    /// llama-perplexity's: whole windows only, and of each the second half.
    LlamaCpp,
}

/// When records are handed to the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// One at a time, each from an empty cache: latency.
    SingleStream,
    /// All at once: throughput. Prompts that begin alike share that part, and a backend may run several together.
    Offline,
    /// At random times: latency under load.
    Server,
    /// Several at a time, the next when all are answered.
    MultiStream,
}

impl Scenario {
    /// All of them by their words.
    pub const ALL: &'static [(&'static str, Scenario)] = &[
        ("single-stream", Scenario::SingleStream),
        ("offline", Scenario::Offline),
        ("server", Scenario::Server),
        ("multi-stream", Scenario::MultiStream),
    ];

    /// Its word in the job file.
    pub fn name(self) -> &'static str {
        Scenario::ALL.iter().find(|(_, scenario)| *scenario == self).map_or("", |(name, _)| name)
    }
}

/// `n` records of `from` stand, answered, before each question.
#[derive(Debug, Clone, PartialEq)]
pub struct Shots {
    pub n: usize,
    /// Absolute; several files are subjects.
    pub from: Vec<PathBuf>,
    pub pick: Pick,
    pub seed: u64,
    /// In a chat each example is a turn of the user and one of the assistant; else all is one turn.
    pub turns: bool,
}

/// Which records of a dev split are examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    First,
    /// Drawn once per task and subject, so that a backend can keep what it made of them.
    Random,
    /// Drawn for each record anew, as lm-eval's default sampler does.
    RandomPerRecord,
}

/// How a record becomes a prompt; Jinja templates.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PromptSpec {
    /// The question as it is asked, without its answer.
    pub question: String,
    /// What follows the question in an example.
    pub answer: String,
    /// Between examples.
    pub separator: String,
    /// Between the last example and the question, if not the same.
    pub last_separator: Option<String>,
    /// Once, before everything; in a chat part of the system's turn.
    pub prefix: String,
    /// The system's turn in a chat; before the prefix elsewhere.
    pub system: String,
    /// The context in which `acc_mutual_info` scores an option without its question.
    pub unconditional: String,
    /// What templates see as `subject_name`, by subject; of others the subject with blanks for `_`.
    pub subject_names: Vec<(String, String)>,
}

/// One key of `[rank] by`.
#[derive(Debug, Clone, PartialEq)]
pub struct SortKey {
    /// A column of cases.csv.
    pub column: String,
    pub descending: bool,
}

/// One object instance × one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaseRef {
    pub instance: usize,
    pub task: usize,
}

impl Job {
    /// Reads a job file, and tells all problems that the file itself shows; datasets and models are looked for
    /// but not opened. With problems the job is what could be understood: enough to look for more, not to run.
    pub fn read(path: &Path) -> (Option<Job>, Vec<Problem>) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) => {
                let what = format!("cannot be read: {e}");
                return (None, vec![Problem::new(path, 0, what, "give the path of a job file (TOML)")]);
            }
        };
        Job::of_text(path, text)
    }

    /// [`Job::read`] of a text that was or is at `path`, as a manifest keeps it.
    pub fn of_text(path: &Path, text: String) -> (Option<Job>, Vec<Problem>) {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        read::job(path, &absolute, text)
    }

    /// Every instance with every task: instance by instance, so that a board is asked about one model after
    /// the other. Of those that are one model with several adapters, task by task: they share a load.
    pub fn cases(&self) -> Vec<CaseRef> {
        let mut cases = Vec::with_capacity(self.instances.len() * self.tasks.len());
        let mut first = 0;
        for group in self.instances.chunk_by(Instance::shares_base) {
            let group = first..first + group.len();
            first = group.end;
            for task in 0..self.tasks.len() {
                cases.extend(group.clone().map(|instance| CaseRef { instance, task }));
            }
        }
        cases
    }

    /// What `instance` is held against: the first of its object that differs from it in nothing but how the model is kept.
    pub fn original<'a>(&'a self, instance: &'a Instance) -> &'a Instance {
        let setting = |i: &Instance| variant_and_setting(&i.params_text()).1;
        let same = |i: &&Instance| {
            i.object == instance.object && i.backend == instance.backend && setting(i) == setting(instance)
        };
        self.instances.iter().find(same).unwrap_or(instance)
    }

    /// The name of a case: `tiny.3/colours`.
    pub fn case_id(&self, case: CaseRef) -> String {
        format!("{}/{}", self.instances[case.instance].id, self.tasks[case.task].name)
    }

    /// Columns of the tasks' own metrics in cases.csv, each with its interval, in the order of the job, each once,
    /// without `acc`.
    pub fn metric_columns(&self) -> Vec<&'static str> {
        let mut metrics: Vec<Metric> = Vec::new();
        for metric in self.tasks.iter().flat_map(|t| &t.metrics) {
            if *metric != Metric::Acc && !metrics.contains(metric) {
                metrics.push(*metric);
            }
        }
        metrics.into_iter().flat_map(Metric::columns).collect()
    }
}
