//! Numbers in running text, as people write them. It must not know what they are compared with.

use std::borrow::Cow;

/// The first or the last number in `text`, without thousands separators: `1,234.50` is `1234.50`, and stays text.
///
/// A minus counts where it is a sign: `-5`, `−5` and `-$5`, not `10-20`. `1e3` is one number; full-width digits are
/// digits; `.5` is one half.
pub fn find(text: &str, last: bool) -> Option<String> {
    let text = digits_folded(text);
    let bytes = text.as_bytes();
    let (mut at, mut found) = (0, None);
    while let Some(start) = (at..bytes.len()).find(|&i| begins(bytes, i)) {
        let end = end(bytes, start);
        found = Some(start..end);
        at = end;
        if !last {
            break;
        }
    }
    let range = found?;
    let sign = if is_negative(&text[..range.start]) { "-" } else { "" };
    let whole = if bytes[range.start] == b'.' { "0" } else { "" };
    Some(format!("{sign}{whole}{}", text[range].replace(',', "")))
}

/// The value of what is a number as a whole, or else of the last number in `text`.
pub fn value(text: &str) -> Option<f64> {
    let finite = |text: &str| text.parse::<f64>().ok().filter(|v| v.is_finite());
    finite(text.trim()).or_else(|| find(text, true).and_then(|found| finite(&found)))
}

/// Full-width digits, points and signs, and the minus of typesetters, as ASCII.
pub fn digits_folded(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return text.into();
    }
    let fold = |c| match c {
        '０'..='９' => char::from(b'0' + (c as u32 - '０' as u32) as u8),
        '．' => '.',
        '－' | '−' => '-',
        other => other,
    };
    text.chars().map(fold).collect::<String>().into()
}

fn is_digit(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(u8::is_ascii_digit)
}

fn begins(bytes: &[u8], at: usize) -> bool {
    // The point of "5..6" or "v1.2.3" belongs to what is before it.
    is_digit(bytes, at) || (bytes[at] == b'.' && is_digit(bytes, at + 1) && (at == 0 || !is_word(bytes[at - 1])))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'.'
}

/// Where the number ends that begins at `start`.
fn end(bytes: &[u8], start: usize) -> usize {
    let digits = |mut at: usize| {
        while is_digit(bytes, at) {
            at += 1;
        }
        at
    };
    let mut at = digits(start);
    if (1..=3).contains(&(at - start)) {
        // Groups of exactly three digits.
        while bytes.get(at) == Some(&b',') && digits(at + 1) == at + 4 {
            at += 4;
        }
    }
    if bytes.get(at) == Some(&b'.') && is_digit(bytes, at + 1) {
        at = digits(at + 1);
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let signed = at + 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let end = digits(signed);
        if end > signed && !bytes.get(end).is_some_and(u8::is_ascii_alphabetic) {
            at = end;
        }
    }
    at
}

/// Does `before`, the text before a number, end in a sign? After a word, a number or a bracket a dash is a dash.
fn is_negative(before: &str) -> bool {
    let before = before.trim_end_matches(['$', '€', '£', '¥', '￥']);
    let Some(before) = before.strip_suffix('-') else { return false };
    !before.ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, ')' | ']' | '}' | '%' | '-'))
}
