//! Opening: what is read from the model, and what is refused with which words.

mod common;

use common::*;
use edgebench_abi::*;
use std::path::Path;

fn refusal(model: &Path, params: &[(&str, &str)]) -> Error {
    match Session::open(model, params) {
        Ok(_) => panic!("{params:?} was accepted"),
        Err(error) => error,
    }
}

/// A folder that is right as far as this plugin looks itself.
fn folder() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("genai_config.json"), r#"{"model": {"vocab_size": 10}}"#).unwrap();
    std::fs::write(root.path().join("tokenizer.json"), "{}").unwrap();
    root
}

#[test]
fn an_unknown_parameter_is_named_and_the_known_ones_listed() {
    let error = refusal(Path::new("/nonexistent"), &[("n_threads", "2")]);
    assert_eq!(error.code, EB_ERR_INVALID);
    for word in ["n_threads", "lib", "ort_lib", "threads", "provider", "provider_options", "n_ctx"] {
        assert!(error.message.contains(word), "{}", error.message);
    }
}

#[test]
fn a_missing_library_is_named_with_the_way_to_get_it() {
    let root = folder();
    let error = refusal(root.path(), &[("lib", "/nonexistent/lib")]);
    assert_eq!(error.code, EB_ERR_UNSUPPORTED);
    for word in ["libonnxruntime-genai.so", "/nonexistent/lib", "scripts/ort-genai", "pip install onnxruntime-genai"] {
        assert!(error.message.contains(word), "{}", error.message);
    }
    let lib = root.path().join("libonnxruntime-genai.so");
    std::fs::write(&lib, "not an ELF file").unwrap();
    let error = refusal(root.path(), &[("lib", lib.to_str().unwrap())]);
    assert_eq!(error.code, EB_ERR_UNSUPPORTED);
    assert!(error.message.contains("no libonnxruntime.so beside"), "{}", error.message);
}

#[test]
fn a_missing_or_broken_model_is_named() {
    let root = folder();
    std::fs::write(root.path().join("genai_config.json"), "{").unwrap();
    for (path, word) in [(root.path(), "genai_config.json"), (Path::new("/nonexistent"), "does not exist")] {
        let error = refusal(path, &[]);
        assert_eq!(error.code, EB_ERR_MODEL);
        assert!(error.message.contains(word), "{}", error.message);
    }
}

#[test]
fn a_model_that_the_vendor_refuses_keeps_the_vendors_words() {
    let Some(model) = model() else { return };
    let root = tempfile::tempdir().unwrap();
    for file in ["genai_config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(model.join(file), root.path().join(file)).unwrap();
    }
    std::fs::write(root.path().join("model.onnx"), "not a model").unwrap();
    let error = refusal(root.path(), &[]);
    assert_eq!(error.code, EB_ERR_MODEL);
    assert!(error.message.contains("cannot load it"), "{}", error.message);
    let error = refusal(&model, &[("provider", "NoSuchThing")]);
    assert_eq!(error.code, EB_ERR_UNSUPPORTED);
    assert!(error.message.contains("NoSuchThing"), "{}", error.message);
    let error = refusal(&model, &[("n_ctx", "1000000")]);
    assert_eq!(error.code, EB_ERR_INVALID);
}

#[test]
fn the_models_properties_are_read() {
    let Some(session) = Session::demo(&[("n_ctx", "300")]) else { return };
    let info = session.info();
    assert_eq!((info.n_ctx, info.n_ctx_train, info.n_vocab), (300, 2048, 640));
    assert_eq!((info.bos_token, info.eos_token), (1, 2));
    assert_eq!(unsafe { info.architecture.to_string_lossy() }, "llama");
    // 4 layers × (K + V) × 2 heads × 64 × 4 bytes.
    assert_eq!(info.kv_bytes, 300 * 4 * 2 * 2 * 64 * 4);
    assert!((5_000_000..6_000_000).contains(&info.weights_bytes), "{}", info.weights_bytes);
    assert_eq!(info.flags, EB_INFO_TOKENIZER | EB_INFO_SAMPLING | EB_INFO_PREFIX);
    let log = session.log();
    assert!(log.iter().any(|(level, line)| *level == EB_LOG_INFO && line.contains("1 threads")), "{log:?}");
}

#[test]
fn sessions_can_be_opened_again_and_again() {
    let Some(model) = model() else { return };
    let mut first = None;
    for threads in ["1", "2", "auto"] {
        let session = Session::open(&model, &[("threads", threads)]).unwrap();
        assert_eq!(session.info().n_ctx, 2048);
        let (tokens, ..) = session.answer(&ask("Which number is larger?", 5));
        assert_eq!(first.get_or_insert_with(|| tokens.clone()), &tokens);
    }
}

#[test]
fn probe_and_device_tell_versions() {
    let mut probe: EbProbe = unsafe { std::mem::zeroed() };
    probe.struct_size = size_of::<EbProbe>() as u32;
    let mut error = EbError::new();
    assert_eq!(unsafe { table().probe.unwrap()(&mut probe, &mut error) }, EB_OK);
    assert_eq!(probe.device_count, 1);
    assert!(unsafe { probe.runtime.to_string_lossy() }.starts_with("ONNX Runtime GenAI"));

    let get = unsafe { &*table().get_extension.unwrap()(EbStr::new(EB_EXT_DEVICE)).cast::<EbDeviceV1>() }.get.unwrap();
    let mut device: EbDevice = unsafe { std::mem::zeroed() };
    device.struct_size = size_of::<EbDevice>() as u32;
    let session = Session::demo(&[]);
    assert_eq!(unsafe { get(0, &mut device, &mut error) }, EB_OK);
    assert!(unsafe { device.name.to_string_lossy() }.starts_with("CPU"));
    assert!(device.memory_bytes > 0 && device.memory_free_bytes <= device.memory_bytes);
    if session.is_some() {
        assert_eq!(device.cores, 1);
        let driver = unsafe { device.driver.to_string_lossy() };
        assert!(driver.contains("ONNX Runtime 1."), "{driver}");
    }
    assert_eq!(unsafe { get(1, &mut device, &mut error) }, EB_ERR_INVALID);
    assert!(unsafe { table().get_extension.unwrap()(EbStr::new("eb.unknown/1")) }.is_null());
}
