//! The frames between controller and host: message types and how they are laid out in bytes. No I/O and
//! no ABI types, so that both sides and the tests can use it. A frame is a little-endian `u32` length
//! followed by that many bytes of postcard.

mod train;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
pub use train::{Train, TrainStep, Trained};

/// Version of these messages. Controller and host come from one build, so it only has to be equal.
pub const PROTOCOL: u32 = 5;

/// Longest frame that is accepted, in bytes: what is longer is nonsense from a broken host.
pub const MAX_FRAME: usize = 64 << 20;

/// Controller → host. All but `Abort` are answered by exactly one [`FromHost`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToHost {
    /// Load the backend and the model. → `Opened`
    Open(Open),
    /// Continue prompts. → `Generated`
    Generate(Vec<Prompt>),
    /// Log-likelihoods of continuations. → `Scored`
    Score(Vec<ScorePrompt>),
    /// → `Tokens`
    Tokenize { text: String, control: Control },
    /// Have these adapters, and no others, act on the model that is open, and forget all sequences. The process is called
    /// `title` from then on. → `Adapted`
    Adapt { adapters: Vec<Adapter>, title: String },
    /// Hold the distributions over some tokens against the original's, or keep them as the original's. → `Diverged`
    Diverge(Window),
    /// Make a smaller model; without one open. → `Quantized`
    Quantize(Quantize),
    /// Train a model further; without one open. → `Step`s as they are done, then `Trained`
    Train(Box<Train>),
    /// Forget all sequences. → `Done`
    Reset,
    /// Free the model and leave. → `Done`, then the host exits
    Close,
    /// End the running call soon. Not answered.
    Abort,
}

/// Host → controller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromHost {
    /// First frame of all: the host is up.
    Hello {
        protocol: u32,
        pid: u32,
    },
    Opened(Box<Opened>),
    Generated(Vec<Generation>),
    Scored(Vec<Scoring>),
    Tokens(Vec<i32>),
    /// It took so long, in ns.
    Adapted(u64),
    Diverged(Diverged),
    Quantized(Quantized),
    /// Not yet the answer to `Train`.
    Step(TrainStep),
    Trained(Trained),
    /// Not an answer: comes at any time after `Opened`, where the backend has rails and `power_hz` asked for them.
    Power(PowerReading),
    Done,
    /// The call failed as a whole, the host lives on.
    Failed(Failure),
    /// The backend broke its contract; nothing it says can be trusted any more. The host exits.
    Violation(String),
}

/// What to load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// A built-in name (`llama`) or, when it contains a `/`, the path of a plugin.
    pub backend: String,
    /// Absolute path of the model's file or folder; may be empty.
    pub model: String,
    pub params: Vec<(String, String)>,
    /// Name of the process, for `ps` and `top`; at most 15 bytes are shown.
    pub title: String,
    /// Let the host write nothing and read only what it needs, where the kernel can see to it.
    pub sandbox: bool,
    /// How often the backend's own power rails are read, per second; 0: never.
    pub power_hz: u32,
    /// Paths of all adapters that this host may be asked to use: it reads no other files.
    pub adapters: Vec<String>,
    /// For [`ToHost::Diverge`].
    pub logits: Option<LogitsFile>,
}

/// A LoRA adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adapter {
    /// Absolute.
    pub path: String,
    /// 1: as it was trained.
    pub scale: f32,
}

/// The file that keeps what the original says of each next token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogitsFile {
    /// Absolute; it is there.
    pub path: String,
    /// This is the original: the file is written. Else it is read.
    pub write: bool,
}

/// A stretch of a text, in tokens: neither part is empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    pub context: Vec<i32>,
    /// Those whose distributions count.
    pub scored: Vec<i32>,
}

/// What became of a [`Window`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diverged {
    /// CLOCK_MONOTONIC, in ns.
    pub start_ns: u64,
    /// In ns after `start_ns`.
    pub done_ns: u64,
    /// Of the scored tokens, natural.
    pub logprob: f64,
    /// Of each scored token: KL(original ‖ this) of what may stand there, in nats. Empty for the original.
    pub kl: Vec<f32>,
    /// Of how many of them the most likely token is the original's.
    pub same_top: u32,
}

/// A smaller model that is wanted; all paths are absolute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quantize {
    /// As in [`Open`].
    pub backend: String,
    pub model: String,
    /// There, and empty: the one file that the host may write.
    pub out: String,
    /// In the backend's words.
    pub kind: String,
    /// Every matrix gets that kind.
    pub pure: bool,
    /// Empty: none.
    pub imatrix: String,
    /// 0: as many as the backend thinks best.
    pub threads: u32,
    pub sandbox: bool,
}

/// What was made. Unknown numbers are 0.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantized {
    /// Tensors that could not have that kind, and have another.
    pub n_fallback: u32,
    pub n_weights: u64,
    pub weights_bytes: u64,
}

/// What was loaded. Unknown numbers are 0, unknown texts empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    pub backend: String,
    pub backend_version: String,
    pub runtime: String,
    pub device: String,
    /// `eb.device/1`, where it is offered.
    pub devices: Vec<Device>,
    /// Names of the backend's own power rails (`eb.power/1`).
    pub rails: Vec<String>,
    /// What keeps the host from writing: `landlock`, or `off` and why.
    pub sandbox: String,
    /// Which program the host is, and how it was started: `llama-avx2 from memory`. The client knows it by itself.
    #[serde(skip)]
    pub host: String,
    /// Time that `open` took, in ns.
    pub load_ns: u64,
    pub n_ctx: u32,
    pub n_ctx_train: u32,
    pub n_vocab: u32,
    pub n_weights: u64,
    pub weights_bytes: u64,
    pub kv_bytes: u64,
    pub compute_bytes: u64,
    pub architecture: String,
    pub quantization: String,
    pub description: String,
    pub chat_template: String,
    pub bos_token: Option<i32>,
    pub eos_token: Option<i32>,
    /// As written in text; empty also where the backend does not tell.
    pub bos_text: String,
    pub eos_text: String,
    pub can_tokenize: bool,
    pub can_sample: bool,
    /// Several prompts of one call really run together.
    pub can_batch: bool,
    /// Where log-likelihoods of options come from: `logits` (`eb.score/1`), or as a backend without a tokenizer says
    /// (`eb.score_text/1`). Empty: there are none.
    pub scored_by: String,
}

/// A device that a backend can run on. Unknown numbers are 0, unknown texts empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Device {
    pub name: String,
    pub driver: String,
    pub cores: u32,
    pub memory_bytes: u64,
    pub memory_free_bytes: u64,
}

/// The backend's power rails at one time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PowerReading {
    /// CLOCK_MONOTONIC when the first rail was asked, in ns.
    pub at_ns: u64,
    /// Position in `Opened::rails`, and watts.
    pub watts: Vec<(u32, f64)>,
}

/// What prompts have in common, so that a backend may evaluate it once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefix {
    /// Prompts with the same id begin with the same bytes; 0: nothing may be kept from one prompt to the next.
    pub id: u64,
    /// How many bytes of text these are; of an input in tokens, how many tokens.
    pub bytes: usize,
}

impl Prefix {
    /// Of a prompt that is evaluated in full.
    pub const NONE: Prefix = Prefix { id: 0, bytes: 0 };
}

/// One prompt to continue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// Comes back in the answer; unique within the call.
    pub id: u64,
    pub input: Input,
    /// Most new tokens, at least 1.
    pub max_new: u32,
    pub stop: Vec<String>,
    pub sampling: Sampling,
    /// Exactly `max_new` tokens, whatever the model says.
    pub ignore_eos: bool,
    pub prefix: Prefix,
}

/// What happens to control tokens when text is tokenised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Add BOS as the model wants it.
    pub add: bool,
    /// `<|im_end|>` in the text is a control token.
    pub parse: bool,
}

impl Control {
    /// Of text that holds no control tokens.
    pub const PLAIN: Control = Control { add: true, parse: false };
}

/// A prompt's form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Input {
    Text(String, Control),
    /// Complete: nothing is added.
    Tokens(Vec<i32>),
}

/// How the next token is picked. `temperature` 0: greedy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    pub temperature: f32,
    pub top_p: f32,
    pub top_k: i32,
    pub seed: u64,
}

impl Sampling {
    /// The most likely token, always.
    pub const GREEDY: Sampling = Sampling { temperature: 0.0, top_p: 1.0, top_k: 0, seed: 0 };
}

/// What became of one [`Prompt`]. Times are CLOCK_MONOTONIC as stamped in the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    pub id: u64,
    /// When the call was handed to the backend, in ns.
    pub start_ns: u64,
    /// PREFILL event, in ns after `start_ns`.
    pub prefill_ns: Option<u64>,
    /// Each TOKEN event, in ns after `start_ns`.
    pub token_ns: Vec<u64>,
    /// DONE event, in ns after `start_ns`.
    pub done_ns: u64,
    pub prompt_tokens: u32,
    pub cached_tokens: u32,
    /// At least as many as `token_ns` has: a server may send several at once.
    pub output_tokens: u32,
    /// How often a server's backend tried again; the times count from the first try.
    pub retries: u32,
    /// The tokens' bytes joined, U+FFFD for what is not UTF-8; cut at the first stop string.
    pub text: String,
    pub finish: Finish,
    /// This request failed, the others may not have.
    pub failure: Option<Failure>,
    /// The vendor's own prefill and decode time in ms, 0 when it makes no claim.
    pub claims_ms: (f64, f64),
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finish {
    Eos,
    Stop,
    Length,
    Aborted,
    Failed,
}

/// One context and the continuations to score after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScorePrompt {
    pub id: u64,
    pub input: ScoreInput,
    /// Of a context in text.
    pub prefix: Prefix,
}

/// The form of a [`ScorePrompt`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ScoreInput {
    /// The host tokenises context and continuation together and cuts at the context's end.
    Text { context: String, continuations: Vec<String>, control: Control },
    /// Complete: nothing is added. The context and each continuation have at least one token.
    Tokens { context: Vec<i32>, continuations: Vec<Vec<i32>> },
}

/// What became of one [`ScorePrompt`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scoring {
    pub id: u64,
    pub start_ns: u64,
    /// PREFILL event, in ns after `start_ns`.
    pub prefill_ns: Option<u64>,
    pub done_ns: u64,
    /// Tokens of the context.
    pub prompt_tokens: u32,
    pub cached_tokens: u32,
    /// As in [`Generation`].
    pub retries: u32,
    /// One for each continuation, in their order.
    pub scores: Vec<Score>,
    pub failure: Option<Failure>,
}

/// The log-likelihood of one continuation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Natural logarithm, summed over its tokens.
    pub logprob: f64,
    pub n_tokens: u32,
    /// Each token was the most likely one.
    pub is_greedy: bool,
}

/// An error as the backend told it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    /// The SDK's own number, 0 if none.
    pub vendor_code: i64,
    pub message: String,
}

/// The ABI's status codes, named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    Invalid,
    Unsupported,
    OutOfMemory,
    Model,
    ContextFull,
    Aborted,
    Device,
    Internal,
}

impl Failure {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, vendor_code: 0, message: message.into() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        if self.vendor_code != 0 {
            write!(f, " (vendor code {})", self.vendor_code)?;
        }
        Ok(())
    }
}

/// Why bytes are not a frame.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum FrameError {
    #[error("a frame of {0} bytes is longer than the {MAX_FRAME} that are allowed")]
    TooLong(usize),
    #[error("a frame cannot be decoded: {0}")]
    Malformed(postcard::Error),
}

/// `message` as a frame, appended to `out`, which is cleared first.
pub fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), FrameError> {
    out.clear();
    out.extend_from_slice(&[0; 4]);
    let mut bytes = postcard::to_extend(message, std::mem::take(out)).map_err(FrameError::Malformed)?;
    let len = bytes.len() - 4;
    if len > MAX_FRAME {
        return Err(FrameError::TooLong(len));
    }
    bytes[..4].copy_from_slice(&(len as u32).to_le_bytes());
    *out = bytes;
    Ok(())
}

/// Collects bytes as they come and hands out whole messages.
#[derive(Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Adds bytes as they were read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, `None` when more bytes are needed. After an error the stream is lost.
    pub fn message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let rest = &self.buffer[self.start..];
        let Some((head, body)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_le_bytes(*head) as usize;
        if len > MAX_FRAME {
            return Err(FrameError::TooLong(len));
        }
        let Some(body) = body.get(..len) else { return Ok(None) };
        let (message, unread) = postcard::take_from_bytes(body).map_err(FrameError::Malformed)?;
        if !unread.is_empty() {
            return Err(FrameError::Malformed(postcard::Error::DeserializeBadEncoding));
        }
        self.start += 4 + len;
        if self.start > 1 << 20 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Vec<ToHost> {
        vec![
            ToHost::Open(Open {
                backend: "llama".into(),
                model: "/m.gguf".into(),
                params: vec![("threads".into(), "2".into())],
                title: "t".into(),
                sandbox: true,
                power_hz: 10,
                adapters: vec!["/a.gguf".into()],
                logits: Some(LogitsFile { path: "/l".into(), write: true }),
            }),
            ToHost::Adapt { adapters: vec![Adapter { path: "/a.gguf".into(), scale: 0.5 }], title: "u".into() },
            ToHost::Diverge(Window { context: vec![1], scored: vec![2] }),
            ToHost::Generate(vec![Prompt {
                id: 7,
                input: Input::Text("你好".into(), Control::PLAIN),
                max_new: 3,
                stop: vec!["\n".into()],
                sampling: Sampling::GREEDY,
                ignore_eos: false,
                prefix: Prefix { id: 3, bytes: 3 },
            }]),
            ToHost::Score(vec![ScorePrompt {
                id: 1,
                input: ScoreInput::Text {
                    context: "a".into(),
                    continuations: vec![" A".into(), " B".into()],
                    control: Control { add: false, parse: true },
                },
                prefix: Prefix::NONE,
            }]),
            ToHost::Score(vec![ScorePrompt {
                id: 2,
                input: ScoreInput::Tokens { context: vec![1], continuations: vec![vec![2, 3], vec![4]] },
                prefix: Prefix::NONE,
            }]),
            ToHost::Train(Box::new(Train {
                backend: "llama".into(),
                model: "/m.gguf".into(),
                out: "/o.gguf".into(),
                texts: vec!["一".into(), "b".into()],
                validation_share: 0.5,
                n_ctx: 256,
                epochs: 2,
                learning_rate: 1e-4,
                threads: 1,
                force_memory: false,
                title: "t".into(),
                sandbox: true,
            })),
            ToHost::Abort,
        ]
    }

    proptest! {
        #[test]
        fn messages_survive_any_split_of_the_stream(cut in 1usize..40) {
            let mut stream = Vec::new();
            let mut frame = Vec::new();
            for message in sample() {
                encode(&message, &mut frame).unwrap();
                stream.extend_from_slice(&frame);
            }
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for piece in stream.chunks(cut) {
                decoder.push(piece);
                while let Some(message) = decoder.message::<ToHost>().unwrap() {
                    got.push(message);
                }
            }
            prop_assert_eq!(got, sample());
        }

        #[test]
        fn nonsense_is_an_error_or_a_wait_but_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            for _ in 0..10 {
                if !matches!(decoder.message::<FromHost>(), Ok(Some(_))) {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_frame_that_claims_gigabytes_is_refused_at_once() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_le_bytes());
        assert_eq!(decoder.message::<FromHost>(), Err(FrameError::TooLong(u32::MAX as usize)));
    }
}
