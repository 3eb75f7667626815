//! A small GGUF writer, and what the reader makes of good, bad and random files.
//! The hostile cases must end in a sentence: no panic, no large allocation, no endless loop.
//! llama.cpp is not involved.

use super::*;
use proptest::prelude::*;
use std::io::Cursor;

/// A GGUF in the making: pairs are already encoded.
struct Writer {
    pairs: Vec<Vec<u8>>,
    /// name, shape, type, bytes
    tensors: Vec<(String, Vec<u64>, u32, u64)>,
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Writer {
    fn pair(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.pairs.push([&string(key)[..], &kind.to_le_bytes(), value].concat());
        self
    }

    fn u32(self, key: &str, value: u32) -> Self {
        self.pair(key, 4, &value.to_le_bytes())
    }

    fn text(self, key: &str, value: &str) -> Self {
        self.pair(key, 8, &string(value))
    }

    fn array(self, key: &str, kind: u32, n: u64, values: &[u8]) -> Self {
        self.pair(key, 9, &[&kind.to_le_bytes()[..], &n.to_le_bytes(), values].concat())
    }

    fn tensor(mut self, name: &str, shape: &[u64], kind: u32) -> Self {
        let (_, block, size) = block_of(kind).unwrap();
        let bytes = shape.iter().product::<u64>() / block * size;
        self.tensors.push((name.to_owned(), shape.to_vec(), kind, bytes));
        self
    }

    fn finish(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.pairs.len() as u64).to_le_bytes());
        out.extend(self.pairs.concat());
        let mut offset = 0u64;
        for (name, shape, kind, bytes) in &self.tensors {
            out.extend(string(name));
            out.extend((shape.len() as u32).to_le_bytes());
            out.extend(shape.iter().flat_map(|d| d.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += bytes.next_multiple_of(32);
        }
        out.resize(out.len().next_multiple_of(32) + offset as usize, 0);
        out
    }
}

/// Two layers, grouped heads, a vocabulary of three.
fn model() -> Writer {
    let tokens = [string("a"), string("国"), string("")].concat();
    Writer { pairs: Vec::new(), tensors: Vec::new() }
        .text("general.architecture", "llama")
        .text("general.name", "tiny")
        .u32("general.file_type", 15)
        .u32("llama.context_length", 512)
        .u32("llama.embedding_length", 64)
        .u32("llama.block_count", 2)
        .u32("llama.feed_forward_length", 128)
        .u32("llama.attention.head_count", 4)
        .u32("llama.attention.head_count_kv", 2)
        .pair("llama.attention.layer_norm_rms_epsilon", 6, &1e-5f32.to_le_bytes())
        .array("tokenizer.ggml.tokens", 8, 3, &tokens)
        .array("tokenizer.ggml.scores", 6, 3, &[0; 12])
        .text("tokenizer.chat_template", "{{ messages }}")
        .tensor("token_embd.weight", &[64, 3], 0)
        .tensor("blk.0.attn_q.weight", &[64, 64], 8)
        .tensor("output_norm.weight", &[64], 0)
}

fn read(bytes: &[u8]) -> Result<Gguf, String> {
    Gguf::read(Cursor::new(bytes))
}

/// Cuts `bytes` out and puts others in, at the first place where `old` appears.
fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = bytes.windows(old.len()).position(|w| w == old).unwrap();
    [&bytes[..at], new, &bytes[at + old.len()..]].concat()
}

#[test]
fn a_good_file_is_described() {
    let model = read(&model().finish()).unwrap();
    let expected = Gguf {
        kind: String::new(),
        architecture: "llama".into(),
        name: "tiny".into(),
        quantization: "Q4_K_M".into(),
        chat_template: "{{ messages }}".into(),
        n_tensors: 3,
        n_params: 64 * 3 + 64 * 64 + 64,
        weights_bytes: 64 * 3 * 4 + 64 * 64 / 32 * 34 + 64 * 4,
        matrices: [(8, 64 * 64 / 32 * 34)].into(),
        embedding: (0, 64 * 3 * 4),
        has_output: false,
        n_files: 1,
        n_ctx_train: 512,
        n_vocab: 3,
        n_merges: 0,
        n_embd: 64,
        n_ff: 128,
        n_head: 4,
        n_head_kv: 2,
        head_size: (16, 16),
        cache_per_token: (2 * 2 * 16, 2 * 2 * 16),
        state_bytes: 0,
    };
    assert_eq!(model, expected);
}

#[test]
fn experts_merges_and_further_files_count() {
    let merges = [&string("a b")[..], &string("b c")].concat();
    let writer = model().u32("llama.expert_used_count", 2).u32("llama.expert_feed_forward_length", 96).array(
        "tokenizer.ggml.merges",
        8,
        2,
        &merges,
    );
    let mut whole = read(&writer.finish()).unwrap();
    assert_eq!((whole.n_ff, whole.n_merges), (2 * 96, 2));
    let mut rest = writer;
    rest.tensors.clear();
    let rest = read(&rest.tensor("output.weight", &[64, 3], 0).finish()).unwrap();
    let before = whole.weights_bytes;
    whole.add_tensors(&rest);
    assert!(whole.has_output && whole.embedding == (0, 64 * 3 * 4));
    assert_eq!(whole.weights_bytes, before + 64 * 3 * 4);
    assert_eq!(whole.matrices, [(0, 64 * 3 * 4), (8, 64 * 64 / 32 * 34)].into());
}

#[test]
fn without_a_file_type_the_heaviest_tensor_type_counts() {
    let mut writer = model();
    writer.pairs.remove(2);
    assert_eq!(read(&writer.finish()).unwrap().quantization, "Q8_0");
}

#[test]
fn heads_per_layer_and_own_head_sizes_are_understood() {
    let mut writer = model();
    writer.pairs.remove(8);
    let heads: Vec<u8> = [2u32, 0, 1].iter().flat_map(|n| n.to_le_bytes()).collect();
    let writer = writer
        .array("llama.attention.head_count_kv", 4, 3, &heads)
        .u32("llama.attention.key_length", 32)
        .u32("llama.ssm.inner_size", 128)
        .u32("llama.ssm.state_size", 16)
        .u32("llama.ssm.conv_kernel", 4);
    let model = read(&writer.finish()).unwrap();
    assert_eq!(model.cache_per_token, (3 * 32, 3 * 16));
    // One of the three layers is recurrent.
    assert_eq!(model.state_bytes, (128 * 16 + 3 * 128) * 4);
}

#[test]
fn what_is_not_a_gguf_is_named() {
    assert!(read(b"").unwrap_err().contains("empty"));
    assert!(read(b"GG").unwrap_err().contains("not a GGUF"));
    assert!(read(b"<!DOCTYPE html>").unwrap_err().contains("\"<!DO\""));
    let good = model().finish();
    let version = |v: u32| read(&replaced(&good, b"GGUF\x03\0\0\0", &[b"GGUF", &v.to_le_bytes()[..]].concat()));
    assert!(version(1).unwrap_err().contains("no longer"));
    assert!(version(4).unwrap_err().contains("version 4"));
    assert!(version(0).unwrap_err().contains("version 0"));
    assert!(version(3u32.swap_bytes()).unwrap_err().contains("big-endian"));
    assert!(version(2).is_ok());
}

#[test]
fn every_truncation_is_noticed() {
    let good = model().finish();
    for len in 0..good.len() {
        // The padding behind the last tensor may be missing: llama.cpp does not read it either.
        let error = read(&good[..len]);
        if let Ok(model) = error {
            assert!(good.len() - len < 32, "{len} of {} bytes pass as {model:?}", good.len());
        } else if len > 4 {
            let message = error.unwrap_err();
            assert!(message.contains("truncated") || message.contains("claims"), "{len}: {message}");
        }
    }
}

#[test]
fn impossible_tensors_are_refused() {
    let good = model().finish();
    let name = b"blk.0.attn_q.weight";
    let dims = [&name[..], &2u32.to_le_bytes(), &64u64.to_le_bytes()].concat();
    let edit = |row: u64| read(&replaced(&good, &dims, &[&name[..], &2u32.to_le_bytes(), &row.to_le_bytes()].concat()));
    assert!(edit(u64::MAX).unwrap_err().contains("impossible shape"));
    assert!(edit(63).unwrap_err().contains("impossible shape"));
    assert!(edit(1 << 40).unwrap_err().contains("truncated: tensor `blk.0.attn_q.weight`"));
    let five = [&name[..], &5u32.to_le_bytes(), &64u64.to_le_bytes()].concat();
    assert!(read(&replaced(&good, &dims, &five)).unwrap_err().contains("5 dimensions"));
    let at = good.windows(dims.len()).position(|w| w == dims).unwrap() + dims.len() + 8;
    let mut bad = good.clone();
    bad[at..at + 4].copy_from_slice(&31u32.to_le_bytes());
    assert!(read(&bad).unwrap_err().contains("type 31"));
    let mut bad = good.clone();
    bad[at + 4] = 1;
    assert!(read(&bad).unwrap_err().contains("not aligned"));
}

#[test]
fn claims_beyond_the_files_size_cost_nothing() {
    let good = model().finish();
    for (at, name) in [(8, "tensors"), (16, "keys")] {
        let mut bad = good.clone();
        bad[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(read(&bad).unwrap_err().contains("claims"), "{name}");
    }
    // An array and a string that claim 2^60 entries.
    let huge = (1u64 << 60).to_le_bytes();
    let array = replaced(
        &good,
        &[&8u32.to_le_bytes()[..], &3u64.to_le_bytes()].concat(),
        &[&8u32.to_le_bytes()[..], &huge].concat(),
    );
    assert!(read(&array).is_err());
    let text = replaced(&good, &string("{{ messages }}"), &[&huge[..], b"{{ messages }}"].concat());
    assert!(read(&text).unwrap_err().contains("truncated"));
    let numbers = replaced(
        &good,
        &[&6u32.to_le_bytes()[..], &3u64.to_le_bytes()].concat(),
        &[&6u32.to_le_bytes()[..], &huge].concat(),
    );
    assert!(read(&numbers).is_err());
}

#[test]
fn keys_are_checked() {
    assert!(read(&model().u32("general.name", 1).finish()).unwrap_err().contains("twice"));
    assert!(read(&model().u32("", 1).finish()).unwrap_err().contains("0 bytes"));
    assert!(read(&model().pair("x", 99, &[]).finish()).unwrap_err().contains("unknown type 99"));
    assert!(read(&model().u32("general.alignment", 33).finish()).unwrap_err().contains("power of two"));
    let big = "x".repeat((MAX_TEXT - 1) as usize);
    let many = (0..10).fold(model(), |w, i| w.text(&format!("k{i}"), &big));
    assert!(read(&many.finish()).unwrap_err().contains("metadata"));
    // A longer text is skipped, not kept.
    assert!(read(&model().text("k", &"x".repeat(MAX_TEXT as usize + 1)).finish()).is_ok());
}

#[test]
fn messages_fit_into_an_error() {
    let good = model().finish();
    for len in 0..good.len() {
        if let Err(message) = read(&good[..len]) {
            assert!(message.len() < 180, "{message}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = read(&bytes);
        let _ = read(&[b"GGUF\x03\0\0\0", &bytes[..]].concat());
    }

    #[test]
    fn flipped_bytes_never_panic(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = model().finish();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= value;
        }
        if let Ok(gguf) = read(&bytes) {
            // Whatever passes describes tensors that lie inside the file.
            prop_assert!(gguf.n_tensors <= 3 && gguf.weights_bytes <= 3 * bytes.len() as u64);
        }
    }

    #[test]
    fn any_shape_gives_a_finite_need(n in any::<[u32; 8]>()) {
        let mut writer = model();
        writer.pairs.truncate(3);
        let names = [
            "context_length", "embedding_length", "block_count", "feed_forward_length",
            "attention.head_count", "attention.key_length", "ssm.inner_size", "ssm.state_size",
        ];
        let writer = names.iter().zip(n).fold(writer, |w, (name, n)| w.u32(&format!("llama.{name}"), n));
        let gguf = read(&writer.finish()).unwrap();
        let options = crate::params::Options::default();
        let need = crate::memory::Need::of(&gguf, &options, u64::MAX, crate::memory::Work::Texts);
        prop_assert!(need.total() > 0);
    }
}
