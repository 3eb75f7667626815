//! Is a checkpoint better than another? Values from the rows of a run, and a paired test over the records that both
//! answered. It must not know of files being watched.

use crate::job::Metric;
use crate::random::SplitMix;
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
/// answers (of several cases: its form for their mean, [`sign_flips`]), the paired bootstrap over texts' log-likelihoods. Other metrics have no value per record: for them a
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
    let p = if metric == Metric::Acc {
        Some(flips(&before, &after))
    } else {
        let loss = |s: &Sample| s.score.map(|logprob| -logprob);
        let pairs = pairs(&before, &after).flatten();
        let losses: Vec<(f64, f64)> = pairs.filter_map(|(a, b)| Some((loss(a)?, loss(b)?))).collect();
        paired_change(&losses).map(|change| change.p)
    };
    Ok((towards(p.is_some_and(|p| p < ALPHA)), p))
}

type Samples = BTreeMap<String, BTreeMap<String, Sample>>;

/// The pairs of each case that both have.
fn pairs<'s>(
    before: &'s Samples,
    after: &'s Samples,
) -> impl Iterator<Item = impl Iterator<Item = (&'s Sample, &'s Sample)>> {
    let cases = before.iter().filter_map(|(case, records)| Some((records, after.get(case)?)));
    cases.map(|(a, b)| a.iter().filter_map(|(id, a)| Some((a, b.get(id)?))))
}

/// p of the change of answers from right to wrong and back.
fn flips(before: &Samples, after: &Samples) -> f64 {
    let mut changes: Vec<f64> = Vec::new();
    let mut cases = 0;
    for case in pairs(before, after) {
        let judged: Vec<(bool, bool)> = case.filter_map(|(a, b)| Some((a.correct?, b.correct?))).collect();
        let weight = 1.0 / judged.len() as f64;
        cases += usize::from(!judged.is_empty());
        changes.extend(judged.iter().filter(|(a, b)| a != b).map(|(_, b)| if *b { weight } else { -weight }));
    }
    if cases > 1 {
        return sign_flips(&changes);
    }
    let better = changes.iter().filter(|c| **c > 0.0).count() as u64;
    mcnemar(changes.len() as u64 - better, better)
}

/// Flips of a test; its p is at least one in as many.
const FLIPS: usize = 10_000;

/// Two-sided randomisation test of a sum of paired differences (R. A. Fisher, 1935): how often is it as far from 0 when
/// each has the other sign by a coin? With differences of one size it is McNemar's test; a record of a short case weighs
/// more here, as it does in the mean over the cases.
fn sign_flips(changes: &[f64]) -> f64 {
    let mut random = SplitMix(0x5eed);
    // Sums in another order differ in their last bits.
    let observed = changes.iter().sum::<f64>().abs() - 1e-12;
    let as_far = (1..FLIPS).filter(|_| {
        let sum: f64 = changes.iter().map(|c| if random.next() & 1 == 0 { *c } else { -c }).sum();
        sum.abs() >= observed
    });
    (as_far.count() + 1) as f64 / FLIPS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flips_of_equal_weight_are_mcnemars_test() {
        for (worse, better) in [(3, 14), (20, 28), (5, 5)] {
            let changes = [vec![-0.01; worse], vec![0.01; better]].concat();
            let (p, exact) = (sign_flips(&changes), mcnemar(worse as u64, better as u64));
            assert!((p - exact).abs() < 0.02, "{worse} {better}: {p}, exact {exact}");
        }
        assert_eq!(sign_flips(&[]), 1.0);
    }

    #[test]
    fn a_loss_in_a_short_case_outweighs_the_same_gain_in_a_long_one() {
        // 30 of 100 lost, 30 of 400 gained.
        let changes = [vec![-1.0 / 100.0; 30], vec![1.0 / 400.0; 30]].concat();
        assert!(sign_flips(&changes) < 0.001, "{}", sign_flips(&changes));
        assert_eq!(mcnemar(30, 30), 1.0);
    }
}
