//! Options and numbers exactly as OpenCompass 0.5.4 finds them (`opencompass/utils/text_postprocessors.py`,
//! `datasets/gsm8k.py`; Apache-2.0), for figures that are to equal its own. It owns nothing that is better.

use super::number::digits_folded;
use super::patterns::{Pattern, Patterns};
use regex_lite::Regex;
use std::sync::OnceLock;

/// What a character class holds for Python's `\s`: Unicode's white space, where regex-lite has ASCII's.
macro_rules! space {
    () => {
        r"\t-\r\x1c-\x20\u{85}\u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}"
    };
}

/// How `␣` (Python's `\s`) and `␡` (`\S`) are spelled, inside of a class and elsewhere.
const SPELLED: &[(&str, &str)] =
    &[("[␣", concat!("[", space!())), ("␣", concat!("[", space!(), "]")), ("␡", concat!("[^", space!(), "]"))];

macro_rules! patterns {
    ($($word:literal $source:literal)*) => {
        &[$(Pattern { words: if $word.is_empty() { &[] } else { &[$word] }, source: $source }),*]
    };
}

/// `first_option_postprocess`: what it looks for, in its order. That 故 is tried only together with
/// 只有 is a comma that is missing there.
const FIRST_OPTION: &[Pattern] = patterns! {
    "答案" "答案是?␣*(#)"
    "答案" "答案是?␣*：␣*(#)"
    "答案" "答案是?␣*:␣*(#)"
    "答案选项" "答案选项应?该?是␣*(#)"
    "答案选项" "答案选项应?该?为␣*(#)"
    "答案" "答案应该?是␣*(#)"
    "答案" "答案应该?选␣*(#)"
    "答案选项" "答案选项为?␣*：␣*(#)"
    "答案选项" r"答案选项为?␣+\(?\*?\*?(#)\*?\*?\)?"
    "答案选项" "答案选项是?␣*:␣*(#)"
    "答案" "答案为␣*(#)"
    "答案" "答案选␣*(#)"
    "选" "选择?␣*(#)"
    "只有" "故选?␣*(#)只有选?项?␣?(#)␣?是?对"
    "只有" "只有选?项?␣?(#)␣?是?错"
    "只有" "只有选?项?␣?(#)␣?不?正确"
    "只有" "只有选?项?␣?(#)␣?错误"
    "说法" "说法不?对选?项?的?是␣?(#)"
    "说法" "说法不?正确选?项?的?是␣?(#)"
    "说法" "说法错误选?项?的?是␣?(#)"
    "是正确的" "(#)␣?是正确的"
    "是正确答案" "(#)␣?是正确答案"
    "选项" "选项␣?(#)␣?正确"
    "所以答" "所以答␣?(#)"
    "所以" "所以␣?(#[.。$]?$)"
    "所有" "所有␣?(#[.。$]?$)"
    "" r"[␣，：:,](#)[。，,\.]?$"
    "" r"[␣，,：:][故即](#)[。\.]?$"
    "因此" r"[␣，,：:]因此(#)[。\.]?$"
    "" r"[是为。]␣?(#)[。\.]?$"
    "因此" r"因此␣?(#)[。\.]?$"
    "显然" r"显然␣?(#)[。\.]?$"
    "答案是" r"答案是␣?(␡+)(?:。|$)"
    "答案应该是" r"答案应该是␣?(␡+)(?:。|$)"
    "答案为" r"答案为␣?(␡+)(?:。|$)"
    ":" "(?i)ANSWER␣*:␣*(#)"
    "he answer is" r"[Tt]he answer is:?␣+\(?(#)\)?"
    "he answer is" r"[Tt]he answer is:?␣+\(?\*?\*?(#)\*?\*?\)?"
    "he answer is option" r"[Tt]he answer is option:?␣+\(?(#)\)?"
    "he correct answer is" r"[Tt]he correct answer is:?␣+\(?(#)\)?"
    "he correct answer is option" r"[Tt]he correct answer is option:?␣+\(?(#)\)?"
    "he correct answer is" r"[Tt]he correct answer is:?.*?boxed\{(#)\}"
    "he correct option is" r"[Tt]he correct option is:?.*?boxed\{(#)\}"
    "he correct answer option is" r"[Tt]he correct answer option is:?.*?boxed\{(#)\}"
    "he answer to the question is" r"[Tt]he answer to the question is:?␣+\(?(#)\)?"
    "选项" "^选项␣?(#)"
    "项" "^(#)␣?选?项"
    "" r"(␣|^)#[␣。，,：:\.$]"
    "1" "1.␣?(.*?)$"
    "1" "1.␣?(#)[.。$]?$"
    ":" "(#):"
    "" "(#)"
};

/// The above, to be compiled.
pub fn patterns() -> Patterns {
    Patterns::new(FIRST_OPTION, SPELLED)
}

/// `first_option_postprocess(text, options)`
pub fn first_option(patterns: &Patterns, text: &str, count: usize) -> Option<char> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\x1c'..='\x1f'));
    patterns.fitting(text, count).find_map(|(_, regex)| {
        let captures = regex.captures(text)?;
        let group = captures.get(1).filter(|g| !g.is_empty()).or(captures.get(0))?.as_str();
        letters(count).find(|letter| group.contains(*letter))
    })
}

/// `last_option_postprocess(text, options)`
pub fn last_option(text: &str, count: usize) -> Option<char> {
    text.chars().rev().find(|c| letters(count).any(|letter| letter == *c))
}

/// `gsm8k_postprocess` without its cut at `Question:`, which is the step `before:Question:`; or
/// `first_number_postprocess`, as text. Of digits beyond ASCII only the full-width ones count.
pub fn number(text: &str, last: bool) -> Option<String> {
    static LAST: OnceLock<Regex> = OnceLock::new();
    static FIRST: OnceLock<Regex> = OnceLock::new();
    let compile = |source: &str| Regex::new(source).expect("a fixed pattern");
    let found = if last {
        let regex = LAST.get_or_init(|| compile("-?[0-9０-９]+\\.[0-9０-９]+|-?[0-9０-９]+"));
        regex.find_iter(text).last()
    } else {
        FIRST.get_or_init(|| compile("-?[0-9０-９]*\\.?[0-9０-９]+")).find(text)
    };
    found.map(|m| m.as_str().to_owned())
}

/// `Gsm8kEvaluator.is_equal`: the same text, or a number within 1e-6 of what has to be a whole one.
pub fn equal_numbers(prediction: &str, gold: &str) -> bool {
    let parse = |text: &str| digits_folded(text).trim().parse::<f64>().ok();
    let whole = digits_folded(gold).trim().parse::<i64>().ok();
    prediction == gold || parse(prediction).zip(whole).is_some_and(|(p, g)| (p - g as f64).abs() < 1e-6)
}

fn letters(count: usize) -> impl Iterator<Item = char> {
    ('A'..='Z').take(count)
}
