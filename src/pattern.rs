//! Patterns of names on the command line. It must not know what is named.

/// `pattern` without `*` is a part of `text`; with `*` it is the whole, `*` standing for anything.
pub fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, mut rest)) = pattern.split_once('*') else { return text.contains(pattern) };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    while let Some((part, after)) = rest.split_once('*') {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
        rest = after;
    }
    text.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_parts_or_globs() {
        assert!(fits("compare", "tiny.1/compare"));
        assert!(fits("*/compare", "tiny.1/compare"));
        assert!(fits("tiny.*/zh-*", "tiny.12/zh-order"));
        assert!(!fits("tiny.1/*", "tiny.12/zh-order"));
        assert!(!fits("*/zh", "tiny.12/zh-order"));
        assert!(!fits("ab*ba", "aba"), "parts do not overlap");
    }
}
