//! Requests as C hands them over, turned into borrowed Rust ones.
//! It owns the defaults of fields that an older host did not know, and what can be refused without an SDK.
//! It must not know sessions.

use crate::entry::Log;
use crate::failure::Failure;
use crate::ffi::{read_sized, slice};
use edgebench_abi::*;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};

/// A prompt, as given.
pub enum Prompt<'a> {
    /// Special tokens are added as the model wants them; `parse`: control tokens in the text count.
    Text { text: &'a [u8], parse: bool },
    /// Complete.
    Tokens(&'a [i32]),
}

/// The header's prefix hint: requests with the same id start with the same `len` bytes of text, or tokens.
#[derive(Clone, Copy)]
pub struct Prefix {
    /// 0: no reuse.
    pub id: u64,
    pub len: usize,
}

/// How to choose tokens. Temperature 0 is greedy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    pub temperature: f32,
    pub top_p: f32,
    pub top_k: i32,
    pub seed: u64,
}

impl Choice {
    /// # Errors
    /// `EB_ERR_INVALID` for values outside the header's ranges.
    pub fn check(self) -> Result<Choice, Failure> {
        let Choice { temperature, top_p, top_k, .. } = self;
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return Err(Failure::invalid(format!("temperature {temperature} is not possible: use 0 or more")));
        }
        // Nothing else matters when greedy.
        if temperature > 0.0 && !(top_p > 0.0 && top_p <= 1.0) {
            return Err(Failure::invalid(format!("top_p {top_p} is not possible: use above 0, up to 1")));
        }
        if temperature > 0.0 && top_k < 0 {
            return Err(Failure::invalid(format!("top_k {top_k} is not possible: use 0 (off) or more")));
        }
        Ok(self)
    }
}

/// One prompt to be continued.
pub struct Generate<'a> {
    pub prompt: Prompt<'a>,
    /// New tokens at most, at least 1.
    pub max_new: u32,
    /// Go on after an end-of-sequence token.
    pub ignore_eos: bool,
    /// The output ends before the first of these.
    pub stop: Vec<&'a [u8]>,
    pub choice: Choice,
    pub prefix: Prefix,
}

impl Generate<'_> {
    /// How many tokens may follow a prompt of `n_prompt`: `max_new`, or as many as fit `n_ctx`.
    ///
    /// # Errors
    /// `EB_ERR_INVALID` for no prompt or no output, `EB_ERR_CONTEXT_FULL` if not one token fits behind the prompt.
    pub fn limit(&self, n_prompt: usize, n_ctx: usize) -> Result<usize, Failure> {
        if self.max_new == 0 {
            return Err(Failure::invalid("max_new is 0: ask for at least one token"));
        }
        if n_prompt == 0 {
            let why = "the prompt is empty, and this model adds no token of its own: give some text";
            return Err(Failure::invalid(why));
        }
        if n_prompt + 1 > n_ctx {
            return Err(Failure::context_full(format!(
                "prompt of {n_prompt} tokens + 1 does not fit n_ctx = {n_ctx}: raise n_ctx or use fewer shots"
            )));
        }
        Ok((self.max_new as usize).min(n_ctx - n_prompt))
    }
}

/// A context and its continuations, in tokens.
pub struct Score<'a> {
    pub context: &'a [i32],
    pub continuations: Vec<&'a [i32]>,
    /// Its length is in tokens.
    pub prefix: Prefix,
}

impl Score<'_> {
    /// # Errors
    /// `EB_ERR_INVALID` for nothing to score and for tokens that are not in the vocabulary, `EB_ERR_CONTEXT_FULL`.
    pub fn check(&self, n_vocab: usize, n_ctx: usize) -> Result<(), Failure> {
        if self.context.is_empty() {
            return Err(Failure::invalid("the context is empty: give at least one token (BOS)"));
        }
        if self.continuations.iter().any(|c| c.is_empty()) {
            return Err(Failure::invalid("a continuation is empty: give at least one token"));
        }
        in_vocabulary(self.context, n_vocab)?;
        self.continuations.iter().try_for_each(|c| in_vocabulary(c, n_vocab))?;
        // The last token of a continuation takes no place.
        let longest = self.continuations.iter().map(|c| c.len() - 1).max().unwrap_or(0);
        if self.context.len() + longest > n_ctx {
            return Err(Failure::context_full(format!(
                "context of {} tokens + continuation of {} does not fit n_ctx = {n_ctx}: raise n_ctx or use fewer shots",
                self.context.len(),
                longest + 1,
            )));
        }
        Ok(())
    }
}

/// A context and its continuations, in text.
pub struct ScoreText<'a> {
    pub context: &'a [u8],
    pub continuations: Vec<&'a [u8]>,
    /// Control tokens in the text count.
    pub parse: bool,
}

/// A model file of which a smaller one is wanted.
pub struct Quantize<'a> {
    pub model: &'a Path,
    /// There, and empty.
    pub out: &'a Path,
    /// As given: in any case.
    pub kind: String,
    pub imatrix: Option<&'a Path>,
    /// 0: as many as the backend thinks best.
    pub threads: u32,
    /// Every matrix gets that kind.
    pub pure: bool,
}

/// For quantize(), with where its log goes.
///
/// # Errors
/// `EB_ERR_INVALID` for NULL and for paths that are empty.
///
/// # Safety
/// The header's rules for requests; all that is behind it must live for `'a`.
pub(crate) unsafe fn to_quantize<'a>(request: *const EbQuantizeRequest) -> Result<(Quantize<'a>, Log), Failure> {
    if request.is_null() {
        return Err(Failure::null("the request"));
    }
    let none = EbQuantizeRequest {
        struct_size: 0,
        threads: 0,
        flags: 0,
        model: EbStr::EMPTY,
        out: EbStr::EMPTY,
        kind: EbStr::EMPTY,
        imatrix: EbStr::EMPTY,
        log: None,
        log_user: null_mut(),
    };
    // SAFETY: not NULL, and the struct says how large it is.
    let request = unsafe { read_sized(request, none) };
    // SAFETY: borrowed for this call, like everything behind a request.
    let path = |text: EbStr| Path::new(OsStr::from_bytes(unsafe { text.bytes() }));
    let (model, out, imatrix) = (path(request.model), path(request.out), path(request.imatrix));
    if model.as_os_str().is_empty() || out.as_os_str().is_empty() {
        return Err(Failure::invalid("quantize() needs the paths of a model and of the file to write"));
    }
    // SAFETY: as above.
    let kind = unsafe { request.kind.to_string_lossy() };
    // SAFETY: the header's rule for the log.
    let log = unsafe { Log::new(request.log, request.log_user) };
    let imatrix = Some(imatrix).filter(|path| !path.as_os_str().is_empty());
    let pure = request.flags & EB_QUANTIZE_PURE != 0;
    Ok((Quantize { model, out, kind, imatrix, threads: request.threads, pure }, log))
}

/// Refuses numbers that are not in the vocabulary.
///
/// # Errors
/// `EB_ERR_INVALID`.
pub fn in_vocabulary(tokens: &[i32], n_vocab: usize) -> Result<(), Failure> {
    match tokens.iter().find(|&&t| usize::try_from(t).map_or(true, |t| t >= n_vocab)) {
        None => Ok(()),
        Some(t) => Err(Failure::invalid(format!("token {t} is not in the vocabulary of {n_vocab} tokens"))),
    }
}

/// For generate(), with their ids.
///
/// # Errors
/// `EB_ERR_INVALID` for NULL and for requests that contradict themselves.
///
/// # Safety
/// The header's rules for requests; all that is behind them must live for `'a`.
pub(crate) unsafe fn to_generate<'a>(
    requests: *const *const EbRequest,
    n: usize,
) -> Result<Vec<(u64, Generate<'a>)>, Failure> {
    // SAFETY: the array is borrowed for this call.
    let pointers = unsafe { some_requests(requests, n) }?;
    let mut all = Vec::with_capacity(n);
    for &request in pointers {
        let none = EbRequest {
            struct_size: 0,
            max_new: 0,
            id: 0,
            flags: 0,
            text: EbStr::EMPTY,
            tokens: null(),
            n_tokens: 0,
            stop: null(),
            n_stop: 0,
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            prefix_len: 0,
            prefix_id: 0,
            seed: 0,
        };
        // SAFETY: not NULL, and the struct says how large it is.
        let request = unsafe { read_sized(request, none) };
        // SAFETY: borrowed for this call, like everything behind a request.
        let stops = unsafe { slice(request.stop, request.n_stop, "stop") }?;
        // SAFETY: as above.
        let tokens = unsafe { slice(request.tokens, request.n_tokens, "tokens") }?;
        // SAFETY: as above.
        let text = unsafe { request.text.bytes() };
        if !tokens.is_empty() && !text.is_empty() {
            return Err(Failure::invalid("a request has both text and tokens: a bug of the host"));
        }
        let parse = request.flags & EB_REQUEST_PARSE_SPECIAL != 0;
        let prompt = if request.tokens.is_null() { Prompt::Text { text, parse } } else { Prompt::Tokens(tokens) };
        let EbRequest { temperature, top_p, top_k, seed, .. } = request;
        let converted = Generate {
            prompt,
            max_new: request.max_new,
            ignore_eos: request.flags & EB_REQUEST_IGNORE_EOS != 0,
            // SAFETY: as above.
            stop: stops.iter().map(|stop| unsafe { stop.bytes() }).collect(),
            choice: Choice { temperature, top_p, top_k, seed },
            prefix: Prefix { id: request.prefix_id, len: request.prefix_len as usize },
        };
        all.push((request.id, converted));
    }
    Ok(all)
}

/// For score(), with their ids.
///
/// # Errors
/// As [`to_generate`].
///
/// # Safety
/// As [`to_generate`].
pub(crate) unsafe fn to_score<'a>(
    requests: *const *const EbScoreRequest,
    n: usize,
) -> Result<Vec<(u64, Score<'a>)>, Failure> {
    // SAFETY: the array is borrowed for this call.
    let pointers = unsafe { some_requests(requests, n) }?;
    let mut all = Vec::with_capacity(n);
    for &request in pointers {
        let none = EbScoreRequest {
            struct_size: 0,
            n_continuations: 0,
            id: 0,
            context: null(),
            n_context: 0,
            continuations: null(),
            n_tokens: null(),
            prefix_len: 0,
            reserved: 0,
            prefix_id: 0,
        };
        // SAFETY: not NULL, and the struct says how large it is.
        let request = unsafe { read_sized(request, none) };
        let count = request.n_continuations as usize;
        // SAFETY: borrowed for this call, like everything behind a request.
        let starts = unsafe { slice(request.continuations, count, "continuations") }?;
        // SAFETY: as above.
        let lengths = unsafe { slice(request.n_tokens, count, "n_tokens") }?;
        let mut continuations = Vec::with_capacity(count);
        for (&start, &len) in starts.iter().zip(lengths) {
            // SAFETY: as above.
            continuations.push(unsafe { slice(start, len, "a continuation") }?);
        }
        // SAFETY: as above.
        let context = unsafe { slice(request.context, request.n_context, "context") }?;
        let prefix = Prefix { id: request.prefix_id, len: request.prefix_len as usize };
        all.push((request.id, Score { context, continuations, prefix }));
    }
    Ok(all)
}

/// For score() of `eb.score_text/1`, with their ids.
///
/// # Errors
/// As [`to_generate`].
///
/// # Safety
/// As [`to_generate`].
pub(crate) unsafe fn to_score_text<'a>(
    requests: *const *const EbScoreTextRequest,
    n: usize,
) -> Result<Vec<(u64, ScoreText<'a>)>, Failure> {
    // SAFETY: the array is borrowed for this call.
    let pointers = unsafe { some_requests(requests, n) }?;
    let mut all = Vec::with_capacity(n);
    for &request in pointers {
        let none = EbScoreTextRequest {
            struct_size: 0,
            n_continuations: 0,
            id: 0,
            flags: 0,
            context: EbStr::EMPTY,
            continuations: null(),
        };
        // SAFETY: not NULL, and the struct says how large it is.
        let request = unsafe { read_sized(request, none) };
        let count = request.n_continuations as usize;
        // SAFETY: borrowed for this call, like everything behind a request.
        let texts = unsafe { slice(request.continuations, count, "continuations") }?;
        // SAFETY: as above.
        let continuations: Vec<&[u8]> = texts.iter().map(|text| unsafe { text.bytes() }).collect();
        if continuations.iter().any(|c| c.is_empty()) {
            return Err(Failure::invalid("a continuation is empty: give some text"));
        }
        let parse = request.flags & EB_REQUEST_PARSE_SPECIAL != 0;
        // SAFETY: as above.
        all.push((request.id, ScoreText { context: unsafe { request.context.bytes() }, continuations, parse }));
    }
    Ok(all)
}

/// For set() of `eb.lora/1`: files and scales.
///
/// # Errors
/// As [`to_generate`], but there may be none; a scale that is not finite.
///
/// # Safety
/// As [`to_generate`].
pub(crate) unsafe fn to_lora<'a>(adapters: *const *const EbLora, n: usize) -> Result<Vec<(&'a Path, f32)>, Failure> {
    if n == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the array is borrowed for this call.
    let pointers = unsafe { some_requests(adapters, n) }?;
    let one = |&adapter: &*const EbLora| {
        // SAFETY: not NULL, and the struct says how large it is.
        let adapter = unsafe { read_sized(adapter, EbLora { struct_size: 0, scale: 1.0, path: EbStr::EMPTY }) };
        if !adapter.scale.is_finite() {
            return Err(Failure::invalid(format!("an adapter's scale is {}: give a number", adapter.scale)));
        }
        // SAFETY: borrowed for this call.
        Ok((Path::new(OsStr::from_bytes(unsafe { adapter.path.bytes() })), adapter.scale))
    };
    pointers.iter().map(one).collect()
}

/// The `n` >= 1 pointers of a call, none of them NULL.
///
/// # Safety
/// As [`slice`].
unsafe fn some_requests<'a, T>(requests: *const *const T, n: usize) -> Result<&'a [*const T], Failure> {
    if n == 0 {
        return Err(Failure::invalid("there are no requests: give at least one"));
    }
    // SAFETY: passed on to the caller.
    let pointers = unsafe { slice(requests, n, "requests") }?;
    if pointers.iter().any(|p| p.is_null()) {
        return Err(Failure::null("a request"));
    }
    Ok(pointers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_choices_are_refused() {
        let plain = Choice { temperature: 1.0, top_p: 1.0, top_k: 0, seed: 1 };
        assert!(plain.check().is_ok());
        for bad in [
            Choice { temperature: -1.0, ..plain },
            Choice { temperature: f32::NAN, ..plain },
            Choice { top_p: 0.0, ..plain },
            Choice { top_k: -1, ..plain },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        assert!(Choice { temperature: 0.0, top_p: 0.0, top_k: -1, seed: 0 }.check().is_ok(), "greedy");
    }

    #[test]
    fn what_fits_is_as_long_as_asked_for_or_ends_early() {
        let prefix = Prefix { id: 0, len: 0 };
        let choice = Choice { temperature: 0.0, top_p: 1.0, top_k: 0, seed: 0 };
        let of = |max_new| Generate {
            prompt: Prompt::Tokens(&[]),
            max_new,
            ignore_eos: false,
            stop: Vec::new(),
            choice,
            prefix,
        };
        assert_eq!(of(8).limit(5, 100).unwrap(), 8);
        assert_eq!(of(8).limit(95, 100).unwrap(), 5);
        assert_eq!(of(8).limit(100, 100).unwrap_err().code, EB_ERR_CONTEXT_FULL);
        assert_eq!(of(8).limit(0, 100).unwrap_err().code, EB_ERR_INVALID);
        assert_eq!(of(0).limit(5, 100).unwrap_err().code, EB_ERR_INVALID);

        let score = Score { context: &[1; 97], continuations: vec![&[2], &[3; 4]], prefix };
        assert!(score.check(10, 100).is_ok(), "the last token of a continuation takes no place");
        assert_eq!(score.check(10, 99).unwrap_err().code, EB_ERR_CONTEXT_FULL);
        assert_eq!(score.check(3, 100).unwrap_err().code, EB_ERR_INVALID);
    }
}
