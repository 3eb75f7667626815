//! What is measured: prompts and outputs of given lengths behind a context of given depth, named as llama-bench names
//! them; and the lists of values that are swept. It must not know how anything is measured.

use std::fmt;

/// Values that one list may come to; more are a slip.
const MOST: usize = 1000;

/// One test: `pp512` evaluates a prompt, `tg128` generates, `pp512+tg128` does both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    /// Tokens of the prompt that is timed; 0: none is.
    pub prompt: u32,
    /// Tokens that are evaluated one by one and timed; 0: none are.
    pub output: u32,
    /// Tokens that are in the KV cache before anything is timed.
    pub depth: u32,
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.prompt, self.output) {
            (p, 0) => write!(f, "pp{p}")?,
            (0, n) => write!(f, "tg{n}")?,
            (p, n) => write!(f, "pp{p}+tg{n}")?,
        }
        if self.depth > 0 { write!(f, " @ d{}", self.depth) } else { Ok(()) }
    }
}

impl Test {
    /// Tokens that the context has to hold for it.
    pub fn context(&self) -> u32 {
        (self.depth + self.prompt).max(1) + self.output.max(1)
    }

    /// Tokens that are evaluated while the clock runs.
    pub fn tokens(&self) -> u32 {
        self.prompt + self.output
    }
}

/// Every test of the lists, at one depth after the other. 0 in `prompts` and `outputs` means none.
pub fn tests(prompts: &[u32], outputs: &[u32], both: &[(u32, u32)], depths: &[u32]) -> Vec<Test> {
    let prompts = prompts.iter().map(|&p| (p, 0));
    let outputs = outputs.iter().map(|&n| (0, n));
    let shapes: Vec<(u32, u32)> =
        prompts.chain(outputs).chain(both.iter().copied()).filter(|shape| *shape != (0, 0)).collect();
    let at = |depth: u32| shapes.iter().map(move |&(prompt, output)| Test { prompt, output, depth });
    depths.iter().flat_map(|&depth| at(depth)).collect()
}

/// `1,2,4`, `1-4`, `128-512+128` or `1-8*2`: the values in their order. What is no range stays as it is.
///
/// # Errors
/// A sentence, for a range without end or with too many values.
pub fn values(text: &str) -> Result<Vec<String>, String> {
    let mut values = Vec::new();
    for piece in text.split(',').map(str::trim) {
        match range(piece) {
            None => values.push(piece.to_owned()),
            Some((first, last, step)) => {
                let mut value = first;
                while value <= last {
                    values.push(value.to_string());
                    let next = step(value).filter(|next| *next > value);
                    value = next.ok_or_else(|| format!("{piece}: a range has to go up"))?;
                    if values.len() > MOST {
                        return Err(format!("{text}: these are more than {MOST} values"));
                    }
                }
            }
        }
    }
    Ok(values)
}

/// The next value of a range, if it can be told.
type Step = Box<dyn Fn(u64) -> Option<u64>>;

/// First, last and step of `first-last`, `first-last+step` or `first-last*factor`.
fn range(text: &str) -> Option<(u64, u64, Step)> {
    let (first, rest) = text.split_once('-')?;
    let first = first.parse().ok()?;
    if let Some((last, factor)) = rest.split_once('*') {
        let factor: u64 = factor.parse().ok()?;
        return Some((first, last.parse().ok()?, Box::new(move |v: u64| v.checked_mul(factor))));
    }
    let (last, step) = rest.split_once('+').unwrap_or((rest, "1"));
    let step: u64 = step.parse().ok()?;
    Some((first, last.parse().ok()?, Box::new(move |v: u64| v.checked_add(step))))
}

/// As [`values`], of numbers of tokens; several lists of one option are joined.
///
/// # Errors
/// A sentence that names `option`.
pub fn lengths(option: &str, lists: &[String]) -> Result<Vec<u32>, String> {
    let number = |text: String| match text.parse() {
        Ok(n) if n <= 1 << 24 => Ok(n),
        _ => Err(format!("{option} {text}: give a number of tokens, a list 512,1024 or a range 128-512+128")),
    };
    let all: Vec<Vec<String>> = lists.iter().map(|list| values(list)).collect::<Result<_, _>>()?;
    all.into_iter().flatten().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_named_as_llama_bench_names_them() {
        let names = |tests: Vec<Test>| tests.iter().map(Test::to_string).collect::<Vec<_>>();
        assert_eq!(names(tests(&[512], &[128], &[], &[0])), ["pp512", "tg128"]);
        assert_eq!(
            names(tests(&[0], &[16], &[(64, 8)], &[0, 4096])),
            ["tg16", "pp64+tg8", "tg16 @ d4096", "pp64+tg8 @ d4096"]
        );
    }

    #[test]
    fn the_context_holds_depth_prompt_and_every_new_token() {
        let context = |prompt, output, depth| Test { prompt, output, depth }.context();
        assert_eq!(context(512, 0, 0), 513, "a prompt and the token behind it");
        assert_eq!(context(0, 128, 0), 129, "one token to begin with");
        assert_eq!(context(0, 128, 100), 228);
        assert_eq!(context(512, 128, 100), 740);
    }

    #[test]
    fn lists_and_ranges() {
        let v = |text: &str| values(text).unwrap().join(" ");
        assert_eq!(v("1,2, 4"), "1 2 4");
        assert_eq!(v("1-4"), "1 2 3 4");
        assert_eq!(v("128-512+128,7"), "128 256 384 512 7");
        assert_eq!(v("1-8*2"), "1 2 4 8");
        assert_eq!(v("q8_0,-1,auto"), "q8_0 -1 auto");
        for endless in ["1-8*1", "0-8*2", "1-8+0", "1-9999"] {
            assert!(values(endless).is_err(), "{endless}");
        }
        assert!(lengths("-p", &["many".into()]).unwrap_err().starts_with("-p many: give a number"));
        assert_eq!(lengths("-p", &["1-2".into(), "9".into()]).unwrap(), [1, 2, 9]);
    }
}
