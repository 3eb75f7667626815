//! `edgebench quantize`.

use super::{FAILED, MACHINE, OK, REFUSED};
use argh::FromArgs;
use edgebench::bench;
use edgebench::job::Quantize as Kind;
use edgebench::testcase::smaller::{self, Request};
use std::fs::File;
use std::path::{Path, PathBuf};

#[derive(FromArgs)]
/// Make a smaller model out of an F16, BF16 or F32 one.
#[argh(
    subcommand,
    name = "quantize",
    note = "In a job, quantize = [\"Q8_0\", \"Q4_K_M\"] makes the models and holds them against the original.",
    example = "{command_name} qwen-f16.gguf Q4_K_M -o qwen-q4_k_m.gguf",
    error_code(0, "done"),
    error_code(1, "the backend could not do it"),
    error_code(2, "bad usage: nothing was made"),
    error_code(3, "the file cannot be written")
)]
pub struct Quantize {
    /// the original
    #[argh(positional)]
    model: PathBuf,
    /// what to make, in the backend's words: Q8_0, Q4_K_M, Q4_0, Q2_K; with :pure behind it each matrix gets that type
    #[argh(positional)]
    kind: String,
    /// the file to write; it must not be there
    #[argh(option, short = 'o')]
    out: PathBuf,
    /// importance matrix, as llama-imatrix makes it
    #[argh(option, arg_name = "file")]
    imatrix: Option<PathBuf>,
    /// threads; default: as many as the backend thinks best
    #[argh(option, short = 't', default = "0", arg_name = "n")]
    threads: u32,
    /// a built-in backend's name, or a plugin's path; default: the first built-in one
    #[argh(option)]
    backend: Option<String>,
}

/// Runs the command; its exit code.
pub fn run(arguments: &Quantize) -> u8 {
    let backend = match bench::backend(arguments.backend.as_deref().unwrap_or_default()) {
        Ok(backend) => backend,
        Err(e) => return refuse(&e),
    };
    if let Some(missing) =
        [Some(&arguments.model), arguments.imatrix.as_ref()].into_iter().flatten().find(|p| !p.is_file())
    {
        return refuse(&format!("{}: no such file", missing.display()));
    }
    if arguments.out.exists() {
        return refuse(&format!("{}: is there already; give another -o, or remove it", arguments.out.display()));
    }
    let mut part = arguments.out.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let io = |path: &Path, e: std::io::Error| {
        eprintln!("edgebench: {}: {e}", path.display());
        MACHINE
    };
    if let Err(e) = File::create(&part) {
        return io(&part, e);
    }
    let quantize = Kind::parse(&arguments.kind, arguments.imatrix.clone());
    let (original, threads) = (arguments.model.as_path(), arguments.threads);
    let request = Request { backend: &backend, original, quantize: &quantize, threads, sandbox: true };
    let made = smaller::write(&request, &part);
    let code = match made {
        Err(why) => {
            eprintln!("edgebench: {}: {}", arguments.model.display(), why.reason);
            FAILED
        }
        Ok(made) => match std::fs::rename(&part, &arguments.out) {
            Err(e) => io(&arguments.out, e),
            Ok(()) => {
                println!("{}: {}", arguments.out.display(), made.text());
                OK
            }
        },
    };
    let _ = std::fs::remove_file(&part);
    code
}

fn refuse(why: &str) -> u8 {
    eprintln!("edgebench: quantize: {why}");
    REFUSED
}
