//! The last word of a text, to be said by the model: right if each of its tokens is the most likely one after those before
//! (`acc` of lm-eval's LAMBADA tasks), and how likely it is. It must not know of files.

use super::{Answer, AskError, Asker, Seen, of_request, one, sort};
use crate::backend::client::Client;
use crate::backend::wire::{Failure, FailureKind, Prefix, ScoreInput, ScorePrompt};
use crate::testcase::timing::Sample;
use crate::testenv::cloze::split;
use crate::testenv::dataset::Record;
use crate::testenv::metric::{Gold, Judgement, Language};

impl Asker<'_> {
    /// What the model sees, and the word behind it.
    ///
    /// # Errors
    /// There is one word only.
    pub(super) fn without_last_word(record: &Record) -> Result<(String, String), String> {
        match split(record.question) {
            Some((before, last)) => Ok((before.to_owned(), last.to_owned())),
            None => Err("the text has no word before its last one; write whole sentences".to_owned()),
        }
    }

    pub(super) fn cloze(
        &self,
        client: &mut Client,
        seen: Seen,
        gold: &Gold,
        prefix: Prefix,
    ) -> Result<Answer, AskError> {
        if self.opened.scored_by.is_empty() {
            let what = "a last word is scored, and the backend tells no log-likelihoods (it has no eb.score/1)";
            return Err(sort(Failure::new(FailureKind::Unsupported, what)));
        }
        let bytes = seen.options.iter().map(String::len).sum::<usize>() as u64;
        let input = ScoreInput::Text { context: seen.text, continuations: seen.options, control: seen.control };
        let scoring = one(client.score(vec![ScorePrompt { id: 0, input, prefix }], self.timeout))?;
        if let Some(failure) = scoring.failure {
            return Err(of_request(failure));
        }
        let sample = Sample::from(&scoring);
        let [word] = scoring.scores[..] else {
            return Err(sort(Failure::new(FailureKind::Internal, "not one score for one continuation")));
        };
        let language = Language {
            logprob: word.logprob,
            tokens: u64::from(word.n_tokens),
            bytes,
            words: 1,
            ..Language::default()
        };
        Ok(Answer {
            sample,
            judgement: Judgement {
                prediction: gold.answers.first().filter(|_| word.is_greedy).cloned(),
                correct: word.is_greedy,
                language: Some(language),
                ..Judgement::default()
            },
            output: None,
            score: word.logprob,
        })
    }
}
