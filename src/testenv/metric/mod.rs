//! Quality: what is made of judged records. A metric is a function of sums: each record adds a short row of numbers,
//! the value is computed from their sum, and its interval from sums over resampled rows (`interval`). Memory is bounded
//! (`sums`), whatever the number of records. It must not know how records were asked, nor timings.
//!
//! One file a family: `classes`, `squad`, `cmrc`, `rouge`, `bleu`, `chrf`, `number`, `calibration`, `language`; `tokens`
//! and `ngrams` are what several of them need.

mod bleu;
mod calibration;
mod chrf;
mod classes;
mod cmrc;
mod family;
mod interval;
mod language;
mod ngrams;
mod number;
mod paired;
mod rouge;
mod squad;
mod sums;
#[cfg(test)]
mod tests;
mod tokens;

pub use family::share;
pub use interval::wilson;
pub use language::Language;
pub use paired::mcnemar;

use crate::job::{Metric, Scoring};
use family::Family;
use interval::Interval;
use std::ops::Range;
use sums::{Subjects, Units};

/// What is expected of a record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gold {
    /// Any of these is right; the first is the one that is shown.
    pub answers: Vec<String>,
    /// Of the record's choices, the right one.
    pub class: Option<usize>,
}

/// What became of an answered record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judgement {
    /// The chosen letter, or the extracted text; `None` when there was no answer in the output.
    pub prediction: Option<String>,
    pub correct: bool,
    /// Of the record's choices, the chosen one.
    pub class: Option<usize>,
    /// `choice`: is the option right that is chosen by log-likelihood per byte?
    pub norm: bool,
    /// `choice`: or by the difference to its log-likelihood without the question?
    pub mutual_info: bool,
    /// Log-likelihood of each option (`choice`).
    pub scores: Option<Vec<f64>>,
    /// What was scored of a text (`perplexity`, `divergence`: nothing is right or wrong then), or of its last word (`cloze`).
    pub language: Option<Language>,
    /// KL(original ‖ model) of each token (`divergence`), nats.
    pub kl: Vec<f32>,
}

/// Running sums over the records of a case, or of a part of them.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub n: u64,
    /// Records that the model could not be asked; they count as wrong.
    pub failed: u64,
    /// Outputs without an answer in them; they count as wrong.
    pub unextracted: u64,
    pub correct: u64,
    scoring: Scoring,
    /// Each with its place in a row; the first column of a row is 1.
    families: Vec<(Family, Range<usize>)>,
    total: Vec<f64>,
    units: Units,
    subjects: Subjects,
    row: Vec<f64>,
}

impl Tally {
    /// For accuracy and `metrics`.
    pub fn new(metrics: &[Metric], scoring: &Scoring) -> Tally {
        let mut families = vec![Family::Share(Metric::Acc)];
        for family in metrics.iter().map(|m| Family::of(*m)) {
            if !families.contains(&family) {
                families.push(family);
            }
        }
        // Its rows grow with the number of classes, so nothing may be behind it.
        families.sort_by_key(|family| *family == Family::Classes);
        let mut from = 1;
        let places = families.into_iter().map(|family| {
            let place = from..from + family.width();
            from = place.end;
            (family, place)
        });
        Tally { families: places.collect(), scoring: scoring.clone(), ..Tally::default() }
    }

    /// The same, in less memory: for one of many.
    pub fn small(mut self) -> Tally {
        self.units = Units::at_most(sums::FEW_UNITS);
        self
    }

    /// Adds a record; `None` for one that failed.
    pub fn add(&mut self, gold: &Gold, judgement: Option<&Judgement>, subject: &str) {
        self.n += 1;
        self.failed += u64::from(judgement.is_none());
        self.unextracted += u64::from(judgement.is_some_and(|j| j.prediction.is_none() && j.language.is_none()));
        self.correct += u64::from(judgement.is_some_and(|j| j.correct));
        self.row.clear();
        self.row.push(1.0);
        for (family, place) in &self.families {
            family.push(gold, judgement, &self.scoring, &mut self.row);
            debug_assert!(self.row.len() == place.end || *family == Family::Classes);
        }
        if self.row.len() > self.total.len() {
            self.total.resize(self.row.len(), 0.0);
        }
        self.total.iter_mut().zip(&self.row).for_each(|(sum, value)| *sum += value);
        // With accuracy alone nothing is resampled.
        if self.families.len() > 1 {
            self.units.add(&self.row);
        }
        self.subjects.add(subject, &self.row);
    }

    /// The metric's value; `None` where there is nothing to compute it from. In 0..=1, but BLEU and chrF in 0..=100 as
    /// sacreBLEU gives them, and Matthews' coefficient in −1..=1.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        self.value_of(metric, &self.total)
    }

    fn value_of(&self, metric: Metric, sums: &[f64]) -> Option<f64> {
        let family = Family::of(metric);
        let (_, place) = self.families.iter().find(|(f, _)| *f == family)?;
        let n = *sums.first().filter(|n| **n > 0.0)?;
        let end = if family == Family::Classes { sums.len() } else { place.end };
        family.value(metric, n, sums.get(place.start..end)?)
    }

    /// 95 % intervals of `metrics`, in their order.
    ///
    /// A share of right answers has Wilson's, with the design effect of subjects where there are several. Everything
    /// else is resampled, by record and by subject, and the wider end counts: subjects that are few or alike must not
    /// make an interval narrower than independent records would.
    pub fn intervals(&self, metrics: &[Metric]) -> Vec<Option<Interval>> {
        let resampled: Vec<Metric> = metrics.iter().copied().filter(|m| !m.is_share()).collect();
        let values = |sums: &[f64]| resampled.iter().map(|m| self.value_of(*m, sums)).collect();
        let mut bootstrapped = if resampled.is_empty() {
            Vec::new()
        } else {
            let by_record = interval::bootstrap(self.units.table(), values);
            match self.subjects.table() {
                Some(table) => interval::wider(by_record, interval::bootstrap(table, values)),
                None => by_record,
            }
        }
        .into_iter();
        let interval =
            |metric: &Metric| if metric.is_share() { self.wilson(*metric) } else { bootstrapped.next().flatten() };
        metrics.iter().map(interval).collect()
    }

    fn wilson(&self, metric: Metric) -> Option<Interval> {
        let (_, place) = self.families.iter().find(|(f, _)| *f == Family::Share(metric))?;
        let (n, right) = (*self.total.first()?, *self.total.get(place.start)?);
        let effect = self.subjects.table().map_or(1.0, |t| interval::design_effect(t, place.start));
        interval::wilson(right / n, n / effect)
    }
}
