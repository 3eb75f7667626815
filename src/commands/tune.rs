//! `edgebench tune`: what is tried is given as `bench`'s lists are.

use super::bench::{Lists, exit_code, sweeps};
use super::word;
use argh::FromArgs;
use edgebench::bench::shape::Test;
use edgebench::bench::{Objects, Settings};
use edgebench::job::duration;
use edgebench::testcase::run::Verbosity;
use edgebench::tune::{self, Goal, Request};
use std::path::PathBuf;
use std::time::Duration;

#[derive(FromArgs)]
/// Find the settings that are best for a model on this board, within a time budget.
#[argh(
    subcommand,
    name = "tune",
    note = "By successive halving: all settings are tried a little, the better half longer, and so on. With llama.cpp threads,\nbatches, flash attention and the KV cache's types are tried; what is given (-t 2,4) is tried instead, one value\nkeeps it as it is. Other backends: what is given, with -t and --param. What the backend does by itself is always\namong it. Flash attention and a quantised cache change scores a little: hold them against the task they are for.",
    example = "{command_name} -m qwen-q4_0.gguf --for prefill --budget 5m",
    error_code(0, "done: the table, and the object to paste into a job"),
    error_code(1, "nothing could be measured"),
    error_code(2, "bad usage: nothing ran")
)]
pub struct Tune {
    /// model
    #[argh(option, short = 'm')]
    model: Vec<PathBuf>,
    /// prefill, decode (default) or energy
    #[argh(option, long = "for", default = "String::from(\"decode\")", arg_name = "goal")]
    goal: String,
    /// time for all of it: 120s (default), 5m
    #[argh(option, default = "String::from(\"120s\")", arg_name = "time")]
    budget: String,
    /// tokens of the prompt, at the most (default 512)
    #[argh(option, short = 'p', default = "512", arg_name = "n")]
    n_prompt: u32,
    /// tokens to generate, at the most (default 64)
    #[argh(option, short = 'n', default = "64", arg_name = "n")]
    n_gen: u32,
    /// tokens in the KV cache before them (default 0)
    #[argh(option, short = 'd', default = "0", arg_name = "n")]
    n_depth: u32,
    /// threads to try
    #[argh(option, short = 't', arg_name = "n")]
    threads: Vec<String>,
    /// n_batch to try
    #[argh(option, short = 'b', arg_name = "n")]
    batch_size: Vec<String>,
    /// n_ubatch to try (-ub)
    #[argh(option, arg_name = "n")]
    ubatch_size: Vec<String>,
    /// type_k to try (-ctk)
    #[argh(option, arg_name = "type")]
    cache_type_k: Vec<String>,
    /// type_v to try (-ctv)
    #[argh(option, arg_name = "type")]
    cache_type_v: Vec<String>,
    /// flash_attn to try (-fa)
    #[argh(option, arg_name = "0|1")]
    flash_attn: Vec<String>,
    /// n_gpu_layers to try (-ngl)
    #[argh(option, arg_name = "n")]
    n_gpu_layers: Vec<String>,
    /// any other parameter of the backend to try, as key=value; may be repeated
    #[argh(option, arg_name = "key=value")]
    param: Vec<String>,
    /// a built-in backend (default: llama), or a plugin's path
    #[argh(option, default = "String::new()")]
    backend: String,
    /// let hosts write, for SDKs that must
    #[argh(switch)]
    no_sandbox: bool,
    /// seconds that one request may take (default 600)
    #[argh(option, default = "600", arg_name = "s")]
    timeout: u32,
    /// nothing but the table and the object
    #[argh(switch, short = 'q')]
    quiet: bool,
}

/// Measures, prints, and gives the exit code.
pub fn run(arguments: &Tune) -> u8 {
    exit_code("tune", request(arguments), tune::run)
}

fn request(arguments: &Tune) -> Result<Request, String> {
    let a = arguments;
    let goal = word("--for", &a.goal, Goal::ALL)?;
    let (prompt, output) = match goal {
        Goal::Prefill => (a.n_prompt, 0),
        Goal::Decode => (0, a.n_gen),
        Goal::Energy => (a.n_prompt, a.n_gen),
    };
    if prompt + output == 0 || a.n_prompt.max(a.n_gen).max(a.n_depth) > 1 << 24 {
        return Err("-p, -n, -d: give the numbers of tokens that are wanted".to_owned());
    }
    let lists = Lists {
        threads: &a.threads,
        batch_size: &a.batch_size,
        ubatch_size: &a.ubatch_size,
        cache_type_k: &a.cache_type_k,
        cache_type_v: &a.cache_type_v,
        flash_attn: &a.flash_attn,
        n_gpu_layers: &a.n_gpu_layers,
        param: &a.param,
    };
    Ok(Request {
        objects: Objects { models: a.model.clone(), backend: a.backend.clone(), sweeps: sweeps(&lists)? },
        goal,
        budget: duration(&a.budget).ok_or_else(|| format!("--budget {}: write it like 120s or 5m", a.budget))?,
        test: Test { prompt, output, depth: a.n_depth },
        settings: Settings {
            repetitions: 1,
            at_least: Duration::ZERO,
            warmup: true,
            timeout: Duration::from_secs(a.timeout.max(1).into()),
            sandbox: !a.no_sandbox,
        },
        verbosity: if a.quiet { Verbosity::Quiet } else { Verbosity::Normal },
    })
}
