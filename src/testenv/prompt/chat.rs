//! A model's own chat template: the Jinja that publishers write for Python's jinja2 as `transformers` sets it up
//! (`apply_chat_template`): trimmed blocks, loop controls, Python's methods of strings and dictionaries, `tojson`,
//! `raise_exception`, `strftime_now`. It must not know where a template came from or what is asked.

use crate::testenv::turn::{Role, Turn};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, Error, ErrorKind, context};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use std::fmt::Write as _;
use std::io::{self, Write};

/// Steps that a template may take: far more than any needs, and an end to one that has none. Fewer in tests, which
/// run without optimisation.
const FUEL: u64 = if cfg!(test) { 100_000 } else { 5_000_000 };

/// A compiled chat template of one model.
pub struct Chat {
    environment: Environment<'static>,
    bos: String,
    eos: String,
    variables: Value,
    /// Does the template take a turn of the system?
    takes_system: bool,
}

/// A rendered conversation, up to where the assistant begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    pub text: String,
    /// It begins with the model's BOS: none is to be added.
    pub has_bos: bool,
}

impl Chat {
    /// Compiles `template`. `bos` and `eos` are those tokens as they are written in text; `variables` are the user's
    /// own for this template (`enable_thinking`).
    ///
    /// # Errors
    /// What is wrong with the template, in words.
    pub fn compile(template: &str, bos: &str, eos: &str, variables: &serde_json::Value) -> Result<Chat, String> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| super::in_words(&e))?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", now);
        environment.add_template_owned("chat", without_marks(template)).map_err(|e| super::in_words(&e))?;
        let (bos, eos, variables) = (bos.to_owned(), eos.to_owned(), Value::from(Serde(variables)));
        let mut chat = Chat { environment, bos, eos, variables, takes_system: true };
        // Some templates refuse a turn of the system, others leave it out.
        let probe = [Turn::new(Role::System, "5ystem"), Turn::new(Role::User, "u5er")];
        chat.takes_system = chat.write(&probe).is_ok_and(|text| text.contains("5ystem"));
        Ok(chat)
    }

    /// The text that the model sees before its answer to the last turn. Where the template takes no system prompt,
    /// that stands before the first turn of the user.
    ///
    /// # Errors
    /// The template refuses, or fails.
    pub fn render(&self, turns: &[Turn]) -> Result<Rendered, String> {
        let text = match turns {
            [Turn { role: Role::System, content }, first, rest @ ..] if !self.takes_system => {
                let space = if content.ends_with(char::is_whitespace) { "" } else { "\n\n" };
                let first = Turn::new(first.role, [content, space, &first.content].concat());
                self.write(&[std::slice::from_ref(&first), rest].concat())
            }
            turns => self.write(turns),
        }?;
        let has_bos = !self.bos.is_empty() && text.starts_with(&self.bos);
        Ok(Rendered { text, has_bos })
    }

    fn write(&self, turns: &[Turn]) -> Result<String, String> {
        let values = context! {
            messages => Value::from(Serde(turns)),
            add_generation_prompt => true,
            bos_token => &self.bos,
            eos_token => &self.eos,
            ..self.variables.clone()
        };
        let rendered = self.environment.get_template("chat").and_then(|t| t.render(values));
        rendered.map_err(|e| super::in_words(&e))
    }
}

/// The time in UTC: a board may not know where it is.
fn now(format: String) -> Result<String, Error> {
    let mut text = String::new();
    // A format that is none shows only when it is written.
    write!(text, "{}", jiff::Timestamp::now().strftime(&format))
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: bad format {format:?}")))?;
    Ok(text)
}

/// `{% generation %}`, which marks the assistant's words for training, is an extension of transformers: here it is a
/// condition that always holds.
fn without_marks(template: &str) -> String {
    let mut text = template.to_owned();
    for (mark, instead) in [("generation", "if true"), ("endgeneration", "endif")] {
        for open in ["{% ", "{%- ", "{%-", "{%"] {
            for close in [" %}", " -%}", "-%}", "%}"] {
                text = text.replace(&[open, mark, close].concat(), &[open, instead, close].concat());
            }
        }
    }
    text
}

/// `json.dumps(value, ensure_ascii=False, indent=…)`, as transformers defines the filter: `", "` and `": "` between
/// things, nothing escaped for HTML.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let fail = |e: String| Error::new(ErrorKind::InvalidOperation, format!("tojson: {e}"));
    let mut out = Vec::new();
    match options.get::<Option<usize>>("indent")? {
        Some(n) => {
            let indent = vec![b' '; n];
            let formatter = PrettyFormatter::with_indent(&indent);
            value.serialize(&mut Serializer::with_formatter(&mut out, formatter)).map_err(|e| fail(e.to_string()))?;
        }
        None => {
            let mut serializer = Serializer::with_formatter(&mut out, Spaced);
            value.serialize(&mut serializer).map_err(|e| fail(e.to_string()))?;
        }
    }
    String::from_utf8(out).map(Value::from_safe_string).map_err(|e| fail(e.to_string()))
}

/// Python's separators.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, variables: serde_json::Value) -> Result<String, String> {
        let chat = Chat::compile(template, "<s>", "</s>", &variables)?;
        chat.render(&[Turn::new(Role::User, "hi")]).map(|rendered| rendered.text)
    }

    #[test]
    fn what_a_template_raises_and_what_never_ends_are_errors() {
        let none = serde_json::json!({});
        let error = render("{{ raise_exception('only two turns') }}", none.clone()).unwrap_err();
        assert!(error.contains("only two turns"), "{error}");
        let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        assert!(render(nested, none.clone()).unwrap_err().contains("fuel"));
        assert!(render("{% if %}", none).unwrap_err().contains("line 1"));
    }

    #[test]
    fn variables_and_the_date_are_there() {
        let year = jiff::Timestamp::now().strftime("%Y").to_string();
        let text = render("{{ mark }}{{ strftime_now('%Y') }}", serde_json::json!({ "mark": [1, true] })).unwrap();
        assert_eq!(text, format!("[1, True]{year}"));
    }
}
