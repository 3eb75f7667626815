//! What servers answer: chunks of a stream and whole answers, of both interfaces and with both forms of log-likelihoods,
//! as one type. It must not know how they were asked or sent.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A whole answer, or one chunk of it.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    /// What the model says here.
    pub text: String,
    /// A part was made that is no text of the answer: thoughts, a call of a tool.
    pub hidden: bool,
    /// `stop`, `length`, …
    pub finish: Option<String>,
    /// Of the tokens in `text`, or of prompt and text; empty where none are told.
    pub tokens: Vec<Token>,
    /// Start of each token in the text, in characters, where that is told.
    pub offsets: Vec<usize>,
    pub usage: Option<Usage>,
}

/// One token with its log-likelihood.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub text: String,
    pub logprob: Option<f64>,
    /// The most likely ones at its place.
    pub top: Vec<(String, f64)>,
}

/// What the server counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub struct Usage {
    #[serde(default)]
    pub prompt_tokens: u32,
    #[serde(default)]
    pub completion_tokens: u32,
    #[serde(default, deserialize_with = "or_default")]
    prompt_tokens_details: Details,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
struct Details {
    #[serde(default, deserialize_with = "or_default")]
    cached_tokens: u32,
}

impl Usage {
    /// Of the prompt's tokens, those that were not evaluated.
    pub fn cached_tokens(&self) -> u32 {
        self.prompt_tokens_details.cached_tokens.min(self.prompt_tokens)
    }
}

/// `null` as the default.
fn or_default<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default, deserialize_with = "or_default")]
    choices: Vec<RawChoice>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize, Default)]
struct RawChoice {
    text: Option<String>,
    #[serde(alias = "message")]
    delta: Option<RawMessage>,
    finish_reason: Option<String>,
    logprobs: Option<RawLogprobs>,
}

#[derive(Deserialize, Default)]
struct RawMessage {
    content: Option<String>,
    #[serde(alias = "reasoning")]
    reasoning_content: Option<String>,
    tool_calls: Option<Value>,
}

/// The older form (`tokens`, …) and the newer one (`content`).
#[derive(Deserialize, Default)]
struct RawLogprobs {
    content: Option<Vec<RawToken>>,
    tokens: Option<Vec<String>>,
    #[serde(default, deserialize_with = "or_default")]
    token_logprobs: Vec<Option<f64>>,
    #[serde(default, deserialize_with = "or_default")]
    top_logprobs: Vec<Option<BTreeMap<String, Option<f64>>>>,
    #[serde(default, deserialize_with = "or_default")]
    text_offset: Vec<usize>,
}

#[derive(Deserialize)]
struct RawToken {
    token: String,
    logprob: Option<f64>,
    #[serde(default, deserialize_with = "or_default")]
    top_logprobs: Vec<RawToken>,
}

impl Answer {
    /// # Errors
    /// It is no JSON of this kind, or the server tells an error in it: what, in words.
    pub fn parse(bytes: &[u8]) -> Result<Answer, String> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(|e| {
            let start: String = String::from_utf8_lossy(bytes).chars().take(60).collect();
            format!("the server sent what is no JSON of an answer ({e}): {start:?}")
        })?;
        if let Some(error) = raw.error {
            return Err(format!("the server says: {}", error_text(&error)));
        }
        let mut answer = Answer { usage: raw.usage, ..Answer::default() };
        let Some(choice) = raw.choices.into_iter().next() else { return Ok(answer) };
        let message = choice.delta.unwrap_or_default();
        let said = |text: &Option<String>| text.as_ref().is_some_and(|t| !t.is_empty());
        answer.hidden = said(&message.reasoning_content) || message.tool_calls.is_some_and(|c| !c.is_null());
        answer.text = choice.text.or(message.content).unwrap_or_default();
        answer.finish = choice.finish_reason.filter(|f| !f.is_empty());
        let logprobs = choice.logprobs.unwrap_or_default();
        answer.offsets = logprobs.text_offset;
        answer.tokens = match (logprobs.tokens, logprobs.content) {
            (Some(tokens), _) => {
                let mut tops = logprobs.top_logprobs.into_iter();
                let mut values = logprobs.token_logprobs.into_iter();
                let mut one = |text| {
                    let top = tops.next().flatten().unwrap_or_default();
                    let top = top.into_iter().filter_map(|(text, value)| Some((text, value?))).collect();
                    Token { text, logprob: values.next().flatten(), top }
                };
                tokens.into_iter().map(&mut one).collect()
            }
            (None, Some(content)) => content.into_iter().map(Token::from).collect(),
            (None, None) => Vec::new(),
        };
        Ok(answer)
    }
}

impl From<RawToken> for Token {
    fn from(raw: RawToken) -> Token {
        let top = raw.top_logprobs.into_iter().filter_map(|t| Some((t.token, t.logprob?))).collect();
        Token { text: raw.token, logprob: raw.logprob, top }
    }
}

/// The words in an error's body: `{"error": {"message": …}}` and its relatives.
pub fn error_text(value: &Value) -> String {
    let inner = value.get("error").unwrap_or(value);
    let said = [inner.get("message"), inner.get("detail"), Some(inner)].into_iter().flatten();
    said.filter_map(Value::as_str).next().map_or_else(|| inner.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Answer {
        Answer::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn chunks_of_both_interfaces_are_one_type() {
        let completion = parse(r#"{"choices":[{"text":" B","index":0,"logprobs":null,"finish_reason":null}]}"#);
        let chat = parse(r#"{"choices":[{"delta":{"content":" B"},"finish_reason":null}],"usage":null}"#);
        assert_eq!(completion, chat);
        assert_eq!((completion.text.as_str(), completion.finish), (" B", None));
        let role = parse(r#"{"choices":[{"delta":{"role":"assistant","content":null}}]}"#);
        assert_eq!(role, Answer::default());
        assert!(parse(r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#).hidden);
        let last = parse(
            r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}}"#,
        );
        let usage = last.usage.unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens()), (9, 3, 4));
        assert_eq!(
            parse(r#"{"usage":{"prompt_tokens":9,"prompt_tokens_details":null}}"#).usage.unwrap().cached_tokens(),
            0
        );
    }

    #[test]
    fn log_likelihoods_of_both_forms_are_one_type() {
        let old = parse(
            r#"{"choices":[{"text":"A","logprobs":{"tokens":["A"],"token_logprobs":[-0.5],"text_offset":[7],
            "top_logprobs":[{"A":-0.5,"B":-1.5}]}}]}"#,
        );
        let new = parse(
            r#"{"choices":[{"message":{"content":"A"},"logprobs":{"content":[{"token":"A","logprob":-0.5,
            "top_logprobs":[{"token":"A","logprob":-0.5},{"token":"B","logprob":-1.5}]}]}}]}"#,
        );
        assert_eq!(old.tokens, new.tokens);
        assert_eq!((old.offsets, old.tokens[0].top.len()), (vec![7], 2));
    }

    #[test]
    fn errors_and_nonsense_are_told() {
        let error = Answer::parse(br#"{"error":{"message":"no such model","code":404}}"#).unwrap_err();
        assert_eq!(error, "the server says: no such model");
        assert!(Answer::parse(b"<html>oops").unwrap_err().contains("no JSON"));
        assert_eq!(error_text(&serde_json::json!({"detail": "x"})), "x");
        assert_eq!(error_text(&serde_json::json!({"detail": [1]})), "{\"detail\":[1]}");
    }
}
