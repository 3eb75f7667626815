//! Metrics against the field's own libraries, on the random cases that `scripts/reference-metrics` stored, and what is said of
//! records without an answer.

use super::{Gold, Judgement, Language, Tally, chrf, cmrc, number, squad};
use crate::job::{Compat, Metric, Scoring, Tolerance};
use serde_json::Value;

fn stored(part: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../../../tests/fixtures/metrics.json")).unwrap();
    all[part].as_array().unwrap().clone()
}

fn metric(name: &str) -> Metric {
    Metric::ALL.iter().find(|(n, _)| *n == name).unwrap().1
}

#[track_caller]
fn assert_near(a: Option<f64>, b: f64, what: &str) {
    assert!(a.is_some_and(|a| (a - b).abs() <= 1e-9 * b.abs().max(1.0)), "{what}: {a:?}, not {b}");
}

/// Compares the named values of a case.
fn assert_values(tally: &Tally, values: &Value, case: usize) {
    for (name, value) in values.as_object().unwrap() {
        assert_near(tally.value(metric(name)), value.as_f64().unwrap(), &format!("{name} of case {case}"));
    }
}

/// For all metrics that are named in `values`.
fn tally_for(values: &Value) -> Tally {
    let metrics: Vec<Metric> = values.as_object().unwrap().keys().map(|name| metric(name)).collect();
    Tally::new(&metrics, &Scoring::default())
}

fn gold(answers: &[&str]) -> Gold {
    Gold { answers: answers.iter().map(|a| (*a).to_owned()).collect(), class: None }
}

fn said(prediction: &str) -> Judgement {
    Judgement { prediction: Some(prediction.to_owned()), ..Judgement::default() }
}

#[test]
fn classification_equals_scikit_learn() {
    let index = |v: &Value| v.as_u64().map(|i| i as usize);
    let cases = stored("classification");
    for (number, case) in cases.iter().enumerate() {
        let mut tally = tally_for(&case["values"]);
        for (right, chosen) in case["gold"].as_array().unwrap().iter().zip(case["predicted"].as_array().unwrap()) {
            let gold = Gold { class: index(right), ..Gold::default() };
            let correct = chosen == right;
            let judgement = index(chosen).map(|c| Judgement { class: Some(c), correct, ..Judgement::default() });
            tally.add(&gold, judgement.as_ref(), "");
        }
        assert_values(&tally, &case["values"], number);
    }
    assert!(cases.len() >= 10);
}

#[test]
fn texts_equal_sacrebleu_rouge_score_and_squad() {
    let cases = stored("texts");
    for (number, case) in cases.iter().enumerate() {
        let mut tally = tally_for(&case["values"]);
        for record in case["records"].as_array().unwrap() {
            let answers: Vec<&str> = record[1].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
            tally.add(&gold(&answers), Some(&said(record[0].as_str().unwrap())), "");
        }
        assert_values(&tally, &case["values"], number);
    }
    assert!(cases.len() >= 10);
}

#[test]
fn calibration_equals_numpy() {
    for (number, case) in stored("calibration").iter().enumerate() {
        let mut tally = Tally::new(&[Metric::Ece], &Scoring::default());
        for (right, scores) in case["gold"].as_array().unwrap().iter().zip(case["scores"].as_array().unwrap()) {
            let scores: Vec<f64> = scores.as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
            let best = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
            let correct = right.as_u64() == Some(best as u64);
            tally.add(&Gold::default(), Some(&Judgement { correct, scores: Some(scores), ..said("x") }), "");
        }
        // A failed record has no confidence.
        tally.add(&Gold::default(), None, "");
        assert_near(tally.value(Metric::Ece), case["ece"].as_f64().unwrap(), &number.to_string());
    }
}

#[test]
fn perplexities_are_of_all_texts_together() {
    let mut tally = Tally::new(&Metric::LANGUAGE, &Scoring::default());
    for (logprob, tokens, bytes, words) in [(-20.0, 10, 40, 8), (-4.0, 2, 8, 4)] {
        let language = Some(Language { logprob, tokens, bytes, words, ..Language::default() });
        tally.add(&Gold::default(), Some(&Judgement { language, ..Judgement::default() }), "");
    }
    // numpy: exp(24 / 12), exp(24 / 12), exp(24 / 48), 24 / 48 / log(2)
    let values = [7.38905609893065, 7.38905609893065, 1.6487212707001282, 0.7213475204444817];
    for (metric, value) in Metric::LANGUAGE.into_iter().zip(values) {
        assert_near(tally.value(metric), value, metric.name());
    }
    assert_eq!(Tally::new(&Metric::LANGUAGE, &Scoring::default()).value(Metric::Perplexity), None);
}

#[test]
fn subjects_widen_an_interval_as_clusters_do() {
    for case in stored("clusters") {
        let mut tally = Tally::new(&[], &Scoring::default());
        for record in case["records"].as_array().unwrap() {
            let judgement = Judgement { correct: record[1] == 1, ..said("x") };
            tally.add(&Gold::default(), Some(&judgement), &record[0].to_string());
        }
        let (lo, hi) = tally.intervals(&[Metric::Acc])[0].unwrap();
        assert_near(Some(lo), case["interval"][0].as_f64().unwrap(), "lo");
        assert_near(Some(hi), case["interval"][1].as_f64().unwrap(), "hi");
    }
}

#[test]
fn an_unanswered_record_is_wrong_and_counted() {
    let metrics = [Metric::F1Macro, Metric::ExactMatch, Metric::SquadF1, Metric::Chrf];
    let mut tally = Tally::new(&metrics, &Scoring::default());
    let gold = Gold { class: Some(0), ..gold(&["A"]) };
    tally.add(&gold, Some(&Judgement { correct: true, class: Some(0), ..said("A") }), "");
    tally.add(&gold, None, "");
    tally.add(&gold, Some(&Judgement::default()), "");
    assert_eq!((tally.n, tally.failed, tally.unextracted, tally.correct), (3, 1, 1, 1));
    for (metric, value) in [(Metric::Acc, 1.0 / 3.0), (Metric::ExactMatch, 1.0 / 3.0), (Metric::F1Macro, 0.5)] {
        assert_near(tally.value(metric), value, metric.name());
    }
    assert!(tally.value(Metric::Chrf).unwrap() < 100.0);
    assert_eq!(tally.value(Metric::Bleu), None, "it was not asked for");
    assert_eq!(Tally::new(&metrics, &Scoring::default()).value(Metric::F1Macro), None);
}

#[test]
fn intervals_hold_the_value_and_are_the_same_each_time() {
    let metrics = [Metric::Acc, Metric::SquadF1, Metric::Bleu, Metric::Chrf, Metric::ExactMatch];
    let all = |subjects: usize| {
        let mut tally = Tally::new(&metrics, &Scoring::default());
        for i in 0..300usize {
            let text = format!("the {} fox jumps over {} lazy dogs", ["brown", "red", "grey"][i % 3], i % 7);
            let answer = format!("the brown fox jumps over {} lazy dogs", i % 5);
            tally.add(&gold(&[&answer]), Some(&said(&text)), &(i % subjects * 7 / 7).to_string());
        }
        let values: Vec<f64> = metrics.iter().map(|m| tally.value(*m).unwrap()).collect();
        (values, tally.intervals(&metrics))
    };
    let (values, intervals) = all(1);
    for (value, interval) in values.iter().zip(&intervals) {
        let (lo, hi) = interval.unwrap();
        assert!(lo <= *value && *value <= hi && lo < hi, "{value} in {lo}..{hi}");
    }
    assert_eq!(intervals, all(1).1);
    // Subjects that differ by design: i % 3 is the colour that makes an answer good or bad.
    let clustered = all(3).1;
    for (alone, together) in intervals.iter().zip(&clustered).skip(1) {
        let width = |i: &Option<(f64, f64)>| i.map(|(lo, hi)| hi - lo).unwrap();
        assert!(width(together) > width(alone), "{alone:?} {together:?}");
    }
}

/// The bootstrap of a mean is near what theory says: ± 1.96 standard errors, for single records and for blocks of them.
#[test]
fn a_bootstrap_covers_what_theory_says() {
    for n in [1000u64, 20_000] {
        let mut tally = Tally::new(&[Metric::SquadF1], &Scoring::default());
        let mut random = crate::random::SplitMix(3);
        let mut scores = Vec::new();
        for _ in 0..n {
            let prediction = ["a b", "b c", "x y", "b"][random.below(4)];
            scores.push(squad::f1(prediction, "b c"));
            tally.add(&gold(&["b c"]), Some(&said(prediction)), "");
        }
        let mean = scores.iter().sum::<f64>() / n as f64;
        let variance = scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / n as f64;
        let half = 1.96 * (variance / n as f64).sqrt();
        let (lo, hi) = tally.intervals(&[Metric::SquadF1])[0].unwrap();
        assert!((lo - (mean - half)).abs() < 0.15 * half && (hi - (mean + half)).abs() < 0.15 * half, "{n}: {lo} {hi}");
    }
}

#[test]
fn numbers_are_equal_within_the_tolerance() {
    let with = |tolerance, compat| Scoring { tolerance, compat, ..Scoring::default() };
    let exact = with(Tolerance::default(), Compat::None);
    for (p, a, equal) in [
        ("1,234", "1234", true),
        ("18.00", "#### 18", true),
        ("about 5", "5.1", false),
        ("5.0000001", "5", true),
        ("x", "5", false),
        ("1e3", "1000", true),
    ] {
        assert_eq!(number::equal(p, a, &exact), equal, "{p} {a}");
    }
    assert!(number::equal("0.3", "0.2", &with(Tolerance::Absolute(0.1), Compat::None)));
    assert!(!number::equal("0.31", "0.2", &with(Tolerance::Absolute(0.1), Compat::None)));
    assert!(number::equal("-101", "-100", &with(Tolerance::Relative(0.01), Compat::None)));
    let same = with(Tolerance::default(), Compat::OpenCompass);
    for (p, a, equal) in [("18.00", "18", true), ("1.5", "1.5", true), ("1.50", "1.5", false), ("1,234", "1234", false)]
    {
        assert_eq!(number::equal(p, a, &same), equal, "{p} {a}");
    }
}

#[test]
fn squad_knows_articles_from_words() {
    assert!(squad::exact("The Eiffel-Tower!", "an eiffeltower"));
    assert!(squad::exact("the theatre of a", "theatre of"));
    assert!(!squad::exact("there", "re"));
    assert_eq!((squad::f1("the", "a"), squad::f1("the", "x"), squad::f1("", "x")), (1.0, 0.0, 0.0));
    assert!((squad::f1("b b c", "b d") - 0.4).abs() < 1e-12, "b counts once");
}

#[test]
fn cmrc_compares_characters_and_runs_of_them() {
    assert!(cmrc::exact("《红楼梦》。", "红楼梦"));
    assert!(!cmrc::exact("红楼", "红楼梦"));
    // The longest run in common: 在北京 of 他在北京大学 (6 pieces) and 在北京市 (4).
    assert!((cmrc::f1("他在北京大学", "在北京市") - 2.0 * 0.5 * 0.75 / 1.25).abs() < 1e-12);
    // Words of other scripts are one piece each.
    assert!((cmrc::f1("用 GPT-4 写", "gpt4") - 0.5).abs() < 1e-12);
    assert_eq!(cmrc::f1("是", "否"), 0.0);
}

#[test]
fn of_several_references_chrf_takes_the_best() {
    let mut row = Vec::new();
    chrf::push("今天天气", &["明天下雨".to_owned(), "今天天气".to_owned()], &mut row);
    assert_eq!(chrf::value(&row), Some(100.0));
}
