//! From a record to the text that a model sees: Jinja templates for question and answer, examples before it.
//! It owns the default templates; it must not know backends or how a chat is written.
//! Its parts: `examples` are the shots, `style` the prompts that other tools use, `chat` a model's own template.

pub mod chat;
pub mod examples;
pub mod style;

use super::dataset::Record;
use super::turn::{self, Role, Turn};
use crate::job::{Method, Options, PromptSpec};
use examples::{Example, Examples};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, context};

/// The letters that stand for options.
pub fn letter(option: usize) -> char {
    (b'A' + option as u8) as char
}

/// The prompt of a method where the job gives none. A template sees `question`, `context`, `subject`, `subject_name`,
/// `choices` (a list of `letter` and `text`), and in the answer also `answer`, `letter` and `text`.
pub fn defaults(method: &Method) -> PromptSpec {
    let context = "{% if context %}{{ context }}\n{% endif %}";
    let (question, answer) = match method {
        Method::Choice(Options::Letter) => {
            ("{{ question }}\n{% for c in choices %}{{ c.letter }}. {{ c.text }}\n{% endfor %}Answer:", " {{ letter }}")
        }
        Method::Choice(Options::Whole) => ("", "{{ text }}"),
        Method::Choice(Options::InQuestion) => {
            ("{{ question.split('_')[0] }}{{ text }}", " {{ question.split('_')[1].strip() }}")
        }
        Method::Choice(Options::Text) => ("{{ question }}\nAnswer:", " {{ text }}"),
        Method::Generate { .. }
        | Method::Perplexity(_)
        | Method::Cloze
        | Method::Divergence(_)
        | Method::Finetune(_) => ("{{ question }}\nAnswer:", " {{ answer }}"),
    };
    let context = if question.is_empty() { "" } else { context };
    PromptSpec {
        question: format!("{context}{question}"),
        answer: answer.to_owned(),
        separator: "\n\n".to_owned(),
        ..PromptSpec::default()
    }
}

/// Compiled templates of a task, and its examples.
pub struct Prompt {
    templates: Environment<'static>,
    spec: PromptSpec,
    examples: Examples,
}

impl Prompt {
    /// Compiles the templates. The error is minijinja's, in words.
    pub fn compile(spec: &PromptSpec) -> Result<Prompt, String> {
        let mut templates = Environment::new();
        templates.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        templates.set_syntax(syntax.map_err(|e| in_words(&e))?);
        let parts = [
            ("question", &spec.question),
            ("answer", &spec.answer),
            ("prefix", &spec.prefix),
            ("system", &spec.system),
            ("unconditional", &spec.unconditional),
        ];
        for (name, source) in parts {
            let told = |e| format!("{name}: {}", in_words(&e));
            templates.add_template_owned(name, source.clone()).map_err(told)?;
        }
        Ok(Prompt { templates, spec: spec.clone(), examples: Examples::none() })
    }

    /// Puts `examples` before each question.
    pub fn set_examples(&mut self, examples: Examples) {
        self.examples = examples;
    }

    /// `record` as an example.
    pub fn example(&self, record: &Record) -> Result<Example, String> {
        let question = self.render("question", record, record.gold)?;
        let answer = self.render("answer", record, record.gold)?;
        Ok(Example { question, answer })
    }

    /// What a model without a chat sees for `record`.
    pub fn text(&self, record: &Record) -> Result<String, String> {
        self.text_with(record, None)
    }

    /// The same with each option of the record in the question, and what follows all of them.
    pub fn in_question(&self, record: &Record) -> Result<(Vec<String>, String), String> {
        let contexts = (0..record.choices.len()).map(|i| self.text_with(record, Some(i)));
        Ok((contexts.collect::<Result<_, _>>()?, self.render("answer", record, None)?))
    }

    fn text_with(&self, record: &Record, option: Option<usize>) -> Result<String, String> {
        let question = self.render("question", record, option)?;
        let mut text = self.head(record)?;
        if self.spec.prefix.is_empty() && !text.is_empty() && !text.ends_with(char::is_whitespace) {
            text += &self.spec.separator;
        }
        text += &self.shots(record)?;
        Ok(text + &question)
    }

    /// The same as a conversation: system, examples as turns of their own (or in one with the question), question.
    /// As lm-eval's `fewshot_context`; an answer of the assistant has no white space before it. A record that is a
    /// conversation is taken as it stands.
    pub fn turns(&self, record: &Record, shots_as_turns: bool) -> Result<Vec<Turn>, String> {
        if !record.messages.is_empty() {
            return turn::parse(record.messages);
        }
        let question = self.render("question", record, None)?;
        let head = self.head(record)?;
        let mut turns = Vec::new();
        if !head.is_empty() {
            turns.push(Turn::new(Role::System, head));
        }
        if !shots_as_turns {
            turns.push(Turn::new(Role::User, self.shots(record)? + &question));
            return Ok(turns);
        }
        for example in self.examples.of(record, &self.example(record)?)? {
            turns.push(Turn::new(Role::User, example.question.clone()));
            turns.push(Turn::new(Role::Assistant, example.answer.trim_start()));
        }
        turns.push(Turn::new(Role::User, question));
        Ok(turns)
    }

    /// The text that stands for each option of `record`, in their order.
    pub fn options(&self, record: &Record) -> Result<Vec<String>, String> {
        (0..record.choices.len()).map(|i| self.render("answer", record, Some(i))).collect()
    }

    /// The context in which options are scored without their question.
    pub fn unconditional(&self, record: &Record) -> Result<String, String> {
        self.render("unconditional", record, None)
    }

    /// System prompt and prefix: the separator comes between them unless there is white space already.
    fn head(&self, record: &Record) -> Result<String, String> {
        let system = self.render("system", record, None)?;
        let prefix = self.render("prefix", record, None)?;
        let apart = system.is_empty()
            || prefix.is_empty()
            || system.ends_with(char::is_whitespace)
            || prefix.starts_with(char::is_whitespace);
        let between = if apart { "" } else { &self.spec.separator };
        Ok(system + between + &prefix)
    }

    fn shots(&self, record: &Record) -> Result<String, String> {
        let separator = &self.spec.separator;
        let examples = self.examples.of(record, &self.example(record)?)?;
        let written: Vec<String> = examples.iter().map(|e| [&*e.question, &e.answer].concat()).collect();
        let last = if written.is_empty() { "" } else { self.spec.last_separator.as_ref().unwrap_or(separator) };
        Ok(written.join(separator) + last)
    }

    fn render(&self, template: &str, record: &Record, option: Option<usize>) -> Result<String, String> {
        let choices: Vec<_> = record
            .choices
            .iter()
            .enumerate()
            .map(|(i, text)| context! { letter => letter(i).to_string(), text })
            .collect();
        let named = self.spec.subject_names.iter().find(|(subject, _)| subject == record.subject);
        let subject_name = named.map_or_else(|| record.subject.replace('_', " "), |(_, name)| name.clone());
        let values = context! {
            question => record.question,
            context => record.context,
            subject => record.subject,
            subject_name,
            answer => record.answer,
            letter => option.map(|i| letter(i).to_string()),
            text => option.and_then(|i| record.choices.get(i)),
            choices,
        };
        let rendered = self.templates.get_template(template).and_then(|t| t.render(values));
        rendered.map_err(|e| in_words(&e))
    }
}

fn in_words(error: &minijinja::Error) -> String {
    let line = error.line().map_or(String::new(), |l| format!(" (line {l} of the template)"));
    match error.detail() {
        Some(detail) => format!("{}: {detail}{line}", error.kind()),
        None => format!("{}{line}", error.kind()),
    }
}
