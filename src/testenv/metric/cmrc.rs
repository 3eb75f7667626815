//! Exact match and F1 of CMRC 2018 (Cui et al. 2019), as its evaluation script has them: Chinese by characters, and for F1 the
//! longest piece in common. Words of other scripts are cut at white space, where the script uses NLTK. In 0..=1.

use super::squad::harmonic;
use super::tokens;

/// The script's list, whose `……` never meets a single character.
const PUNCTUATION: &str = "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』";

fn is_punctuation(c: char) -> bool {
    PUNCTUATION.contains(c)
}

fn is_chinese(c: char) -> bool {
    matches!(c, '\u{4e00}'..='\u{9fa5}')
}

pub fn exact(prediction: &str, answer: &str) -> bool {
    let bare = |text: &str| text.to_lowercase().trim_matches(tokens::is_space).replace(is_punctuation, "");
    bare(prediction) == bare(answer)
}

/// Chinese characters, and the words between them.
fn pieces(text: &str) -> Vec<String> {
    let text = text.to_lowercase().replace(is_punctuation, "");
    let mut spaced = String::with_capacity(2 * text.len());
    for c in text.chars() {
        if is_chinese(c) {
            spaced.extend([' ', c, ' ']);
        } else {
            spaced.push(c);
        }
    }
    tokens::words(&spaced).map(str::to_owned).collect()
}

/// F1 over the longest run of pieces that both have.
pub fn f1(prediction: &str, answer: &str) -> f64 {
    let (prediction, answer) = (pieces(prediction), pieces(answer));
    harmonic(longest_run(&prediction, &answer) as f64, prediction.len(), answer.len())
}

/// Length of the longest common substring, by the table of runs that end at each pair, one line of it at a time.
fn longest_run(a: &[String], b: &[String]) -> usize {
    let (mut runs, mut longest) = (vec![0usize; b.len() + 1], 0);
    for x in a {
        for j in (0..b.len()).rev() {
            runs[j + 1] = if *x == b[j] { runs[j] + 1 } else { 0 };
            longest = longest.max(runs[j + 1]);
        }
    }
    longest
}
