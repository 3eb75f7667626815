//! Metrics of classification, single-label, as scikit-learn defines them (`sklearn.metrics`: `precision_recall_fscore_support`,
//! `balanced_accuracy_score`, `matthews_corrcoef`, with `zero_division=0`). It must not know what the classes are.
//!
//! A record without a prediction is a prediction of no class: it is missed by its own class, and wrong for none other.

use crate::job::Metric;

/// Appends three columns for each class up to the last that occurs: right predictions, records, predictions.
pub fn push(gold: Option<usize>, predicted: Option<usize>, row: &mut Vec<f64>) {
    let Some(gold) = gold else { return };
    let start = row.len();
    row.resize(start + 3 * (gold.max(predicted.unwrap_or(gold)) + 1), 0.0);
    row[start + 3 * gold + 1] = 1.0;
    if let Some(predicted) = predicted {
        row[start + 3 * predicted + 2] = 1.0;
        row[start + 3 * gold] = f64::from(predicted == gold);
    }
}

/// One class: right predictions, records, predictions.
struct Class {
    right: f64,
    records: f64,
    predicted: f64,
}

impl Class {
    fn precision(&self) -> f64 {
        ratio(self.right, self.predicted)
    }

    fn recall(&self) -> f64 {
        ratio(self.right, self.records)
    }

    /// 2TP / (2TP + FP + FN)
    fn f1(&self) -> f64 {
        ratio(2.0 * self.right, self.records + self.predicted)
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// The metric from sums; `None` where no record has a class.
pub fn value(metric: Metric, sums: &[f64]) -> Option<f64> {
    let class = |c: &[f64]| Class { right: c[0], records: c[1], predicted: c[2] };
    // Classes that occur neither as gold nor as prediction are none.
    let classes: Vec<Class> = sums.chunks_exact(3).map(class).filter(|c| c.records + c.predicted > 0.0).collect();
    if classes.is_empty() {
        return None;
    }
    use Metric::*;
    Some(match metric {
        PrecisionMacro => mean(classes.iter().map(Class::precision)),
        RecallMacro => mean(classes.iter().map(Class::recall)),
        F1Macro => mean(classes.iter().map(Class::f1)),
        PrecisionMicro => all(&classes).precision(),
        RecallMicro => all(&classes).recall(),
        F1Micro => all(&classes).f1(),
        PrecisionWeighted => weighted(&classes, Class::precision),
        RecallWeighted => weighted(&classes, Class::recall),
        F1Weighted => weighted(&classes, Class::f1),
        // The mean recall of the classes that have records.
        BalancedAcc => mean(classes.iter().filter(|c| c.records > 0.0).map(Class::recall)),
        Mcc => matthews(&classes),
        _ => return None,
    })
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (n, sum) = values.fold((0.0, 0.0), |(n, sum), value| (n + 1.0, sum + value));
    ratio(sum, n)
}

/// All classes as one.
fn all(classes: &[Class]) -> Class {
    let sum = |get: fn(&Class) -> f64| classes.iter().map(get).sum();
    Class { right: sum(|c| c.right), records: sum(|c| c.records), predicted: sum(|c| c.predicted) }
}

/// The mean, each class by its number of records.
fn weighted(classes: &[Class], value: fn(&Class) -> f64) -> f64 {
    ratio(classes.iter().map(|c| c.records * value(c)).sum(), all(classes).records)
}

/// R_K, Matthews' coefficient for several classes (Gorodkin 2004): (c·s − Σ t p) / √((s² − Σ p²)(s² − Σ t²)), of s records c
/// right, t records and p predictions of a class. No prediction is a class of predictions, too.
fn matthews(classes: &[Class]) -> f64 {
    let Class { right, records: s, predicted } = all(classes);
    let none = s - predicted;
    let sum = |get: fn(&Class) -> f64| classes.iter().map(get).sum::<f64>();
    let covariance = right * s - sum(|c| c.records * c.predicted);
    let spread = (s * s - sum(|c| c.predicted * c.predicted) - none * none) * (s * s - sum(|c| c.records * c.records));
    ratio(covariance, spread.max(0.0).sqrt())
}
