//! The words of an object whose model is made smaller: `quantize` and `imatrix`, and which object instances are variants
//! of one. It must not know how a model is made smaller.

use super::read::file;
use super::toml::{Table, Value};
use std::path::{Path, PathBuf};

/// The word for the model as it is.
const NONE: &str = "none";
/// Behind a kind: every matrix gets it, also those that are usually kept finer.
const PURE: &str = ":pure";

/// Parameters that are about how a model is kept, not how it is run: object instances that differ in nothing else are
/// variants of one.
const KEPT: &[&str] = &["quantize", "type_k", "type_v", "flash_attn"];

/// A smaller model that an object wants, or the original beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantize {
    /// In the backend's words; `none`: the original.
    pub kind: String,
    pub pure: bool,
    /// Absolute.
    pub imatrix: Option<PathBuf>,
}

impl Quantize {
    /// `Q4_K_M`, or `Q2_K:pure`.
    pub fn parse(text: &str, imatrix: Option<PathBuf>) -> Quantize {
        let (kind, pure) = text.strip_suffix(PURE).map_or((text, false), |kind| (kind, true));
        Quantize { kind: kind.to_owned(), pure, imatrix }
    }

    /// Is it the original?
    pub fn is_none(&self) -> bool {
        self.kind == NONE
    }

    /// As written in the job.
    pub fn text(&self) -> String {
        format!("{}{}", self.kind, if self.pure { PURE } else { "" })
    }
}

/// `quantize = ["Q8_0", "Q4_0"]` and `imatrix`: the original first, whether it is named or not. `models`: how many the object has that
/// are files.
pub fn sweep(table: &mut Table, folder: &Path, models: usize, served: bool) -> Vec<Option<Quantize>> {
    let (quantize, imatrix) = (table.get("quantize"), table.get("imatrix"));
    let Some(value) = quantize else {
        if let Some(value) = imatrix {
            value.problem(
                "`imatrix` is for models that are made smaller",
                "leave it out, or say quantize = [\"Q4_K_M\"]",
            );
        }
        return vec![None];
    };
    if models == 0 || served {
        value.problem("`quantize` needs a model's file", "set `model` to the F16 or F32 one");
        return vec![None];
    }
    let imatrix = imatrix.and_then(|v| file(&v, folder, false)).map(|(_, path)| path);
    let kinds: Vec<Quantize> =
        value.sweep().iter().filter_map(|v| kind(v)).map(|text| Quantize::parse(text, imatrix.clone())).collect();
    let original = Quantize { kind: NONE.to_owned(), pure: false, imatrix: None };
    [original].into_iter().chain(kinds.into_iter().filter(|q| !q.is_none())).map(Some).collect()
}

/// A word that may be part of a file's name; the backend knows whether it is a kind.
fn kind<'a>(value: &Value<'a>) -> Option<&'a str> {
    let text = value.name()?;
    let word = text.strip_suffix(PURE).unwrap_or(text);
    let good = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if !good {
        value.problem(format!("\"{text}\" is no kind of quantisation"), "write it like \"Q4_K_M\", or \"Q2_K:pure\"");
    }
    good.then_some(text)
}

/// Parameters as they are in the results (`quantize=Q4_0 threads=2`), parted into those that make a variant and the others, by
/// which variants of one model are found.
pub fn variant_and_setting(params: &str) -> (String, String) {
    let is_kept = |pair: &&str| KEPT.contains(&pair.split('=').next().unwrap_or_default());
    let (kept, others): (Vec<&str>, Vec<&str>) = params.split(' ').filter(|p| !p.is_empty()).partition(is_kept);
    (kept.join(" "), others.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_parted_into_what_is_kept_and_how_it_is_run() {
        let parted = variant_and_setting("quantize=Q4_0 threads=2 type_k=q8_0 n_ctx=512");
        assert_eq!(parted, ("quantize=Q4_0 type_k=q8_0".to_owned(), "threads=2 n_ctx=512".to_owned()));
        assert_eq!(variant_and_setting(""), (String::new(), String::new()));
    }
}
