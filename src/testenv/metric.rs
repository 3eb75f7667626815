//! Quality: counts of right and wrong answers, and the metrics made of them, each with its formula.
//! Constant memory. It must not know records' texts or timings.

use crate::job::Metric;

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
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    pub correct: bool,
    /// The output is the answer to the letter.
    pub exact: bool,
    /// Options of a `choice` record: the right one and the chosen one.
    pub classes: Option<(usize, usize)>,
}

/// Running counts over the records of a case.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub n: u64,
    /// Records that gave no answer; they count as wrong.
    pub failed: u64,
    pub correct: u64,
    exact: u64,
    /// `confusion[gold][predicted]`; failed records are in `unanswered[gold]`.
    confusion: Vec<Vec<u64>>,
    unanswered: Vec<u64>,
}

impl Tally {
    pub fn add(&mut self, judgement: Judgement) {
        self.n += 1;
        self.correct += u64::from(judgement.correct);
        self.exact += u64::from(judgement.exact);
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

    /// The metric's value, in 0..=1; `None` without records.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        let share = |count: u64| (self.n > 0).then(|| count as f64 / self.n as f64);
        match metric {
            Metric::Acc => share(self.correct),
            Metric::ExactMatch => share(self.exact),
            Metric::F1Macro => self.f1_macro(),
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
            tally.add(Judgement { correct: gold == predicted, exact: false, classes: Some((gold, predicted)) });
        }
        assert!(near(tally.value(Metric::F1Macro).unwrap(), 0.7));
    }

    #[test]
    fn an_unanswered_record_is_wrong() {
        let mut tally = Tally::default();
        tally.add(Judgement { correct: true, exact: true, classes: Some((0, 0)) });
        tally.add_failed(Some(0));
        assert_eq!(tally.value(Metric::Acc), Some(0.5));
        assert!(near(tally.value(Metric::F1Macro).unwrap(), 2.0 / 3.0));
    }
}
