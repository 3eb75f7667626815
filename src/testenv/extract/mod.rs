//! From what a model wrote to the answer that is judged: a chain of small steps. It owns the order in which they are
//! taken; it must not know datasets or metrics.
//!
//! `step` has the steps and their words, `option` finds the letter of an option, `number` numbers, `opencompass` both
//! as OpenCompass does.

pub mod number;
pub mod opencompass;
mod option;
mod patterns;
mod step;
#[cfg(test)]
mod tests;

use crate::job::Compat;
use std::borrow::Cow;
use step::Step;

/// Steps from a text to an answer, or several lists of steps, of which the first that finds something counts.
#[derive(Debug)]
pub struct Chain {
    alternatives: Vec<Vec<Step>>,
}

impl Chain {
    /// Reads the steps' words; `or` stands between alternatives.
    ///
    /// # Errors
    /// What is wrong with a step, and what to do.
    pub fn parse<S: AsRef<str>>(words: &[S], compat: Compat) -> Result<Chain, (String, String)> {
        let alternatives = words.split(|word| word.as_ref() == "or");
        let alternatives = alternatives.map(|steps| steps.iter().map(|s| Step::parse(s.as_ref(), compat)).collect());
        Ok(Chain { alternatives: alternatives.collect::<Result<_, _>>()? })
    }

    /// The answer in `text`, to a question with so many options (0: none); `None` when there is none in it.
    pub fn apply(&self, text: &str, options: usize) -> Option<String> {
        let through = |steps: &Vec<Step>| {
            let found = steps.iter().try_fold(Cow::Borrowed(text), |text, step| step.apply(text, options));
            found.map(Cow::into_owned).filter(|found| !found.trim().is_empty())
        };
        self.alternatives.iter().find_map(through)
    }

    /// Does it end in a number?
    pub fn gives_numbers(&self) -> bool {
        self.alternatives.iter().all(|steps| steps.last().is_some_and(Step::gives_number))
    }
}
