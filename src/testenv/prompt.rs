//! From a record to the text that a model sees: Jinja templates for question and answer, examples before it.
//! It owns the default templates; it must not know backends or chat formats.

use super::dataset::Record;
use crate::job::{Method, Options, PromptSpec};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, context};

/// The letters that stand for options.
pub fn letter(option: usize) -> char {
    (b'A' + option as u8) as char
}

/// The prompt of a method where the job gives none. A template sees `question`, `context`, `subject`,
/// `choices` (a list of `letter` and `text`), and in the answer also `answer`, `letter` and `text`.
pub fn defaults(method: &Method) -> PromptSpec {
    let context = "{% if context %}{{ context }}\n{% endif %}";
    let (question, answer) = match method {
        Method::Choice(Options::Letter) => {
            ("{{ question }}\n{% for c in choices %}{{ c.letter }}. {{ c.text }}\n{% endfor %}Answer:", " {{ letter }}")
        }
        Method::Choice(Options::Text) => ("{{ question }}\nAnswer:", " {{ text }}"),
        Method::Generate { .. } => ("{{ question }}\nAnswer:", " {{ answer }}"),
    };
    PromptSpec {
        question: format!("{context}{question}"),
        answer: answer.to_owned(),
        separator: "\n\n".to_owned(),
        prefix: String::new(),
    }
}

/// Compiled templates of a task, and its examples once they are rendered.
pub struct Prompt {
    templates: Environment<'static>,
    separator: String,
    /// Prefix and examples: the same before each question.
    head: String,
}

impl Prompt {
    /// Compiles the templates. The error is minijinja's, in words.
    pub fn compile(spec: &PromptSpec) -> Result<Prompt, String> {
        let mut templates = Environment::new();
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        templates.set_syntax(syntax.map_err(|e| in_words(&e))?);
        for (name, source) in [("question", &spec.question), ("answer", &spec.answer)] {
            templates.add_template_owned(name, source.clone()).map_err(|e| in_words(&e))?;
        }
        Ok(Prompt { templates, separator: spec.separator.clone(), head: spec.prefix.clone() })
    }

    /// Appends an answered example to what comes before each question.
    pub fn add_example(&mut self, record: &Record) -> Result<(), String> {
        let mut example = self.render("question", record, None)?;
        example += &self.render("answer", record, record.gold)?;
        self.head += &example;
        self.head += &self.separator;
        Ok(())
    }

    /// What the model sees for `record`.
    pub fn question(&self, record: &Record) -> Result<String, String> {
        Ok(format!("{}{}", self.head, self.render("question", record, None)?))
    }

    /// The text that stands for each option of `record`, in their order.
    pub fn options(&self, record: &Record) -> Result<Vec<String>, String> {
        (0..record.choices.len()).map(|i| self.render("answer", record, Some(i))).collect()
    }

    fn render(&self, template: &str, record: &Record, option: Option<usize>) -> Result<String, String> {
        let choices: Vec<_> = record
            .choices
            .iter()
            .enumerate()
            .map(|(i, text)| context! { letter => letter(i).to_string(), text })
            .collect();
        let values = context! {
            question => record.question,
            context => record.context,
            subject => record.subject,
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
