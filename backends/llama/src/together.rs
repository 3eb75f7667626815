//! Continues several prompts at once, as sequences of one batch: whoever is done makes room for the next. It owns who
//! runs, what goes into a batch and how many tokens of the cache each may need; `width` says how many pay.
//! It must not know how llama.cpp is called, nor the clock of the host.
//!
//! A step evaluates one token of each running request, and what fits beside them of new prompts. What prompts have in
//! common, as the host's hints say, is evaluated once and shared. Each request gets what it would get alone, up to
//! the rounding of another batch size.

use crate::failure::Failure;
use crate::sampler::{Sampler, resolve};
use crate::session::Session;
use edgebench_abi::{
    EB_ERR_ABORTED, EB_EVENT_TOKEN, EB_FINISH_EOS, EB_FINISH_LENGTH, EB_FINISH_SINK, EB_FINISH_STOP, EB_LOG_INFO,
    EbEvent, EbStr,
};
use edgebench_plugin::request::{Generate, Prompt};
use edgebench_plugin::sink::{Done, Sink};
use edgebench_plugin::stop::StopStrings;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Common tokens that are worth being evaluated apart.
const WORTH: usize = 16;

/// A request that waits.
struct Job<'a> {
    id: u64,
    request: &'a Generate<'a>,
    tokens: Cow<'a, [i32]>,
    /// New tokens at most.
    limit: usize,
    sampler: Sampler,
}

/// A request that runs.
struct Running<'a> {
    job: Job<'a>,
    stops: StopStrings<'a>,
    /// Its sequence, from 1.
    sequence: i32,
    /// Which kept prefix it began with, and how many tokens of that.
    prefix: usize,
    shared: usize,
    /// Tokens of the prompt and of the answer that are in the cache.
    position: usize,
    /// The token that comes next into the cache, when the prompt is there.
    next: Option<i32>,
    made: usize,
    /// Where its logits are after this step.
    row: Option<i32>,
    start: Instant,
    prefill: Duration,
}

/// Continues all requests.
///
/// # Errors
/// `EB_ERR_ABORTED`; failures of single requests are in their DONE events.
pub fn generate(session: &mut Session, requests: &[(u64, Generate)], sink: &Sink) -> Result<(), Failure> {
    session.clear_abort();
    // Cells lie otherwise here than in a sequence that is alone: nothing is taken over, in either direction.
    session.forget();
    let mut waiting = VecDeque::with_capacity(requests.len());
    for (id, request) in requests {
        match job(session, *id, request) {
            Ok(job) => waiting.push_back(job),
            Err(failure) => sink.done(*id, &Err(failure)),
        }
    }
    let mut batch = Together { session, sink, waiting, running: Vec::new(), prefix: 0, piece: Vec::new() };
    while !batch.waiting.is_empty() || !batch.running.is_empty() {
        if let Err(failure) = batch.step() {
            batch.fail(&failure);
            if failure.code == EB_ERR_ABORTED {
                return Err(failure);
            }
        }
    }
    batch.session.forget();
    Ok(())
}

fn job<'a>(session: &Session, id: u64, request: &'a Generate) -> Result<Job<'a>, Failure> {
    let sampler = Sampler::new(resolve(request.choice, &session.options)?)?;
    let tokens = match request.prompt {
        Prompt::Tokens(tokens) => {
            session.tokenizer.check(tokens)?;
            Cow::Borrowed(tokens)
        }
        Prompt::Text { text, parse } => Cow::Owned(session.tokenizer.prompt(text, parse)?),
    };
    let limit = request.limit(tokens.len(), session.n_ctx)?;
    Ok(Job { id, request, tokens, limit, sampler })
}

/// The requests of one call.
struct Together<'a, 's> {
    session: &'s mut Session,
    sink: &'s Sink,
    waiting: VecDeque<Job<'a>>,
    running: Vec<Running<'a>>,
    /// Number of the prefix that is kept now.
    prefix: usize,
    piece: Vec<u8>,
}

impl<'a> Together<'a, '_> {
    fn step(&mut self) -> Result<(), Failure> {
        self.admit()?;
        let start = Instant::now();
        let full = self.running.len() == self.session.width.now;
        self.fill();
        let tokens = self.session.batched();
        self.session.evaluate_batch()?;
        let before = self.running.len();
        self.take_tokens()?;
        if full {
            let ended = before - self.running.len();
            if let Some(found) = self.session.width.step(tokens, start.elapsed(), ended) {
                self.session.say(EB_LOG_INFO, &format!("batch = {found} of at most {}", self.session.width.max));
            }
        }
        Ok(())
    }

    /// Lets in who waits, as long as there are places and room in the cache for all that each may need.
    fn admit(&mut self) -> Result<(), Failure> {
        while self.running.len() < self.session.width.now
            && let Some(job) = self.waiting.front()
        {
            let id = job.request.prefix.id;
            if id != 0 && self.session.kept(id).is_empty() {
                let common = self.common();
                if common >= WORTH {
                    let tokens = job.tokens[..common].to_vec();
                    // Alone it always fits.
                    if self.used(None) + job.tokens.len() + job.limit > self.session.n_ctx {
                        break;
                    }
                    self.prefix += 1;
                    self.session.keep(&tokens, id)?;
                }
            }
            let Some(job) = self.waiting.front() else { break };
            let last = job.tokens.len() - 1;
            let kept = self.session.kept(id);
            let shared = kept.iter().zip(&job.tokens[..last]).take_while(|(a, b)| a == b).count();
            let own = job.tokens.len() - shared + job.limit;
            if self.used(Some(self.prefix)) + self.session.n_kept() + own > self.session.n_ctx {
                if !self.running.is_empty() {
                    break;
                }
                // Alone it has the whole cache.
                self.session.drop_kept();
                self.prefix += 1;
            }
            let shared = if self.session.n_kept() == 0 { 0 } else { shared };
            let Some(job) = self.waiting.pop_front() else { break };
            self.begin(job, shared);
        }
        Ok(())
    }

    fn begin(&mut self, job: Job<'a>, shared: usize) {
        let taken = |sequence: &i32| self.running.iter().any(|r| r.sequence == *sequence);
        let sequence = (1..).find(|s| !taken(s)).unwrap_or(1);
        self.session.share_kept(sequence, shared);
        self.running.push(Running {
            stops: StopStrings::new(&job.request.stop),
            job,
            sequence,
            prefix: self.prefix,
            shared,
            position: shared,
            next: None,
            made: 0,
            row: None,
            start: Instant::now(),
            prefill: Duration::ZERO,
        });
    }

    /// How many tokens all waiting prompts with the first one's prefix have in common, if there are others.
    fn common(&self) -> usize {
        let Some(first) = self.waiting.front() else { return 0 };
        let alike = self.waiting.iter().skip(1).filter(|job| job.request.prefix.id == first.request.prefix.id);
        let common = |job: &Job| first.tokens.iter().zip(job.tokens.iter()).take_while(|(a, b)| a == b).count();
        alike.map(common).min().unwrap_or(0)
    }

    /// Tokens of the cache that running requests may come to need, beside those of the `kept` prefix. What was kept before
    /// stays as long as someone uses it.
    fn used(&self, kept: Option<usize>) -> usize {
        let own = |r: &Running| r.job.tokens.len() - r.shared + r.job.limit;
        let mut earlier: Vec<(usize, usize)> = Vec::new();
        for r in self.running.iter().filter(|r| Some(r.prefix) != kept) {
            match earlier.iter_mut().find(|(prefix, _)| *prefix == r.prefix) {
                Some((_, shared)) => *shared = (*shared).max(r.shared),
                None => earlier.push((r.prefix, r.shared)),
            }
        }
        self.running.iter().map(own).sum::<usize>() + earlier.iter().map(|(_, shared)| shared).sum::<usize>()
    }

    /// One token of each that has begun to answer, then prompts.
    fn fill(&mut self) {
        self.session.clear_batch();
        for r in &mut self.running {
            r.row = None;
            if let Some(token) = r.next {
                r.row = self.session.add(r.sequence, &[token], r.position, true);
                r.position += 1;
            }
        }
        for r in self.running.iter_mut().filter(|r| r.next.is_none()) {
            let rest = &r.job.tokens[r.position..];
            let piece = &rest[..rest.len().min(self.session.room())];
            if piece.is_empty() {
                break;
            }
            r.row = self.session.add(r.sequence, piece, r.position, piece.len() == rest.len());
            r.position += piece.len();
        }
    }

    /// Picks the next token of each that has logits; ends those that are done.
    fn take_tokens(&mut self) -> Result<(), Failure> {
        let mut at = 0;
        while at < self.running.len() {
            match self.take_token(at) {
                Ok(None) => at += 1,
                Ok(Some(finish)) => {
                    let r = self.running.swap_remove(at);
                    self.session.end(r.sequence);
                    let decode = r.start.elapsed().saturating_sub(r.prefill);
                    self.sink.done(r.job.id, &Ok(Done { finish, prefill: r.prefill, decode }));
                }
                Err(failure) => {
                    let r = self.running.swap_remove(at);
                    self.session.end(r.sequence);
                    self.sink.done(r.job.id, &Err(failure));
                }
            }
        }
        Ok(())
    }

    /// The next token of request number `at`, if there is one now; how the request has ended, if it has.
    fn take_token(&mut self, at: usize) -> Result<Option<i32>, Failure> {
        let r = &mut self.running[at];
        let Some(row) = r.row else { return Ok(None) };
        if r.next.is_none() {
            r.prefill = r.start.elapsed();
            if self.sink.prefilled(r.job.id, r.job.tokens.len(), r.shared) {
                return Ok(Some(EB_FINISH_SINK));
            }
        }
        let (logits, scratch) = self.session.logits_and_candidates(row)?;
        let token = r.job.sampler.pick(logits, scratch)?;
        if !r.job.request.ignore_eos && self.session.tokenizer.ends(token) {
            return Ok(Some(EB_FINISH_EOS));
        }
        let bytes = self.session.tokenizer.piece(token, &mut self.piece);
        let mut event = EbEvent::new(EB_EVENT_TOKEN, r.job.id);
        event.token = token;
        event.text = EbStr::from_bytes(bytes);
        let enough = self.sink.send(&event);
        r.made += 1;
        r.next = Some(token);
        Ok(if r.stops.appear(bytes) {
            Some(EB_FINISH_STOP)
        } else if enough {
            Some(EB_FINISH_SINK)
        } else {
            (r.made == r.job.limit).then_some(EB_FINISH_LENGTH)
        })
    }

    /// After a failure of the batch all that ran in it has failed, or who was about to; after an abort all that waits.
    fn fail(&mut self, failure: &Failure) {
        if self.running.is_empty()
            && let Some(job) = self.waiting.pop_front()
        {
            self.sink.done(job.id, &Err(failure.clone()));
        }
        for r in self.running.drain(..) {
            self.sink.done(r.job.id, &Err(failure.clone()));
        }
        if failure.code == EB_ERR_ABORTED {
            for job in self.waiting.drain(..) {
                self.sink.done(job.id, &Err(failure.clone()));
            }
        }
    }
}
