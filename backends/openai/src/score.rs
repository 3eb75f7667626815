//! `eb.score_text/1`: log-likelihoods of continuations, from the tokens of a text that is echoed or from the most likely
//! tokens after it. It owns what these are worth.
//! It must not know connections.

use crate::align::{cut, end, starts};
use crate::answer::{Answer, Token};
use crate::body::utf8;
use crate::failure::Failure;
use crate::generate::Job;
use crate::http::Trouble;
use crate::pool::{self, Outlet};
use crate::session::{ScoredBy, Session};
use edgebench_abi::{EB_EVENT_DONE, EB_EVENT_SCORE, EB_FINISH_SCORED, EbEvent};
use edgebench_plugin::request::ScoreText;
use edgebench_plugin::sink::Sink;
use std::sync::Arc;

/// A continuation's log-likelihood.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sum {
    logprob: f64,
    tokens: u32,
    greedy: bool,
}

/// A whole answer, and how often it was asked for again.
type Said = (Result<Answer, Trouble>, u32);

/// One request on the calling thread: its texts, and the answers so far.
struct State<'a> {
    id: u64,
    head: &'a str,
    wholes: Vec<String>,
    answers: Vec<Option<Answer>>,
    retries: u32,
    prefilled: bool,
    failed: bool,
}

/// Scores all requests.
///
/// # Errors
/// As `generate`.
pub fn score(session: &Session, requests: &[(u64, ScoreText)], sink: &Sink) -> Result<(), Failure> {
    let (mut jobs, mut owners, mut states) = (Vec::new(), Vec::new(), Vec::new());
    for (id, request) in requests {
        match prepare(session, *id, request) {
            Err(failure) => sink.failed(*id, &failure),
            Ok((state, bodies)) => {
                owners.extend((0..bodies.len()).map(|place| (states.len(), place)));
                jobs.extend(bodies);
                states.push(state);
            }
        }
    }
    let by = session.scored_by;
    let mut open = vec![true; states.len()];
    let mut hopeless = None;
    let result = pool::run(jobs, session.options.concurrency, &session.abort, ask, |index, said: Option<Said>| {
        let (owner, place) = owners[index];
        let state = &mut states[owner];
        let gone = || Trouble::nonsense("a thread of this backend is gone: please report it");
        let (answer, retries) = said.unwrap_or_else(|| (Err(gone()), 0));
        state.retries += retries;
        match answer {
            _ if state.failed => {}
            Ok(answer) => state.take(place, answer, by, sink),
            Err(trouble) => {
                state.failed = true;
                sink.failed(state.id, &trouble.failure);
                if trouble.hopeless {
                    hopeless.get_or_insert(trouble.failure);
                }
            }
        }
        open[owner] = !state.failed && state.answers.iter().any(Option::is_none);
        true
    });
    if let Err(failure) = &result {
        states.iter().zip(open).filter(|(_, open)| *open).for_each(|(state, _)| sink.failed(state.id, failure));
    }
    result.and(hopeless.map_or(Ok(()), Err))
}

fn prepare<'a>(session: &Session, id: u64, request: &ScoreText<'a>) -> Result<(State<'a>, Vec<Job>), Failure> {
    let bodies = session.bodies();
    let context = utf8(request.context)?;
    // As tokenizers join it with what follows, white space at the end goes to the continuations.
    let head = context.trim_end();
    let continuation = |c: &&[u8]| Ok([context, utf8(c)?].concat());
    let wholes = request.continuations.iter().map(continuation).collect::<Result<Vec<String>, Failure>>()?;
    let job = |body| Job { server: Arc::clone(&session.server), path: bodies.path(), body };
    let jobs: Vec<Job> = match session.scored_by {
        ScoredBy::Echo => wholes.iter().map(|whole| job(bodies.echo(whole))).collect(),
        ScoredBy::Top(n) => vec![job(bodies.top(context, request.parse, n)?)],
        ScoredBy::Nothing => return Err(Failure::unsupported("this server tells no log-likelihoods")),
    };
    let answers = jobs.iter().map(|_| None).collect();
    Ok((State { id, head, wholes, answers, retries: 0, prefilled: false, failed: false }, jobs))
}

/// One request, in its own thread.
fn ask(job: &Job, outlet: &Outlet<Said>) {
    outlet.say(job.server.retrying(
        outlet.cancelled(),
        || false,
        |_| {
            let bytes = job.server.post(job.path, &job.body)?.whole()?;
            Answer::parse(&bytes).map_err(Trouble::nonsense)
        },
    ));
}

impl State<'_> {
    /// Takes an answer in, and tells the scores when it was the last.
    fn take(&mut self, place: usize, answer: Answer, by: ScoredBy, sink: &Sink) {
        if !std::mem::replace(&mut self.prefilled, true) {
            sink.prefilled(self.id, 0, 0);
        }
        self.answers[place] = Some(answer);
        let answers: Vec<&Answer> = self.answers.iter().flatten().collect();
        if answers.len() < self.answers.len() {
            return;
        }
        let sums = match by {
            ScoredBy::Echo => echoed(self.head, &self.wholes, &answers),
            _ => {
                let wanted: Vec<&str> = self.wholes.iter().map(|whole| whole[self.head.len()..].trim()).collect();
                most_likely(&wanted, answers.first().and_then(|a| a.tokens.first()))
            }
        };
        let sums = match sums {
            Ok(sums) => sums,
            Err(why) => {
                self.failed = true;
                return sink.failed(self.id, &Failure::invalid(why));
            }
        };
        let mut event = EbEvent::new(EB_EVENT_SCORE, self.id);
        for (index, sum) in sums.iter().enumerate() {
            event.index = index as u32;
            // Some servers round a certain token to just above 0.
            event.logprob = sum.logprob.min(0.0);
            (event.n_tokens, event.is_greedy) = (sum.tokens, i32::from(sum.greedy));
            sink.send(&event);
        }
        let usage = answers.first().and_then(|a| a.usage).unwrap_or_default();
        let mut event = EbEvent::new(EB_EVENT_DONE, self.id);
        let own = if by == ScoredBy::Echo { sums.first().map_or(0, |sum| sum.tokens) } else { 0 };
        event.prompt_tokens = usage.prompt_tokens.saturating_sub(own);
        event.cached_tokens = usage.cached_tokens().min(event.prompt_tokens);
        event.index = self.retries;
        event.finish = EB_FINISH_SCORED;
        sink.send(&event);
    }
}

/// Sums over the tokens of each text behind what all have in common of `head`.
///
/// # Errors
/// Tokens that are not those of the text, or without a log-likelihood; in words.
fn echoed(head: &str, wholes: &[String], answers: &[&Answer]) -> Result<Vec<Sum>, String> {
    let starts =
        wholes.iter().zip(answers).map(|(whole, answer)| starts(answer, whole)).collect::<Result<Vec<_>, _>>()?;
    // Every option is scored on the same context.
    let first = starts.iter().map(|starts| cut(starts, head.len())).min().unwrap_or(0);
    let sum = |((whole, answer), starts): ((&String, &&Answer), &Vec<usize>)| {
        let tokens = answer.tokens.get(first..end(starts, whole.len())).unwrap_or_default();
        let logprobs = tokens.iter().map(|t| t.logprob).collect::<Option<Vec<f64>>>();
        let logprobs =
            logprobs.filter(|l| !l.is_empty()).ok_or("the server tells no log-likelihood of a first token")?;
        Ok(Sum {
            logprob: logprobs.iter().sum(),
            tokens: tokens.len() as u32,
            greedy: tokens.iter().all(|t| t.top.iter().all(|(_, other)| t.logprob.is_some_and(|own| own >= *other))),
        })
    };
    wholes.iter().zip(answers).zip(&starts).map(sum).collect()
}

/// Log-likelihoods of tokens that are the `wanted` texts; of those that are not among the most likely, the least of these,
/// than which they are not greater.
///
/// # Errors
/// None of them is among the most likely; in words.
fn most_likely(wanted: &[&str], token: Option<&Token>) -> Result<Vec<Sum>, String> {
    let token = token.ok_or("the server told no most likely tokens")?;
    let own = token.logprob.map(|logprob| (token.text.clone(), logprob));
    let all: Vec<(String, f64)> = token.top.iter().cloned().chain(own).collect();
    let least = all.iter().map(|(_, l)| *l).fold(f64::INFINITY, f64::min);
    let most = all.iter().map(|(_, l)| *l).fold(f64::NEG_INFINITY, f64::max);
    let find = |text: &&str| all.iter().filter(|(t, _)| t.trim() == *text).map(|(_, l)| *l).max_by(f64::total_cmp);
    let found: Vec<Option<f64>> = wanted.iter().map(find).collect();
    if found.iter().all(Option::is_none) {
        let n = token.top.len();
        return Err(format!("no option is among the {n} most likely tokens; use choice = \"generation\""));
    }
    let sum = |found: &Option<f64>| Sum {
        logprob: found.unwrap_or(least),
        tokens: 1,
        greedy: found.is_some_and(|l| l >= most),
    };
    Ok(found.iter().map(sum).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str, logprob: Option<f64>, top: &[(&str, f64)]) -> Token {
        Token { text: text.to_owned(), logprob, top: top.iter().map(|(t, l)| ((*t).to_owned(), *l)).collect() }
    }

    fn answer(tokens: &[Token]) -> Answer {
        Answer { tokens: tokens.to_vec(), ..Answer::default() }
    }

    #[test]
    fn an_echoed_texts_own_tokens_are_summed() {
        let a = answer(&[
            token("Q:", None, &[]),
            token(" x", Some(-1.0), &[(" x", -1.0)]),
            token(" yes", Some(-0.25), &[(" yes", -0.25)]),
            token(" it", Some(-0.5), &[(" is", -0.25)]),
            token("made", Some(-9.0), &[]),
        ]);
        let b =
            answer(&[token("Q:", None, &[]), token(" x", Some(-1.0), &[]), token(" no", Some(-2.0), &[(" no", -2.0)])]);
        let wholes = ["Q: x yes it".to_owned(), "Q: x no".to_owned()];
        let sums = echoed("Q: x", &wholes, &[&a, &b]).unwrap();
        assert_eq!(sums[0], Sum { logprob: -0.75, tokens: 2, greedy: false });
        assert_eq!(sums[1], Sum { logprob: -2.0, tokens: 1, greedy: true });
        assert!(echoed("", &wholes, &[&a, &b]).is_err(), "the first token has no log-likelihood");
    }

    #[test]
    fn an_option_that_is_not_among_the_most_likely_is_not_greater_than_the_least() {
        let first = token(" B", Some(-0.1), &[(" B", -0.1), ("A", -3.0), ("\n", -4.0)]);
        let sums = most_likely(&["A", "B", "C"], Some(&first)).unwrap();
        assert_eq!(sums.iter().map(|s| s.logprob).collect::<Vec<_>>(), [-3.0, -0.1, -4.0]);
        assert_eq!(sums.iter().map(|s| s.greedy).collect::<Vec<_>>(), [false, true, false]);
        assert!(most_likely(&["X", "Y"], Some(&first)).unwrap_err().contains("generation"));
        assert!(most_likely(&["A"], None).is_err());
    }
}
