//! In which pieces a prompt is evaluated, and where one may be taken up that begins like the last.
//! It owns the promise that a prompt taken up gives the bits of one evaluated from its start. Pure arithmetic; it must
//! not know llama.cpp.
//!
//! On a CPU the numbers of a token depend on which kernel computes its row: llama.cpp has others for one row, for the
//! rows that a tile of 4, 8 or 16 leaves over, and for less than so many rows. They do not depend on the rows beside it.
//! So a prompt is taken up only a multiple of [`STEP`] rows behind the start of the piece that it was computed in, and
//! only if so many rows are left: each row then keeps its place in its tile, and pieces stay large. Where the last
//! prompt ended does not matter: of it only whole steps are kept.

/// Rows to which places are rounded: a multiple of every tile, and no kernel asks for more rows than this.
pub const STEP: usize = 32;

/// How prompts are cut: llama.cpp gets `n_batch` tokens at once and computes `n_ubatch` of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub n_batch: usize,
    pub n_ubatch: usize,
}

impl Shape {
    /// Where a prompt of `len` tokens may be taken up, when the last one had the same first `common` tokens: at least its
    /// last token is evaluated.
    pub fn cut(self, common: usize, len: usize) -> usize {
        let Some(common) = len.checked_sub(1).map(|last| common.min(last)) else { return 0 };
        let start = self.start(common);
        let rows = (self.end(common).min(len)) - start;
        let steps = (common - start).min(rows.saturating_sub(STEP)) / STEP;
        start + steps * STEP
    }

    /// Up to where tokens are handed over together, from `position` on, of a prompt of `len`.
    pub fn next(self, position: usize, len: usize) -> usize {
        let end = if self.start(position) == position {
            (position / self.n_batch + 1) * self.n_batch
        } else {
            self.end(position)
        };
        end.min(len)
    }

    /// Start of the piece that is computed at once and in which `position` lies.
    fn start(self, position: usize) -> usize {
        let batch = position / self.n_batch * self.n_batch;
        batch + (position - batch) / self.n_ubatch * self.n_ubatch
    }

    /// End of that piece, if the prompt is long enough.
    fn end(self, position: usize) -> usize {
        let batch = position / self.n_batch * self.n_batch;
        (self.start(position) + self.n_ubatch).min(batch + self.n_batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_steps_are_kept_and_one_is_left() {
        let shape = Shape { n_batch: 512, n_ubatch: 512 };
        assert_eq!(shape.cut(700, 800), 512 + 160, "700 - 512 = 5 steps and 28");
        assert_eq!(shape.cut(790, 800), 512 + 256, "so that 32 of the piece's 288 rows are left");
        assert_eq!(shape.cut(20, 800), 0);
        assert_eq!(shape.cut(530, 540), 512, "a short last piece is evaluated as a whole");
        assert_eq!(shape.cut(100, 100), 64, "the same prompt once more");
        assert_eq!(shape.cut(512, 513), 512);
        assert_eq!(shape.cut(5, 0), 0);
        assert_eq!((shape.next(0, 800), shape.next(512, 800), shape.next(480, 800)), (512, 800, 512));
        let shape = Shape { n_batch: 512, n_ubatch: 128 };
        assert_eq!((shape.next(128, 800), shape.next(160, 800)), (512, 256));
    }

    proptest! {
        /// Which piece each token is computed in, as (start, rows), from `from` on.
        #[test]
        fn every_row_keeps_its_place(
            n_batch in 1usize..200, n_ubatch in 1usize..200, common in 0usize..700, more in 1usize..300,
        ) {
            let n_ubatch = n_ubatch.min(n_batch);
            let shape = Shape { n_batch, n_ubatch };
            let len = common + more;
            let pieces = |from: usize| {
                let (mut all, mut position) = (Vec::new(), from);
                while position < len {
                    let next = shape.next(position, len);
                    prop_assert!(next > position && next - position <= n_batch);
                    // As llama.cpp splits a batch.
                    let mut at = position;
                    while at < next {
                        let rows = (next - at).min(n_ubatch);
                        all.push((at, rows));
                        at += rows;
                    }
                    position = next;
                }
                Ok(all)
            };
            let cut = shape.cut(common, len);
            prop_assert!(cut <= common && cut < len);
            let (whole, rest) = (pieces(0)?, pieces(cut)?);
            let piece_of = |all: &[(usize, usize)], at: usize| *all.iter().find(|(s, n)| (*s..s + n).contains(&at)).unwrap();
            for at in cut..len {
                let ((s, n), (t, m)) = (piece_of(&whole, at), piece_of(&rest, at));
                prop_assert_eq!(s + n, t + m, "both end at the same token");
                prop_assert!(t == s || (t - s) % STEP == 0 && m >= STEP);
            }
        }
    }
}
