//! The answered examples before a question: which records of a dev split they are, per subject, in constant
//! memory. It must not know how they are written into a prompt.

use super::super::dataset::Record;
use crate::job::{Pick, Shots};
use std::collections::BTreeMap;

/// Examples of one subject from which `random-per-record` draws, at most.
const POOL: usize = 1000;

/// One answered record, rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    pub question: String,
    pub answer: String,
}

/// Examples to choose from, by subject when the file has subjects.
pub struct Examples {
    n: usize,
    pick: Pick,
    seed: u64,
    pools: BTreeMap<String, Pool>,
}

#[derive(Default)]
struct Pool {
    examples: Vec<Example>,
    seen: u64,
}

impl Examples {
    /// No examples.
    pub fn none() -> Examples {
        Examples { n: 0, pick: Pick::First, seed: 0, pools: BTreeMap::new() }
    }

    /// Room for what `shots` asks for.
    pub fn new(shots: &Shots) -> Examples {
        Examples { n: shots.n, pick: shots.pick, seed: shots.seed, ..Examples::none() }
    }

    /// Takes the next record of the file, which is of `subject` (empty: of none), and rendered by `render` only
    /// when it may be used. What is kept: the first n, or a uniform sample (Vitter's algorithm R); one more than is
    /// wanted, as a question is never its own example.
    pub fn offer(&mut self, subject: &str, render: impl FnOnce() -> Result<Example, String>) -> Result<(), String> {
        let room = if self.pick == Pick::RandomPerRecord { POOL.max(self.n + 1) } else { self.n + 1 };
        if !self.pools.contains_key(subject) {
            self.pools.insert(subject.to_owned(), Pool::default());
        }
        let Some(pool) = self.pools.get_mut(subject) else { return Ok(()) };
        let number = pool.seen;
        pool.seen += 1;
        if pool.examples.len() < room {
            pool.examples.push(render()?);
        } else if self.pick != Pick::First {
            let place = Random::new(self.seed, subject, number).below(pool.seen) as usize;
            if place < room {
                pool.examples[place] = render()?;
            }
        }
        Ok(())
    }

    /// Of no subject more is wanted: the rest of the file need not be read.
    pub fn is_full(&self) -> bool {
        self.pick == Pick::First
            && self.pools.len() == 1
            && self.pools.get("").is_some_and(|p| p.seen as usize > self.n)
    }

    /// The examples before `record`, which is `own` as an example and never stands among them. In a file with subjects they are of the
    /// record's own, and of others where it has too few.
    ///
    /// # Errors
    /// There are not enough of them.
    pub fn of(&self, record: &Record, own: &Example) -> Result<Vec<&Example>, String> {
        if self.n == 0 {
            return Ok(Vec::new());
        }
        let by_subject = self.pools.keys().any(|subject| !subject.is_empty());
        let subject = if by_subject { record.subject } else { "" };
        let pool = self.pools.get(subject).map_or(&[][..], |pool| &pool.examples);
        let mut others: Vec<&Example> = pool.iter().filter(|e| *e != own).collect();
        if self.pick != Pick::First {
            let salt = if self.pick == Pick::Random { "" } else { record.id };
            let mut random = Random::new(self.seed, salt, 0);
            // Fisher and Yates' shuffle, as far as it is needed.
            for i in 0..self.n.min(others.len()) {
                let other = i + random.below((others.len() - i) as u64) as usize;
                others.swap(i, other);
            }
        }
        if others.len() < self.n && !others.is_empty() {
            let more = self.pools.iter().filter(|(other, _)| *other != subject).flat_map(|(_, pool)| &pool.examples);
            others.extend(more.filter(|e| *e != own));
        }
        if others.len() < self.n {
            let of = if by_subject { format!(" of the subject \"{subject}\"") } else { String::new() };
            return Err(format!("{} examples{of} are wanted, the file has {}", self.n, others.len()));
        }
        others.truncate(self.n);
        Ok(others)
    }
}

/// SplitMix64 (Steele, Lea & Flood 2014): the same numbers in every version and on every machine.
struct Random(u64);

impl Random {
    /// A stream of its own for each seed, text and number.
    fn new(seed: u64, text: &str, number: u64) -> Random {
        let hash = |h: u64, byte: u8| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3); // FNV-1a
        let mut random = Random(text.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, hash).wrapping_add(number));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0 (Lemire 2019, without its rejection: the bias is below n / 2⁶⁴).
    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testenv::dataset::Choices;
    use std::path::PathBuf;

    fn record<'a>(id: &'a str, subject: &'a str) -> Record<'a> {
        Record {
            line: 1,
            id,
            question: "q",
            context: "",
            subject,
            choices: Choices::default(),
            answer: "",
            more_answers: Choices::default(),
            messages: "",
            gold: None,
        }
    }

    fn examples(pick: Pick, seed: u64, count: usize, subject: &str) -> Examples {
        let shots = Shots { n: 3, from: vec![PathBuf::new()], pick, seed, turns: true };
        let mut examples = Examples::new(&shots);
        for i in 0..count {
            examples.offer(subject, || Ok(Example { question: format!("q{i}"), answer: format!("a{i}") })).unwrap();
        }
        examples
    }

    fn picked(examples: &Examples, id: &str, subject: &str, question: &str) -> Vec<String> {
        let own = Example { question: question.to_owned(), answer: question.replace('q', "a") };
        let found = examples.of(&record(id, subject), &own).unwrap();
        found.iter().map(|e| e.question.clone()).collect()
    }

    #[test]
    fn the_first_are_the_first_but_never_the_question_itself() {
        let e = examples(Pick::First, 0, 9, "");
        assert_eq!(picked(&e, "1", "", "x"), ["q0", "q1", "q2"]);
        assert_eq!(picked(&e, "1", "any", "q1"), ["q0", "q2", "q3"]);
        assert!(e.is_full());
        // The same question may have another answer: its choices differ.
        let own = Example { question: "q1".to_owned(), answer: "b".to_owned() };
        assert_eq!(e.of(&record("1", ""), &own).unwrap()[1].question, "q1");
    }

    #[test]
    fn a_random_pick_depends_on_the_seed_and_only_per_record_on_the_record() {
        let e = examples(Pick::Random, 1, 500, "");
        assert_eq!(picked(&e, "1", "", "x"), picked(&e, "2", "", "x"));
        assert_eq!(picked(&e, "1", "", "x"), picked(&examples(Pick::Random, 1, 500, ""), "1", "", "x"));
        assert_ne!(picked(&e, "1", "", "x"), picked(&examples(Pick::Random, 2, 500, ""), "1", "", "x"));
        let e = examples(Pick::RandomPerRecord, 1, 500, "");
        assert_ne!(picked(&e, "1", "", "x"), picked(&e, "2", "", "x"));
        assert_eq!(picked(&e, "1", "", "x"), picked(&e, "1", "", "x"));
    }

    #[test]
    fn every_example_is_drawn_equally_often() {
        let mut counts = [0u32; 20];
        for seed in 0..2000 {
            for question in picked(&examples(Pick::Random, seed, 20, ""), "1", "", "x") {
                counts[question[1..].parse::<usize>().unwrap()] += 1;
            }
        }
        // 300 each; six standard deviations of a binomial are 96.
        assert!(counts.iter().all(|&c| (204..396).contains(&c)), "{counts:?}");
    }

    #[test]
    fn examples_are_of_the_questions_subject() {
        let mut e = examples(Pick::First, 0, 4, "law");
        for i in 0..4 {
            e.offer("art", || Ok(Example { question: format!("art{i}"), answer: String::new() })).unwrap();
        }
        assert_eq!(picked(&e, "1", "art", "x"), ["art0", "art1", "art2"]);
        let own = Example { question: String::new(), answer: String::new() };
        let error = e.of(&record("1", "physics"), &own).unwrap_err();
        assert!(error.contains("\"physics\"") && error.contains("has 0"), "{error}");
    }
}
