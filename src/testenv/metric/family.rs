//! Metrics that share their sums are a family. It owns which metric is of which, and hands on to the families' files.

use super::{Gold, Judgement, bleu, calibration, chrf, classes, cmrc, language, number, rouge, squad};
use crate::job::{Metric, Scoring};
use bleu::Tokenizer;

/// A family, or the one metric that has sums of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Records are right or wrong.
    Share(Metric),
    /// A mean over records.
    Mean(Metric),
    Bleu(Tokenizer),
    Chrf,
    Calibration,
    Language,
    Classes,
}

impl Family {
    pub fn of(metric: Metric) -> Family {
        match metric {
            share if share.is_share() => Family::Share(share),
            Metric::Bleu => Family::Bleu(Tokenizer::Western),
            Metric::BleuZh => Family::Bleu(Tokenizer::Chinese),
            Metric::Chrf => Family::Chrf,
            Metric::Ece => Family::Calibration,
            language if language.is_of_texts() => Family::Language,
            classes if classes.needs_classes() => Family::Classes,
            mean => Family::Mean(mean),
        }
    }

    /// Columns of a row; those of `Classes` come as classes do.
    pub fn width(self) -> usize {
        match self {
            Family::Share(_) | Family::Mean(_) => 1,
            Family::Bleu(_) => bleu::WIDTH,
            Family::Chrf => chrf::WIDTH,
            Family::Calibration => calibration::WIDTH,
            Family::Language => language::WIDTH,
            Family::Classes => 0,
        }
    }

    /// Appends what a record adds. A failed or unextracted record is an empty answer.
    pub fn push(self, gold: &Gold, judgement: Option<&Judgement>, scoring: &Scoring, row: &mut Vec<f64>) {
        let prediction = judgement.and_then(|j| j.prediction.as_deref());
        match self {
            Family::Share(Metric::Acc) => row.push(f64::from(judgement.is_some_and(|j| j.correct))),
            Family::Share(Metric::AccNorm) => row.push(f64::from(judgement.is_some_and(|j| j.norm))),
            Family::Share(Metric::AccMutualInfo) => row.push(f64::from(judgement.is_some_and(|j| j.mutual_info))),
            Family::Share(metric) => {
                row.push(f64::from(prediction.is_some_and(|p| share(metric, p, &gold.answers, scoring))));
            }
            Family::Mean(metric) => row.push(prediction.map_or(0.0, |p| best(mean(metric), p, &gold.answers))),
            Family::Bleu(tokenizer) => bleu::push(prediction.unwrap_or_default(), &gold.answers, tokenizer, row),
            Family::Chrf => chrf::push(prediction.unwrap_or_default(), &gold.answers, row),
            Family::Calibration => calibration::push(judgement, row),
            Family::Language => language::push(judgement.and_then(|j| j.language), row),
            Family::Classes => classes::push(gold.class, judgement.and_then(|j| j.class), row),
        }
    }

    /// The value of `metric` from the family's sums over `n` records.
    pub fn value(self, metric: Metric, n: f64, sums: &[f64]) -> Option<f64> {
        match self {
            Family::Share(_) | Family::Mean(_) => sums.first().map(|sum| sum / n),
            Family::Bleu(_) => bleu::value(sums),
            Family::Chrf => chrf::value(sums),
            Family::Calibration => calibration::value(sums),
            Family::Language => language::value(metric, sums),
            Family::Classes => classes::value(metric, sums),
        }
    }
}

/// Is `prediction` right by a metric that is a share?
pub fn share(metric: Metric, prediction: &str, answers: &[String], scoring: &Scoring) -> bool {
    answers.iter().any(|answer| match metric {
        Metric::NumberMatch => number::equal(prediction, answer, scoring),
        Metric::SquadEm => squad::exact(prediction, answer),
        Metric::CmrcEm => cmrc::exact(prediction, answer),
        _ => prediction.trim() == answer.trim(),
    })
}

type Score = fn(&str, &str) -> f64;

fn mean(metric: Metric) -> Score {
    match metric {
        Metric::CmrcF1 => cmrc::f1,
        Metric::RougeL => rouge::words,
        Metric::RougeLZh => rouge::characters,
        _ => squad::f1,
    }
}

/// The best score over the answers, as SQuAD and rouge-score's `score_multi` have it.
fn best(score: Score, prediction: &str, answers: &[String]) -> f64 {
    answers.iter().map(|answer| score(prediction, answer)).fold(0.0, f64::max)
}
