//! The backend's parameters: which keys exist, their defaults, ranges and meaning, and how text becomes options.
//! Pure: no file, no llama.cpp. It must not know the model: what depends on it stays `None` here.
//! [`KEYS`] is the one list; messages, documentation and the parser all come from it.

use crate::failure::Failure;
use edgebench_plugin::cpu::parse_list;
use std::path::PathBuf;

/// A documented parameter.
pub struct Key {
    /// As in the job file.
    pub name: &'static str,
    /// Used when the key is absent, as text.
    pub default: &'static str,
    /// What is accepted, in words: it ends up in error messages.
    pub allowed: &'static str,
    /// What it does, with its unit.
    pub doc: &'static str,
}

const fn key(name: &'static str, default: &'static str, allowed: &'static str, doc: &'static str) -> Key {
    Key { name, default, allowed, doc }
}

const CACHE_TYPES: &str = "f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0 or iq4_nl";

/// Every parameter that `open()` accepts.
pub const KEYS: &[Key] = &[
    key(
        "threads",
        "auto",
        "auto or 1 to 512",
        "threads for decoding; auto: the fast physical cores that this process may use and others leave free",
    ),
    key("threads_batch", "as threads", "auto or 1 to 512", "threads for prefill and scoring"),
    key(
        "affinity",
        "auto",
        "auto, off or a list of CPUs such as 4-7",
        "CPUs that the threads stay on; auto: the fast ones of a board with unlike cores, if threads is auto too",
    ),
    key("n_ctx", "min(n_ctx_train, 4096)", "1 to 16777216", "tokens that the KV cache holds; rounded up to 256"),
    key("n_batch", "512", "1 to 65536", "prompt tokens handed to llama.cpp at once; also how soon abort() can act"),
    key("n_ubatch", "min(n_batch, 512)", "1 to 65536", "prompt tokens computed at once; scratch memory grows with it"),
    key(
        "batch",
        "1",
        "auto or 1 to 128",
        "requests of one call that run together, in the n_ctx tokens that all of them share; auto: as many as pay",
    ),
    key(
        "flash_attn",
        "off",
        "off, on or auto",
        "fused attention; scoring needs it off; auto: on only if type_v is quantised",
    ),
    key("mmap", "true", "true or false", "map the file instead of reading it"),
    key("mlock", "false", "true or false", "keep the weights from being swapped out"),
    key("force_memory", "false", "true or false", "open a model that needs more memory than is free"),
    key("n_gpu_layers", "0", "-1 to 10000", "layers to offload, -1: all; needs a GPU build of llama.cpp"),
    key("type_k", "f16", CACHE_TYPES, "data type of the K cache"),
    key("type_v", "f16", CACHE_TYPES, "data type of the V cache; a quantised one needs flash_attn"),
    key(
        "draft",
        "none",
        "none or the path of a .gguf file",
        "a smaller model with the same tokens, which guesses ahead",
    ),
    key("draft_max", "16", "1 to 64", "tokens that it guesses at a time"),
    key("draft_p_min", "0.75", "0 to 1", "a guess that it finds less likely than this is the last one"),
    key("temperature", "0", "0 to 100", "for requests that leave theirs at 0; 0: greedy"),
    key("top_p", "1", "above 0, up to 1", "nucleus for requests that leave temperature at 0; 1: off"),
    key("top_k", "0", "0 to 1000000", "candidates for requests that leave temperature at 0; 0: off"),
    key("seed", "0", "0 to 18446744073709551615", "of the sampler, for requests that leave theirs at 0"),
];

/// Which CPUs threads stay on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Affinity {
    /// The fast cluster, where there is one and the number of threads is left open too.
    Auto,
    /// Wherever the system puts them.
    Off,
    /// These CPUs.
    List(Vec<u32>),
}

/// When to use fused attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlashAttn {
    Off,
    On,
    Auto,
}

/// Data type of a KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheType {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q5_1,
    Q5_0,
    Q4_1,
    Q4_0,
    Iq4Nl,
}

impl CacheType {
    /// Its `ggml_type`, which is also its number in a GGUF.
    pub fn ggml_type(self) -> u32 {
        match self {
            CacheType::F32 => 0,
            CacheType::F16 => 1,
            CacheType::Q4_0 => 2,
            CacheType::Q4_1 => 3,
            CacheType::Q5_0 => 6,
            CacheType::Q5_1 => 7,
            CacheType::Q8_0 => 8,
            CacheType::Iq4Nl => 20,
            CacheType::Bf16 => 30,
        }
    }

    /// Does it store blocks instead of single numbers?
    pub fn is_quantised(self) -> bool {
        !matches!(self, CacheType::F32 | CacheType::F16 | CacheType::Bf16)
    }
}

/// The parameters of one session, checked. `None`: decided when the model and the machine are known.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub threads: Option<u32>,
    pub threads_batch: Option<u32>,
    pub affinity: Affinity,
    pub n_ctx: Option<u32>,
    pub n_batch: u32,
    pub n_ubatch: u32,
    /// Requests that run together; `None`: as many as pay.
    pub batch: Option<u32>,
    /// As given; see [`Options::uses_flash_attn`].
    pub flash_attn: FlashAttn,
    pub mmap: bool,
    pub mlock: bool,
    pub force_memory: bool,
    pub n_gpu_layers: i32,
    pub type_k: CacheType,
    pub type_v: CacheType,
    /// A model that guesses for this one.
    pub draft: Option<PathBuf>,
    pub draft_max: u32,
    pub draft_p_min: f32,
    pub temperature: f32,
    pub top_p: f32,
    pub top_k: i32,
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            threads: None,
            threads_batch: None,
            affinity: Affinity::Auto,
            n_ctx: None,
            n_batch: 512,
            n_ubatch: 512,
            batch: Some(1),
            flash_attn: FlashAttn::Off,
            mmap: true,
            mlock: false,
            force_memory: false,
            n_gpu_layers: 0,
            type_k: CacheType::F16,
            type_v: CacheType::F16,
            draft: None,
            draft_max: 16,
            draft_p_min: 0.75,
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            seed: 0,
        }
    }
}

impl Options {
    /// Parses `key = value` pairs.
    ///
    /// # Errors
    /// `EB_ERR_INVALID` for an unknown or repeated key (with the nearest known one), for a value that is not allowed
    /// (with those that are) and for a quantised V cache without flash attention.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Options, Failure> {
        let mut options = Options::default();
        let mut seen = Vec::new();
        let mut n_ubatch = None;
        let mut threads_batch = None;
        for (name, value) in pairs {
            let Some(key) = KEYS.iter().find(|k| k.name == name) else { return Err(unknown(name)) };
            if seen.contains(&key.name) {
                return Err(Failure::invalid(format!("parameter `{name}` is given twice: keep one")));
            }
            seen.push(key.name);
            let bad = || bad_value(key, value);
            match key.name {
                "threads" => options.threads = auto_or(value, 1, 512).ok_or_else(bad)?,
                "threads_batch" => threads_batch = Some(auto_or(value, 1, 512).ok_or_else(bad)?),
                "affinity" => options.affinity = affinity(value).ok_or_else(bad)?,
                "n_ctx" => options.n_ctx = Some(number(value, 1, 1 << 24).ok_or_else(bad)?),
                "n_batch" => options.n_batch = number(value, 1, 1 << 16).ok_or_else(bad)?,
                "n_ubatch" => n_ubatch = Some(number(value, 1, 1 << 16).ok_or_else(bad)?),
                "batch" => options.batch = auto_or(value, 1, 128).ok_or_else(bad)?,
                "flash_attn" => options.flash_attn = flash_attn(value).ok_or_else(bad)?,
                "mmap" => options.mmap = boolean(value).ok_or_else(bad)?,
                "mlock" => options.mlock = boolean(value).ok_or_else(bad)?,
                "force_memory" => options.force_memory = boolean(value).ok_or_else(bad)?,
                "n_gpu_layers" => options.n_gpu_layers = number(value, -1, 10_000).ok_or_else(bad)?,
                "type_k" => options.type_k = cache_type(value).ok_or_else(bad)?,
                "type_v" => options.type_v = cache_type(value).ok_or_else(bad)?,
                "draft" => options.draft = draft(value).ok_or_else(bad)?,
                "draft_max" => options.draft_max = number(value, 1, 64).ok_or_else(bad)?,
                "draft_p_min" => options.draft_p_min = number(value, 0.0, 1.0).ok_or_else(bad)?,
                "temperature" => options.temperature = number(value, 0.0, 100.0).ok_or_else(bad)?,
                "top_p" => options.top_p = number(value, f32::MIN_POSITIVE, 1.0).ok_or_else(bad)?,
                "top_k" => options.top_k = number(value, 0, 1_000_000).ok_or_else(bad)?,
                "seed" => options.seed = value.parse().map_err(|_| bad())?,
                other => return Err(Failure::internal(format!("key `{other}` is listed but not parsed"))),
            }
        }
        options.threads_batch = threads_batch.unwrap_or(options.threads);
        options.n_ubatch = n_ubatch.unwrap_or(512).min(options.n_batch);
        if options.type_v.is_quantised() && options.flash_attn == FlashAttn::Off {
            return Err(Failure::invalid(
                "a quantised type_v needs flash attention: set flash_attn = \"on\", or leave type_v at f16",
            ));
        }
        Ok(options)
    }

    /// `auto` is off, because log-likelihoods then do not depend on the shape of a batch, unless the V cache needs it.
    pub fn uses_flash_attn(&self) -> bool {
        match self.flash_attn {
            FlashAttn::Off => false,
            FlashAttn::On => true,
            FlashAttn::Auto => self.type_v.is_quantised(),
        }
    }
}

fn number<T: std::str::FromStr + PartialOrd>(value: &str, min: T, max: T) -> Option<T> {
    value.parse().ok().filter(|v| *v >= min && *v <= max)
}

fn auto_or(value: &str, min: u32, max: u32) -> Option<Option<u32>> {
    if value == "auto" { Some(None) } else { number(value, min, max).map(Some) }
}

fn boolean(value: &str) -> Option<bool> {
    match value {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn affinity(value: &str) -> Option<Affinity> {
    match value {
        "auto" => Some(Affinity::Auto),
        "off" => Some(Affinity::Off),
        list => parse_list(list).map(Affinity::List),
    }
}

fn flash_attn(value: &str) -> Option<FlashAttn> {
    match value {
        "auto" => Some(FlashAttn::Auto),
        other => boolean(other).map(|on| if on { FlashAttn::On } else { FlashAttn::Off }),
    }
}

fn cache_type(value: &str) -> Option<CacheType> {
    Some(match value {
        "f32" => CacheType::F32,
        "f16" => CacheType::F16,
        "bf16" => CacheType::Bf16,
        "q8_0" => CacheType::Q8_0,
        "q5_1" => CacheType::Q5_1,
        "q5_0" => CacheType::Q5_0,
        "q4_1" => CacheType::Q4_1,
        "q4_0" => CacheType::Q4_0,
        "iq4_nl" => CacheType::Iq4Nl,
        _ => return None,
    })
}

fn draft(value: &str) -> Option<Option<PathBuf>> {
    match value {
        "none" => Some(None),
        file => file.ends_with(".gguf").then(|| Some(file.into())),
    }
}

fn bad_value(key: &Key, value: &str) -> Failure {
    Failure::invalid(format!("{} = {:?} is not possible: use {}", key.name, excerpt(value), key.allowed))
}

fn unknown(name: &str) -> Failure {
    let name = excerpt(name);
    let nearest = KEYS.iter().map(|k| (distance(&name, k.name), k.name)).min();
    let hint = match nearest {
        Some((d, near)) if d <= 1 + near.len() / 3 => format!("did you mean `{near}`? "),
        _ => String::new(),
    };
    let known: Vec<_> = KEYS.iter().map(|k| k.name).collect();
    Failure::invalid(format!("unknown parameter `{name}`: {hint}Known: {}", known.join(" ")))
}

/// What fits into a message next to the explanation.
fn excerpt(text: &str) -> String {
    match text.char_indices().nth(24) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

/// Levenshtein distance in characters; `b` is one of our short names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgebench_abi::EB_ERR_INVALID;

    fn parse(pairs: &[(&str, &str)]) -> Result<Options, String> {
        Options::parse(pairs.iter().copied()).map_err(|f| {
            assert_eq!(f.code, EB_ERR_INVALID);
            assert!(f.message.len() <= 247, "too long for eb_error: {}", f.message);
            f.message
        })
    }

    #[test]
    fn nothing_given_means_the_documented_defaults() {
        assert_eq!(parse(&[]).unwrap(), Options::default());
        for key in KEYS {
            // Each default that is a plain value is accepted, and changes nothing.
            if let Ok(options) = parse(&[(key.name, key.default)]) {
                assert_eq!(options, Options::default(), "{}", key.name);
            } else {
                assert!(["threads_batch", "n_ctx", "n_ubatch"].contains(&key.name), "{}", key.name);
            }
        }
    }

    #[test]
    fn every_key_is_parsed() {
        for key in KEYS {
            let error = parse(&[(key.name, "certainly not this")]).unwrap_err();
            assert!(error.contains(key.name) && error.contains(key.allowed), "{error}");
        }
    }

    #[test]
    fn values_arrive() {
        let o = parse(&[("threads", "3"), ("n_ctx", "1024"), ("type_k", "q8_0"), ("mmap", "off"), ("top_p", "0.9")]);
        let o = o.unwrap();
        assert_eq!((o.threads, o.threads_batch, o.n_ctx), (Some(3), Some(3), Some(1024)));
        assert_eq!((o.type_k, o.mmap, o.top_p), (CacheType::Q8_0, false, 0.9));
        assert_eq!(parse(&[("affinity", "4-5,7")]).unwrap().affinity, Affinity::List(vec![4, 5, 7]));
        let o = parse(&[("threads_batch", "auto"), ("threads", "3"), ("n_batch", "64")]).unwrap();
        assert_eq!((o.threads, o.threads_batch, o.n_batch, o.n_ubatch), (Some(3), None, 64, 64));
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_one() {
        let error = parse(&[("nctx", "1024")]).unwrap_err();
        assert!(
            error.contains("`nctx`") && error.contains("did you mean `n_ctx`?") && error.contains("type_v"),
            "{error}"
        );
        let error = parse(&[("a key that is far too long to be repeated in full here", "1")]).unwrap_err();
        assert!(!error.contains("did you mean"), "{error}");
    }

    #[test]
    fn bad_values_name_what_is_allowed() {
        for (key, value) in [
            ("threads", "0"),
            ("threads", "513"),
            ("threads", "two"),
            ("n_ctx", "-1"),
            ("n_ctx", "99999999999999999999"),
            ("top_p", "0"),
            ("top_p", "NaN"),
            ("temperature", "inf"),
            ("type_k", "q3_k"),
            ("flash_attn", "maybe"),
            ("affinity", "7-4"),
            ("seed", "-1"),
        ] {
            let error = parse(&[(key, value)]).unwrap_err();
            assert!(error.contains(value) && error.contains("use "), "{error}");
        }
        assert!(parse(&[("seed", "1"), ("seed", "2")]).unwrap_err().contains("twice"));
    }

    #[test]
    fn a_quantised_v_cache_needs_flash_attention() {
        assert!(parse(&[("type_v", "q8_0")]).unwrap_err().contains("flash_attn = \"on\""));
        assert!(parse(&[("type_v", "q8_0"), ("flash_attn", "auto")]).unwrap().uses_flash_attn());
        assert!(!parse(&[("type_k", "q8_0"), ("flash_attn", "auto")]).unwrap().uses_flash_attn());
    }
}
