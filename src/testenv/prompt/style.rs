//! How other tools put the questions of the benchmarks that people publish: one TOML file per tool and benchmark, in
//! the form that a user's own style file has too (`job::style` reads both). The files are all that this knows.

/// Tool, benchmark, file.
const STYLES: &[(&str, &str, &str)] = &[
    ("lm-eval", "arc", include_str!("styles/lm-eval/arc.toml")),
    ("lm-eval", "bbh", include_str!("styles/lm-eval/bbh.toml")),
    ("lm-eval", "boolq", include_str!("styles/lm-eval/boolq.toml")),
    ("lm-eval", "ceval", include_str!("styles/lm-eval/ceval.toml")),
    ("lm-eval", "cmmlu", include_str!("styles/lm-eval/cmmlu.toml")),
    ("lm-eval", "gsm8k", include_str!("styles/lm-eval/gsm8k.toml")),
    ("lm-eval", "hellaswag", include_str!("styles/lm-eval/hellaswag.toml")),
    ("lm-eval", "mmlu", include_str!("styles/lm-eval/mmlu.toml")),
    ("lm-eval", "truthfulqa", include_str!("styles/lm-eval/truthfulqa.toml")),
    ("lm-eval", "winogrande", include_str!("styles/lm-eval/winogrande.toml")),
    ("opencompass", "arc", include_str!("styles/opencompass/arc.toml")),
    ("opencompass", "boolq", include_str!("styles/opencompass/boolq.toml")),
    ("opencompass", "ceval", include_str!("styles/opencompass/ceval.toml")),
    ("opencompass", "cmmlu", include_str!("styles/opencompass/cmmlu.toml")),
    ("opencompass", "gsm8k", include_str!("styles/opencompass/gsm8k.toml")),
    ("opencompass", "hellaswag", include_str!("styles/opencompass/hellaswag.toml")),
    ("opencompass", "mmlu", include_str!("styles/opencompass/mmlu.toml")),
    ("opencompass", "winogrande", include_str!("styles/opencompass/winogrande.toml")),
];

/// Names of subjects in prompts, by the benchmark that has them.
const SUBJECTS: &[(&str, &str)] =
    &[("ceval", include_str!("styles/subjects/ceval.toml")), ("cmmlu", include_str!("styles/subjects/cmmlu.toml"))];

/// Is there a tool of this name?
pub fn is_tool(name: &str) -> bool {
    STYLES.iter().any(|(tool, _, _)| *tool == name)
}

/// The benchmarks whose prompts by `tool` are known.
pub fn benchmarks(tool: &str) -> Vec<&'static str> {
    STYLES.iter().filter(|(t, _, _)| *t == tool).map(|(_, benchmark, _)| *benchmark).collect()
}

/// The benchmark that a task is called after: `cmmlu`, `cmmlu-law`, `arc_easy`.
pub fn benchmark_of(tool: &str, task: &str) -> Option<&'static str> {
    let word = task.split(['-', '_', '.', ' ']).next().unwrap_or(task).to_ascii_lowercase();
    benchmarks(tool).into_iter().find(|benchmark| *benchmark == word)
}

/// The style file of `tool` for `benchmark`.
pub fn built_in(tool: &str, benchmark: &str) -> Option<&'static str> {
    STYLES.iter().find(|(t, b, _)| *t == tool && *b == benchmark).map(|(_, _, text)| *text)
}

/// The file of subject names called `name`.
pub fn subjects(name: &str) -> Option<&'static str> {
    SUBJECTS.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

/// What there is.
pub fn subject_lists() -> Vec<&'static str> {
    SUBJECTS.iter().map(|(name, _)| *name).collect()
}
