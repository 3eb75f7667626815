//! Is a checkpoint better than another? Values from the rows of a run, and a paired test over the records that both
//! answered. It must not know of files being watched.

use crate::job::Metric;
use crate::results::CaseRow;
use crate::story::compare::statistics::{mcnemar, paired_change};
use crate::story::run_folder::{Run, Sample};
use crate::testenv::average::{Part, weighted};
use std::collections::BTreeMap;

/// Largest p at which a difference counts.
const ALPHA: f64 = 0.05;

/// A checkpoint's figure: the mean over its cases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    pub value: f64,
    pub interval: Option<(f64, f64)>,
    pub n: u64,
}

/// What the rows say; `None` where no case has the metric.
pub fn score(rows: &[CaseRow], metric: Metric) -> Option<Score> {
    let [value, lo, hi] = metric.columns();
    let with: Vec<&CaseRow> = rows.iter().filter(|r| r.number(value).is_some()).collect();
    let part = |row: &&CaseRow| {
        Some(Part { weight: 1.0, value: row.number(value)?, interval: row.number(lo).zip(row.number(hi)) })
    };
    let (value, interval) = weighted(&with.iter().filter_map(part).collect::<Vec<_>>())?;
    Some(Score { value, interval, n: with.iter().filter_map(|r| r.number("n")).sum::<f64>() as u64 })
}

/// How a checkpoint stands against its reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Better,
    Same,
    Worse,
}

/// Compares `new` with `reference`, and gives p where records could be paired: McNemar's test over right and wrong
/// answers, the paired bootstrap over texts' log-likelihoods. Other metrics have no value per record: for them a
/// difference counts when the intervals are apart.
///
/// # Errors
/// A file of a run that cannot be read.
pub fn compare(metric: Metric, reference: (&Run, Score), new: (&Run, Score)) -> Result<(Verdict, Option<f64>), String> {
    let gain = if metric.lower_is_better() { -1.0 } else { 1.0 } * (new.1.value - reference.1.value);
    let towards = |significant: bool| match (significant, gain > 0.0) {
        (false, _) => Verdict::Same,
        (true, true) => Verdict::Better,
        (true, false) => Verdict::Worse,
    };
    if metric != Metric::Acc && !metric.is_of_texts() {
        let apart = |a: (f64, f64), b: (f64, f64)| a.1 < b.0 || b.1 < a.0;
        let significant = reference.1.interval.zip(new.1.interval).is_some_and(|(a, b)| apart(a, b));
        return Ok((towards(significant), None));
    }
    let (before, after) = (reference.0.samples()?, new.0.samples()?);
    let pairs = pairs(&before, &after);
    let p = if metric == Metric::Acc {
        let judged = pairs.iter().filter_map(|(a, b)| Some((a.correct?, b.correct?)));
        let (mut worse, mut better) = (0, 0);
        for (a, b) in judged {
            worse += u64::from(a && !b);
            better += u64::from(!a && b);
        }
        Some(mcnemar(worse, better))
    } else {
        let loss = |s: &Sample| s.score.map(|logprob| -logprob);
        let losses: Vec<(f64, f64)> = pairs.iter().filter_map(|(a, b)| Some((loss(a)?, loss(b)?))).collect();
        paired_change(&losses).map(|change| change.p)
    };
    Ok((towards(p.is_some_and(|p| p < ALPHA)), p))
}

type Samples = BTreeMap<String, BTreeMap<String, Sample>>;

fn pairs<'s>(before: &'s Samples, after: &'s Samples) -> Vec<(&'s Sample, &'s Sample)> {
    let cases = before.iter().filter_map(|(case, records)| Some((records, after.get(case)?)));
    cases.flat_map(|(a, b)| a.iter().filter_map(|(id, a)| Some((a, b.get(id)?)))).collect()
}
