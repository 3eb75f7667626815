//! A context and its options, in text, become the tokens that are scored: one place that says where the context ends.
//! It must not know frames.

use super::host::flags;
use super::session::Session;
use super::wire::{Control, Failure, FailureKind};

/// Context and continuations in tokens, as lm-eval splits them (`TemplateLM._encode_pair`).
///
/// White space at the context's end goes to the continuations, as tokenizers join it with what follows. They
/// may join more, so context and continuation are tokenised together and cut at the context's length. Where the
/// context's own tokens are not a prefix of that, the cut moves back to what all options have in common: every
/// option is then scored on the same context, its first token including the context's last characters. An empty
/// context is BOS, or EOS where the model has no BOS.
pub(super) fn split_tokens(
    session: &Session,
    context: &str,
    continuations: &[String],
    control: Control,
) -> Result<(Vec<i32>, Vec<Vec<i32>>), Failure> {
    let (head, space) = context.split_at(context.trim_end().len());
    let tokenize = |text: &str| session.tokenize(text, flags(control));
    let mut context = tokenize(head)?;
    let mut wholes = Vec::with_capacity(continuations.len());
    for continuation in continuations {
        wholes.push(tokenize(&[head, space, continuation].concat())?);
    }
    if head.is_empty() && context.is_empty() {
        let first = session.info(|info, _| [info.bos_token, info.eos_token].into_iter().find(|&t| t >= 0))?;
        let message =
            "the model has neither BOS nor EOS and the context is empty, so that there is nothing to continue";
        context.push(first.ok_or_else(|| Failure::new(FailureKind::Unsupported, message))?);
        return Ok((context, wholes));
    }
    let cut = common_cut(&context, &wholes);
    if cut == 0 {
        let message = "the context's first token changes with the option, so that there is nothing to continue";
        return Err(Failure::new(FailureKind::Invalid, message));
    }
    context.truncate(cut);
    let continuations = wholes.into_iter().map(|w| w[cut..].to_vec()).collect();
    Ok((context, continuations))
}

/// The longest cut at which `context` is a prefix of each whole and leaves each at least one token.
fn common_cut(context: &[i32], wholes: &[Vec<i32>]) -> usize {
    wholes
        .iter()
        .map(|w| {
            let common = context.iter().zip(w).take_while(|(a, b)| a == b).count();
            common.min(w.len().saturating_sub(1))
        })
        .fold(context.len(), usize::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_backs_off_to_what_all_options_share() {
        assert_eq!(common_cut(&[1, 2, 3], &[vec![1, 2, 3, 4], vec![1, 2, 3, 5]]), 3);
        assert_eq!(common_cut(&[1, 2, 3], &[vec![1, 2, 9], vec![1, 2, 3, 5]]), 2);
        assert_eq!(common_cut(&[1, 2, 3], &[vec![1, 2, 3]]), 2, "an option that adds no token of its own");
        assert_eq!(common_cut(&[], &[vec![1]]), 0);
    }
}
