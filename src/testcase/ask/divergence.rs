//! A whole text held against the original, or kept as the original's: cut as for a perplexity, each window a call of its own.
//! It must not know where the original's distributions are kept.

use super::{Answer, AskError, Asker, sort};
use crate::backend::client::{Client, HostError};
use crate::backend::wire::{Diverged, Window};
use crate::job::Windows;
use crate::testcase::timing::Sample;
use crate::testenv::dataset::Record;
use crate::testenv::metric::Judgement;

impl Asker<'_> {
    /// Divergence of the record's text. A host that was opened as the original's keeps its distributions; then there is
    /// none.
    pub fn divergence(&self, client: &mut Client, record: &Record, windows: &Windows) -> Result<Answer, AskError> {
        let (mut language, windows) = self.cut(client, record, windows)?;
        let (mut kl, mut same_top, mut sample) = (Vec::new(), 0, Sample::default());
        for window in windows {
            let evaluated = u32::try_from(window.evaluated()).unwrap_or(u32::MAX);
            language.tokens += window.scored.len() as u64;
            let window = Window { context: window.context, scored: window.scored };
            let Diverged { start_ns, done_ns, logprob, kl: tokens, same_top: same } =
                client.diverge(window, self.timeout).map_err(|e| match e {
                    HostError::Failed(failure) => sort(failure),
                    other => AskError::Host(other),
                })?;
            language.logprob += logprob;
            kl.extend(tokens);
            same_top += u64::from(same);
            sample.prompt_tokens = sample.prompt_tokens.saturating_add(evaluated);
            if sample.start_ns == 0 {
                sample.start_ns = start_ns;
            }
            sample.done_ns = start_ns + done_ns - sample.start_ns;
        }
        if !kl.is_empty() {
            language.kl = Some(kl.iter().map(|kl| f64::from(*kl)).sum());
            language.same_top = Some(same_top);
        }
        let score = language.kl.map_or(f64::NAN, |kl| kl / language.tokens as f64);
        let judgement = Judgement { language: Some(language), kl, ..Judgement::default() };
        Ok(Answer { sample, judgement, output: None, score })
    }
}
