//! The host process: takes frames from the controller, calls the backend, answers. One backend thread (the
//! main one) and one that reads the socket, so that `Abort` gets through. It must not know jobs or datasets.
//!
//! What a backend finds: the controller's working folder and environment (LD_LIBRARY_PATH with the plugin's
//! folder first); stdin is /dev/null, stdout and stderr go to the controller, which keeps the last lines; no
//! other descriptors but the host's own; no core files; nothing can be written (see `sandbox`).

use super::abi::{
    EB_INFO_BATCH, EB_INFO_SAMPLING, EB_INFO_TOKENIZER, EB_TOKENIZE_ADD_SPECIAL, EB_TOKENIZE_PARSE_SPECIAL,
};
use super::abi::{EB_REQUEST_IGNORE_EOS, EB_REQUEST_PARSE_SPECIAL, EbRequest, EbStr};
use super::divergence::Original;
use super::extension;
use super::loader;
use super::power::{Rails, Watch};
use super::prefix::Prefixes;
use super::sandbox;
use super::session::{Aborter, Backend, CallError, Collected, Probe, ScoreRequest, Session, request_failure};
use super::sink::{Progress, Violation};
use super::split::split_tokens;
use super::wire::*;
use crate::clock::now_ns;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};

/// First argument that makes the `edgebench` binary a host.
pub const HOST_ARGUMENT: &str = "__host";

/// The socket's writing side, for messages that are sent from inside a backend's call.
static SOCKET: OnceLock<Mutex<UnixStream>> = OnceLock::new();
/// The training that runs is to stop: it has no session that could be aborted.
static STOP: AtomicBool = AtomicBool::new(false);

type SharedAborter = Arc<Mutex<Option<Aborter>>>;

/// Runs a host until its controller says `Close` or goes away.
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("edgebench host: {e}; it is started by edgebench itself, not by hand");
            ExitCode::from(2)
        }
    }
}

fn serve() -> io::Result<()> {
    let socket = take_socket()?;
    live_and_die_with_controller()?;
    init_log();
    let reader = socket.try_clone()?;
    let writer = SOCKET.get_or_init(|| Mutex::new(socket));
    let aborter: SharedAborter = Arc::default();
    let (sender, receiver) = mpsc::channel();
    let for_reader = aborter.clone();
    std::thread::Builder::new().name("frames".into()).spawn(move || read_frames(reader, sender, for_reader))?;

    send(writer, &FromHost::Hello { protocol: PROTOCOL, pid: std::process::id() })?;
    let mut worker = Worker { session: None, watch: None, original: None, aborter, prefixes: Prefixes::default() };
    while let Ok(message) = receiver.recv() {
        let last = matches!(message, ToHost::Close);
        let answer = worker.handle(message);
        let last = last || matches!(answer, FromHost::Violation(_));
        send(writer, &answer)?;
        if last {
            break;
        }
    }
    Ok(())
}

/// Closes what the controller's own parent may have left open, then makes descriptor 0 a private one and puts
/// /dev/null in its place.
fn take_socket() -> io::Result<UnixStream> {
    let open: Vec<i32> =
        std::fs::read_dir("/proc/self/fd")?.flatten().filter_map(|f| f.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|&d| d > 2) {
        // SAFETY: this is the first thing that the process does, so nothing of it uses these; the one of the
        // listing itself is closed by now, and closing it again only fails.
        unsafe { libc::close(descriptor) };
    }
    let private: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::net::sockopt::socket_type(&private).map_err(|_| io::Error::other("stdin is not a socket"))?;
    Ok(UnixStream::from(private))
}

/// No core files, first choice of the OOM killer, and gone when the controller is.
pub(super) fn live_and_die_with_controller() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
    // Rust's own handlers, meant for stack overflows, let a signal that was sent from outside pass once.
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: SIG_DFL installs no code, and no other thread runs yet.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // To end is the controller's business, which lets a record finish first: service managers and shutdowns signal every
    // process.
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: as above, and SIG_IGN installs no code either.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // Raising one's own score needs no privilege; where /proc is not writable it stays as it is.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    Ok(())
}

/// Every log line becomes `LEVEL text` on stderr; the controller decides what is shown.
fn init_log() {
    let _ = env_logger::Builder::new()
        .filter_level(log::LevelFilter::Debug)
        .format(|out, record| writeln!(out, "{} {}", record.level(), record.args()))
        .try_init();
}

/// Until the socket ends: `Abort` acts at once, all else is queued for the backend thread.
fn read_frames(mut socket: UnixStream, queue: mpsc::Sender<ToHost>, aborter: SharedAborter) {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match decoder.message() {
            Ok(Some(ToHost::Abort)) => {
                STOP.store(true, Ordering::Relaxed);
                if let Some(aborter) = aborter.lock().unwrap_or_else(|e| e.into_inner()).as_ref() {
                    // SAFETY: the worker takes the aborter away, under this lock, before it closes the session.
                    unsafe { aborter.abort() };
                }
                continue;
            }
            Ok(Some(message)) => {
                if queue.send(message).is_err() {
                    return;
                }
                continue;
            }
            Ok(None) => {}
            Err(_) => std::process::exit(2),
        }
        match socket.read(&mut buffer) {
            // The controller is gone; a backend that is in the middle of something has no one to tell.
            Ok(0) => std::process::exit(0),
            Ok(n) => decoder.push(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => std::process::exit(0),
        }
    }
}

fn send(socket: &Mutex<UnixStream>, message: &FromHost) -> io::Result<()> {
    let mut frame = Vec::new();
    if let Err(e) = encode(message, &mut frame) {
        let failure = Failure::new(FailureKind::Internal, format!("an answer could not be sent: {e}"));
        encode(&FromHost::Failed(failure), &mut frame).map_err(io::Error::other)?;
    }
    socket.lock().unwrap_or_else(|e| e.into_inner()).write_all(&frame)
}

/// Sends one reading of the backend's rails. When that fails the controller is gone, and so will be this process.
fn report_power(reading: PowerReading) {
    if let Some(socket) = SOCKET.get() {
        let _ = send(socket, &FromHost::Power(reading));
    }
}

/// Called in the sink when a backend does not stop after having broken its contract.
fn give_up(violation: Violation) -> ! {
    if let Some(socket) = SOCKET.get() {
        let _ = send(socket, &FromHost::Violation(violation.to_string()));
    }
    std::process::exit(1)
}

/// The backend thread's state.
struct Worker {
    session: Option<Session>,
    /// Reads the backend's own power rails.
    watch: Option<Watch>,
    /// What this model is held against, or kept as.
    original: Option<Original>,
    aborter: SharedAborter,
    prefixes: Prefixes,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.close();
    }
}

impl Worker {
    fn handle(&mut self, message: ToHost) -> FromHost {
        let answer = match message {
            ToHost::Open(open) => self.open(open).map(|o| FromHost::Opened(Box::new(o))),
            ToHost::Close => {
                self.close();
                Ok(FromHost::Done)
            }
            ToHost::Abort => Ok(FromHost::Done),
            ToHost::Adapt { adapters, title } => self.adapt(&adapters, &title).map(FromHost::Adapted),
            ToHost::Quantize(wanted) => {
                self.close();
                quantize(&wanted).map(FromHost::Quantized)
            }
            ToHost::Train(wanted) => {
                self.close();
                train(&wanted).map(FromHost::Trained)
            }
            ToHost::Diverge(window) => match (&self.session, &mut self.original) {
                (Some(session), Some(original)) => original.diverge(session, &window).map(FromHost::Diverged),
                _ => Err(Failure::new(FailureKind::Internal, "no model was opened for a comparison in this host")),
            },
            other => match &self.session {
                None => Err(nothing_open()),
                Some(session) => return call(session, &mut self.prefixes, other),
            },
        };
        answer.unwrap_or_else(FromHost::Failed)
    }

    fn open(&mut self, open: Open) -> Result<Opened, Failure> {
        self.close();
        let _ = rustix::thread::set_name(&title(&open.title));
        let sandbox = sandbox::enter(&open);
        let backend = loader::load(&open.backend).map_err(|message| Failure::new(FailureKind::Unsupported, message))?;
        let probe = backend.probe()?;
        if probe.devices == 0 {
            let message = format!("`{}` cannot run on this board: {}", backend.name(), probe.note);
            return Err(Failure::new(FailureKind::Unsupported, message));
        }
        let start = now_ns();
        let session = backend.open(&open.model, &open.params)?;
        let load_ns = now_ns() - start;
        // Once more: some SDKs know what they run on only now.
        let probe = backend.probe().unwrap_or(probe);
        let devices = extension::devices(&backend, probe.devices);
        let rails = Rails::of(&backend).filter(|_| open.power_hz > 0);
        let names = rails.as_ref().map_or(Vec::new(), |r| r.names.clone());
        let opened = Opened { load_ns, sandbox, devices, rails: names, ..describe(&backend, &session, probe)? };
        self.watch = rails.map(|rails| rails.watch(open.power_hz, report_power));
        *self.aborter.lock().unwrap_or_else(|e| e.into_inner()) = Some(session.aborter());
        self.session = Some(session);
        self.original = open.logits.as_ref().map(|file| Original::open(file, opened.n_vocab)).transpose()?;
        Ok(opened)
    }

    fn adapt(&mut self, adapters: &[Adapter], name: &str) -> Result<u64, Failure> {
        let _ = rustix::thread::set_name(&title(name));
        self.prefixes = Prefixes::default();
        let start = now_ns();
        self.session.as_ref().ok_or_else(nothing_open)?.adapt(adapters)?;
        Ok(now_ns() - start)
    }

    fn close(&mut self) {
        self.aborter.lock().unwrap_or_else(|e| e.into_inner()).take();
        self.watch = None;
        self.original = None;
        self.session = None;
    }
}

fn nothing_open() -> Failure {
    Failure::new(FailureKind::Internal, "no model is open in this host")
}

/// Makes a smaller model, and writes nothing else.
fn quantize(wanted: &Quantize) -> Result<Quantized, Failure> {
    let _ = rustix::thread::set_name(&title("quantize"));
    sandbox::enter_to_quantize(wanted);
    let backend = loader::load(&wanted.backend).map_err(|message| Failure::new(FailureKind::Unsupported, message))?;
    extension::quantize(&backend, wanted)
}

/// Trains a model, tells each step, and writes nothing but the model.
fn train(wanted: &Train) -> Result<Trained, Failure> {
    let _ = rustix::thread::set_name(&title(&wanted.title));
    STOP.store(false, Ordering::Relaxed);
    sandbox::enter_to_train(wanted);
    let backend = loader::load(&wanted.backend).map_err(|message| Failure::new(FailureKind::Unsupported, message))?;
    extension::train(&backend, wanted, &mut |step| {
        // When that fails the controller is gone, and so will be this process.
        let told = SOCKET.get().is_some_and(|socket| send(socket, &FromHost::Step(step)).is_ok());
        !told || STOP.load(Ordering::Relaxed)
    })
}

/// At most 15 bytes, as the kernel keeps them.
fn title(text: &str) -> std::ffi::CString {
    let mut end = text.len().min(15);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    std::ffi::CString::new(text[..end].replace('\0', "")).unwrap_or_default()
}

fn describe(backend: &Backend, session: &Session, probe: Probe) -> Result<Opened, Failure> {
    session.info(|info, text| Opened {
        backend: backend.name(),
        backend_version: backend.version(),
        runtime: probe.runtime,
        device: probe.device,
        n_ctx: info.n_ctx,
        n_ctx_train: info.n_ctx_train,
        n_vocab: info.n_vocab,
        n_weights: info.n_weights,
        weights_bytes: info.weights_bytes,
        kv_bytes: info.kv_bytes,
        compute_bytes: info.compute_bytes,
        architecture: text(info.architecture),
        quantization: text(info.quantization),
        description: text(info.description),
        chat_template: text(info.chat_template),
        bos_token: (info.bos_token >= 0).then_some(info.bos_token),
        eos_token: (info.eos_token >= 0).then_some(info.eos_token),
        bos_text: text(info.bos_text),
        eos_text: text(info.eos_text),
        can_tokenize: info.flags & EB_INFO_TOKENIZER != 0,
        can_sample: info.flags & EB_INFO_SAMPLING != 0,
        can_batch: info.flags & EB_INFO_BATCH != 0,
        scored_by: session.scored_by(),
        ..Opened::default()
    })
}

/// One call of an open session.
fn call(session: &Session, prefixes: &mut Prefixes, message: ToHost) -> FromHost {
    let result = match message {
        ToHost::Generate(prompts) => generate(session, prefixes, &prompts).map(FromHost::Generated),
        ToHost::Score(prompts) => score(session, prefixes, &prompts).map(FromHost::Scored),
        ToHost::Tokenize { text, control } => {
            session.tokenize(&text, flags(control)).map(FromHost::Tokens).map_err(CallError::Failed)
        }
        ToHost::Reset => session.reset().map(|()| FromHost::Done).map_err(CallError::Failed),
        ToHost::Open(_)
        | ToHost::Adapt { .. }
        | ToHost::Close
        | ToHost::Abort
        | ToHost::Diverge(_)
        | ToHost::Quantize(_)
        | ToHost::Train(_) => Ok(FromHost::Done),
    };
    result.unwrap_or_else(|e| match e {
        CallError::Failed(failure) => FromHost::Failed(failure),
        CallError::Violation(violation) => FromHost::Violation(violation.to_string()),
    })
}

fn generate(session: &Session, prefixes: &mut Prefixes, prompts: &[Prompt]) -> Result<Vec<Generation>, CallError> {
    // A request's text always gets BOS as the model wants it; text that has its own is tokenised here.
    let own_tokens = |prompt: &Prompt| match &prompt.input {
        Input::Text(text, control) if !control.add => session.tokenize(text, flags(*control)).map(Some),
        _ => Ok(None),
    };
    let tokens: Vec<Option<Vec<i32>>> =
        prompts.iter().map(own_tokens).collect::<Result<_, Failure>>().map_err(CallError::Failed)?;
    let hint = |(prompt, own): (&Prompt, &Option<Vec<i32>>)| match (&prompt.input, own) {
        (Input::Text(text, control), Some(own)) => {
            prefixes.hint(prompt.prefix, text, own, |start| session.tokenize(start, flags(*control)))
        }
        (Input::Text(..), None) => Ok(prefixes.as_counted(prompt.prefix)),
        (Input::Tokens(_), _) => Ok(prefixes.as_counted(prompt.prefix)),
    };
    let hints: Vec<(u64, u32)> =
        prompts.iter().zip(&tokens).map(hint).collect::<Result<_, Failure>>().map_err(CallError::Failed)?;
    let stops: Vec<Vec<EbStr>> = prompts.iter().map(|p| p.stop.iter().map(|s| EbStr::new(s)).collect()).collect();
    let requests: Vec<EbRequest> = prompts
        .iter()
        .zip(&stops)
        .zip(&tokens)
        .zip(&hints)
        .enumerate()
        .map(|(i, (((prompt, stop), own), &(prefix_id, prefix_len)))| {
            let (text, tokens, parse) = match (&prompt.input, own) {
                (_, Some(own)) => (EbStr::EMPTY, &own[..], false),
                (Input::Text(text, control), None) => (EbStr::new(text), &[][..], control.parse),
                (Input::Tokens(tokens), None) => (EbStr::EMPTY, &tokens[..], false),
            };
            EbRequest {
                struct_size: size_of::<EbRequest>() as u32,
                max_new: prompt.max_new,
                id: i as u64,
                flags: (if prompt.ignore_eos { EB_REQUEST_IGNORE_EOS } else { 0 })
                    | (if parse { EB_REQUEST_PARSE_SPECIAL } else { 0 }),
                text,
                tokens: if tokens.is_empty() { std::ptr::null() } else { tokens.as_ptr() },
                n_tokens: tokens.len(),
                stop: stop.as_ptr(),
                n_stop: stop.len(),
                temperature: prompt.sampling.temperature,
                top_p: prompt.sampling.top_p,
                top_k: prompt.sampling.top_k,
                prefix_len,
                prefix_id,
                seed: prompt.sampling.seed,
            }
        })
        .collect();
    let (start_ns, progress) = session.generate(&requests, give_up)?;
    Ok(prompts.iter().zip(progress).map(|(prompt, p)| generation(prompt, start_ns, p)).collect())
}

fn generation(prompt: &Prompt, start_ns: u64, p: Progress) -> Generation {
    let failure = request_failure(&p);
    let mut text = String::from_utf8_lossy(&p.text).into_owned();
    let cut = prompt.stop.iter().filter(|s| !s.is_empty()).filter_map(|s| text.find(s.as_str())).min();
    if let Some(cut) = cut {
        text.truncate(cut);
    }
    let finish = match p.finish {
        _ if failure.is_some() => Finish::Failed,
        _ if cut.is_some() => Finish::Stop,
        super::abi::EB_FINISH_EOS => Finish::Eos,
        super::abi::EB_FINISH_STOP => Finish::Stop,
        super::abi::EB_FINISH_ABORTED => Finish::Aborted,
        super::abi::EB_FINISH_ERROR => Finish::Failed,
        _ => Finish::Length,
    };
    Generation {
        id: prompt.id,
        start_ns,
        prefill_ns: p.prefill_ns,
        token_ns: p.token_ns,
        done_ns: p.done_ns.unwrap_or_default(),
        prompt_tokens: p.prompt_tokens,
        cached_tokens: p.cached_tokens,
        output_tokens: p.output_tokens,
        retries: p.retries,
        text,
        finish,
        failure,
        claims_ms: p.claims_ms,
    }
}

fn score(session: &Session, prefixes: &mut Prefixes, prompts: &[ScorePrompt]) -> Result<Vec<Scoring>, CallError> {
    let by_text = session.scores_text();
    let scored = if by_text { score_text(session, prompts) } else { score_tokens(session, prefixes, prompts) };
    let (start_ns, progress) = scored?;
    let scoring = |(prompt, p): (&ScorePrompt, Progress)| Scoring {
        id: prompt.id,
        start_ns,
        prefill_ns: p.prefill_ns,
        done_ns: p.done_ns.unwrap_or_default(),
        prompt_tokens: p.prompt_tokens,
        cached_tokens: p.cached_tokens,
        retries: p.retries,
        failure: request_failure(&p),
        scores: p.scores.iter().map(|&(logprob, n_tokens, is_greedy)| Score { logprob, n_tokens, is_greedy }).collect(),
    };
    Ok(prompts.iter().zip(progress).map(scoring).collect())
}

/// Through `eb.score/1`.
fn score_tokens(session: &Session, prefixes: &mut Prefixes, prompts: &[ScorePrompt]) -> Collected {
    let mut requests = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        requests.push(match &prompt.input {
            ScoreInput::Tokens { context, continuations } => {
                ScoreRequest { context: context.clone(), continuations: continuations.clone(), prefix: (0, 0) }
            }
            ScoreInput::Text { context: text, continuations, control } => {
                let (context, continuations) =
                    split_tokens(session, text, continuations, *control).map_err(CallError::Failed)?;
                let tokenize = |start: &str| session.tokenize(start, flags(*control));
                let prefix = prefixes.hint(prompt.prefix, text, &context, tokenize).map_err(CallError::Failed)?;
                ScoreRequest { context, continuations, prefix }
            }
        });
    }
    session.score(&requests, give_up)
}

/// Through `eb.score_text/1`.
fn score_text(session: &Session, prompts: &[ScorePrompt]) -> Collected {
    let mut requests = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let ScoreInput::Text { context, continuations, control } = &prompt.input else {
            let message = "this backend has no tokenizer, and its log-likelihoods are of text only";
            return Err(CallError::Failed(Failure::new(FailureKind::Unsupported, message)));
        };
        let flags = if control.parse { EB_REQUEST_PARSE_SPECIAL } else { 0 };
        requests.push((context.as_str(), continuations.as_slice(), flags));
    }
    session.score_text(&requests, give_up)
}

/// `EB_TOKENIZE_*`.
pub(super) fn flags(control: Control) -> u64 {
    (if control.add { EB_TOKENIZE_ADD_SPECIAL } else { 0 })
        | (if control.parse { EB_TOKENIZE_PARSE_SPECIAL } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_cut_at_a_character() {
        assert_eq!(title("测试测试测试").to_bytes().len(), 15);
    }
}
