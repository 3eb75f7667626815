//! Ianvs' words and ours: metrics and hyperparameters by their names, since what is behind a name is Python. It must not
//! know of files.

use crate::job::Metric;
use crate::results::case_columns;

/// Metrics of Ianvs' LLM examples, in small letters with `_` for blanks, and the columns of cases.csv that hold the
/// same. Theirs are means over records, ours medians.
const METRICS: &[(&str, &str)] = &[
    ("accuracy", "acc"),
    ("rougel", "rouge_l"),
    ("latency", "e2e_ms_p50"),
    ("prefill_latency", "ttft_ms_p50"),
    ("time_to_first_token", "ttft_ms_p50"),
    ("ttft", "ttft_ms_p50"),
    ("internal_token_latency", "itl_ms_p50"),
    // Requests per time in the example for one board …
    ("throughput", "records_s"),
    ("mem_usage", "rss_peak_mib"),
    ("energy", "energy_j"),
    ("power", "power_w_avg"),
];

/// Hyperparameters, and parameters of the built-in llama.cpp.
const PARAMETERS: &[(&str, &str)] = &[
    ("context_length", "n_ctx"),
    ("n_threads", "threads"),
    ("n_threads_batch", "threads_batch"),
    ("use_mmap", "mmap"),
    ("use_mlock", "mlock"),
];

/// Hyperparameters that have the same name here.
const SAME: &[&str] = &[
    "affinity",
    "flash_attn",
    "mlock",
    "mmap",
    "n_batch",
    "n_ctx",
    "n_gpu_layers",
    "n_ubatch",
    "seed",
    "temperature",
    "threads",
    "threads_batch",
    "top_k",
    "top_p",
    "type_k",
    "type_v",
];

/// What a hyperparameter sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sets {
    Model,
    Backend,
    /// Most new tokens: part of the task here.
    MaxTokens,
    /// The template of a prompt, and what ends an answer: parts of the task, too.
    Prompt,
    Stop,
    Parameter(&'static str),
    /// Nothing that is known here.
    Nothing,
}

/// The column of cases.csv for a metric. `tokens`: the job counts its throughput in tokens, as the example for edge and
/// cloud does.
pub fn metric(name: &str, tokens: bool) -> Option<&'static str> {
    let plain = name.to_lowercase().replace([' ', '-'], "_");
    if plain == "throughput" && tokens {
        return Some("decode_tok_s");
    }
    let known = METRICS.iter().find(|(theirs, _)| *theirs == plain).map(|(_, ours)| *ours);
    known.or_else(|| Metric::ALL.iter().map(|(word, _)| *word).find(|word| *word == plain)).or_else(|| {
        let is_figure = |column: &&str| *column == plain && column.contains('_');
        case_columns(&[]).into_iter().find(is_figure)
    })
}

/// Has a task to ask for it? Else it is measured anyway.
pub fn is_asked_for(column: &str) -> bool {
    column != "acc" && Metric::ALL.iter().any(|(word, _)| *word == column)
}

/// What the hyperparameter `name` sets.
pub fn hyperparameter(name: &str) -> Sets {
    match name {
        "model_path" | "model" | "model_url" | "model_name" | "model_file" => Sets::Model,
        "backend" => Sets::Backend,
        "max_tokens" | "max_new_tokens" | "max_out_len" | "n_predict" => Sets::MaxTokens,
        "prompt" => Sets::Prompt,
        "stop" => Sets::Stop,
        _ => {
            let same = SAME.iter().find(|word| **word == name).copied();
            let known = same.or_else(|| PARAMETERS.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours));
            known.map_or(Sets::Nothing, Sets::Parameter)
        }
    }
}
