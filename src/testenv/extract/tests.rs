//! Extraction: our own cases, those of OpenCompass where they are at hand, and its functions on random texts.

use super::Chain;
use crate::job::Compat;

#[track_caller]
fn chain(steps: &[&str], compat: Compat) -> Chain {
    Chain::parse(steps, compat).unwrap()
}

#[track_caller]
fn assert_gives(steps: &[&str], cases: &[(&str, Option<&str>)]) {
    let chain = chain(steps, Compat::None);
    for (text, wanted) in cases {
        assert_eq!(chain.apply(text, 4).as_deref(), *wanted, "{steps:?} of {text:?}");
    }
}

#[test]
fn an_option_is_found_where_it_is_named_as_the_answer() {
    assert_gives(
        &["first_option"],
        &[
            ("B", Some("B")),
            ("(B)", Some("B")),
            ("**C**", Some("C")),
            ("B) because A is wrong", Some("B")),
            ("The answer is (C).", Some("C")),
            ("The correct answer is option D, not A.", Some("D")),
            ("A reasonable person would say: the answer is \\boxed{\\text{B}}", Some("B")),
            ("So we get $\\boxed{D}$", Some("D")),
            ("答案应该是选项：Ｃ", Some("C")),
            ("A项错误，B项正确，因此选择 B。", Some("B")),
            ("A和C都不对，D是正确的", Some("D")),
            ("综上所述，显然A", Some("A")),
            ("答案: d", Some("D")),
            ("I think it is B", Some("B")),
            ("Cats and Dogs", None),
            ("A cat", None),
            ("A or B", None),
            ("A is correct, B is not", Some("A")),
            ("Well, A", Some("A")),
            ("not sure", None),
            ("", None),
        ],
    );
    let five = chain(&["first_option"], Compat::None);
    assert_eq!((five.apply("E", 5), five.apply("E", 4)), (Some("E".to_owned()), None));
    assert_eq!(chain(&["first_option:ABCDE"], Compat::None).apply("E", 4).as_deref(), Some("E"));
    assert_gives(
        &["last_option"],
        &[("A? No: B.", Some("B")), ("Beautiful", None), ("first A, then C (sure)", Some("C"))],
    );
}

#[test]
fn a_number_is_what_people_write_as_one() {
    assert_gives(
        &["last_number"],
        &[
            ("The answer is 1,234.", Some("1234")),
            ("1,234,567.50 dollars", Some("1234567.50")),
            ("10-20", Some("20")),
            ("from 3 to -5", Some("-5")),
            ("it cost -$5", Some("-5")),
            ("−7", Some("-7")),
            ("1e3", Some("1e3")),
            ("a 2ex", Some("2")),
            ("about .5", Some("0.5")),
            ("答案是１２", Some("12")),
            ("5, 6, 7", Some("7")),
            ("1,23", Some("23")),
            ("v1.2.3", Some("3")),
            ("12,3456", Some("3456")),
            ("none", None),
        ],
    );
    assert_gives(&["first_number"], &[("4 of 10", Some("4")), ("no", None)]);
    for (text, value) in [("1e3", 1000.0), ("$1,000.00", 1000.0), ("x = -2.5 m", -2.5), (" 7 ", 7.0)] {
        assert_eq!(super::number::value(text), Some(value), "{text}");
    }
}

#[test]
fn steps_follow_each_other() {
    assert_gives(&["after:####", "trim"], &[("x\n#### 18", Some("18")), ("no mark", None), ("#### ", None)]);
    assert_gives(&["after:####", "or", "last_number"], &[("x #### y", Some(" y")), ("is 7.", Some("7"))]);
    assert_gives(&["before:Question:", "last_number"], &[("7.\n\nQuestion: Tom has 9", Some("7"))]);
    assert_gives(&["strip_think", "first_option"], &[("<think>A? no. B?</think>\n答案: C", Some("C"))]);
    assert_gives(
        &["strip_think"],
        &[("hm</think> yes", Some("yes")), ("a<think>b</think> c<think>d", Some("a c")), ("<think>cut off", None)],
    );
    assert_gives(&["line:last", "upper"], &[("a\n\n b \n\n", Some("B")), ("\n", None)]);
    assert_gives(&["line:2"], &[("a\n\nb", Some("b")), ("a", None)]);
    assert_gives(&["regex:answer=(\\d+)", "remove:0"], &[("answer=100 answer=2", Some("1"))]);
    assert_gives(&["last_regex:answer=(\\d+)"], &[("answer=100 answer=2", Some("2"))]);
    assert_gives(&["first_capital"], &[("the Answer", Some("A")), ("Ｃ", Some("C")), ("no", None)]);
    assert_gives(
        &["json:answer.value[1]"],
        &[
            ("Sure! ```json\n{\"answer\": {\"value\": [1, 2.50]}}\n```", Some("2.5")),
            ("{ no } {\"answer\": {\"value\": [0, \"x\"]}} more", Some("x")),
            ("{\"answer\": 1}", None),
            ("{\"answer\": {\"value\": [1, null]}", None),
        ],
    );
    assert_gives(&["json:/a~1b"], &[("{\"a/b\": true}", Some("true"))]);
}

#[test]
fn a_step_that_is_none_says_what_there_is() {
    for (word, wanted) in [
        ("first_letter", "no step is called `first_letter`; there are first_option, last_option"),
        ("after", "the step `after` lacks its argument; write it like \"after:####\""),
        ("trim:x", "the step `trim` takes no argument; write \"trim\""),
        ("line:0", "`0` is no line; write line:first, line:last or line:2"),
        ("first_option:ACE", "`ACE` are no letters of options; write the letters from A on"),
        ("regex:(", "`(` is no regular expression"),
    ] {
        let (what, todo) = Chain::parse(&[word], Compat::None).unwrap_err();
        assert!(format!("{what}; {todo}").starts_with(wanted), "{what}; {todo}");
    }
}

/// Texts that OpenCompass' functions were given, and what they gave (`scripts/reference-metrics`).
#[test]
fn compat_equals_opencompass_on_random_texts() {
    let stored: serde_json::Value = serde_json::from_str(include_str!("../../../tests/fixtures/extract.json")).unwrap();
    let cases = stored["cases"].as_array().unwrap();
    let steps = ["first_option", "last_option", "first_capital", "last_number", "first_number", "strip_think"];
    let chains = steps.map(|step| (step, chain(&[step], Compat::OpenCompass)));
    for case in cases {
        let text = case["text"].as_str().unwrap();
        for (step, chain) in &chains {
            let wanted = case[*step].as_str().unwrap();
            assert_eq!(chain.apply(text, 4).unwrap_or_default(), wanted.trim(), "{step} of {text:?}");
        }
    }
    assert!(cases.len() > 500);
}

/// Where our own reading differs from OpenCompass' on the shared cases, and why.
const DEVIATIONS: &[(&str, &str, &str, &str)] = &[
    ("first_option", "答案: b", "B", "the answer is marked as such; a small letter is the option"),
    ("first_option", "Ｃ", "C", "a full-width letter is that letter"),
    ("first_capital", "Ｃ", "C", "a full-width letter is that letter"),
    ("cmmlu_gen", "答案: b", "B", "it took the letter as it was, and counted it wrong"),
    ("gsm8k", "The answer is 1,234.", "1234", "a comma between groups of three digits is no end"),
    ("gsm8k", "the range is 10-20", "20", "a dash between two numbers is no sign"),
    ("gsm8k", "1e3", "1e3", "an exponent is part of its number"),
    ("gsm8k", "答案是１２", "12", "full-width digits are told in ASCII"),
];

/// Runs where `EDGEBENCH_DATA` has the shared cases.
#[test]
fn the_shared_cases_are_as_opencompass_has_them_but_for_the_listed_ones() {
    let Some(folder) = std::env::var_os("EDGEBENCH_DATA") else {
        eprintln!("skipped: no EDGEBENCH_DATA");
        return;
    };
    let path = std::path::Path::new(&folder).join("opencompass_extract_cases.json");
    let cases: Vec<serde_json::Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cmmlu = "regex:(?i)答案\\s*:\\s*[^\\w\u{3400}-\u{9fff}]*([A-D])";
    type Chain<'a> = &'a [&'a str];
    let functions: [(&str, Chain, Option<Chain>); 4] = [
        ("first_option", &["first_option"], None),
        ("first_capital", &["first_capital"], None),
        ("cmmlu_gen", &[cmmlu, "upper"], Some(&[cmmlu])),
        ("gsm8k", &["before:Question:", "last_number"], None),
    ];
    let mut met: Vec<&(&str, &str, &str, &str)> = Vec::new();
    for (function, own, same) in functions {
        let (own_chain, compat) = (chain(own, Compat::None), chain(same.unwrap_or(own), Compat::OpenCompass));
        for case in cases.iter().filter(|c| c[function].is_string()) {
            let (text, wanted) = (case["i"].as_str().unwrap(), case[function].as_str().unwrap());
            let wanted = if wanted == "NULL" { "" } else { wanted };
            assert_eq!(compat.apply(text, 4).unwrap_or_default(), wanted, "compat {function} of {text:?}");
            let ours = own_chain.apply(text, 4).unwrap_or_default();
            let listed = DEVIATIONS.iter().find(|(f, t, ..)| (*f, *t) == (function, text));
            assert_eq!(ours, listed.map_or(wanted, |(_, _, ours, _)| ours), "{function} of {text:?}");
            met.extend(listed.filter(|_| ours != wanted));
            if let (Some(gold), Some(right)) = (case["gold"].as_str(), case["correct"].as_bool()) {
                assert_eq!(super::opencompass::equal_numbers(wanted, gold), right, "{text:?}");
                let value = super::number::value(&ours);
                let deviates = ours != wanted && !right;
                assert_eq!(value == super::number::value(gold) && value.is_some(), right || deviates, "{text:?}");
            }
        }
    }
    assert_eq!(met.len(), DEVIATIONS.len(), "a listed deviation is none: {met:?}");
    let gold = chain(&["after:#### ", "remove:,"], Compat::OpenCompass);
    for case in cases.iter().filter(|c| c["gsm8k_gold"].is_string()) {
        assert_eq!(gold.apply(case["i"].as_str().unwrap(), 0).as_deref(), case["gsm8k_gold"].as_str());
    }
}
