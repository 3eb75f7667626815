//! Successive halving (K. Jamieson, A. Talwalkar, 2016): everything is tried a little, the better half a little longer, until few
//! are left, which get the most time. Pure: it must not know what is tried.

/// As many as are compared in the last round.
const FINALISTS: usize = 2;
/// Repetitions of the last round, at the most.
const MOST_REPETITIONS: u32 = 8;

/// How many rounds `n` candidates take.
pub fn rounds(n: usize) -> u32 {
    let (mut left, mut rounds) = (n, 1);
    while left > FINALISTS {
        left = left.div_ceil(2);
        rounds += 1;
    }
    rounds
}

/// Repetitions of a round, from 0: they double while the candidates halve, so that each round takes as long as the others.
pub fn repetitions(round: u32) -> u32 {
    1u32.checked_shl(round).unwrap_or(MOST_REPETITIONS).min(MOST_REPETITIONS)
}

/// Of candidates with a cost each (less is better; `None`: it failed), the better half; at least the finalists. In the order of
/// their costs.
pub fn better_half(costs: &[(usize, Option<f64>)]) -> Vec<usize> {
    let mut ranked: Vec<(usize, f64)> = costs.iter().filter_map(|&(i, cost)| Some((i, cost?))).collect();
    ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
    let keep = costs.len().div_ceil(2).max(FINALISTS);
    ranked.into_iter().take(keep).map(|(i, _)| i).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_half_goes_on_and_what_failed_does_not() {
        let costs = [(0, Some(5.0)), (1, None), (2, Some(1.0)), (3, Some(3.0)), (4, Some(4.0)), (5, None)];
        assert_eq!(better_half(&costs), [2, 3, 4]);
        assert_eq!(better_half(&[(7, Some(2.0)), (9, Some(1.0))]), [9, 7]);
        assert_eq!(better_half(&[(0, None)]), [0usize; 0]);
    }

    #[test]
    fn rounds_double_their_repetitions() {
        assert_eq!([1, 2, 3, 4, 5, 72].map(rounds), [1, 1, 2, 2, 3, 7]);
        assert_eq!([0, 1, 2, 3, 9, 40].map(repetitions), [1, 2, 4, 8, 8, 8]);
    }
}
