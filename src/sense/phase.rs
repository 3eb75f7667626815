//! What a board was doing when: phases of a case as intervals on CLOCK_MONOTONIC. It owns the order and the
//! gaps; it must not know what is measured in them.

use std::collections::VecDeque;

/// What the host was doing. The order is that of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Waiting until the board is cool enough.
    Cooldown,
    /// Nothing runs: the power to subtract.
    Idle,
    /// Starting the host, reading the model.
    Load,
    /// Untimed calls.
    Warmup,
    /// Evaluating a prompt, until its PREFILL event.
    Prefill,
    /// New tokens, until the last.
    Decode,
    /// Log-likelihoods of options, after the context's PREFILL event.
    Score,
    /// A step of a training.
    Train,
    /// Between calls of a timed pass: edgebench's own work on prompts and answers.
    Between,
    /// Whatever is not known to be another phase.
    Other,
}

impl Phase {
    /// All of them.
    pub const ALL: [Phase; 10] = [
        Phase::Cooldown,
        Phase::Idle,
        Phase::Load,
        Phase::Warmup,
        Phase::Prefill,
        Phase::Decode,
        Phase::Score,
        Phase::Train,
        Phase::Between,
        Phase::Other,
    ];
    /// Those of the timed passes.
    pub const TIMED: [Phase; 5] = [Phase::Prefill, Phase::Decode, Phase::Score, Phase::Train, Phase::Between];

    /// Its word in telemetry.csv.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Cooldown => "cooldown",
            Phase::Idle => "idle",
            Phase::Load => "load",
            Phase::Warmup => "warmup",
            Phase::Prefill => "prefill",
            Phase::Decode => "decode",
            Phase::Score => "score",
            Phase::Train => "train",
            Phase::Between => "between",
            Phase::Other => "other",
        }
    }

    /// Does a backend work on timed records?
    pub fn is_timed_work(self) -> bool {
        matches!(self, Phase::Prefill | Phase::Decode | Phase::Score | Phase::Train)
    }
}

/// An interval of CLOCK_MONOTONIC, in ns, in one phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub phase: Phase,
    pub from_ns: u64,
    pub to_ns: u64,
}

/// The marks of a case in the order of time. Marks are told after the fact; `known_ns` says up to when.
#[derive(Debug, Default)]
pub struct PhaseLog {
    marks: VecDeque<Mark>,
    known_ns: u64,
}

impl PhaseLog {
    /// Adds a mark. What overlaps the one before is given to that one; an empty mark is dropped.
    pub fn add(&mut self, phase: Phase, from_ns: u64, to_ns: u64) {
        let from_ns = self.marks.back().map_or(from_ns, |last| from_ns.max(last.to_ns));
        if from_ns < to_ns {
            self.marks.push_back(Mark { phase, from_ns, to_ns });
            self.known_ns = self.known_ns.max(to_ns);
        }
    }

    /// No mark that begins before `ns` will be added any more.
    pub fn known_until(&mut self, ns: u64) {
        self.known_ns = self.known_ns.max(ns);
    }

    /// Up to when phases are known.
    pub fn known_ns(&self) -> u64 {
        self.known_ns
    }

    /// The phase at one time.
    pub fn at(&self, ns: u64) -> Phase {
        let after = self.marks.partition_point(|m| m.to_ns <= ns);
        self.marks.get(after).filter(|m| m.from_ns <= ns).map_or(Phase::Other, |m| m.phase)
    }

    /// `from_ns..to_ns` cut at the phases' ends: every ns of it is in exactly one piece.
    pub fn pieces(&self, from_ns: u64, to_ns: u64) -> impl Iterator<Item = Mark> {
        let first = self.marks.partition_point(|m| m.to_ns <= from_ns);
        let mut marks = self.marks.range(first..).take_while(move |m| m.from_ns < to_ns).peekable();
        let mut at = from_ns;
        std::iter::from_fn(move || {
            if at >= to_ns {
                return None;
            }
            let from_ns = at;
            let piece = match marks.peek() {
                Some(mark) if mark.from_ns <= at => Mark { from_ns, to_ns: mark.to_ns.min(to_ns), ..**mark },
                Some(mark) => Mark { phase: Phase::Other, from_ns, to_ns: mark.from_ns },
                None => Mark { phase: Phase::Other, from_ns, to_ns },
            };
            if marks.peek().is_some_and(|mark| mark.to_ns <= piece.to_ns) {
                marks.next();
            }
            at = piece.to_ns;
            Some(piece)
        })
    }

    /// Forgets marks that ended before `ns`.
    pub fn forget_before(&mut self, ns: u64) {
        while self.marks.front().is_some_and(|m| m.to_ns < ns) {
            self.marks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pieces_cover_an_interval_once() {
        let mut log = PhaseLog::default();
        log.add(Phase::Prefill, 10, 20);
        log.add(Phase::Decode, 20, 30);
        log.add(Phase::Prefill, 40, 50);
        let pieces: Vec<_> = log.pieces(5, 45).map(|m| (m.phase, m.from_ns, m.to_ns)).collect();
        use Phase::*;
        assert_eq!(pieces, [(Other, 5, 10), (Prefill, 10, 20), (Decode, 20, 30), (Other, 30, 40), (Prefill, 40, 45)]);
        assert_eq!([9, 10, 29, 30, 49, 50].map(|t| log.at(t)), [Other, Prefill, Decode, Other, Prefill, Other]);
    }

    proptest! {
        #[test]
        fn pieces_join_up(edges in proptest::collection::vec(0u64..200, 0..20), from in 0u64..200, len in 0u64..100) {
            let mut log = PhaseLog::default();
            edges.chunks(2).filter(|c| c.len() == 2).for_each(|c| log.add(Phase::Decode, c[0], c[1]));
            let mut at = from;
            for piece in log.pieces(from, from + len) {
                prop_assert_eq!(piece.from_ns, at);
                prop_assert!(piece.to_ns > piece.from_ns);
                prop_assert_eq!(log.at(piece.from_ns), piece.phase);
                prop_assert_eq!(log.at(piece.to_ns - 1), piece.phase);
                at = piece.to_ns;
            }
            prop_assert_eq!(at, from + len);
        }
    }
}
