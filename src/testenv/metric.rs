//! Quality: counts of right and wrong answers, and the metrics made of them, each with its formula.
//! Constant memory. It must not know records' texts or timings.

use crate::job::Metric;
use serde::Serialize;
use std::f64::consts::LN_2;

/// z of the two-sided 95 % interval.
const Z95: f64 = 1.959_963_984_540_054;

/// 95 % Wilson score interval of `correct` out of `n`: (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n)
/// (Wilson 1927; Brown, Cai & DasGupta 2001). `None` when `n` is 0.
pub fn wilson(correct: u64, n: u64) -> Option<(f64, f64)> {
    if n == 0 {
        return None;
    }
    let (n, p) = (n as f64, correct as f64 / n as f64);
    let z2 = Z95 * Z95;
    let centre = p + z2 / (2.0 * n);
    let half = Z95 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    Some((((centre - half) / scale).max(0.0), ((centre + half) / scale).min(1.0)))
}

/// How one record was judged.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Judgement {
    pub correct: bool,
    /// The output is the answer to the letter.
    pub exact: bool,
    /// Options of a `choice` record: the right one and the chosen one.
    pub classes: Option<(usize, usize)>,
    /// `choice`: is the option right that is chosen by log-likelihood per byte?
    pub norm: bool,
    /// `choice`: or by the difference to its log-likelihood without the question?
    pub mutual_info: bool,
    /// `perplexity`: what was scored of a text.
    pub language: Language,
}

/// A scored text, or the sum of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Language {
    /// Log-likelihood of its tokens, natural.
    pub logprob: f64,
    pub tokens: u64,
    /// Of the text, in UTF-8.
    pub bytes: u64,
    /// Of the text, as lm-eval counts them.
    pub words: u64,
}

impl Language {
    fn add(&mut self, other: &Language) {
        self.logprob += other.logprob;
        self.tokens += other.tokens;
        self.bytes += other.bytes;
        self.words += other.words;
    }

    /// Nats per unit: its exponential is lm-eval's `weighted_perplexity`, the quotient by ln 2 its `bits_per_byte`.
    fn loss_per(&self, units: u64) -> Option<f64> {
        (self.tokens > 0 && units > 0).then(|| -self.logprob / units as f64)
    }
}

/// Running counts over the records of a case.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub n: u64,
    /// Records that gave no answer; they count as wrong.
    pub failed: u64,
    pub correct: u64,
    exact: u64,
    norm: u64,
    mutual_info: u64,
    language: Language,
    /// `confusion[gold][predicted]`; failed records are in `unanswered[gold]`.
    confusion: Vec<Vec<u64>>,
    unanswered: Vec<u64>,
}

impl Tally {
    pub fn add(&mut self, judgement: Judgement) {
        self.n += 1;
        self.correct += u64::from(judgement.correct);
        self.exact += u64::from(judgement.exact);
        self.norm += u64::from(judgement.norm);
        self.mutual_info += u64::from(judgement.mutual_info);
        self.language.add(&judgement.language);
        if let Some((gold, predicted)) = judgement.classes {
            self.grow(gold.max(predicted) + 1);
            self.confusion[gold][predicted] += 1;
        }
    }

    /// A record without an answer; `gold` is its class where there are classes.
    pub fn add_failed(&mut self, gold: Option<usize>) {
        self.n += 1;
        self.failed += 1;
        if let Some(gold) = gold {
            self.grow(gold + 1);
            self.unanswered[gold] += 1;
        }
    }

    fn grow(&mut self, classes: usize) {
        let classes = classes.max(self.confusion.len());
        self.confusion.resize_with(classes, Vec::new);
        self.confusion.iter_mut().for_each(|row| row.resize(classes, 0));
        self.unanswered.resize(classes, 0);
    }

    /// The metric's value; `None` without records. Shares and F1 are in 0..=1.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        let share = |count: u64| (self.n > 0).then(|| count as f64 / self.n as f64);
        match metric {
            Metric::Acc => share(self.correct),
            Metric::ExactMatch => share(self.exact),
            Metric::F1Macro => self.f1_macro(),
            Metric::AccNorm => share(self.norm),
            Metric::AccMutualInfo => share(self.mutual_info),
            Metric::Perplexity => self.language.loss_per(self.language.tokens).map(f64::exp),
            Metric::WordPerplexity => self.language.loss_per(self.language.words).map(f64::exp),
            Metric::BytePerplexity => self.language.loss_per(self.language.bytes).map(f64::exp),
            Metric::BitsPerByte => self.language.loss_per(self.language.bytes).map(|nats| nats / LN_2),
        }
    }

    /// Mean over the classes that occur as gold or prediction of F1 = 2TP / (2TP + FP + FN), as scikit-learn's
    /// `f1_score(average="macro")`. A record without an answer is a false negative of its class.
    fn f1_macro(&self) -> Option<f64> {
        let mut sum = 0.0;
        let mut classes = 0;
        for (class, row) in self.confusion.iter().enumerate() {
            let gold: u64 = row.iter().sum::<u64>() + self.unanswered[class];
            let predicted: u64 = self.confusion.iter().map(|r| r[class]).sum();
            if gold + predicted > 0 {
                sum += 2.0 * row[class] as f64 / (gold + predicted) as f64;
                classes += 1;
            }
        }
        (classes > 0).then(|| sum / f64::from(classes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-4
    }

    #[test]
    fn wilson_equals_published_values() {
        // Brown, Cai & DasGupta's setting, checked against R's prop.test(correct = FALSE).
        let (lo, hi) = wilson(81, 263).unwrap();
        assert!(near(lo, 0.2553) && near(hi, 0.3662), "{lo} {hi}");
        let (lo, hi) = wilson(0, 20).unwrap();
        assert!(near(lo, 0.0) && near(hi, 0.1611), "{lo} {hi}");
        let (lo, hi) = wilson(20, 20).unwrap();
        assert!(near(lo, 0.8389) && near(hi, 1.0), "{lo} {hi}");
        assert_eq!(wilson(0, 0), None);
    }

    #[test]
    fn f1_macro_equals_scikit_learn() {
        // f1_score([0,0,1,1,2,2,2], [0,1,1,1,2,0,2], average="macro") = 0.7
        let mut tally = Tally::default();
        for (gold, predicted) in [(0, 0), (0, 1), (1, 1), (1, 1), (2, 2), (2, 0), (2, 2)] {
            tally.add(Judgement { correct: gold == predicted, classes: Some((gold, predicted)), ..Default::default() });
        }
        assert!(near(tally.value(Metric::F1Macro).unwrap(), 0.7));
    }

    #[test]
    fn an_unanswered_record_is_wrong() {
        let mut tally = Tally::default();
        tally.add(Judgement { correct: true, exact: true, classes: Some((0, 0)), ..Default::default() });
        tally.add_failed(Some(0));
        assert_eq!(tally.value(Metric::Acc), Some(0.5));
        assert!(near(tally.value(Metric::F1Macro).unwrap(), 2.0 / 3.0));
    }

    #[test]
    fn perplexities_are_of_all_texts_together() {
        let mut tally = Tally::default();
        for (logprob, tokens, bytes, words) in [(-20.0, 10, 40, 8), (-4.0, 2, 8, 4)] {
            let language = Language { logprob, tokens, bytes, words };
            tally.add(Judgement { language, ..Default::default() });
        }
        // numpy: exp(24 / 12), exp(24 / 12), exp(24 / 48), 24 / 48 / log(2)
        assert!(near(tally.value(Metric::Perplexity).unwrap(), 7.389056));
        assert!(near(tally.value(Metric::WordPerplexity).unwrap(), 7.389056));
        assert!(near(tally.value(Metric::BytePerplexity).unwrap(), 1.648721));
        assert!(near(tally.value(Metric::BitsPerByte).unwrap(), 0.721348));
        assert_eq!(Tally::default().value(Metric::Perplexity), None);
    }
}
