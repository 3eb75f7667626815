//! `edgebench bench`: llama-bench's options, by its short names and its long ones.

use super::{FAILED, MACHINE, OK, REFUSED, word};
use argh::FromArgs;
use edgebench::bench::{self, BenchError, Format, Objects, Request, Settings, shape};
use edgebench::testcase::run::Verbosity;
use std::path::PathBuf;
use std::time::Duration;

/// Options of llama-bench that are a dash and several letters, and what they are called here.
const SHORT: &[(&str, &str)] = &[
    ("-pg", "--pg"),
    ("-ub", "--ubatch-size"),
    ("-ctk", "--cache-type-k"),
    ("-ctv", "--cache-type-v"),
    ("-fa", "--flash-attn"),
    ("-ngl", "--n-gpu-layers"),
];

/// The words of a command line with llama-bench's options of several letters spelled out, where a command has them.
pub fn spelled_out<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let long = |word: &'a str| SHORT.iter().find(|(short, _)| *short == word).map_or(word, |(_, long)| long);
    match words.first() {
        Some(&("bench" | "tune")) => words.iter().map(|&word| long(word)).collect(),
        _ => words.to_vec(),
    }
}

#[derive(FromArgs)]
/// How fast a model evaluates prompts and generates: llama-bench's tests, for any backend.
#[argh(
    subcommand,
    name = "bench",
    note = "A list (-t 1,2,4), a range (-d 0-4096+1024, -t 1-8*2) or a repeated option is swept. -pg, -ub, -ctk, -ctv, -fa\nand -ngl are understood as in llama-bench. -b is the batch size, as there; the backend is --backend.\ntok/s is the median of the repetitions; each is warmed up in the measured shape. -d N: N tokens are in the KV cache\nbefore anything is timed. With llama.cpp each test has a context just large enough, unless --param n_ctx=N is given.",
    example = "{command_name} -m qwen-q4_0.gguf -p 512 -n 128 -d 0,4096 -t 2,4",
    error_code(0, "done"),
    error_code(1, "a test failed; its row says how, the others stand"),
    error_code(2, "bad usage: nothing ran")
)]
pub struct Bench {
    /// model; may be repeated
    #[argh(option, short = 'm')]
    model: Vec<PathBuf>,
    /// tokens of a prompt (default 512; 0: no such test)
    #[argh(option, short = 'p', arg_name = "n")]
    n_prompt: Vec<String>,
    /// tokens to generate (default 128; 0: no such test)
    #[argh(option, short = 'n', arg_name = "n")]
    n_gen: Vec<String>,
    /// a prompt of P tokens and N generated, timed together; may be repeated (-pg P,N)
    #[argh(option, arg_name = "p,n")]
    pg: Vec<String>,
    /// tokens in the KV cache before each test (default 0)
    #[argh(option, short = 'd', arg_name = "n")]
    n_depth: Vec<String>,
    /// repetitions of each test (default 5)
    #[argh(option, short = 'r', default = "5", arg_name = "n")]
    repetitions: u32,
    /// more repetitions until so many seconds were timed, for energy: 5 are needed for a good figure (default 0)
    #[argh(option, default = "0", arg_name = "s")]
    seconds: u32,
    /// the backend's threads
    #[argh(option, short = 't', arg_name = "n")]
    threads: Vec<String>,
    /// prompt tokens handed over at once: the backend's n_batch
    #[argh(option, short = 'b', arg_name = "n")]
    batch_size: Vec<String>,
    /// prompt tokens computed at once: n_ubatch (-ub)
    #[argh(option, arg_name = "n")]
    ubatch_size: Vec<String>,
    /// type_k (-ctk)
    #[argh(option, arg_name = "type")]
    cache_type_k: Vec<String>,
    /// type_v (-ctv)
    #[argh(option, arg_name = "type")]
    cache_type_v: Vec<String>,
    /// flash_attn (-fa)
    #[argh(option, arg_name = "0|1")]
    flash_attn: Vec<String>,
    /// n_gpu_layers (-ngl)
    #[argh(option, arg_name = "n")]
    n_gpu_layers: Vec<String>,
    /// any other parameter of the backend, as key=value; a list is swept; may be repeated
    #[argh(option, arg_name = "key=value")]
    param: Vec<String>,
    /// a built-in backend (default: llama), or a plugin's path
    #[argh(option, default = "String::new()")]
    backend: String,
    /// md (default), csv or jsonl
    #[argh(option, short = 'o', default = "String::from(\"md\")")]
    output: String,
    /// do not warm up
    #[argh(switch)]
    no_warmup: bool,
    /// let hosts write, for SDKs that must
    #[argh(switch)]
    no_sandbox: bool,
    /// seconds that one request may take (default 600)
    #[argh(option, default = "600", arg_name = "s")]
    timeout: u32,
    /// no progress
    #[argh(switch, short = 'q')]
    quiet: bool,
}

/// Measures, prints, and gives the exit code.
pub fn run(arguments: &Bench) -> u8 {
    exit_code("bench", request(arguments), bench::run)
}

/// Does what is asked, if that can be understood, and tells how it ended.
pub fn exit_code<R>(command: &str, request: Result<R, String>, run: impl FnOnce(&R) -> Result<bool, BenchError>) -> u8 {
    match request.map_err(BenchError::Input).and_then(|request| run(&request)) {
        Ok(true) => OK,
        Ok(false) => FAILED,
        Err(e) => {
            eprintln!("edgebench: {command}: {e}");
            if matches!(e, BenchError::Input(_)) { REFUSED } else { MACHINE }
        }
    }
}

fn request(arguments: &Bench) -> Result<Request, String> {
    let or = |option: &str, lists: &[String], default: u32| match lists {
        [] => Ok(vec![default]),
        lists => shape::lengths(option, lists),
    };
    let prompts = or("-p", &arguments.n_prompt, 512)?;
    let outputs = or("-n", &arguments.n_gen, 128)?;
    let depths = or("-d", &arguments.n_depth, 0)?;
    let pair = |text: &String| {
        let pair = text.split_once(',').and_then(|(p, n)| Some((p.trim().parse().ok()?, n.trim().parse().ok()?)));
        pair.filter(|&(p, n): &(u32, u32)| p <= 1 << 24 && n <= 1 << 24)
            .ok_or_else(|| format!("-pg {text}: write it like 512,128"))
    };
    let both: Vec<(u32, u32)> = arguments.pg.iter().map(pair).collect::<Result<_, String>>()?;
    let tests = shape::tests(&prompts, &outputs, &both, &depths);
    if tests.is_empty() {
        return Err("nothing to measure: -p, -n and -pg are all 0".to_owned());
    }
    if arguments.repetitions == 0 {
        return Err("-r 0: give at least 1 repetition".to_owned());
    }
    let settings = Settings {
        repetitions: arguments.repetitions,
        at_least: Duration::from_secs(arguments.seconds.into()),
        warmup: !arguments.no_warmup,
        timeout: Duration::from_secs(arguments.timeout.max(1).into()),
        sandbox: !arguments.no_sandbox,
    };
    let lists = Lists {
        threads: &arguments.threads,
        batch_size: &arguments.batch_size,
        ubatch_size: &arguments.ubatch_size,
        cache_type_k: &arguments.cache_type_k,
        cache_type_v: &arguments.cache_type_v,
        flash_attn: &arguments.flash_attn,
        n_gpu_layers: &arguments.n_gpu_layers,
        param: &arguments.param,
    };
    let (models, backend) = (arguments.model.clone(), arguments.backend.clone());
    Ok(Request {
        objects: Objects { models, backend, sweeps: sweeps(&lists)? },
        tests,
        settings,
        format: word("-o", &arguments.output, Format::ALL)?,
        verbosity: if arguments.quiet { Verbosity::Quiet } else { Verbosity::Normal },
    })
}

/// The options that are lists of a parameter's values.
pub struct Lists<'a> {
    pub threads: &'a [String],
    pub batch_size: &'a [String],
    pub ubatch_size: &'a [String],
    pub cache_type_k: &'a [String],
    pub cache_type_v: &'a [String],
    pub flash_attn: &'a [String],
    pub n_gpu_layers: &'a [String],
    pub param: &'a [String],
}

/// The parameters that are given, each with its values.
///
/// # Errors
/// A sentence.
pub fn sweeps(lists: &Lists) -> Result<Vec<(String, Vec<String>)>, String> {
    let named = [
        ("threads", lists.threads),
        ("n_batch", lists.batch_size),
        ("n_ubatch", lists.ubatch_size),
        ("type_k", lists.cache_type_k),
        ("type_v", lists.cache_type_v),
        ("flash_attn", lists.flash_attn),
        ("n_gpu_layers", lists.n_gpu_layers),
    ];
    let mut sweeps: Vec<(String, Vec<String>)> = Vec::new();
    let mut add = |key: &str, list: &str| {
        let mut values = shape::values(list)?;
        match sweeps.iter_mut().find(|(known, _)| known == key) {
            Some((_, all)) => all.append(&mut values),
            None => sweeps.push((key.to_owned(), values)),
        }
        Ok::<(), String>(())
    };
    for (key, values) in named {
        values.iter().try_for_each(|list| add(key, list))?;
    }
    for param in lists.param {
        let (key, list) = param.split_once('=').ok_or_else(|| format!("--param {param}: write it like threads=2"))?;
        add(key.trim(), list)?;
    }
    Ok(sweeps)
}
