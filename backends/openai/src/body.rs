//! The bodies of requests. It must not know how they are sent.

use crate::failure::Failure;
use crate::params::{Api, Options};
use edgebench_plugin::request::{Generate, Prompt};
use serde_json::{Map, Value, json};

/// The chat template of a server that has its own: the conversation as it is, for [`prompt`] to pass on.
pub const CONVERSATION: &str = "{\"messages\": {{ messages | tojson }}}";
/// The same for prompts that go to a server as text.
pub const NO_CONVERSATION: &str = "{{ raise_exception('chat = true needs params = { api = \"chat\" }') }}";
/// How a prompt begins that came out of it.
const MESSAGES: &str = "{\"messages\": ";
/// Stop strings that servers take; the host looks for all of them.
const MAX_STOPS: usize = 4;

/// What all bodies begin with.
pub struct Bodies<'a> {
    pub options: &'a Options,
    pub model: &'a str,
    /// Does the server take `stream_options`?
    pub usage: bool,
}

impl Bodies<'_> {
    /// Where requests go.
    pub fn path(&self) -> &'static str {
        match self.options.api {
            Api::Completions => "/completions",
            Api::Chat => "/chat/completions",
        }
    }

    /// To continue a prompt, as a stream.
    ///
    /// # Errors
    /// `EB_ERR_INVALID` and `EB_ERR_UNSUPPORTED` for what a server cannot be asked.
    pub fn generate(&self, request: &Generate) -> Result<Vec<u8>, Failure> {
        let (text, parse) = match request.prompt {
            Prompt::Text { text, parse } => (utf8(text)?, parse),
            Prompt::Tokens(_) => return Err(Failure::unsupported("a server is asked in text, not in tokens")),
        };
        if request.max_new == 0 || text.is_empty() {
            return Err(Failure::invalid(
                "an empty prompt or no output: give some text, and ask for at least one token",
            ));
        }
        let choice = request.choice.check()?;
        let mut body = self.prompt(text, parse)?;
        set(&mut body, "max_tokens", request.max_new.into());
        set(&mut body, "stream", true.into());
        if self.usage {
            set(&mut body, "stream_options", json!({ "include_usage": true }));
        }
        set(&mut body, "temperature", number(choice.temperature));
        if choice.temperature > 0.0 {
            set(&mut body, "top_p", number(choice.top_p));
            set(&mut body, "seed", choice.seed.into());
            if choice.top_k > 0 {
                set(&mut body, "top_k", choice.top_k.into());
            }
        }
        if request.ignore_eos {
            set(&mut body, "ignore_eos", true.into());
        }
        let stops: Vec<&str> = request.stop.iter().filter_map(|s| std::str::from_utf8(s).ok()).collect();
        let stops: Vec<&str> = stops.into_iter().filter(|s| !s.is_empty()).take(MAX_STOPS).collect();
        if !stops.is_empty() {
            set(&mut body, "stop", stops.into());
        }
        Ok(self.finish(body))
    }

    /// To tell the log-likelihoods of all tokens of `text`. One token is made, as some servers take 0 for "no limit".
    pub fn echo(&self, text: &str) -> Vec<u8> {
        let mut body = self.start();
        set(&mut body, "prompt", text.into());
        set(&mut body, "max_tokens", 1.into());
        set(&mut body, "temperature", 0.into());
        set(&mut body, "echo", true.into());
        set(&mut body, "logprobs", 1.into());
        self.finish(body)
    }

    /// To tell the `n` most likely tokens after `text`.
    ///
    /// # Errors
    /// As [`Bodies::generate`].
    pub fn top(&self, text: &str, parse: bool, n: u32) -> Result<Vec<u8>, Failure> {
        let mut body = self.prompt(text, parse)?;
        set(&mut body, "max_tokens", 1.into());
        set(&mut body, "temperature", 0.into());
        match self.options.api {
            Api::Completions => set(&mut body, "logprobs", n.into()),
            Api::Chat => {
                set(&mut body, "logprobs", true.into());
                set(&mut body, "top_logprobs", n.into());
            }
        }
        Ok(self.finish(body))
    }

    fn prompt(&self, text: &str, parse: bool) -> Result<Map<String, Value>, Failure> {
        let mut body = self.start();
        if self.options.api == Api::Completions {
            set(&mut body, "prompt", text.into());
            return Ok(body);
        }
        let messages = match parse && text.starts_with(MESSAGES) {
            false => json!([{ "role": "user", "content": text }]),
            true => {
                let whole: Value = serde_json::from_str(text)
                    .map_err(|e| Failure::invalid(format!("the conversation is no JSON: {e}; use chat = true")))?;
                whole["messages"].clone()
            }
        };
        set(&mut body, "messages", messages);
        Ok(body)
    }

    fn start(&self) -> Map<String, Value> {
        let mut body = Map::new();
        set(&mut body, "model", self.model.into());
        body
    }

    /// With the user's own fields, which come before all others.
    fn finish(&self, mut body: Map<String, Value>) -> Vec<u8> {
        body.extend(self.options.body.clone());
        Value::Object(body).to_string().into_bytes()
    }
}

fn set(body: &mut Map<String, Value>, key: &str, value: Value) {
    body.insert(key.to_owned(), value);
}

/// 0.7 and not 0.699999988079071.
fn number(value: f32) -> Value {
    value.to_string().parse::<f64>().unwrap_or(f64::from(value)).into()
}

/// # Errors
/// `EB_ERR_INVALID`: JSON takes nothing else.
pub fn utf8(text: &[u8]) -> Result<&str, Failure> {
    std::str::from_utf8(text).map_err(|_| Failure::invalid("the text is not UTF-8: a server takes nothing else"))
}
