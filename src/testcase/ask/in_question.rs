//! Options that stand in the question, as in WinoGrande: the same text follows each of them, and the option after which it is
//! likeliest is chosen (lm-eval's `multiple_input`; Trinh & Le 2018, "partial scoring"). It must not know of files.

use super::{Answer, AskError, Asker, Seen, as_written};
use crate::backend::client::Client;
use crate::backend::wire::ScoreInput;
use crate::testcase::timing::Sample;
use crate::testenv::metric::Gold;

impl Asker<'_> {
    /// Log-likelihood of the text after each question. The sample has the evaluated tokens of all calls as its prompt and
    /// their time as its prefill.
    pub(super) fn in_question(&self, client: &mut Client, seen: Seen, gold: &Gold) -> Result<Answer, AskError> {
        let Seen { text, control, options } = seen;
        let mut sample = Sample::default();
        let mut scores = Vec::with_capacity(options.len());
        for context in &options {
            let input = ScoreInput::Text { context: context.clone(), continuations: vec![text.clone()], control };
            let score = self.scored(client, input, None, &mut sample)?.first().copied().unwrap_or(f64::NAN);
            scores.push(as_written(score));
        }
        Ok(self.chosen(gold, &options, scores, None, sample))
    }
}
