//! Smaller models out of the F16 demo model, and how far their distributions are from its own.

mod common;

use common::{ONE_AT_A_TIME, Session, table};
use edgebench_abi::*;
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/demo").join(name)
}

/// The table of an extension, which has to be there.
fn extension<T>(name: &str) -> &'static T {
    // SAFETY: the tables live until the process ends, and have the header's layout.
    unsafe { table().get_extension.unwrap()(EbStr::new(name)).cast::<T>().as_ref() }.expect("it is offered")
}

fn quantize(original: &Path, kind: &str, imatrix: Option<&Path>, out: &Path) -> Result<EbQuantized, (i32, String)> {
    std::fs::write(out, "").unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (original, out, imatrix) = (text(original), text(out), imatrix.map_or(String::new(), text));
    let (kind, pure) = kind.strip_suffix(":pure").map_or((kind, 0), |kind| (kind, EB_QUANTIZE_PURE));
    let request = EbQuantizeRequest {
        struct_size: size_of::<EbQuantizeRequest>() as u32,
        threads: 1,
        flags: pure,
        model: EbStr::new(&original),
        out: EbStr::new(&out),
        kind: EbStr::new(kind),
        imatrix: EbStr::new(&imatrix),
        log: None,
        log_user: std::ptr::null_mut(),
    };
    let size = size_of::<EbQuantized>() as u32;
    let mut made = EbQuantized { struct_size: size, n_fallback: 9, n_weights: 0, weights_bytes: 0 };
    let mut error = EbError::new();
    let table = extension::<EbQuantizeV1>(EB_EXT_QUANTIZE);
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: everything lives for the call.
    match unsafe { table.quantize.unwrap()(&request, &mut made, &mut error) } {
        EB_OK => Ok(made),
        status => Err((status, error.text())),
    }
}

#[test]
fn models_are_those_that_llama_quantize_makes() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, committed) in [("q8_0", "demo-q8_0.gguf"), ("Q4_0", "demo-q4_0.gguf"), ("Q2_K:pure", "demo-q2_k.gguf")] {
        let out = folder.path().join("out.gguf");
        let made = quantize(&demo("demo-f16.gguf"), kind, None, &out).unwrap();
        assert_eq!(made.n_fallback, 0, "{kind}");
        let (ours, theirs) = (std::fs::read(&out).unwrap(), std::fs::read(demo(committed)).unwrap());
        // Their headers may have been written by another version; the tensors are at the end of both.
        let n = made.weights_bytes as usize;
        assert!(n * 10 > ours.len() * 9, "{kind}: {n} bytes of weights in a file of {}", ours.len());
        assert!(ours[ours.len() - n..] == theirs[theirs.len() - n..], "{kind}: other weights than {committed}");
    }
}

#[test]
fn what_cannot_be_made_is_refused_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.gguf");
    let refused = |original: &str, kind: &str, imatrix: Option<&Path>| {
        quantize(&demo(original), kind, imatrix, &out).expect_err("it should have been refused")
    };
    let (code, message) = refused("demo-f16.gguf", "Q4_X", None);
    assert!(code == EB_ERR_INVALID && message.contains("Q4_K_M"), "{message}");
    let (code, message) = refused("demo-q8_0.gguf", "Q4_0", None);
    assert!(code == EB_ERR_MODEL && message.contains("F16"), "{message}");
    let (code, message) = refused("demo-f16.gguf", "IQ2_XXS", None);
    assert!(code == EB_ERR_UNSUPPORTED && message.contains("imatrix"), "{message}");
    let nonsense = folder.path().join("nonsense.dat");
    std::fs::write(&nonsense, [7; 100]).unwrap();
    let (code, message) = refused("demo-f16.gguf", "Q4_K_M", Some(&nonsense));
    assert!(code == EB_ERR_INVALID && message.contains("imatrix"), "{message}");
    let (code, message) = refused("compare.jsonl", "Q4_0", None);
    assert!(code == EB_ERR_MODEL, "{message}");
}

/// An imatrix in the old format, in which some columns of one matrix weigh more.
#[test]
fn an_imatrix_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let mut imatrix = 1i32.to_le_bytes().to_vec();
    let name = "blk.0.ffn_down.weight";
    imatrix.extend((name.len() as i32).to_le_bytes());
    imatrix.extend(name.bytes());
    imatrix.extend(1i32.to_le_bytes());
    imatrix.extend(512i32.to_le_bytes());
    imatrix.extend((0..512).flat_map(|i| (if i % 7 == 0 { 100.0f32 } else { 0.01 }).to_le_bytes()));
    let path = folder.path().join("i.dat");
    std::fs::write(&path, imatrix).unwrap();
    let make = |imatrix: Option<&Path>| {
        let out = folder.path().join("out.gguf");
        let made = quantize(&demo("demo-f16.gguf"), "Q4_0", imatrix, &out).unwrap();
        let bytes = std::fs::read(&out).unwrap();
        bytes[bytes.len() - made.weights_bytes as usize..].to_vec()
    };
    let (plain, weighed) = (make(None), make(Some(&path)));
    let differ = plain.iter().zip(&weighed).filter(|(a, b)| a != b).count();
    // One matrix of 512 x 256 at 4.5 bits has 73 728 bytes.
    assert!(plain.len() == weighed.len() && differ > 1000 && differ <= 73_728, "{differ}");
}

/// Rows of logits.
unsafe extern "C" fn collect(user: *mut c_void, logits: *const f32, n: usize) -> i32 {
    // SAFETY: the test's own vector, and a row of n numbers.
    unsafe { (*user.cast::<Vec<Vec<f32>>>()).push(std::slice::from_raw_parts(logits, n).to_vec()) };
    0
}

fn rows(model: &Path, params: &[(&str, &str)]) -> Vec<Vec<f32>> {
    let params = [&[("threads", "1"), ("n_ctx", "256")], params].concat();
    let session = Session::open(model, &params).unwrap();
    let text = "Which number is larger?\nA. 312\nB. 47\nAnswer: A\n\nWhich number is larger?\nA. 12\nB. 470\nAnswer: B";
    let tokens = session.tokenize(text, EB_TOKENIZE_ADD_SPECIAL).unwrap();
    let mut rows: Vec<Vec<f32>> = Vec::new();
    let mut error = EbError::new();
    let table = extension::<EbLogitsV1>(EB_EXT_LOGITS);
    let user = (&raw mut rows).cast();
    // SAFETY: everything lives for the call.
    let status = unsafe {
        table.evaluate.unwrap()(session.raw, tokens.as_ptr(), tokens.len(), 1, Some(collect), user, &mut error)
    };
    assert_eq!((status, rows.len()), (EB_OK, tokens.len() - 1), "{}", error.text());
    rows
}

/// Mean KL divergence, by the book.
fn kl(p: &[Vec<f32>], q: &[Vec<f32>]) -> f64 {
    let log_softmax = |row: &[f32]| {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|l| f64::from(l - max).exp()).sum();
        row.iter().map(|l| f64::from(l - max) - sum.ln()).collect::<Vec<f64>>()
    };
    let one = |(p, q): (&Vec<f32>, &Vec<f32>)| {
        log_softmax(p).iter().zip(log_softmax(q)).map(|(p, q)| p.exp() * (p - q)).sum::<f64>()
    };
    p.iter().zip(q).map(one).sum::<f64>() / p.len() as f64
}

#[test]
fn distributions_part_as_bits_get_fewer() {
    let original = rows(&demo("demo-f16.gguf"), &[]);
    assert_eq!(rows(&demo("demo-f16.gguf"), &[]), original, "the same bits again");
    let of = |model: &str, params: &[(&str, &str)]| kl(&original, &rows(&demo(model), params));
    let [q8, q4, q2] = ["demo-q8_0.gguf", "demo-q4_0.gguf", "demo-q2_k.gguf"].map(|model| of(model, &[]));
    assert!(0.0 < q8 && 3.0 * q8 < q4 && 3.0 * q4 < q2, "{q8} {q4} {q2}");
    // A text that takes several batches is the same text; a cache of fewer bits is not.
    let batches = of("demo-f16.gguf", &[("n_batch", "32"), ("n_ubatch", "32")]);
    let cache = of("demo-f16.gguf", &[("type_k", "q4_0")]);
    assert!(batches < 1e-5 && cache > 10.0 * batches, "{batches} {cache}");
}
