//! JSON text below the level of values: where a string ends, its escapes undone, and literals (numbers, `true`,
//! `null`) checked. It owns these rules of RFC 8259.
//! It must not know what the values are for.

use std::borrow::Cow;

/// Where a line is not JSON, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Offset of the offending byte in the line, from 0.
    pub at: usize,
    /// What is wrong: no capital, no full stop.
    pub what: Cow<'static, str>,
    /// What to do about it; may be empty.
    pub todo: Cow<'static, str>,
}

impl Fault {
    /// A fault at the byte `at` (from 0). Boxed, so that results stay small where all is well.
    #[cold]
    pub fn new(at: usize, what: impl Into<Cow<'static, str>>, todo: impl Into<Cow<'static, str>>) -> Box<Fault> {
        Box::new(Fault { at, what: what.into(), todo: todo.into() })
    }
}

/// A JSON literal: what is neither a string nor a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Literal {
    /// A number of any size; its text is what it is.
    Number,
    /// `true`.
    True,
    /// `false`.
    False,
    /// `null`.
    Null,
}

/// What `token` is, if it is a JSON literal. The grammar is that of RFC 8259: no leading zero, no `+`, no bare
/// dot. The size of a number does not matter, as nothing is computed with it.
pub fn literal(token: &[u8]) -> Option<Literal> {
    match token {
        b"true" => Some(Literal::True),
        b"false" => Some(Literal::False),
        b"null" => Some(Literal::Null),
        _ => is_number(token).then_some(Literal::Number),
    }
}

fn is_number(token: &[u8]) -> bool {
    let rest = token.strip_prefix(b"-").unwrap_or(token);
    let (whole, mut rest) = digits(rest);
    if whole.is_empty() || (whole.len() > 1 && whole[0] == b'0') {
        return false;
    }
    if let [b'.', tail @ ..] = rest {
        let (fraction, tail) = digits(tail);
        if fraction.is_empty() {
            return false;
        }
        rest = tail;
    }
    if let [b'e' | b'E', tail @ ..] = rest {
        let tail = if let [b'+' | b'-', tail @ ..] = tail { tail } else { tail };
        let (exponent, tail) = digits(tail);
        return !exponent.is_empty() && tail.is_empty();
    }
    rest.is_empty()
}

/// Splits `text` after its leading digits.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len()))
}

/// Where the JSON string ends whose inside starts at `start`: the offset of the closing quote, and whether there are
/// escapes to undo before it. Control characters are refused; escapes are only skipped.
#[inline]
pub fn string_end(line: &[u8], start: usize) -> Result<(usize, bool), Box<Fault>> {
    let mut at = start;
    let mut escapes = false;
    loop {
        at = next_special(line, at);
        match line.get(at) {
            Some(b'"') => return Ok((at, escapes)),
            Some(b'\\') => {
                escapes = true;
                at += 2;
            }
            Some(byte) => {
                let what = format!("control character 0x{byte:02x} inside a string");
                return Err(Fault::new(at, what, r"write it as an escape, such as \n or \t"));
            }
            None => {
                let todo = "close it; a line break inside a string is written as \\n";
                return Err(Fault::new(start - 1, "a string without an end", todo));
            }
        }
    }
}

/// The first quote, backslash or control character from `at` on, or the length of `line`.
///
/// Eight bytes at a time: `(x - n·01…) & !x & 80…` marks the bytes below n (S. E. Anderson, "Bit Twiddling Hacks",
/// hasless; n ≤ 128). A borrow can mark bytes wrongly only after one that is marked rightly, so the first is right.
#[inline]
fn next_special(line: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    let below = |x: u64, n: u64| x.wrapping_sub(ONES * n) & !x;
    while let Some(bytes) = line.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let x = u64::from_le_bytes(*bytes);
        let quote = below(x ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(x ^ (ONES * u64::from(b'\\')), 1);
        let marks = (below(x, 0x20) | quote | backslash) & (ONES * 0x80);
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = line.get(at..).unwrap_or_default();
    let special = |b: &u8| matches!(b, b'"' | b'\\' | 0..0x20);
    rest.iter().position(special).map_or(line.len(), |i| at + i)
}

/// Appends the inside of a JSON string to `out` with its escapes undone; `at` is its offset in the line.
/// What is appended is never longer than `raw`. After an error `out` holds a part of it.
pub fn unescape(raw: &str, at: usize, out: &mut String) -> Result<(), Box<Fault>> {
    let mut rest = raw;
    while let Some(i) = rest.find('\\') {
        out.push_str(&rest[..i]);
        rest = &rest[i + 1..];
        let here = at + raw.len() - rest.len() - 1; // the backslash
        let Some(&kind) = rest.as_bytes().first() else {
            return Err(Fault::new(here, "a lone backslash", r"write it as \\"));
        };
        let plain = match kind {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let (c, used) = code_point(&rest.as_bytes()[1..], here)?;
                out.push(c);
                rest = &rest[1 + used..];
                continue;
            }
            _ => return Err(Fault::new(here, "a backslash before a character that needs none", r"write it as \\")),
        };
        out.push(plain);
        rest = &rest[1..];
    }
    out.push_str(rest);
    Ok(())
}

/// The character of `\uXXXX` or of a surrogate pair, and the number of bytes read. `text` starts after the `\u`
/// at offset `at` of the line.
fn code_point(text: &[u8], at: usize) -> Result<(char, usize), Box<Fault>> {
    let no_hex = || Fault::new(at, r"\u without four hexadecimal digits", r"write it as \u00e9, for example");
    let lone = || {
        let todo = r"give both halves, as in \ud83d\ude00, or the character itself";
        Fault::new(at, "half of a surrogate pair", todo)
    };
    let first = hex4(text).ok_or_else(no_hex)?;
    if let Some(c) = char::from_u32(first) {
        return Ok((c, 4));
    }
    let [b'\\', b'u', second @ ..] = &text[4..] else { return Err(lone()) };
    let second = hex4(second).ok_or_else(lone)?;
    if first >= 0xdc00 || !(0xdc00..0xe000).contains(&second) {
        return Err(lone());
    }
    let c = char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or_else(lone)?;
    Ok((c, 10))
}

fn hex4(text: &[u8]) -> Option<u32> {
    text.get(..4)?.iter().try_fold(0, |n, &b| Some((n << 4) | char::from(b).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_grammar() {
        for good in ["0", "-0", "10", "1.5", "12.50", "1e400", "1E+5", "-0.1e-7", "123456789012345678901234567890"] {
            assert_eq!(literal(good.as_bytes()), Some(Literal::Number), "{good}");
        }
        for bad in ["", "-", "01", "-01", "+1", ".5", "1.", "1.e5", "1e", "1e+", "0x10", "1 2", "NaN", "--1", "1e5.0"] {
            assert_eq!(literal(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(literal(b"true"), Some(Literal::True));
        assert_eq!(literal(b"null"), Some(Literal::Null));
        assert_eq!(literal(b"True"), None);
    }

    #[test]
    fn every_escape_is_undone() {
        let mut out = String::new();
        unescape(r#"a\"\\\/\b\f\n\r\té\u4E2d\ud83d\uDE00\u0000z"#, 0, &mut out).unwrap();
        assert_eq!(out, "a\"\\/\u{8}\u{c}\n\r\té中😀\0z");
    }

    #[test]
    fn a_bad_escape_is_told_with_its_place() {
        for (bad, at) in [
            (r"ab\x", 2),
            (r"\u12", 0),
            (r"é\u12g4", 2),
            (r"\ud800", 0),
            (r"a\udc00", 1),
            (r"\ud800\u0041", 0),
            (r"\ud800\ud800", 0),
            (r"\udc00\ud800", 0),
            (r"\ud800x\udc00", 0),
            (r"\u+123", 0),
            ("\\", 0),
        ] {
            let fault = unescape(bad, 100, &mut String::new()).unwrap_err();
            assert_eq!(fault.at, 100 + at, "{bad}");
        }
    }

    #[test]
    fn the_end_of_a_string_is_found_at_every_offset() {
        for pad in 0..40 {
            let line = format!("{}\"tail", "é~\u{7f}".repeat(pad).get(pad % 2..).unwrap_or(""));
            assert_eq!(string_end(line.as_bytes(), 0), Ok((line.len() - 5, false)), "{line}");
            let line = format!("{}\\\"\\\\\"", " ".repeat(pad));
            assert_eq!(string_end(line.as_bytes(), 0), Ok((pad + 4, true)));
            for control in 0..0x20u8 {
                let line = format!("{}{}\"", "x!".repeat(pad), char::from(control));
                assert_eq!(string_end(line.as_bytes(), 0).unwrap_err().at, 2 * pad);
            }
            assert!(string_end(format!("\"{}", "x".repeat(pad)).as_bytes(), 1).is_err());
            assert!(string_end(format!("\"{}\\", "x".repeat(pad)).as_bytes(), 1).is_err());
        }
    }
}
