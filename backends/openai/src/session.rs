//! An open session: a server that answers, the model's name, and what of the interface it offers, found by small requests.
//! It must not know the C boundary.

use crate::align::{cut, starts};
use crate::answer::Answer;
use crate::body::Bodies;
use crate::failure::Failure;
use crate::http::{Reply, Server, Trouble};
use crate::params::{Api, Choice, Options};
use edgebench_plugin::request::{Choice as Sampling, Generate, Prefix, Prompt};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Where log-likelihoods come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoredBy {
    /// All tokens of the whole text.
    Echo,
    /// So many most likely first tokens.
    Top(u32),
    Nothing,
}

impl ScoredBy {
    /// Its word in the results.
    pub fn name(self) -> &'static str {
        match self {
            ScoredBy::Echo => "echo",
            ScoredBy::Top(_) => "top-logprobs",
            ScoredBy::Nothing => "",
        }
    }
}

/// A server that is ready to be asked.
pub struct Session {
    pub server: Arc<Server>,
    pub options: Options,
    pub abort: Arc<AtomicBool>,
    pub model: String,
    /// What it calls itself, and where it is.
    pub runtime: String,
    pub scored_by: ScoredBy,
    /// Tokens that a sequence may hold; 0: it does not tell.
    pub n_ctx: u32,
    usage: bool,
}

impl Session {
    /// # Errors
    /// The server does not answer, refuses the key, or does not know the model.
    pub fn open(model: &str, options: Options, abort: Arc<AtomicBool>) -> Result<Session, Failure> {
        let mut session = Session {
            server: Arc::new(Server::new(&options)?),
            options,
            abort,
            model: model.to_owned(),
            runtime: String::new(),
            scored_by: ScoredBy::Nothing,
            n_ctx: 0,
            usage: true,
        };
        session.meet()?;
        session.find_streaming()?;
        session.find_scores()?;
        Ok(session)
    }

    /// What requests are made of.
    pub fn bodies(&self) -> Bodies<'_> {
        Bodies { options: &self.options, model: &self.model, usage: self.usage }
    }

    /// `/models`: is anybody there, and which model is meant where the job names none? Not all servers have it.
    fn meet(&mut self) -> Result<(), Failure> {
        let never = AtomicBool::new(false);
        let (reply, _) = self.server.retrying(&never, || false, |_| self.server.get("/models"));
        let list = match reply {
            Ok(reply) => {
                self.runtime = reply.server.clone();
                let bytes = reply.whole().map_err(|t| t.failure)?;
                serde_json::from_slice::<Value>(&bytes).unwrap_or_default()
            }
            Err(trouble) if trouble.is_refused_request() => Value::Null,
            Err(trouble) => return Err(trouble.failure),
        };
        let all = list["data"].as_array().map_or(&[][..], Vec::as_slice);
        if self.model.is_empty() {
            let first = all.first().and_then(|m| m["id"].as_str());
            let todo = "the server lists no models: name one, model = \"NAME\"";
            self.model = first.ok_or_else(|| Failure::model(todo))?.to_owned();
        }
        let own = all.iter().find(|m| m["id"] == self.model.as_str());
        let told = own.and_then(|m| m["max_model_len"].as_u64().or(m["meta"]["n_ctx"].as_u64()));
        self.n_ctx = told.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        Ok(())
    }

    /// Continues a few words, as later requests will: with the tokens counted at the end, where the server knows how.
    fn find_streaming(&mut self) -> Result<(), Failure> {
        let request = Generate {
            prompt: Prompt::Text { text: b"Hello", parse: false },
            max_new: 1,
            ignore_eos: false,
            stop: Vec::new(),
            choice: Sampling { temperature: 0.0, top_p: 1.0, top_k: 0, seed: 0 },
            prefix: Prefix { id: 0, len: 0 },
        };
        let with = self.read(&self.bodies().generate(&request)?);
        let Err(trouble) = with else { return Ok(()) };
        if trouble.is_refused_request() {
            self.usage = false;
            if self.read(&self.bodies().generate(&request)?).is_ok() {
                return Ok(());
            }
        }
        let mut failure = trouble.failure;
        if self.options.api == Api::Completions && failure.vendor_code == 404 {
            failure.message += "; a server without completions: api = \"chat\"";
        }
        Err(failure)
    }

    fn find_scores(&mut self) -> Result<(), Failure> {
        use Choice::{Auto, Echo, Generation, TopLogprobs};
        let wanted = self.options.choice;
        if matches!(wanted, Auto | Echo) && self.options.api == Api::Completions && self.echoes() {
            self.scored_by = ScoredBy::Echo;
        } else if matches!(wanted, Auto | TopLogprobs) {
            // The most that vLLM and OpenAI's chat tell, and what OpenAI's completions do.
            let found = [20, 5].into_iter().find(|&n| self.tells_top(n));
            self.scored_by = found.map_or(ScoredBy::Nothing, ScoredBy::Top);
        }
        let refused = !matches!(wanted, Auto | Generation) && self.scored_by == ScoredBy::Nothing;
        let todo = "the server does not offer what `choice` asks for; use choice = \"auto\" or \"generation\"";
        if refused { Err(Failure::unsupported(todo)) } else { Ok(()) }
    }

    fn echoes(&self) -> bool {
        let text = "one two three";
        let Ok(answer) = self.ask(&self.bodies().echo(text)) else { return false };
        let Ok(starts) = starts(&answer, text) else { return false };
        let first = cut(&starts, "one two".len());
        first > 0 && answer.tokens.get(first).is_some_and(|token| token.logprob.is_some())
    }

    fn tells_top(&self, n: u32) -> bool {
        let Ok(body) = self.bodies().top("one two", false, n) else { return false };
        self.ask(&body).is_ok_and(|answer| answer.tokens.first().is_some_and(|token| token.top.len() > 1))
    }

    fn ask(&self, body: &[u8]) -> Result<Answer, Trouble> {
        Answer::parse(&self.read(body)?).map_err(Trouble::nonsense)
    }

    fn read(&self, body: &[u8]) -> Result<Vec<u8>, Trouble> {
        self.server.post(self.bodies().path(), body).and_then(Reply::whole)
    }
}
