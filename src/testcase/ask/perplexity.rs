//! A whole text put to a host: tokenised there, cut into windows here, each window scored by a call of its own, so
//! that the job's timeout is per window and any backend with `eb.score` can do it. It must not know of files.

use super::{Answer, AskError, Asker, one, sort};
use crate::backend::client::{Client, HostError};
use crate::backend::wire::{Control, Failure, FailureKind, Prefix, ScoreInput, ScorePrompt};
use crate::job::{WindowScheme, Windows};
use crate::testcase::timing::Sample;
use crate::testenv::dataset::Record;
use crate::testenv::metric::{Judgement, Language};
use crate::testenv::windows::{Window, llama_cpp, rolling, words};

impl Asker<'_> {
    /// Log-likelihood of the record's text. The sample has the evaluated tokens of all windows as its prompt and the
    /// time of all calls as its prefill.
    pub(super) fn perplexity(
        &self,
        client: &mut Client,
        record: &Record,
        windows: &Windows,
    ) -> Result<Answer, AskError> {
        if self.opened.scored_by != "logits" {
            let what = "texts are scored token by token, and the backend does not show them (it has no eb.score/1)";
            return refuse(FailureKind::Unsupported, what);
        }
        let (mut language, windows) = self.cut(client, record, windows)?;
        let mut sample = Sample::default();
        for window in windows {
            let evaluated = u32::try_from(window.evaluated()).unwrap_or(u32::MAX);
            language.tokens += window.scored.len() as u64;
            let input = ScoreInput::Tokens { context: window.context, continuations: vec![window.scored] };
            let [score] = self.scored(client, input, Some(evaluated), &mut sample)?[..] else {
                return Err(AskError::Host(HostError::Violation("not one score for one continuation".to_owned())));
            };
            language.logprob += score;
        }
        Ok(Answer {
            sample,
            judgement: Judgement { language: Some(language), ..Judgement::default() },
            output: None,
            score: language.logprob,
        })
    }

    /// A record's text in windows; and what is known of it before they are scored.
    pub(super) fn cut(
        &self,
        client: &mut Client,
        record: &Record,
        windows: &Windows,
    ) -> Result<(Language, Vec<Window>), AskError> {
        let opened = &self.opened;
        let size = windows.window.unwrap_or(opened.n_ctx) as usize;
        let control = |add| Control { add, parse: false };
        let (text, windows) = match windows.scheme {
            WindowScheme::Rolling => {
                let Some(prefix) = opened.bos_token.or(opened.eos_token) else {
                    let what = "the model has neither BOS nor EOS, so that nothing stands before the first token";
                    return refuse(FailureKind::Unsupported, what);
                };
                let tokens = tokens(client.tokenize(record.question, control(false), self.timeout))?;
                let stride = windows.stride.map_or(size, |s| s as usize);
                (record.question, rolling(&tokens, prefix, size, stride))
            }
            WindowScheme::LlamaCpp => {
                // As it reads files.
                let text = record.question.strip_suffix('\n').unwrap_or(record.question);
                let tokens = tokens(client.tokenize(text, control(true), self.timeout))?;
                let adds_bos = tokens.first().copied().filter(|&first| Some(first) == opened.bos_token);
                (text, llama_cpp(&tokens, adds_bos, size))
            }
        };
        if windows.is_empty() {
            return refuse(FailureKind::Invalid, "the text is shorter than one window; set windows.size lower");
        }
        Ok((Language { bytes: text.len() as u64, words: words(text), ..Language::default() }, windows))
    }

    /// Log-likelihoods of continuations: one of several calls for a record, whose times and `evaluated` tokens (`None`: as
    /// many as the backend tells) are added to its `sample` as prompt and prefill.
    pub(super) fn scored(
        &self,
        client: &mut Client,
        input: ScoreInput,
        evaluated: Option<u32>,
        sample: &mut Sample,
    ) -> Result<Vec<f64>, AskError> {
        let scoring = one(client.score(vec![ScorePrompt { id: 0, input, prefix: Prefix::NONE }], self.timeout))?;
        if let Some(failure) = scoring.failure {
            return Err(sort(failure));
        }
        let evaluated = evaluated.unwrap_or(scoring.prompt_tokens);
        sample.prompt_tokens = sample.prompt_tokens.saturating_add(evaluated);
        sample.cached_tokens += scoring.cached_tokens;
        sample.prefill_ns = Some(sample.prefill_ns.unwrap_or(0) + scoring.done_ns);
        if sample.start_ns == 0 {
            sample.start_ns = scoring.start_ns;
        }
        sample.done_ns = scoring.start_ns + scoring.done_ns - sample.start_ns;
        Ok(scoring.scores.iter().map(|score| score.logprob).collect())
    }
}

fn refuse<T>(kind: FailureKind, what: &str) -> Result<T, AskError> {
    Err(sort(Failure::new(kind, what)))
}

pub(super) fn tokens(answer: Result<Vec<i32>, HostError>) -> Result<Vec<i32>, AskError> {
    match answer {
        Err(HostError::Failed(failure)) => Err(sort(failure)),
        other => other.map_err(AskError::Host),
    }
}
