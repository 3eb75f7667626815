//! Importance matrices as llama-imatrix writes them: for each matrix the mean square of what it is multiplied with, by column.
//! It owns the two formats (the GGUF of today, `.dat` of before; llama.cpp's `common/imatrix-loader.cpp`) and must not
//! know what they are used for.

use crate::failure::Failure;
use llama_cpp_sys_2 as sys;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};

/// Longest name of a tensor that is believed.
const MAX_NAME: usize = 1024;

/// Of a whole model.
pub struct Imatrix(BTreeMap<CString, Vec<f32>>);

impl Imatrix {
    /// # Errors
    /// `EB_ERR_INVALID` if it cannot be read.
    pub fn read(path: &Path) -> Result<Imatrix, Failure> {
        let wrong = |what: &str| Failure::invalid(format!("the imatrix {}: {what}", path.display()));
        let bytes = std::fs::read(path).map_err(|e| wrong(&e.to_string()))?;
        let values = if bytes.starts_with(b"GGUF") { gguf(path) } else { dat(&bytes) };
        match values {
            Some(values) if !values.is_empty() => Ok(Imatrix(values)),
            _ => Err(wrong("is none, or is damaged; llama-imatrix makes them")),
        }
    }

    /// As llama.cpp takes it; the last entry is empty.
    pub fn list(&self) -> Vec<sys::llama_model_imatrix_data> {
        let entry = |(name, values): (&CString, &Vec<f32>)| sys::llama_model_imatrix_data {
            name: name.as_ptr(),
            data: values.as_ptr(),
            size: values.len(),
        };
        let end = sys::llama_model_imatrix_data { name: null(), data: null(), size: 0 };
        self.0.iter().map(entry).chain([end]).collect()
    }
}

/// Number of entries; each: length of name, name, number of calls, number of values, values. Little-endian.
fn dat(bytes: &[u8]) -> Option<BTreeMap<CString, Vec<f32>>> {
    let mut rest = bytes;
    let mut values = BTreeMap::new();
    for _ in 0..number(&mut rest)? {
        let len = usize::try_from(number(&mut rest)?).ok().filter(|len| *len <= MAX_NAME)?;
        let name = CString::new(take(&mut rest, len)?).ok()?;
        let calls = number(&mut rest)?.max(1) as f32;
        let count = usize::try_from(number(&mut rest)?).ok()?.checked_mul(4)?;
        let sums = take(&mut rest, count)?.chunks_exact(4).filter_map(|b| Some(f32::from_le_bytes(b.try_into().ok()?)));
        values.insert(name, sums.map(|sum| sum / calls).collect());
    }
    Some(values)
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(n)?;
    *rest = tail;
    Some(head)
}

fn number(rest: &mut &[u8]) -> Option<i32> {
    take(rest, 4).and_then(|b| b.try_into().ok()).map(i32::from_le_bytes)
}

/// Pairs of tensors `NAME.in_sum2`, a row for each expert, and `NAME.counts`, what that row is divided by.
fn gguf(path: &Path) -> Option<BTreeMap<CString, Vec<f32>>> {
    let c_path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut tensors: *mut sys::ggml_context = null_mut();
    let params = sys::gguf_init_params { no_alloc: false, ctx: &mut tensors };
    // SAFETY: reads the file into a context of its own, both freed below; NULL if it is damaged.
    let header = unsafe { sys::gguf_init_from_file(c_path.as_ptr(), params) };
    if header.is_null() {
        return None;
    }
    let mut values = BTreeMap::new();
    // SAFETY: walks the tensors of the context, which is alive.
    let mut tensor = unsafe { sys::ggml_get_first_tensor(tensors) };
    while !tensor.is_null() {
        // SAFETY: a tensor of the context with its NUL-terminated name.
        let name = unsafe { CStr::from_ptr((*tensor).name.as_ptr()) }.to_string_lossy().into_owned();
        if let Some(stem) = name.strip_suffix(".in_sum2") {
            let counts = CString::new(format!("{stem}.counts")).ok();
            // SAFETY: the context is alive; NULL where there is none.
            let counts = counts.map_or(null_mut(), |c| unsafe { sys::ggml_get_tensor(tensors, c.as_ptr()) });
            // SAFETY: tensors of the context, whose data was read.
            if let (Some(sums), Some(counts), Ok(stem)) =
                unsafe { (floats(tensor), floats(counts), CString::new(stem)) }
            {
                values.insert(stem, means(sums, counts));
            }
        }
        // SAFETY: as above.
        tensor = unsafe { sys::ggml_get_next_tensor(tensors, tensor) };
    }
    // SAFETY: made above, freed once.
    unsafe {
        sys::gguf_free(header);
        sys::ggml_free(tensors);
    }
    Some(values)
}

/// The numbers of an F32 tensor.
///
/// # Safety
/// NULL, or a tensor whose data lives for `'a`.
unsafe fn floats<'a>(tensor: *const sys::ggml_tensor) -> Option<&'a [f32]> {
    // SAFETY: passed on to the caller.
    let inner = unsafe { tensor.as_ref() }.filter(|t| t.type_ == sys::GGML_TYPE_F32 && !t.data.is_null())?;
    // SAFETY: an F32 tensor that was read from a file is contiguous.
    Some(unsafe { std::slice::from_raw_parts(inner.data.cast::<f32>(), sys::ggml_nelements(tensor) as usize) })
}

/// Each row of `sums` over its count; a row that was never used weighs all columns alike, as in llama-quantize.
fn means(sums: &[f32], counts: &[f32]) -> Vec<f32> {
    let width = sums.len() / counts.len().max(1);
    let row = |(row, count): (&[f32], &f32)| {
        row.iter().map(|sum| if *count > 0.0 { sum / count } else { 1.0 }).collect::<Vec<f32>>()
    };
    sums.chunks_exact(width.max(1)).zip(counts).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, calls: i32, sums: &[f32]) -> Vec<u8> {
        let mut bytes = (name.len() as i32).to_le_bytes().to_vec();
        bytes.extend(name.as_bytes());
        bytes.extend(calls.to_le_bytes());
        bytes.extend((sums.len() as i32).to_le_bytes());
        bytes.extend(sums.iter().flat_map(|s| s.to_le_bytes()));
        bytes
    }

    #[test]
    fn the_old_format_is_read_and_damage_is_seen() {
        let mut bytes = 2i32.to_le_bytes().to_vec();
        bytes.extend(entry("a", 2, &[2.0, 4.0]));
        bytes.extend(entry("b", 1, &[3.0]));
        let values = dat(&bytes).unwrap();
        assert_eq!(values[c"a"], [1.0, 2.0]);
        assert_eq!(values[c"b"], [3.0]);
        for end in 0..bytes.len() {
            assert!(dat(&bytes[..end]).is_none(), "cut at {end}");
        }
    }

    #[test]
    fn rows_of_experts_have_counts_of_their_own() {
        assert_eq!(means(&[2.0, 4.0, 3.0, 9.0], &[2.0, 3.0]), [1.0, 2.0, 1.0, 3.0]);
        assert_eq!(means(&[2.0, 4.0], &[0.0]), [1.0, 1.0]);
    }
}
