//! The scenario `offline`: all records have arrived when a pass begins, and throughput is what counts. Records are taken
//! in windows, so that memory stays the same for any dataset. In a window those whose prompts begin alike are asked
//! one after the other with a hint, and where the backend runs several together, all in one call. Results are written
//! in the order of the dataset. It must not know how an answer is judged.

use super::ask::{Answer, Asker, Seen, need, not_rendered};
use super::case::End;
use super::passes::{Pass, Passes};
use super::prefixes::groups;
use super::scenario::{Item, single_stream};
use crate::backend::wire::Prefix;
use crate::sense::phase::Phase;
use crate::testenv::dataset::Kept;
use crate::testenv::metric::Gold;
use std::ops::ControlFlow;

/// Records of a window, at the most …
const RECORDS: usize = 256;
/// … and bytes of their prompts.
const BYTES: usize = 4 << 20;

/// A record that has arrived, or will.
pub(super) struct Waiting {
    record: Kept,
    id: String,
    subject: String,
    gold: Gold,
    /// Taken when it is asked.
    seen: Result<Seen, String>,
    answer: Option<Result<Answer, String>>,
    /// CLOCK_MONOTONIC when it arrives, ns.
    pub(super) arrival_ns: u64,
}

impl Waiting {
    pub(super) fn new(asker: &Asker, item: &Item, arrival_ns: u64) -> Waiting {
        Waiting {
            record: Kept::new(item.record),
            id: item.id.clone(),
            subject: item.subject.to_owned(),
            gold: asker.gold(item.record),
            seen: asker.seen(item).map_err(|e| not_rendered(&e)),
            answer: None,
            arrival_ns,
        }
    }

    fn text(&self) -> &str {
        self.seen.as_ref().map_or("", |seen| &seen.text)
    }

    fn take_seen(&mut self) -> Result<Seen, String> {
        std::mem::replace(&mut self.seen, Err(String::new()))
    }
}

impl Passes<'_, '_> {
    /// One pass.
    pub(super) fn offline(&mut self, pass: &Pass) -> Result<(), End> {
        let (task, asked) = (self.task, self.context.records);
        let mut window: Vec<Waiting> = Vec::new();
        let (mut left, mut bytes) = (pass.at_most, 0);
        let flow = single_stream(task, asked, need(&task.method), |item| {
            let waiting = Waiting::new(self.asker, item, pass.start_ns);
            bytes += waiting.text().len();
            window.push(waiting);
            left -= 1;
            if left > 0 && window.len() < RECORDS && bytes < BYTES {
                return ControlFlow::Continue(());
            }
            bytes = 0;
            match self.window(pass, &mut window) {
                Ok(()) if left > 0 && !pass.is_over() => ControlFlow::Continue(()),
                end => ControlFlow::Break(end),
            }
        });
        match flow.map_err(End::Dataset)? {
            ControlFlow::Break(end) => end,
            ControlFlow::Continue(()) => self.window(pass, &mut window),
        }
    }

    /// Asks all of a window, and writes what came of it, also when that ends early; the window is empty then.
    fn window(&mut self, pass: &Pass, window: &mut Vec<Waiting>) -> Result<(), End> {
        let end = self.ask_window(pass, window);
        self.write(pass, window, |_| ())?;
        end
    }

    /// Writes the answers of `window`, shows each to `see`, and empties it.
    pub(super) fn write(
        &mut self,
        pass: &Pass,
        window: &mut Vec<Waiting>,
        mut see: impl FnMut(&Result<Answer, String>),
    ) -> Result<(), End> {
        for mut waiting in window.drain(..) {
            let Some(mut answer) = waiting.answer.take() else { continue };
            if let Ok(answer) = &mut answer {
                answer.sample.queue_ns = answer.sample.start_ns.saturating_sub(waiting.arrival_ns);
            }
            see(&answer);
            let record = waiting.record.record();
            let item = Item { record: &record, id: waiting.id, subject: &waiting.subject };
            self.note(pass, &item, &waiting.gold, &answer)?;
        }
        Ok(())
    }

    fn ask_window(&mut self, pass: &Pass, window: &mut [Waiting]) -> Result<(), End> {
        let mut order = Vec::with_capacity(window.len());
        for group in groups(&window.iter().map(Waiting::text).collect::<Vec<_>>()) {
            self.answers.prefixes += 1;
            let prefix = match group.bytes {
                0 => Prefix::NONE,
                bytes => Prefix { id: self.answers.prefixes, bytes },
            };
            order.extend(group.members.into_iter().map(|i| (i, prefix)));
        }
        if self.asker.runs_together() {
            return self.together(pass, window, &order);
        }
        self.one_by_one(pass, window, &order)
    }

    /// Each in a call of its own.
    pub(super) fn one_by_one(
        &mut self,
        pass: &Pass,
        window: &mut [Waiting],
        order: &[(usize, Prefix)],
    ) -> Result<(), End> {
        for &(i, prefix) in order {
            let seen = window[i].take_seen();
            let waiting = &mut window[i];
            let record = waiting.record.record();
            let item = Item { record: &record, id: waiting.id.clone(), subject: &waiting.subject };
            waiting.answer = Some(self.ask(pass, &item, seen, &waiting.gold, prefix)?);
        }
        Ok(())
    }

    /// All in one call of the backend. Of a request's own prefill nothing is known then.
    pub(super) fn together(
        &mut self,
        pass: &Pass,
        window: &mut [Waiting],
        order: &[(usize, Prefix)],
    ) -> Result<(), End> {
        self.context.go_on()?;
        let (mut asked, mut prompts) = (Vec::new(), Vec::new());
        for &(i, prefix) in order {
            match window[i].take_seen() {
                Ok(seen) => {
                    asked.push(i);
                    prompts.push((seen, prefix));
                }
                Err(why) => window[i].answer = Some(Err(why)),
            }
        }
        let generations = self.asker.ask_together(self.client, prompts).map_err(End::Host)?;
        let start = generations.iter().map(|g| g.start_ns).min().unwrap_or_default();
        let end = generations.iter().map(|g| g.start_ns + g.done_ns).max().unwrap_or_default();
        let watch = &mut self.eyes.watch;
        watch.mark(if pass.is_warmup() { Phase::Warmup } else { Phase::Between }, pass.start_ns, start);
        watch.mark(if pass.is_warmup() { Phase::Warmup } else { Phase::Decode }, start, end);
        for (i, generation) in asked.into_iter().zip(generations) {
            let waiting = &mut window[i];
            let answer = match &generation.failure {
                Some(failure) => Err(failure.to_string()),
                None => {
                    let mut answer = self.asker.generated(&waiting.record.record(), &waiting.gold, generation);
                    answer.sample.prefill_ns = None;
                    Ok(answer)
                }
            };
            self.answered(pass, &answer)?;
            waiting.answer = Some(answer);
        }
        Ok(())
    }
}
