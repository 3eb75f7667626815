//! Reads the header of a GGUF file without llama.cpp: what the model is, and whether the file is whole.
//! Pure over `Read + Seek`, made for hostile input: it never panics and keeps at most a few MiB.
//! It must not know parameters, sessions or this machine's memory.
//! Format: llama.cpp's `ggml/include/gguf.h`; the rules for tensors are those of `gguf_init_from_reader`.

mod reader;
mod types;

pub use types::{block_of, file_type_name};

use reader::Reader;
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Seek};

/// Longest string that is kept: chat templates of real models stay below 32 KiB.
const MAX_TEXT: u64 = 1 << 20;
/// Longest integer array that is kept: one number per layer.
const MAX_LIST: u64 = 4096;
/// Bytes of keys and values kept in all.
const MAX_KEPT: u64 = 8 << 20;
/// More than any model has.
const MAX_TENSORS: u64 = 1 << 20;
/// `GGML_MAX_DIMS`.
const MAX_DIMS: u32 = 4;
/// `GGML_MAX_NAME`, its NUL included.
const MAX_TENSOR_NAME: u64 = 64;

/// What the header of one file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gguf {
    /// `llama`, `qwen2`, …
    pub architecture: String,
    /// `model`, `adapter`, …, or empty.
    pub kind: String,
    /// The model's own name for itself, or empty.
    pub name: String,
    /// `Q4_K_M`, `F16`, …: of `general.file_type`, or else the type that takes the most bytes.
    pub quantization: String,
    /// Jinja source, or empty.
    pub chat_template: String,
    /// Tensors of this file.
    pub n_tensors: u64,
    /// Numbers in the tensors of this file.
    pub n_params: u64,
    /// Bytes of the tensors of this file.
    pub weights_bytes: u64,
    /// Of these, bytes of the matrices that activations are multiplied with, by `ggml_type`.
    pub matrices: BTreeMap<u32, u64>,
    /// The table that tokens are looked up in: its `ggml_type` and bytes. Not among `matrices`.
    pub embedding: (u32, u64),
    /// Has the output a matrix of its own? Else it is the embedding.
    pub has_output: bool,
    /// Files that the model is split into, 1 for a whole one.
    pub n_files: u64,
    /// Tokens, as trained; 0 if unknown.
    pub n_ctx_train: u64,
    /// Entries of the vocabulary; 0 if unknown.
    pub n_vocab: u64,
    /// Pairs that the tokenizer joins.
    pub n_merges: u64,
    /// Width of the residual stream.
    pub n_embd: u64,
    /// Width of the widest feed-forward layer; of all experts together that one token uses.
    pub n_ff: u64,
    /// Attention heads of the layer that has the most.
    pub n_head: u64,
    /// K and V heads of the layer that has the most.
    pub n_head_kv: u64,
    /// Numbers in one head of K and of V.
    pub head_size: (u64, u64),
    /// K and V numbers that the caches of all layers keep per token.
    pub cache_per_token: (u64, u64),
    /// Bytes of recurrent state of all layers (Mamba, RWKV); 0 for a pure transformer.
    pub state_bytes: u64,
}

enum Value {
    Integer(i64),
    Text(String),
    List(Vec<i64>),
    /// An array that is too long or of a type that nobody asks for: its length.
    Skipped(u64),
}

impl Gguf {
    /// Reads the header and checks that every tensor lies inside the file.
    ///
    /// # Errors
    /// A sentence with what is wrong and what to do, for the user.
    pub fn read(file: impl Read + Seek) -> Result<Gguf, String> {
        let mut r = Reader::new(file)?;
        let (n_tensors, n_kv) = read_preamble(&mut r)?;
        let values = read_values(&mut r, n_kv)?;
        let mut model = Gguf { n_tensors, n_files: 1, ..Gguf::default() };
        let text = |key: &str| match values.get(key) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        };
        model.architecture = text("general.architecture");
        model.kind = text("general.type");
        model.name = text("general.name");
        model.chat_template = text("tokenizer.chat_template");
        if let Some(Value::Integer(n)) = values.get("split.count") {
            model.n_files = u64::try_from(*n).unwrap_or(1).max(1);
        }
        let largest_type = model.read_tensors(&mut r, n_tensors, alignment(&values)?)?;
        model.quantization = match values.get("general.file_type") {
            Some(Value::Integer(n)) => file_type_name(*n).map(str::to_owned),
            _ => None,
        }
        .unwrap_or(largest_type);
        model.read_shape(&values);
        Ok(model)
    }

    /// Is it an adapter for a model rather than one?
    pub fn is_adapter(&self) -> bool {
        self.kind == "adapter"
    }

    /// Adds the tensors of another file of the same model.
    pub fn add_tensors(&mut self, other: &Gguf) {
        self.weights_bytes = self.weights_bytes.saturating_add(other.weights_bytes);
        for (kind, bytes) in &other.matrices {
            let sum = self.matrices.entry(*kind).or_default();
            *sum = sum.saturating_add(*bytes);
        }
        if other.embedding.1 > 0 {
            self.embedding = other.embedding;
        }
        self.has_output |= other.has_output;
    }

    /// Sums up the tensors; returns the name of the type that takes the most bytes.
    fn read_tensors<R: Read + Seek>(&mut self, r: &mut Reader<R>, n: u64, alignment: u64) -> Result<String, String> {
        let mut bytes_by_type: HashMap<u32, u64> = HashMap::new();
        // The data starts after the last description, so ends can only be compared with the file's size at the end.
        let mut furthest = (0u64, String::new());
        for i in 0..n {
            let len = r.u64()?;
            if len >= MAX_TENSOR_NAME {
                return Err(damaged(&format!("the name of tensor {i} is {len} bytes long")));
            }
            let name = r.text(len)?;
            let n_dims = r.u32()?;
            if n_dims > MAX_DIMS {
                return Err(damaged(&format!("tensor `{name}` has {n_dims} dimensions")));
            }
            let mut shape = [1u64; MAX_DIMS as usize];
            for d in shape.iter_mut().take(n_dims as usize) {
                *d = r.u64()?;
            }
            let kind = r.u32()?;
            let offset = r.u64()?;
            let Some((_, block, block_bytes)) = block_of(kind) else {
                return Err(format!(
                    "tensor `{name}` has type {kind}, which this llama.cpp does not know: the file is damaged, or made \
                     by a newer llama.cpp; quantise it again"
                ));
            };
            let elements = shape.iter().try_fold(1u64, |product, &d| product.checked_mul(d));
            let elements = elements.filter(|&e| e <= i64::MAX as u64 && shape[0].is_multiple_of(block));
            let bytes = elements.and_then(|e| (e / block).checked_mul(block_bytes));
            let end = bytes.and_then(|b| b.checked_add(offset));
            let (Some(elements), Some(bytes), Some(end)) = (elements, bytes, end) else {
                return Err(damaged(&format!("tensor `{name}` has the impossible shape {shape:?}")));
            };
            if !offset.is_multiple_of(alignment) {
                return Err(damaged(&format!("tensor `{name}` starts at {offset}, which is not aligned")));
            }
            match name.as_str() {
                "token_embd.weight" => {
                    self.n_vocab = shape[1];
                    self.embedding = (kind, bytes);
                }
                _ if n_dims > 1 => {
                    self.has_output |= name == "output.weight";
                    let sum = self.matrices.entry(kind).or_default();
                    *sum = sum.saturating_add(bytes);
                }
                _ => {}
            }
            self.n_params = self.n_params.saturating_add(elements);
            self.weights_bytes = self.weights_bytes.saturating_add(bytes);
            let sum = bytes_by_type.entry(kind).or_default();
            *sum = sum.saturating_add(bytes);
            if end >= furthest.0 {
                furthest = (end, name);
            }
        }
        let data = r.position().checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
        let need = data.saturating_add(furthest.0);
        if n > 0 && need > r.len() {
            return Err(format!(
                "the file is truncated: tensor `{}` ends at byte {need}, the file has {}; copy or download it again",
                furthest.1,
                r.len()
            ));
        }
        let largest = bytes_by_type.into_iter().max_by_key(|&(kind, bytes)| (bytes, kind));
        Ok(largest.and_then(|(kind, _)| block_of(kind)).map(|(name, ..)| name.to_uppercase()).unwrap_or_default())
    }

    /// The numbers that decide how much memory a context takes. What is absent stays 0, what is absurd saturates.
    fn read_shape(&mut self, values: &HashMap<String, Value>) {
        let list = |key: &str| -> Vec<u64> {
            let unsigned = |n: &i64| u64::try_from(*n).unwrap_or(0);
            match values.get(&format!("{}.{key}", self.architecture)) {
                Some(Value::Integer(n)) => vec![unsigned(n)],
                Some(Value::List(list)) => list.iter().map(unsigned).collect(),
                _ => Vec::new(),
            }
        };
        let max = |key: &str| list(key).into_iter().max().unwrap_or(0);

        self.n_ctx_train = max("context_length");
        self.n_embd = max("embedding_length");
        let (dense, expert) = (max("feed_forward_length"), max("expert_feed_forward_length"));
        let expert = if expert == 0 { dense } else { expert };
        self.n_ff = dense.max(expert.saturating_mul(max("expert_used_count")));
        self.n_head = max("attention.head_count");
        if let Some(Value::Skipped(n)) = values.get("tokenizer.ggml.tokens") {
            self.n_vocab = self.n_vocab.max(*n);
        }
        if let Some(Value::Skipped(n)) = values.get("tokenizer.ggml.merges") {
            self.n_merges = *n;
        }

        let n_layer = max("block_count");
        let default_head = self.n_embd.checked_div(self.n_head).unwrap_or(0);
        let or = |n: u64, default: u64| if n == 0 { default } else { n };
        self.head_size =
            (or(max("attention.key_length"), default_head), or(max("attention.value_length"), default_head));
        let mut heads = list("attention.head_count_kv");
        if heads.is_empty() {
            heads = list("attention.head_count");
        }
        self.n_head_kv = heads.iter().copied().max().unwrap_or(0);
        // One number for all layers, or one per layer (0 where a hybrid model has a recurrent layer).
        let total: u64 = match heads[..] {
            [] => 0,
            [each] => n_layer.saturating_mul(each),
            _ => heads.iter().fold(0, |sum: u64, &n| sum.saturating_add(n)),
        };
        self.cache_per_token = (total.saturating_mul(self.head_size.0), total.saturating_mul(self.head_size.1));

        // Recurrent state, in f32: llama.cpp's n_embd_r() and n_embd_s() for Mamba and RWKV.
        let recurrent_layers = if heads.len() > 1 { heads.iter().filter(|&&n| n == 0).count() as u64 } else { n_layer };
        let (inner, state) = (max("ssm.inner_size"), max("ssm.state_size"));
        let groups = max("ssm.group_count").saturating_mul(state).saturating_mul(2);
        let convolution = max("ssm.conv_kernel").saturating_sub(1).saturating_mul(inner.saturating_add(groups));
        let mamba = inner.saturating_mul(state).saturating_add(convolution);
        let wkv = max("wkv.head_size");
        let rwkv = if wkv > 0 { self.n_embd.saturating_mul(wkv.saturating_add(2)) } else { 0 };
        self.state_bytes = recurrent_layers.saturating_mul(mamba.saturating_add(rwkv)).saturating_mul(4);
    }
}

/// Magic, version, numbers of tensors and of key-value pairs.
fn read_preamble<R: Read + Seek>(r: &mut Reader<R>) -> Result<(u64, u64), String> {
    if r.len() == 0 {
        return Err("the file is empty: copy or download it again".to_owned());
    }
    let magic = r.bytes(4.min(r.len()))?;
    if magic != b"GGUF" {
        let start = String::from_utf8_lossy(&magic).into_owned();
        return Err(format!(
            "not a GGUF file (it starts with {start:?}): give the .gguf, or convert the model with llama.cpp's \
             convert_hf_to_gguf.py"
        ));
    }
    let version = r.u32()?;
    match version {
        2 | 3 => {}
        1 => return Err("GGUF version 1 is no longer supported: convert the model again".to_owned()),
        v if v & 0xFFFF == 0 && v != 0 => {
            return Err("a big-endian GGUF file: get the little-endian one for this machine".to_owned());
        }
        v => return Err(format!("GGUF version {v}, but this llama.cpp reads 2 and 3: convert the model again")),
    }
    let (n_tensors, n_kv) = (r.u64()?, r.u64()?);
    // A description takes at least 24 bytes, a pair at least 13: numbers beyond the file's size are garbage.
    if n_tensors > MAX_TENSORS || n_tensors > r.remaining() / 24 || n_kv > r.remaining() / 13 {
        return Err(damaged(&format!("it claims {n_tensors} tensors and {n_kv} keys in {} bytes", r.len())));
    }
    Ok((n_tensors, n_kv))
}

/// Reads all pairs and keeps those that are small: scalars, short texts, short integer arrays.
fn read_values<R: Read + Seek>(r: &mut Reader<R>, n: u64) -> Result<HashMap<String, Value>, String> {
    let mut values = HashMap::new();
    let mut kept = 0u64;
    for i in 0..n {
        let len = r.u64()?;
        if len == 0 || len > u64::from(u16::MAX) {
            return Err(damaged(&format!("key {i} is {len} bytes long")));
        }
        let key = r.text(len)?;
        let kind = r.u32()?;
        let value = read_value(r, &key, kind)?;
        kept += len + 64;
        kept += match &value {
            Value::Text(text) => text.len() as u64,
            Value::List(list) => list.len() as u64 * 8,
            _ => 0,
        };
        if kept > MAX_KEPT {
            return Err(damaged(&format!("its metadata is larger than {} MiB", MAX_KEPT >> 20)));
        }
        if values.insert(key.clone(), value).is_some() {
            return Err(damaged(&format!("key `{}` appears twice", short(&key))));
        }
    }
    Ok(values)
}

fn read_value<R: Read + Seek>(r: &mut Reader<R>, key: &str, kind: u32) -> Result<Value, String> {
    const STRING: u32 = 8;
    const ARRAY: u32 = 9;
    match kind {
        STRING => {
            let len = r.u64()?;
            if len > MAX_TEXT {
                r.skip(len)?;
                return Ok(Value::Skipped(len));
            }
            Ok(Value::Text(r.text(len)?))
        }
        ARRAY => {
            let (kind, n) = (r.u32()?, r.u64()?);
            if kind == STRING {
                for _ in 0..n {
                    let len = r.u64()?;
                    r.skip(len)?;
                }
                return Ok(Value::Skipped(n));
            }
            let size = types::scalar_bytes(kind).ok_or_else(|| bad_type(key, kind))?;
            if n <= MAX_LIST && types::is_integer(kind) {
                return Ok(Value::List((0..n).map(|_| r.integer(kind, size)).collect::<Result<_, _>>()?));
            }
            r.skip(n.checked_mul(size).ok_or_else(|| bad_type(key, kind))?)?;
            Ok(Value::Skipped(n))
        }
        _ => {
            let size = types::scalar_bytes(kind).ok_or_else(|| bad_type(key, kind))?;
            if types::is_integer(kind) {
                return Ok(Value::Integer(r.integer(kind, size)?));
            }
            r.skip(size)?;
            Ok(Value::Skipped(1))
        }
    }
}

fn alignment(values: &HashMap<String, Value>) -> Result<u64, String> {
    match values.get("general.alignment") {
        None => Ok(32),
        Some(Value::Integer(n)) if (1..=1 << 20).contains(n) && (n & (n - 1)) == 0 => Ok(*n as u64),
        Some(_) => Err(damaged("its general.alignment is not a power of two")),
    }
}

fn bad_type(key: &str, kind: u32) -> String {
    damaged(&format!("key `{}` has the unknown type {kind}", short(key)))
}

fn damaged(what: &str) -> String {
    format!("the file is damaged: {what}; copy or download it again")
}

/// A name for a message, which has room for 247 bytes in all.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests;
