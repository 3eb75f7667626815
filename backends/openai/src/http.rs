//! One request to the server, and the next try: what is worth one, and how long it waits. It owns connections, TLS, the
//! key (which goes into no message) and what HTTP statuses mean.
//! It must not know what is asked.

use crate::answer::error_text;
use crate::failure::Failure;
use crate::params::Options;
use std::io::{BufReader, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use ureq::http::Response;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, BodyReader, Proxy};

/// First wait before a request is tried again; each further one is twice as long, up to [`MAX_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(500);
const MAX_WAIT: Duration = Duration::from_secs(8);
/// Longest wait that a server may ask for.
const MAX_ASKED: Duration = Duration::from_secs(60);
/// How often a wait looks up.
const STEP: Duration = Duration::from_millis(20);
/// Longest error that is read, bytes.
const MAX_ERROR: u64 = 64 << 10;
/// Longest answer that is no stream, bytes.
const MAX_ANSWER: u64 = 256 << 20;
/// Answers whose end is awaited at the same time, so that their connections can be used again.
const MAX_DRAINS: usize = 4;

/// Why there is no answer.
#[derive(Debug)]
pub struct Trouble {
    pub failure: Failure,
    /// Another try may succeed.
    again: bool,
    /// How long the server asks to wait before.
    wait: Option<Duration>,
    /// No other request would succeed either.
    pub hopeless: bool,
}

impl Trouble {
    /// The server's answer is not usable; it would be the same the next time.
    pub fn nonsense(what: impl Into<String>) -> Trouble {
        Trouble { failure: Failure::device(what), again: false, wait: None, hopeless: false }
    }

    /// The connection broke in the middle of an answer.
    pub fn cut(what: impl Into<String>) -> Trouble {
        Trouble { again: true, ..Trouble::nonsense(what) }
    }

    pub fn is_refused_request(&self) -> bool {
        matches!(self.failure.vendor_code, 400 | 404 | 405 | 422 | 500 | 501)
    }
}

/// A server.
pub struct Server {
    agent: Agent,
    url: String,
    key: Option<String>,
    retries: u32,
    drains: AtomicUsize,
}

/// The body of an answer.
pub struct Reply {
    pub lines: BufReader<BodyReader<'static>>,
    pub is_stream: bool,
    /// What the server calls itself.
    pub server: String,
}

impl Server {
    /// # Errors
    /// Certificates that cannot be read.
    pub fn new(options: &Options) -> Result<Server, Failure> {
        let roots = match &options.ca {
            None => RootCerts::WebPki,
            Some(path) => {
                let fail = |e: String| Failure::invalid(format!("ca = {}: {e}", path.display()));
                let pem = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
                let items: Vec<PemItem> = parse_pem(&pem).collect::<Result<_, _>>().map_err(|e| fail(e.to_string()))?;
                let certificates = items.into_iter().filter_map(|item| match item {
                    PemItem::Certificate(certificate) => Some(certificate),
                    _ => None,
                });
                RootCerts::from(certificates)
            }
        };
        let builder = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(options.connect_timeout))
            .timeout_per_read(Some(options.timeout))
            .timeout_per_write(Some(options.timeout))
            .max_idle_connections(options.concurrency)
            .max_idle_connections_per_host(options.concurrency)
            .user_agent(concat!("edgebench/", env!("CARGO_PKG_VERSION")))
            .proxy(if is_local(&options.url) { None } else { Proxy::try_from_env() })
            .tls_config(TlsConfig::builder().root_certs(roots).build());
        Ok(Server {
            agent: builder.build().new_agent(),
            url: options.url.clone(),
            key: std::env::var(&options.key_env).ok().map(|k| k.trim().to_owned()).filter(|k| !k.is_empty()),
            retries: options.retries,
            drains: AtomicUsize::new(0),
        })
    }

    /// # Errors
    /// No answer, or one that says that something is wrong.
    pub fn get(&self, path: &str) -> Result<Reply, Trouble> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        self.reply(request.call())
    }

    /// # Errors
    /// As [`Server::get`].
    pub fn post(&self, path: &str, body: &[u8]) -> Result<Reply, Trouble> {
        let mut request = self.agent.post(format!("{}{path}", self.url)).header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        self.reply(request.send(body))
    }

    fn reply(&self, result: Result<Response<Body>, ureq::Error>) -> Result<Reply, Trouble> {
        let response = result.map_err(|e| self.unreachable(e))?;
        let status = response.status().as_u16();
        let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let (kind, server, asked) = (header("content-type"), header("server"), header("retry-after"));
        if (200..300).contains(&status) {
            let lines = BufReader::new(response.into_body().into_with_config().limit(u64::MAX).reader());
            return Ok(Reply { lines, is_stream: kind.starts_with("text/event-stream"), server });
        }
        let mut bytes = Vec::new();
        let _ = response.into_body().into_reader().take(MAX_ERROR).read_to_end(&mut bytes);
        let said = match serde_json::from_slice::<serde_json::Value>(&bytes) {
            Ok(value) => error_text(&value),
            Err(_) => String::from_utf8_lossy(&bytes).trim().chars().take(120).collect(),
        };
        let seconds = asked.trim().parse::<f64>().ok().filter(|s| (0.0..1e6).contains(s));
        Err(Trouble {
            wait: seconds.map(|s| Duration::from_secs_f64(s).min(MAX_ASKED)),
            ..self.refused(status, &self.without_key(&said))
        })
    }

    /// An answer that says that something is wrong.
    fn refused(&self, status: u16, said: &str) -> Trouble {
        let lower = said.to_lowercase();
        let too_long = ["context length", "context_length", "context window", "context size", "too long"];
        let told = format!("{}: HTTP {status}: {said}", self.url);
        let (failure, again, hopeless) = match status {
            400 | 413 | 422 if too_long.iter().any(|words| lower.contains(words)) => {
                (Failure::context_full(format!("the prompt does not fit the server's context: {said}")), false, false)
            }
            401 | 403 => {
                let todo =
                    if self.key.is_some() { "check the key" } else { "set OPENAI_API_KEY, or the variable of key_env" };
                (Failure::device(format!("{told}; {todo}")), false, true)
            }
            404 | 405 | 501 => (Failure::model(told), false, true),
            408 | 409 | 425 | 429 | 500.. => (Failure::device(told), true, false),
            _ => (Failure::invalid(told), false, false),
        };
        Trouble { failure: failure.with_vendor_code(i64::from(status)), again, wait: None, hopeless }
    }

    /// No answer at all.
    fn unreachable(&self, error: ureq::Error) -> Trouble {
        use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, InvalidData, NetworkUnreachable};
        let connect = match &error {
            ureq::Error::Io(e) => matches!(e.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable),
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => true,
            _ => false,
        };
        let transport = match &error {
            // What rustls refuses, a certificate that is not trusted above all, stays so.
            ureq::Error::Io(e) => e.kind() != InvalidData,
            ureq::Error::Timeout(_) | ureq::Error::Protocol(_) => true,
            _ => connect,
        };
        let todo = match connect {
            true => "; is the server running, and is url right?",
            false => "",
        };
        let told = self.without_key(&format!("{} does not answer: {error}{todo}", self.url));
        Trouble { failure: Failure::device(told), again: transport, wait: None, hopeless: connect || !transport }
    }

    /// Servers like to repeat a key that they refuse.
    fn without_key(&self, text: &str) -> String {
        match &self.key {
            Some(key) => text.replace(key.as_str(), "…"),
            None => text.to_owned(),
        }
    }

    /// Runs `attempt`, which is told how many came before, until it succeeds, is not worth another try, or all tries are used up or `cancelled`. Gives also how often
    /// it was tried again. `begun`: something of the answer has been used, so that it cannot be asked for anew.
    pub fn retrying<T>(
        &self,
        cancelled: &AtomicBool,
        begun: impl Fn() -> bool,
        mut attempt: impl FnMut(u32) -> Result<T, Trouble>,
    ) -> (Result<T, Trouble>, u32) {
        let mut retries = 0;
        loop {
            let mut trouble = match attempt(retries) {
                Ok(value) => return (Ok(value), retries),
                Err(trouble) => trouble,
            };
            if !trouble.again || begun() || retries == self.retries || cancelled.load(Ordering::Relaxed) {
                if retries > 0 {
                    trouble.failure.message += &format!(" (tried {} times)", retries + 1);
                }
                return (Err(trouble), retries);
            }
            let own = FIRST_WAIT.saturating_mul(1 << retries.min(16)).min(MAX_WAIT);
            let mut left = trouble.wait.unwrap_or(own);
            while !left.is_zero() && !cancelled.load(Ordering::Relaxed) {
                let step = left.min(STEP);
                std::thread::sleep(step);
                left -= step;
            }
            retries += 1;
        }
    }

    /// Reads what follows the last event, so that the connection can be used again; not while many others already wait
    /// for an end that does not come.
    pub fn drain(&self, mut reply: impl Read) {
        if self.drains.fetch_add(1, Ordering::Relaxed) < MAX_DRAINS {
            let _ = std::io::copy(&mut reply.by_ref().take(MAX_ERROR), &mut std::io::sink());
        }
        self.drains.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Reply {
    /// All of it.
    ///
    /// # Errors
    /// The connection broke.
    pub fn whole(self) -> Result<Vec<u8>, Trouble> {
        let mut bytes = Vec::new();
        let read = self.lines.take(MAX_ANSWER).read_to_end(&mut bytes);
        read.map_err(|e| Trouble::cut(format!("the server's answer was cut: {e}")))?;
        Ok(bytes)
    }
}

/// Is the server on this machine?
fn is_local(url: &str) -> bool {
    let host = url.split("://").nth(1).unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    ["localhost", "127.", "[::1]"].iter().any(|start| host.starts_with(start))
}
