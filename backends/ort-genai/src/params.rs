//! The `params` of a job's object, parsed and checked: every key and value that is refused says what is allowed.
//! It owns names, defaults and ranges.
//! It must not know files, libraries or the C boundary.

use crate::cpu::default_threads;
use crate::failure::Failure;
use std::path::PathBuf;

/// All keys, for the message about one that is not known.
const KEYS: &str = "lib, ort_lib, threads, provider, provider_options, n_ctx";

/// How a model is to be opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// libonnxruntime-genai.so, or a folder that holds it.
    pub lib: Option<PathBuf>,
    /// libonnxruntime.so, or a folder that holds it.
    pub ort_lib: Option<PathBuf>,
    /// Threads within an operator; always set, because ONNX Runtime's own default knows no affinity.
    pub threads: u32,
    /// Execution provider.
    pub provider: String,
    /// Its options.
    pub provider_options: Vec<(String, String)>,
    /// Tokens that a sequence may hold; `None`: what the model was made for, at most 4096.
    pub n_ctx: Option<u32>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            lib: None,
            ort_lib: None,
            threads: default_threads(),
            provider: "cpu".to_owned(),
            provider_options: Vec::new(),
            n_ctx: None,
        }
    }
}

impl Options {
    /// # Errors
    /// `EB_ERR_INVALID` for keys that are not known and values that can never work.
    pub fn parse<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Options, Failure> {
        let mut options = Options::default();
        for (key, value) in pairs {
            match key {
                "lib" => options.lib = Some(path(key, value)?),
                "ort_lib" => options.ort_lib = Some(path(key, value)?),
                "threads" => options.threads = number(key, value, 1, 512)?.unwrap_or(options.threads),
                "provider" => options.provider = provider(value)?,
                "provider_options" => options.provider_options = provider_options(value)?,
                "n_ctx" => options.n_ctx = number(key, value, 2, 1 << 24)?,
                _ => return Err(Failure::invalid(format!("unknown parameter `{key}`: ort-genai knows {KEYS}"))),
            }
        }
        Ok(options)
    }

    /// Does it run on the CPU, with ONNX Runtime's own kernels?
    pub fn is_cpu(&self) -> bool {
        self.provider == "cpu"
    }
}

fn path(key: &str, value: &str) -> Result<PathBuf, Failure> {
    if value.is_empty() || value.contains('\0') {
        return Err(Failure::invalid(format!("{key} = {value:?}: give a file or a folder, or leave it out")));
    }
    Ok(PathBuf::from(value))
}

fn number(key: &str, value: &str, low: u32, high: u32) -> Result<Option<u32>, Failure> {
    if value == "auto" {
        return Ok(None);
    }
    match value.parse() {
        Ok(n) if (low..=high).contains(&n) => Ok(Some(n)),
        _ => Err(Failure::invalid(format!("{key} = {value:?}: give a number from {low} to {high}, or \"auto\""))),
    }
}

/// The CPU has no provider of its own in GenAI's configuration: its name is the absence of others.
fn provider(value: &str) -> Result<String, Failure> {
    let short = value.strip_suffix("ExecutionProvider").unwrap_or(value);
    if short.eq_ignore_ascii_case("cpu") {
        return Ok("cpu".to_owned());
    }
    if short.is_empty() || !short.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
        return Err(Failure::invalid(format!("provider = {value:?}: give a name such as cpu, OpenVINO, QNN or cuda")));
    }
    Ok(short.to_owned())
}

fn provider_options(value: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut options = Vec::new();
    for pair in value.split(';').map(str::trim).filter(|p| !p.is_empty()) {
        match pair.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() && !pair.contains('\0') => {
                options.push((key.trim().to_owned(), value.trim().to_owned()));
            }
            _ => {
                return Err(Failure::invalid(format!(
                    "provider_options: {pair:?} is no pair; write \"key=value;key=value\""
                )));
            }
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgebench_abi::EB_ERR_INVALID;

    fn parse(pairs: &[(&str, &str)]) -> Result<Options, Failure> {
        Options::parse(pairs.iter().copied())
    }

    #[test]
    fn all_parameters_are_read() {
        let options = parse(&[
            ("lib", "/a/b.so"),
            ("ort_lib", "/c"),
            ("threads", "3"),
            ("provider", "OpenVINO"),
            ("provider_options", "device_type=CPU; cache_dir = /tmp/x=y ;"),
            ("n_ctx", "1024"),
        ])
        .unwrap();
        assert_eq!(options.lib, Some("/a/b.so".into()));
        assert_eq!((options.threads, options.n_ctx), (3, Some(1024)));
        assert!(!options.is_cpu());
        let pairs = [("device_type", "CPU"), ("cache_dir", "/tmp/x=y")];
        assert_eq!(options.provider_options, pairs.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert!(parse(&[("provider", "CPUExecutionProvider")]).unwrap().is_cpu());
        assert!(parse(&[("threads", "auto"), ("n_ctx", "auto")]).unwrap().threads >= 1);
    }

    #[test]
    fn refusals_name_the_key_and_the_way_out() {
        for (key, value, word) in [
            ("n_threads", "2", "threads, provider"),
            ("threads", "0", "1 to 512"),
            ("threads", "two", "auto"),
            ("n_ctx", "1", "from 2"),
            ("provider", "", "OpenVINO"),
            ("provider_options", "device_type", "key=value"),
            ("lib", "", "file or a folder"),
        ] {
            let failure = parse(&[(key, value)]).unwrap_err();
            assert_eq!(failure.code, EB_ERR_INVALID);
            assert!(failure.message.contains(key) && failure.message.contains(word), "{}", failure.message);
            assert!(failure.message.len() < 248);
        }
    }
}
