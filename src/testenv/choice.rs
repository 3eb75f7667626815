//! Which option of a `choice` record is chosen, by the log-likelihoods of all. It must not know how they were
//! measured or what the right one is.

/// The options chosen under lm-eval's three rules (`ConfigurableTask.process_results`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picks {
    /// `acc`: the most likely one.
    pub plain: usize,
    /// `acc_norm`: the most likely one per byte of its text, white space before it not counted.
    pub norm: usize,
    /// `acc_mutual_info`: the one that gains most by the question, log p(option | question) − log p(option).
    pub mutual_info: Option<usize>,
}

/// The picks among `options` with these log-likelihoods, in the same order; `unconditional` are those without the
/// question. Of equals the first is chosen.
pub fn pick(options: &[String], scores: &[f64], unconditional: Option<&[f64]>) -> Picks {
    let per_byte = scores.iter().zip(options).map(|(score, option)| score / option.trim_start().len().max(1) as f64);
    Picks {
        plain: largest(scores.iter().copied()),
        norm: largest(per_byte),
        mutual_info: unconditional.map(|alone| largest(scores.iter().zip(alone).map(|(score, alone)| score - alone))),
    }
}

fn largest(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (index, value) in values.enumerate() {
        if value > best.1 {
            best = (index, value);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_may_choose_another_option() {
        let options = [" a".to_owned(), " 长长长".to_owned(), " bb".to_owned()];
        // numpy: argmax(ll), argmax(ll / [1, 9, 2]), argmax(ll - alone)
        let picks = pick(&options, &[-2.0, -9.0, -4.5], Some(&[-1.0, -9.5, -9.0]));
        assert_eq!(picks, Picks { plain: 0, norm: 1, mutual_info: Some(2) });
        assert_eq!(pick(&options, &[-1.0, -1.0, -1.0], None).plain, 0, "of equals the first");
    }
}
