//! `lora` among the params of an object: which low-rank adapters its model is tried with. It must not know how one is
//! applied.

use super::read::file;
use super::toml::Value;
use std::path::{Path, PathBuf};

/// The key in `params`.
pub const KEY: &str = "lora";
/// The model alone.
const NONE: &str = "none";

/// A low-rank adapter as an object names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// As written in the job.
    pub text: String,
    /// Absolute.
    pub path: PathBuf,
    /// 1: as it was trained; 0: without effect.
    pub scale: f32,
}

/// The adapters of each instance that a sweep makes: several in one act together.
pub fn sweep(value: &Value, folder: &Path) -> Vec<Vec<Adapter>> {
    value.sweep().iter().filter_map(|v| together(v, folder)).collect()
}

/// `"none"`, one adapter, or a list of them.
fn together(value: &Value, folder: &Path) -> Option<Vec<Adapter>> {
    if !value.is_list() && !value.is_table() && value.name()? == NONE {
        return Some(Vec::new());
    }
    value.list().iter().map(|v| adapter(v, folder)).collect()
}

/// `"a.gguf"`, or `{ path = "a.gguf", scale = 0.5 }`.
fn adapter(value: &Value, folder: &Path) -> Option<Adapter> {
    if !value.is_table() {
        let (text, path) = file(value, folder, true)?;
        return Some(Adapter { text, path, scale: 1.0 });
    }
    let mut table = value.table("lora")?;
    let path = table.need("path", "give the adapter's file");
    let scale = table.get("scale").map_or(Some(1.0), |v| v.number(-100.0, 100.0));
    table.finish();
    let (text, path) = file(&path?, folder, true)?;
    Some(Adapter { text, path, scale: scale? as f32 })
}

/// `a.gguf+b.gguf@0.5`; `none` for none.
pub fn text(adapters: &[Adapter]) -> String {
    let one = |a: &Adapter| if a.scale == 1.0 { a.text.clone() } else { format!("{}@{}", a.text, a.scale) };
    if adapters.is_empty() { NONE.to_owned() } else { adapters.iter().map(one).collect::<Vec<_>>().join("+") }
}
