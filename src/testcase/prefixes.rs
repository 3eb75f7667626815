//! Which prompts of a window begin alike, so that a backend needs to evaluate that part once: the plan behind prefix
//! hints. Pure; it must not know records or backends.

use std::ops::Range;

/// Prompts to ask one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Their places in the window.
    pub members: Vec<usize>,
    /// Bytes that all of them begin with; 0 for one alone.
    pub bytes: usize,
}

/// Puts `texts` in groups, so that as many bytes as possible are evaluated only once. Prompts in alphabetical order
/// have their longest common beginnings with their neighbours, so groups are runs of that order.
pub fn groups(texts: &[&str]) -> Vec<Group> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&i| texts[i]);
    if texts.is_empty() {
        return Vec::new();
    }
    let common: Vec<usize> = order.windows(2).map(|w| common_bytes(texts[w[0]], texts[w[1]])).collect();
    let group = |(run, bytes): (Range<usize>, usize)| Group { members: order[run].to_vec(), bytes };
    divide(&common).into_iter().map(group).collect()
}

/// Divides a row of prompts whose neighbours have `common` bytes in common into runs, each with the bytes that all of it
/// begins with: of all divisions the one that saves most, by dynamic programming over where the last run begins.
fn divide(common: &[usize]) -> Vec<(Range<usize>, usize)> {
    let n = common.len() + 1;
    // Of the first `i` prompts: what is saved at best, and the last run of that division.
    let mut best: Vec<(usize, usize, usize)> = vec![(0, 0, 0)];
    for end in 1..=n {
        let mut found = (best[end - 1].0, end - 1, 0);
        let mut least = usize::MAX;
        for start in (0..end - 1).rev() {
            least = least.min(common[start]);
            if least == 0 {
                break;
            }
            let saved = best[start].0 + least * (end - 1 - start);
            if saved > found.0 {
                found = (saved, start, least);
            }
        }
        best.push(found);
    }
    let mut runs = Vec::new();
    let mut end = n;
    while end > 0 {
        let (_, start, bytes) = best[end];
        runs.push((start..end, bytes));
        end = start;
    }
    runs.reverse();
    runs
}

/// Length of what both begin with, in whole characters.
fn common_bytes(a: &str, b: &str) -> usize {
    let mut common = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    while !a.is_char_boundary(common) {
        common -= 1;
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prompts_of_one_subject_are_a_group() {
        let texts = ["history: 1?", "law: 中文", "history: 2?", "law: 中国", "art", "history: 22?"];
        let group = |members: &[usize], bytes| Group { members: members.to_vec(), bytes };
        let expected = [group(&[4], 0), group(&[0, 5, 2], "history: ".len()), group(&[3, 1], "law: 中".len())];
        assert_eq!(groups(&texts), expected);
        assert_eq!(groups(&[]), []);
    }

    proptest! {
        #[test]
        fn everyone_is_in_one_group_and_no_other_division_saves_more(
            texts in proptest::collection::vec("[ab]{0,6}", 1..9),
        ) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let groups = groups(&texts);
            let mut all: Vec<usize> = groups.iter().flat_map(|g| g.members.clone()).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..texts.len()).collect::<Vec<_>>());
            let mut saved = 0;
            for group in &groups {
                let begin = &texts[group.members[0]][..group.bytes];
                prop_assert!(group.members.iter().all(|&i| texts[i].starts_with(begin)));
                saved += group.bytes * (group.members.len() - 1);
            }
            // Every division of the sorted texts into runs.
            let mut sorted = texts.clone();
            sorted.sort_unstable();
            let mut best = 0;
            for cuts in 0..1u32 << (sorted.len() - 1) {
                let (mut sum, mut start) = (0, 0);
                for i in 0..sorted.len() {
                    if i + 1 == sorted.len() || cuts & (1 << i) != 0 {
                        sum += common_bytes(sorted[start], sorted[i]) * (i - start);
                        start = i + 1;
                    }
                }
                best = best.max(sum);
            }
            prop_assert_eq!(saved, best);
        }
    }
}
