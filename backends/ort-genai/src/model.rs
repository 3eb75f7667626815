//! A model folder as ONNX Runtime GenAI wants it: checks it before the vendor's library sees it, reads what it tells.
//! It owns genai_config.json, the chat template and the list of special tokens.
//! It must not know libraries or sessions.

use crate::failure::Failure;
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

const CONFIG: &str = "genai_config.json";
const HOW: &str = "make one with python -m onnxruntime_genai.models.builder, or scripts/ort-genai export";
/// Context that is opened when neither job nor need asks for more: long contexts cost memory from the start.
const DEFAULT_CONTEXT: u64 = 4096;

/// What the folder says about its model. Unknown numbers are 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder {
    pub path: PathBuf,
    pub architecture: String,
    pub context_length: u64,
    pub n_vocab: usize,
    pub bos: i32,
    /// Tokens that end an answer; the first is the model's own.
    pub eos: Vec<i32>,
    /// Bytes of KV cache per token, if it is fp32, which it is on the CPU.
    pub kv_bytes_per_token: u64,
    /// Bytes of the .onnx files and their data.
    pub weights_bytes: u64,
    /// Name of the logits among the model's outputs.
    pub logits: String,
    pub chat_template: String,
    /// BOS and EOS as they are written in text.
    pub bos_text: String,
    pub eos_text: String,
    /// Control tokens as they are written in text.
    pub special_tokens: Vec<String>,
    /// Their numbers, BOS and those that end an answer included.
    pub control: Vec<i32>,
}

#[derive(Deserialize)]
struct Config {
    model: ModelConfig,
}

#[derive(Deserialize)]
struct ModelConfig {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    context_length: u64,
    vocab_size: usize,
    bos_token_id: Option<i32>,
    eos_token_id: Option<Ids>,
    #[serde(default)]
    decoder: Decoder,
}

/// One id, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(i32),
    Many(Vec<i32>),
}

#[derive(Deserialize, Default)]
struct Decoder {
    filename: Option<String>,
    #[serde(default)]
    head_size: u64,
    #[serde(default)]
    num_hidden_layers: u64,
    #[serde(default)]
    num_key_value_heads: u64,
    #[serde(default)]
    outputs: Outputs,
}

#[derive(Deserialize, Default)]
struct Outputs {
    logits: Option<String>,
}

/// tokenizer.json, most of which is skipped.
#[derive(Deserialize)]
struct Tokenizer {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: Option<i32>,
    content: String,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TokenizerConfig {
    chat_template: serde_json::Value,
    bos_token: serde_json::Value,
    eos_token: serde_json::Value,
}

impl Folder {
    /// Reads and checks the folder.
    ///
    /// # Errors
    /// `EB_ERR_MODEL`: what is wrong with it and what to do.
    pub fn read(path: &Path) -> Result<Folder, Failure> {
        let shown = path.display();
        let wrong = |what: String| Err(Failure::model(what));
        if path.as_os_str().is_empty() {
            return wrong(format!("no model is given: set model to a folder with {CONFIG}; {HOW}"));
        }
        if path.is_file() {
            return wrong(format!("{shown} is a file: give the folder that holds {CONFIG}; {HOW}"));
        }
        if !path.is_dir() {
            return wrong(format!("{shown} does not exist: check the path; the model is a folder with {CONFIG}"));
        }
        let text = match fs::read(path.join(CONFIG)) {
            Ok(text) => text,
            Err(error) => return wrong(format!("no {CONFIG} in {shown} ({error}): {HOW}")),
        };
        let Config { model } = match serde_json::from_slice(&text) {
            Ok(config) => config,
            Err(error) => return wrong(format!("{CONFIG} in {shown}: {error}; export the model again")),
        };
        if let Some(name) = &model.decoder.filename
            && !path.join(name).is_file()
        {
            return wrong(format!("{CONFIG} names {name}, which is not in {shown}: copy the whole folder"));
        }
        if !["tokenizer.json", "tokenizer.model", "tokenizer_config.json"].iter().any(|f| path.join(f).is_file()) {
            return wrong(format!("no tokenizer.json in {shown}: copy the whole folder, or export the model again"));
        }
        if model.vocab_size == 0 {
            return wrong(format!("{CONFIG} in {shown} says vocab_size = 0: export the model again"));
        }
        let decoder = &model.decoder;
        let bos = model.bos_token_id.unwrap_or(-1);
        let eos = match model.eos_token_id {
            Some(Ids::One(id)) => vec![id],
            Some(Ids::Many(ids)) => ids,
            None => Vec::new(),
        };
        let special = special_tokens(path);
        let tokenizer = tokenizer_config(path);
        Ok(Folder {
            architecture: model.kind,
            context_length: model.context_length,
            n_vocab: model.vocab_size,
            control: special.iter().filter_map(|t| t.id).chain([bos]).chain(eos.first().copied()).collect(),
            bos,
            eos,
            kv_bytes_per_token: 2 * 4 * decoder.num_hidden_layers * decoder.num_key_value_heads * decoder.head_size,
            weights_bytes: weights_bytes(path),
            logits: model.decoder.outputs.logits.unwrap_or_else(|| "logits".to_owned()),
            bos_text: token_text(&tokenizer.bos_token),
            eos_text: token_text(&tokenizer.eos_token),
            chat_template: chat_template(path, tokenizer.chat_template),
            special_tokens: special.into_iter().map(|t| t.content).filter(|c| !c.is_empty()).collect(),
            path: path.to_path_buf(),
        })
    }

    /// Tokens that a sequence may hold, if `asked` for or not.
    ///
    /// # Errors
    /// `EB_ERR_INVALID` for more than the model was made for: its tables of positions end there.
    pub fn n_ctx(&self, asked: Option<u32>) -> Result<usize, Failure> {
        let most = if self.context_length == 0 { u64::from(u32::MAX) } else { self.context_length };
        match asked {
            Some(n) if u64::from(n) > most => {
                Err(Failure::invalid(format!("n_ctx = {n} is more than the model's context_length = {most}: lower it")))
            }
            Some(n) => Ok(n as usize),
            None => Ok(most.min(DEFAULT_CONTEXT) as usize),
        }
    }
}

/// `model.onnx`, `model.onnx.data`, `decoder.onnx_data` …
fn weights_bytes(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let onnx = files.filter(|f| f.file_name().to_string_lossy().contains(".onnx"));
    onnx.filter_map(|f| fs::metadata(f.path()).ok()).filter(|m| m.is_file()).map(|m| m.len()).sum()
}

fn tokenizer_config(folder: &Path) -> TokenizerConfig {
    let config = fs::read(folder.join("tokenizer_config.json")).unwrap_or_default();
    serde_json::from_slice(&config).unwrap_or_default()
}

/// `"<s>"`, or `{"content": "<s>", …}`.
fn token_text(token: &serde_json::Value) -> String {
    token.as_str().or(token["content"].as_str()).unwrap_or_default().to_owned()
}

/// Of a file of its own, or of tokenizer_config.json: one, or the default one of several.
fn chat_template(folder: &Path, configured: serde_json::Value) -> String {
    if let Ok(text) = fs::read_to_string(folder.join("chat_template.jinja")) {
        return text;
    }
    match configured {
        serde_json::Value::String(text) => text,
        serde_json::Value::Array(all) => {
            let named = |name: &str| all.iter().find(|t| t["name"] == name).or(all.first());
            named("default").and_then(|t| t["template"].as_str()).unwrap_or_default().to_owned()
        }
        _ => String::new(),
    }
}

/// Control tokens of tokenizer.json.
fn special_tokens(folder: &Path) -> Vec<AddedToken> {
    let Ok(file) = fs::File::open(folder.join("tokenizer.json")) else { return Vec::new() };
    let tokenizer: Option<Tokenizer> = serde_json::from_reader(std::io::BufReader::new(file)).ok();
    let added = tokenizer.map(|t| t.added_tokens).unwrap_or_default();
    added.into_iter().filter(|t| t.special).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgebench_abi::{EB_ERR_INVALID, EB_ERR_MODEL};

    const GOOD: &str = r#"{"model": {"type": "llama", "context_length": 8192, "vocab_size": 10, "bos_token_id": 1,
        "eos_token_id": [2, 7], "decoder": {"filename": "model.onnx", "head_size": 64, "num_hidden_layers": 4,
        "num_key_value_heads": 2, "outputs": {"logits": "logits"}}}, "search": {"max_length": 8192}}"#;

    fn folder(config: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(CONFIG), config).unwrap();
        for (name, text) in files {
            fs::write(root.path().join(name), text).unwrap();
        }
        root
    }

    #[test]
    fn a_complete_folder_is_read() {
        let tokenizer = r#"{"added_tokens": [{"id": 9, "content": "<s>", "special": true}, {"id": 3, "content": "  "}],
            "model": {"vocab": {"a": 1}}}"#;
        let root = folder(
            GOOD,
            &[
                ("model.onnx", "12345"),
                ("model.onnx.data", "123"),
                ("tokenizer.json", tokenizer),
                ("tokenizer_config.json", r#"{"chat_template": "{{ messages }}"}"#),
            ],
        );
        let read = Folder::read(root.path()).unwrap();
        assert_eq!((read.n_vocab, read.bos, read.eos.as_slice()), (10, 1, [2, 7].as_slice()));
        assert_eq!((read.weights_bytes, read.kv_bytes_per_token), (8, 2 * 4 * 4 * 2 * 64));
        assert_eq!((read.chat_template.as_str(), read.special_tokens), ("{{ messages }}", vec!["<s>".to_owned()]));
        assert_eq!(read.control, [9, 1, 2], "the tokenizer's own, BOS and EOS");
        let read = Folder::read(root.path()).unwrap();
        assert_eq!((read.n_ctx(None).unwrap(), read.n_ctx(Some(8192)).unwrap()), (4096, 8192));
        assert_eq!(read.n_ctx(Some(8193)).unwrap_err().code, EB_ERR_INVALID);
    }

    #[test]
    fn each_defect_is_named() {
        let complete = [("model.onnx", ""), ("tokenizer.json", "{}")];
        let no_tokenizer = folder(GOOD, &complete[..1]);
        let no_weights = folder(GOOD, &complete[1..]);
        let cut = folder(&GOOD[..40], &complete);
        let empty = tempfile::tempdir().unwrap();
        for (path, word) in [
            (Path::new(""), "no model"),
            (Path::new("/nonexistent/m"), "does not exist"),
            (&no_weights.path().join("tokenizer.json"), "is a file"),
            (empty.path(), "genai_config.json"),
            (cut.path(), "line"),
            (no_weights.path(), "model.onnx"),
            (no_tokenizer.path(), "tokenizer.json"),
        ] {
            let failure = Folder::read(path).unwrap_err();
            assert_eq!(failure.code, EB_ERR_MODEL);
            assert!(failure.message.contains(word), "{}", failure.message);
        }
    }
}
