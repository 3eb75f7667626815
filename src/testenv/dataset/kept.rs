//! A record that stays when its reader goes on: what a window of records holds. It must not know lines or files.

use super::{Choices, Record};
use crate::testenv::json_line::{Source, Text};

/// A copy of a record.
pub struct Kept {
    /// All its texts, one behind the other.
    texts: String,
    line: u64,
    /// `id`, `question`, `context`, `subject`, `answer`, `messages`.
    fields: [Text; 6],
    choices: Vec<Text>,
    more_answers: Vec<Text>,
    gold: Option<usize>,
}

impl Kept {
    /// Copies `record`.
    pub fn new(record: &Record) -> Kept {
        let mut texts = String::new();
        let mut keep = |text: &str| {
            texts.push_str(text);
            Text::in_line(texts.len() - text.len()..texts.len())
        };
        Kept {
            line: record.line,
            fields: [record.id, record.question, record.context, record.subject, record.answer, record.messages]
                .map(&mut keep),
            choices: record.choices.iter().map(&mut keep).collect(),
            more_answers: record.more_answers.iter().map(&mut keep).collect(),
            gold: record.gold,
            texts,
        }
    }

    /// The record again.
    pub fn record(&self) -> Record<'_> {
        let source = Source { line: &self.texts, arena: "" };
        let [id, question, context, subject, answer, messages] = self.fields.map(|text| source.get(text));
        Record {
            line: self.line,
            id,
            question,
            context,
            subject,
            choices: Choices { texts: &self.choices, source },
            answer,
            messages,
            more_answers: Choices { texts: &self.more_answers, source },
            gold: self.gold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testenv::dataset::{Need, Reader};
    use std::path::Path;

    #[test]
    fn a_kept_record_is_the_same() {
        let line = r#"{"id":7,"question":"a \"b\" 字","choices":["x","","\u00e9"],"answer":"B","answers":["y","x"],"subject":"s"}"#;
        let mut reader = Reader::new(line.as_bytes(), Path::new("x"), Need::Text);
        let record = reader.next().unwrap().unwrap();
        let kept = Kept::new(&record);
        assert_eq!(kept.record(), record);
        assert_eq!(kept.record().choices.get(2), Some("é"));
    }
}
