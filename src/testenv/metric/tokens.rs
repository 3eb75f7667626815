//! How texts are cut into tokens for comparison. It must not know what is counted.

/// Is it white space for Python's `str.split`?
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// Words between white space, as Python's `str.split` gives them.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// sacreBLEU's tokenizer `13a` (that of mteval-v13a), without the joining: the text whose words are the tokens.
pub fn western(text: &str) -> String {
    let mut line = text.trim_end_matches(is_space).replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    if line.contains('&') {
        for (entity, c) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
            line = line.replace(entity, c);
        }
    }
    punctuated(&format!(" {line} "))
}

/// sacreBLEU's tokenizer `zh`: each Chinese character is a token, the rest is cut as by `13a`.
pub fn chinese(text: &str) -> String {
    let mut line = String::with_capacity(2 * text.len());
    for c in text.trim_matches(is_space).chars() {
        if is_chinese(c) {
            line.extend([' ', c, ' ']);
        } else {
            line.push(c);
        }
    }
    punctuated(&line)
}

/// sacreBLEU's ranges of Chinese characters, from its `tokenizer_zh.py`. Two of them are slips of the pen there (four digits
/// where five were meant), which make punctuation, arrows and mathematical signs Chinese; they are kept, for the figures
/// to be equal.
fn is_chinese(c: char) -> bool {
    matches!(c,
        '\u{2001}'..='\u{2a6d}' | '\u{2e80}'..='\u{2fdf}' | '\u{2ff0}'..='\u{303f}' | '\u{3100}'..='\u{312f}'
        | '\u{31a0}'..='\u{31bf}' | '\u{31c0}'..='\u{31ef}' | '\u{3200}'..='\u{4db5}' | '\u{4e00}'..='\u{9fbb}'
        | '\u{f900}'..='\u{fa2d}' | '\u{fa30}'..='\u{fa6a}' | '\u{fa70}'..='\u{fad9}' | '\u{fe10}'..='\u{fe1f}'
        | '\u{fe30}'..='\u{fe4f}' | '\u{ff00}'..='\u{ffef}')
}

/// Blanks around punctuation: around all but `.`, `,`, `-` and `'`; around `.` and `,` unless they are between digits; behind a
/// dash after a digit. What is replaced is not looked at again in the same pass, as in a substitution by a regular
/// expression.
fn punctuated(line: &str) -> String {
    let mut out = String::with_capacity(2 * line.len());
    for c in line.chars() {
        match c {
            '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/' => out.extend([' ', c, ' ']),
            c => out.push(c),
        }
    }
    let out = pairs(&out, |a, b| !a.is_ascii_digit() && is_point(b), |a, b| [a, ' ', b, ' ']);
    let out = pairs(&out, |a, b| is_point(a) && !b.is_ascii_digit(), |a, b| [' ', a, ' ', b]);
    pairs(&out, |a, b| a.is_ascii_digit() && b == '-', |a, b| [a, ' ', b, ' '])
}

fn is_point(c: char) -> bool {
    matches!(c, '.' | ',')
}

/// Replaces pairs of neighbours from left to right.
fn pairs(text: &str, fits: fn(char, char) -> bool, replaced: fn(char, char) -> [char; 4]) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(a) = chars.next() {
        match chars.next_if(|b| fits(a, *b)) {
            Some(b) => out.extend(replaced(a, b)),
            None => out.push(a),
        }
    }
    out
}
