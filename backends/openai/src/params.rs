//! The `params` of a job's object, parsed and checked: every key and value that is refused says what is allowed.
//! It owns names, defaults and ranges.
//! It must not know HTTP or the C boundary.

use crate::failure::Failure;
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::time::Duration;

/// All keys, for the message about one that is not known.
const KEYS: &str = "url, api, key_env, choice, concurrency, retries, timeout, connect_timeout, ca, body, pid";

/// Which of a server's two interfaces is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `/completions`: the prompt is the text.
    Completions,
    /// `/chat/completions`: the prompt is a conversation.
    Chat,
}

/// How options are to be scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The first of the following that the server offers.
    Auto,
    /// Log-likelihoods of the whole text, by `echo` and `logprobs`.
    Echo,
    /// The most likely first tokens.
    TopLogprobs,
    /// Not at all: the host lets the model write a letter.
    Generation,
}

/// How a server is to be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Up to and with `/v1`, no slash at the end.
    pub url: String,
    pub api: Api,
    /// Environment variable with the key.
    pub key_env: String,
    pub choice: Choice,
    /// Requests of one call that run at the same time.
    pub concurrency: usize,
    /// Further tries of a request.
    pub retries: u32,
    /// Longest silence of the server, before its answer and within.
    pub timeout: Duration,
    pub connect_timeout: Duration,
    /// Certificates (PEM) to trust instead of Mozilla's.
    pub ca: Option<PathBuf>,
    /// Goes into the body of each request.
    pub body: Map<String, Value>,
}

impl Options {
    /// # Errors
    /// `EB_ERR_INVALID` for keys that are not known and values that can never work.
    pub fn parse<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Options, Failure> {
        let mut options = Options {
            url: String::new(),
            api: Api::Completions,
            key_env: "OPENAI_API_KEY".to_owned(),
            choice: Choice::Auto,
            concurrency: 8,
            retries: 3,
            timeout: Duration::from_secs(600),
            connect_timeout: Duration::from_secs(10),
            ca: None,
            body: Map::new(),
        };
        for (key, value) in pairs {
            match key {
                "url" => options.url = url(value)?,
                "api" => options.api = word(key, value, &[("completions", Api::Completions), ("chat", Api::Chat)])?,
                "key_env" => options.key_env = name(key, value)?,
                "choice" => {
                    let words = [
                        ("auto", Choice::Auto),
                        ("echo", Choice::Echo),
                        ("top-logprobs", Choice::TopLogprobs),
                        ("generation", Choice::Generation),
                    ];
                    options.choice = word(key, value, &words)?;
                }
                "concurrency" => options.concurrency = number(key, value, 1, 1024)? as usize,
                "retries" => options.retries = number(key, value, 0, 100)? as u32,
                "timeout" => options.timeout = duration(key, value)?,
                "connect_timeout" => options.connect_timeout = duration(key, value)?,
                "ca" => options.ca = Some(PathBuf::from(name(key, value)?)),
                "body" => options.body = object(key, value)?,
                // The controller's: whose memory and processor are measured.
                "pid" => drop(number(key, value, 1, u64::from(u32::MAX))?),
                "key" | "api_key" => {
                    let what =
                        "a key in a job would end up in files: set OPENAI_API_KEY, or name a variable in key_env";
                    return Err(Failure::invalid(what));
                }
                _ => return Err(Failure::invalid(format!("unknown parameter `{key}`: openai knows {KEYS}"))),
            }
        }
        if options.url.is_empty() {
            return Err(Failure::invalid(
                "url is missing: say where the server is, url = \"http://127.0.0.1:8000/v1\"",
            ));
        }
        Ok(options)
    }
}

/// With `/v1` where there is no path.
fn url(value: &str) -> Result<String, Failure> {
    let bad = || Failure::invalid(format!("url = {value:?}: write http://HOST:PORT/v1, or https://…"));
    let rest = value.strip_prefix("http://").or_else(|| value.strip_prefix("https://")).ok_or_else(bad)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.is_empty() || host.contains('@') || value.contains(|c: char| c.is_whitespace() || c == '?' || c == '#') {
        return Err(bad());
    }
    let url = value.trim_end_matches('/');
    Ok(if path.trim_matches('/').is_empty() { format!("{url}/v1") } else { url.to_owned() })
}

fn word<T: Copy>(key: &str, value: &str, words: &[(&str, T)]) -> Result<T, Failure> {
    words.iter().find(|(word, _)| *word == value).map(|(_, found)| *found).ok_or_else(|| {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        Failure::invalid(format!("{key} = {value:?}: use {}", all.join(", ")))
    })
}

fn name(key: &str, value: &str) -> Result<String, Failure> {
    if value.is_empty() || value.contains(['\0', '=']) {
        return Err(Failure::invalid(format!("{key} = {value:?}: give a name, or leave it out")));
    }
    Ok(value.to_owned())
}

fn number(key: &str, value: &str, low: u64, high: u64) -> Result<u64, Failure> {
    let number = value.parse().ok().filter(|n| (low..=high).contains(n));
    number.ok_or_else(|| Failure::invalid(format!("{key} = {value:?}: give a number from {low} to {high}")))
}

/// `"90s"`, `"500ms"`, or a number of seconds.
fn duration(key: &str, value: &str) -> Result<Duration, Failure> {
    let (text, unit) = match value.strip_suffix("ms") {
        Some(text) => (text, 1e-3),
        None => (value.strip_suffix('s').unwrap_or(value), 1.0),
    };
    let seconds = text.trim().parse::<f64>().ok().map(|n| n * unit).filter(|s| (1e-3..=1e6).contains(s));
    let seconds = seconds.ok_or_else(|| Failure::invalid(format!("{key} = {value:?}: write it like \"90s\"")))?;
    Ok(Duration::from_secs_f64(seconds))
}

fn object(key: &str, value: &str) -> Result<Map<String, Value>, Failure> {
    match serde_json::from_str(value) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(Failure::invalid(format!("{key}: {value:?} is no JSON object; write '{{\"top_k\": 1}}'"))),
    }
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
            ("url", "https://h:1/openai/v1/"),
            ("api", "chat"),
            ("key_env", "MY_KEY"),
            ("choice", "top-logprobs"),
            ("concurrency", "2"),
            ("retries", "0"),
            ("timeout", "1.5s"),
            ("connect_timeout", "500ms"),
            ("ca", "/ca.pem"),
            ("body", "{\"a\": [1]}"),
            ("pid", "12"),
        ])
        .unwrap();
        assert_eq!((options.url.as_str(), options.api), ("https://h:1/openai/v1", Api::Chat));
        assert_eq!((options.concurrency, options.retries, options.choice), (2, 0, Choice::TopLogprobs));
        assert_eq!(
            (options.timeout, options.connect_timeout),
            (Duration::from_millis(1500), Duration::from_millis(500))
        );
        assert_eq!((options.body["a"][0].as_u64(), options.key_env.as_str()), (Some(1), "MY_KEY"));
        for url in ["http://127.0.0.1:8000", "http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1"] {
            assert_eq!(parse(&[("url", url)]).unwrap().url, "http://127.0.0.1:8000/v1");
        }
    }

    #[test]
    fn refusals_name_the_key_and_the_way_out() {
        for (key, value, word) in [
            ("url", "127.0.0.1:8000", "http://HOST:PORT/v1"),
            ("url", "http://", "http://HOST"),
            ("url", "http://me:secret@host/v1", "http://HOST"),
            ("api", "responses", "completions, chat"),
            ("choice", "best", "top-logprobs"),
            ("concurrency", "0", "1 to 1024"),
            ("timeout", "soon", "90s"),
            ("body", "[1]", "JSON object"),
            ("api_key", "sk-1", "OPENAI_API_KEY"),
            ("threads", "2", "url, api"),
        ] {
            let failure = parse(&[("url", "http://h"), (key, value)]).unwrap_err();
            assert_eq!(failure.code, EB_ERR_INVALID);
            assert!(failure.message.contains(word), "{}", failure.message);
            assert!(!failure.message.contains("sk-1"));
        }
        assert!(parse(&[]).unwrap_err().message.contains("url is missing"));
    }
}
