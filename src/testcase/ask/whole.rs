//! Options that are whole texts: the one with the highest mean log-likelihood per token is chosen, as OpenCompass' ppl
//! does it (`HuggingFaceBaseModel.get_ppl`): the sum over all tokens but the first, by the number of all, BOS included.
//! What the texts begin with in common is evaluated once. It must not know of files.

use super::perplexity::tokens;
use super::{Answer, AskError, Asker, Seen, as_written};
use crate::backend::client::{Client, HostError};
use crate::backend::wire::{Control, ScoreInput};
use crate::testcase::timing::Sample;
use crate::testenv::metric::Gold;

impl Asker<'_> {
    /// Mean log-likelihood of each option's text. The sample has the evaluated tokens of all calls as its prompt and
    /// their time as its prefill.
    pub(super) fn whole(&self, client: &mut Client, seen: Seen, gold: &Gold) -> Result<Answer, AskError> {
        let options = seen.options;
        let control = Control { add: true, parse: false };
        let mut texts = Vec::with_capacity(options.len());
        for option in &options {
            texts.push(tokens(client.tokenize(option, control, self.timeout))?);
        }
        let mut sample = Sample::default();
        let means = self.means(client, &texts, &mut sample)?;
        let scores = means.into_iter().map(as_written).collect();
        Ok(self.chosen(gold, &options, scores, None, sample))
    }

    fn means(&self, client: &mut Client, texts: &[Vec<i32>], sample: &mut Sample) -> Result<Vec<f64>, AskError> {
        let shared = shared(texts);
        if shared == 0 {
            // Not even the first token is the same.
            let single = |text| Ok(self.means(client, std::slice::from_ref(text), sample)?[0]);
            return if texts.len() > 1 { texts.iter().map(single).collect() } else { Ok(vec![0.0]) };
        }
        let context = &texts[0][..shared];
        let before = match shared {
            1 => 0.0,
            _ => {
                let continuations = vec![context[1..].to_vec()];
                let input = ScoreInput::Tokens { context: context[..1].to_vec(), continuations };
                sum(&self.scored(client, input, Some(count(shared - 1)), sample)?)
            }
        };
        let continuations: Vec<Vec<i32>> = texts.iter().map(|text| text[shared..].to_vec()).collect();
        // The last token of each is only predicted.
        let evaluated = shared + continuations.iter().map(|c| c.len() - 1).sum::<usize>();
        let input = ScoreInput::Tokens { context: context.to_vec(), continuations };
        let rest = self.scored(client, input, Some(count(evaluated)), sample)?;
        if rest.len() != texts.len() {
            let what = format!("{} scores for {} continuations", rest.len(), texts.len());
            return Err(AskError::Host(HostError::Violation(what)));
        }
        Ok(rest.iter().zip(texts).map(|(rest, text)| (before + rest) / text.len() as f64).collect())
    }
}

/// How many tokens all texts begin with; each has at least one more.
fn shared(texts: &[Vec<i32>]) -> usize {
    let Some((first, others)) = texts.split_first() else { return 0 };
    let shortest = texts.iter().map(Vec::len).min().unwrap_or(0);
    let same = |i: &usize| others.iter().all(|other| other[*i] == first[*i]);
    (0..shortest.saturating_sub(1)).take_while(same).count()
}

fn sum(scores: &[f64]) -> f64 {
    scores.iter().sum()
}

fn count(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_texts_begin_with_is_found_and_each_keeps_a_token() {
        let texts = |lists: &[&[i32]]| lists.iter().map(|l| l.to_vec()).collect::<Vec<_>>();
        assert_eq!(shared(&texts(&[&[1, 2, 3, 4], &[1, 2, 3, 5]])), 3);
        assert_eq!(shared(&texts(&[&[1, 2, 3], &[1, 2, 3, 5]])), 2, "the shorter one keeps its last token");
        assert_eq!(shared(&texts(&[&[1, 2], &[3, 2]])), 0);
        assert_eq!(shared(&texts(&[&[1, 2, 3]])), 2);
        assert_eq!(shared(&texts(&[&[], &[1]])), 0);
    }
}
