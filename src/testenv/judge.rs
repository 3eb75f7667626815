//! Is an answer right? From a record to what is expected, from an output to a judgement. It owns the rules where a job sets
//! none; it must not know how an output came about.

use super::choice::Picks;
use super::cloze;
use super::dataset::Record;
use super::extract::Chain;
use super::metric::{Gold, Judgement, share};
use super::prompt::letter;
use crate::job::{Method, Metric, Scoring};

/// The steps for an output where the record has choices, and where it has none.
const USUAL: [&[&str]; 2] = [&["strip_think", "first_option"], &["strip_think", "trim"]];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Text,
    LastWord,
    None,
}

/// The rules of one task, ready for use.
#[derive(Debug)]
pub struct Judge {
    scoring: Scoring,
    extract: Option<Chain>,
    usual: [Chain; 2],
    gold: Option<Chain>,
    /// What is expected: a letter only (`choice`), or also a text, or a text's own last word.
    kind: Kind,
}

impl Judge {
    /// # Errors
    /// A step that is none, and what to do; a job that was read has none.
    pub fn new(method: &Method, scoring: &Scoring) -> Result<Judge, (String, String)> {
        let chain = |steps: &[String]| Chain::parse(steps, scoring.compat);
        let [with, without] = USUAL.map(|steps| Chain::parse(steps, scoring.compat));
        Ok(Judge {
            extract: scoring.extract.as_deref().map(chain).transpose()?,
            usual: [with?, without?],
            gold: if scoring.gold.is_empty() { None } else { Some(chain(&scoring.gold)?) },
            kind: match method {
                Method::Choice(_) => Kind::Letter,
                Method::Generate { .. } => Kind::Text,
                Method::Perplexity(_) | Method::Divergence(_) | Method::Finetune(_) => Kind::None,
                Method::Cloze => Kind::LastWord,
            },
            scoring: scoring.clone(),
        })
    }

    /// What is expected of `record`: a letter where it has choices, else its answers.
    pub fn gold(&self, record: &Record) -> Gold {
        if matches!(self.kind, Kind::None | Kind::LastWord) {
            let word = cloze::split(record.question).filter(|_| self.kind == Kind::LastWord);
            return Gold { answers: word.map(|(_, word)| word.trim().to_owned()).into_iter().collect(), class: None };
        }
        if let Some(class) = record.gold {
            let text = record.choices.get(class).filter(|_| self.kind == Kind::Text).map(str::to_owned);
            return Gold { answers: [letter(class).to_string()].into_iter().chain(text).collect(), class: Some(class) };
        }
        let expected = |answer: &str| match &self.gold {
            None => answer.trim().to_owned(),
            Some(chain) => chain.apply(answer, 0).unwrap_or_default(),
        };
        Gold { answers: record.answers().map(expected).collect(), class: None }
    }

    /// Judges which option was chosen, by log-likelihoods.
    pub fn choice(&self, gold: &Gold, picks: Picks, scores: Vec<f64>) -> Judgement {
        let is_right = |pick| gold.class.is_some() && gold.class == pick;
        Judgement {
            prediction: Some(letter(picks.plain).to_string()),
            correct: is_right(Some(picks.plain)),
            class: Some(picks.plain),
            norm: is_right(Some(picks.norm)),
            mutual_info: is_right(picks.mutual_info),
            scores: Some(scores),
            language: None,
            kl: Vec::new(),
        }
    }

    /// Judges an output.
    pub fn output(&self, record: &Record, gold: &Gold, output: &str) -> Judgement {
        let chain = self.extract.as_ref().unwrap_or(&self.usual[usize::from(record.gold.is_none())]);
        let Some(prediction) = chain.apply(output, record.choices.len()) else { return Judgement::default() };
        let prediction = prediction.trim().to_owned();
        let class = gold.class.and_then(|_| class(&prediction, record));
        let correct = match (self.scoring.correct, gold.class) {
            (None, Some(right)) => class == Some(right),
            (None, None) if chain.gives_numbers() => self.is(Metric::NumberMatch, &prediction, gold),
            (metric, _) => self.is(metric.unwrap_or(Metric::ExactMatch), &prediction, gold),
        };
        Judgement { prediction: Some(prediction), correct, class, ..Judgement::default() }
    }

    fn is(&self, metric: Metric, prediction: &str, gold: &Gold) -> bool {
        share(metric, prediction, &gold.answers, &self.scoring)
    }
}

/// The choice that `prediction` names, by its letter or its text.
fn class(prediction: &str, record: &Record) -> Option<usize> {
    let text = record.choices.iter().position(|choice| choice.trim().eq_ignore_ascii_case(prediction));
    text.or_else(|| {
        let [byte] = prediction.as_bytes() else { return None };
        let index = usize::from(byte.to_ascii_uppercase().checked_sub(b'A')?);
        (index < record.choices.len()).then_some(index)
    })
}
