//! How far a model's distributions are from its original's: KL(original ‖ model) of what may come next, token by token, as
//! `llama-perplexity --kl-divergence` has it. It owns the packing of distributions and the file that keeps the original's;
//! it must not know texts, records or frames' bytes.
//!
//! Both sides are packed alike, into 16 bits a token of the vocabulary: how far its logit is below the highest, in steps of
//! 1/2048, down to 32 nats (p = 1e-14). So a model has a divergence of exactly 0 from itself, rounding costs about
//! 2e-8 nats, and exponentials come from a table. A window in the file: hash of its tokens (u64), rows (u32), entries of the vocabulary (u32),
//! then the rows (u16 each), all little-endian.

use super::session::Session;
use super::wire::{Diverged, Failure, FailureKind, LogitsFile, Window};
use crate::clock::now_ns;
use rustix::fs::fstatvfs;
use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;

/// Steps a nat.
const STEPS: f64 = 2048.0;
/// Bytes before the rows of a window.
const HEAD: u64 = 16;
/// The disk is not filled to the last.
const ROOM: u64 = 64 << 20;

/// A row of logits, packed, and the sum of its exponentials.
#[derive(Default)]
struct Packed {
    steps: Vec<u16>,
    sum: f64,
}

/// exp(−step / STEPS) for every step.
struct Exponentials(Vec<f64>);

impl Exponentials {
    fn new() -> Exponentials {
        Exponentials((0..=u16::MAX).map(|step| (-f64::from(step) / STEPS).exp()).collect())
    }

    fn of(&self, step: u16) -> f64 {
        self.0[usize::from(step)]
    }

    /// Packs `logits`; `None` if they have no finite maximum.
    fn pack(&self, logits: &[f32], row: &mut Packed) -> Option<f32> {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if !max.is_finite() {
            return None;
        }
        // A cast saturates, and makes 0 of what is not a number.
        let step = |logit: &f32| ((f64::from(max) - f64::from(*logit)) * STEPS).round() as u16;
        row.steps.clear();
        row.steps.extend(logits.iter().map(|l| if l.is_nan() { u16::MAX } else { step(l) }));
        self.sum(row);
        Some(max)
    }

    fn sum(&self, row: &mut Packed) {
        row.sum = row.steps.iter().map(|step| self.of(*step)).sum();
    }

    /// Σ p ln(p / q), p the original. ln p − ln q of a token is the difference of its steps and of the sums' logarithms.
    fn kl(&self, p: &Packed, q: &Packed) -> f64 {
        let mean = |(p, q): (&u16, &u16)| self.of(*p) * (f64::from(*q) - f64::from(*p));
        let steps: f64 = p.steps.iter().zip(&q.steps).map(mean).sum::<f64>() / p.sum;
        (steps / STEPS + q.sum.ln() - p.sum.ln()).max(0.0)
    }
}

/// Is the original's most likely token the model's too?
fn same_top(p: &Packed, q: &Packed) -> bool {
    p.steps.iter().zip(&q.steps).any(|(p, q)| *p == 0 && *q == 0)
}

/// The original's distributions: being written, or read.
pub struct Original {
    table: Exponentials,
    n_vocab: usize,
    kept: Kept,
}

enum Kept {
    Written(BufWriter<File>),
    /// Where the rows of each window begin, and how many there are.
    Read(BufReader<File>, HashMap<u64, (u64, u32)>),
}

impl Original {
    /// Opens the file for a model with `n_vocab` tokens.
    ///
    /// # Errors
    /// It cannot be opened, or belongs to a model with another vocabulary.
    pub fn open(file: &LogitsFile, n_vocab: u32) -> Result<Original, Failure> {
        let failed = |e: io::Error| Failure::new(FailureKind::Internal, format!("{}: {e}", file.path));
        let kept = if file.write {
            Kept::Written(BufWriter::new(File::options().write(true).truncate(true).open(&file.path).map_err(failed)?))
        } else {
            let mut reader = BufReader::new(File::open(&file.path).map_err(failed)?);
            let windows = index(&mut reader, n_vocab).map_err(failed)?.ok_or_else(another_vocabulary)?;
            Kept::Read(reader, windows)
        };
        Ok(Original { table: Exponentials::new(), n_vocab: n_vocab as usize, kept })
    }

    /// Evaluates a window; keeps it, or holds it against what was kept.
    ///
    /// # Errors
    /// The backend's; the file's; a window that the original has not seen, as with another tokenizer.
    pub fn diverge(&mut self, session: &Session, window: &Window) -> Result<Diverged, Failure> {
        let start_ns = now_ns();
        let Original { table, n_vocab, kept } = self;
        let rows = window.scored.len();
        let failed = |e: io::Error| Failure::new(FailureKind::Internal, format!("the original's distributions: {e}"));
        begin(kept, window, *n_vocab, rows).map_err(failed)??;
        let (mut own, mut original) = (Packed::default(), Packed { steps: vec![0; *n_vocab], sum: 0.0 });
        let mut bytes = vec![0; *n_vocab * 2];
        let mut answer = Diverged { start_ns, done_ns: 0, logprob: 0.0, kl: Vec::new(), same_top: 0 };
        let mut wrong = None;
        let mut scored = window.scored.iter();
        // The last token is only predicted.
        let tokens = [&window.context[..], &window.scored[..rows - 1]].concat();
        session.evaluate(&tokens, window.context.len() - 1, |logits| {
            let row = || -> Result<(), Failure> {
                let Some(token) = scored.next().and_then(|t| usize::try_from(*t).ok()) else { return Ok(()) };
                let logit = logits.get(token).filter(|_| logits.len() == *n_vocab).ok_or_else(another_vocabulary)?;
                let max = table.pack(logits, &mut own).ok_or_else(not_numbers)?;
                answer.logprob += f64::from(*logit) - f64::from(max) - own.sum.ln();
                match kept {
                    Kept::Written(out) => {
                        bytes
                            .chunks_exact_mut(2)
                            .zip(&own.steps)
                            .for_each(|(b, s)| b.copy_from_slice(&s.to_le_bytes()));
                        out.write_all(&bytes).map_err(failed)
                    }
                    Kept::Read(from, _) => {
                        from.read_exact(&mut bytes).map_err(failed)?;
                        let steps = bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
                        original.steps.iter_mut().zip(steps).for_each(|(to, step)| *to = step);
                        table.sum(&mut original);
                        answer.kl.push(table.kl(&original, &own) as f32);
                        answer.same_top += u32::from(same_top(&original, &own));
                        Ok(())
                    }
                }
            };
            let mut row = row;
            match row() {
                Ok(()) => ControlFlow::Continue(()),
                Err(failure) => {
                    wrong = Some(failure);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(failure) = wrong {
            return Err(failure);
        }
        if scored.len() > 0 {
            let message = format!("evaluate() gave {} rows of {rows}: a fault of the backend", rows - scored.len());
            return Err(Failure::new(FailureKind::Internal, message));
        }
        if let Kept::Written(out) = kept {
            out.flush().map_err(failed)?;
        }
        answer.done_ns = now_ns() - start_ns;
        Ok(answer)
    }
}

/// Writes a window's head, if there is room for its rows, or goes to its rows.
fn begin(kept: &mut Kept, window: &Window, n_vocab: usize, rows: usize) -> io::Result<Result<(), Failure>> {
    let key = key(window);
    match kept {
        Kept::Written(out) => {
            let need = rows as u64 * n_vocab as u64 * 2;
            let free = fstatvfs(out.get_ref()).map(|s| s.f_bavail.saturating_mul(s.f_frsize));
            if free.is_ok_and(|free| free < need + ROOM) {
                let mib = need.div_ceil(1 << 20);
                let text =
                    format!("the disk is full: {mib} MiB more are needed for this text; ask fewer, or shorter ones");
                return Ok(Err(Failure::new(FailureKind::Device, text)));
            }
            out.write_all(&key.to_le_bytes())?;
            out.write_all(&(rows as u32).to_le_bytes())?;
            out.write_all(&(n_vocab as u32).to_le_bytes())?;
        }
        Kept::Read(from, windows) => match windows.get(&key) {
            Some((at, n)) if *n as usize == rows => drop(from.seek(SeekFrom::Start(*at))?),
            _ => return Ok(Err(another_vocabulary())),
        },
    }
    Ok(Ok(()))
}

fn key(window: &Window) -> u64 {
    let mut hasher = DefaultHasher::new();
    window.context.hash(&mut hasher);
    window.scored.hash(&mut hasher);
    hasher.finish()
}

/// Where each window's rows are; `None` if they are of another vocabulary.
fn index(from: &mut BufReader<File>, n_vocab: u32) -> io::Result<Option<HashMap<u64, (u64, u32)>>> {
    let length = from.get_ref().metadata()?.len();
    let (mut windows, mut at) = (HashMap::new(), 0);
    while at < length {
        from.seek(SeekFrom::Start(at))?;
        let (mut key, mut rows, mut width) = ([0; 8], [0; 4], [0; 4]);
        from.read_exact(&mut key)?;
        from.read_exact(&mut rows)?;
        from.read_exact(&mut width)?;
        if u32::from_le_bytes(width) != n_vocab {
            return Ok(None);
        }
        let rows = u32::from_le_bytes(rows);
        windows.insert(u64::from_le_bytes(key), (at + HEAD, rows));
        at += HEAD + u64::from(rows) * u64::from(n_vocab) * 2;
    }
    Ok(Some(windows))
}

fn another_vocabulary() -> Failure {
    let message = "its tokens are not those of the original, the first of the object's sweep: only models with one tokenizer can \
                   be held against each other";
    Failure::new(FailureKind::Unsupported, message)
}

fn not_numbers() -> Failure {
    Failure::new(
        FailureKind::Model,
        "the model's output is not a number: its weights are damaged, or overflow in this type",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix;

    fn exact(p: &[f32], q: &[f32]) -> f64 {
        let log_softmax = |logits: &[f32]| {
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
            logits.iter().map(|l| f64::from(l - max) - sum.ln()).collect::<Vec<f64>>()
        };
        log_softmax(p).iter().zip(log_softmax(q)).map(|(p, q)| p.exp() * (p - q)).sum()
    }

    #[test]
    fn divergences_are_those_of_exact_arithmetic_and_none_from_itself() {
        let table = Exponentials::new();
        let mut random = SplitMix(3);
        let mut normal = move || (0..12).map(|_| random.next() as f64 / u64::MAX as f64).sum::<f64>() - 6.0;
        let (mut a, mut b) = (Packed::default(), Packed::default());
        for (spread, distance) in [(1.0, 0.001), (1.0, 0.03), (4.0, 0.3), (8.0, 3.0)] {
            let (mut sum, mut expected) = (0.0, 0.0);
            for _ in 0..50 {
                let p: Vec<f32> = (0..1000).map(|_| (spread * normal()) as f32).collect();
                let q: Vec<f32> = p.iter().map(|l| l + (distance * normal()) as f32).collect();
                table.pack(&p, &mut a).unwrap();
                table.pack(&q, &mut b).unwrap();
                assert_eq!(table.kl(&a, &a), 0.0);
                assert!(same_top(&a, &a));
                sum += table.kl(&a, &b);
                expected += exact(&p, &q);
            }
            assert!((sum - expected).abs() < 0.002 * expected + 50.0 * 5e-8, "{spread} {distance}: {sum} {expected}");
        }
    }

    #[test]
    fn what_is_not_a_number_and_what_is_far_below_is_told_apart() {
        let table = Exponentials::new();
        let mut row = Packed::default();
        assert_eq!(table.pack(&[f32::NAN, f32::NEG_INFINITY], &mut row), None);
        table.pack(&[0.0, -1.0, f32::NEG_INFINITY, f32::NAN, -1e9], &mut row).unwrap();
        assert_eq!(row.steps, [0, 2048, u16::MAX, u16::MAX, u16::MAX]);
    }
}
