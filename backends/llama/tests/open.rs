//! Opening models: what is reported about a good one, and what a bad one or a bad parameter is answered with.

mod common;

use common::{Session, model, table};
use edgebench_abi::*;
use edgebench_llama::{gguf::Gguf, memory::compute_bytes, params::Options};
use std::fs;
use std::path::Path;
use std::ptr::{null, null_mut};

fn refused(model: &Path, params: &[(&str, &str)]) -> (i32, String) {
    let error = Session::open(model, params).err().expect("it should have been refused");
    assert!(error.message.len() > 10, "{error:?}");
    (error.code, error.message)
}

#[test]
fn probe_says_what_it_would_run_on() {
    let mut probe: EbProbe = unsafe { std::mem::zeroed() };
    probe.struct_size = size_of::<EbProbe>() as u32;
    let mut error = EbError::new();
    assert_eq!(unsafe { table().probe.unwrap()(&mut probe, &mut error) }, EB_OK);
    let text = |s: EbStr| unsafe { s.to_string_lossy() };
    assert_eq!(probe.device_count, 1);
    assert!(text(probe.runtime).starts_with("llama.cpp "), "{}", text(probe.runtime));
    assert!(text(probe.device).starts_with("CPU"), "{}", text(probe.device));
}

#[test]
fn info_agrees_with_the_header_of_the_file() {
    let header = Gguf::read(fs::File::open(model()).unwrap()).unwrap();
    let session = Session::demo(&[("n_ctx", "512")]);
    let info = session.info();
    assert_eq!(info.n_ctx, 512);
    assert_eq!(u64::from(info.n_ctx_train), header.n_ctx_train);
    assert_eq!(u64::from(info.n_vocab), header.n_vocab);
    assert_eq!(info.n_weights, header.n_params);
    assert_eq!(info.weights_bytes, header.weights_bytes);
    assert_eq!(info.flags, EB_INFO_TOKENIZER | EB_INFO_SAMPLING | EB_INFO_PREFIX);
    let text = |s: EbStr| unsafe { s.to_string_lossy() };
    assert_eq!(text(info.architecture), header.architecture);
    assert_eq!(text(info.quantization), header.quantization);
    assert_eq!(text(info.chat_template), header.chat_template);
    assert!(!text(info.description).is_empty());
}

#[test]
fn the_estimate_of_memory_is_close_to_what_llama_cpp_takes() {
    let header = Gguf::read(fs::File::open(model()).unwrap()).unwrap();
    for params in [
        &[("n_ctx", "1024")][..],
        &[("n_ctx", "4096"), ("type_k", "f32"), ("n_ubatch", "64")],
        &[("n_ctx", "2048"), ("flash_attn", "on"), ("type_v", "bf16")],
    ] {
        let session = Session::demo(params);
        let info = session.info();
        let told = |what: &str| -> f64 {
            let mib = |line: &str| line.split_once(what)?.1.trim().strip_suffix("MiB")?.trim().parse::<f64>().ok();
            session.log().iter().filter_map(|(_, line)| mib(line)).sum::<f64>() * 1024.0 * 1024.0
        };
        let kv = told("KV buffer size =") + told("RS buffer size =");
        // The log has two decimals of a MiB.
        assert!((info.kv_bytes as f64 - kv).abs() < 6e3 + kv * 1e-3, "{params:?}: {} and {kv}", info.kv_bytes);
        let compute = told("compute buffer size =") + told("output buffer size =");
        let options = Options::parse(params.iter().copied()).unwrap();
        let estimate = compute_bytes(&header, &options, u64::from(info.n_ctx)) as f64;
        // With fused attention llama.cpp reserves some more for requests that run together: 1.3 MB with this model.
        let close = (0.97 * compute - 1.5e6..1.1 * compute + 1e6).contains(&estimate);
        assert!(close, "{params:?}: estimated {estimate}, took {compute}");
        assert!((info.compute_bytes as f64) <= compute + 1024.0 * 1024.0);
    }
}

#[test]
fn a_context_that_cannot_fit_is_refused_before_it_is_allocated() {
    let (code, message) = refused(&model(), &[("n_ctx", "16000000")]);
    assert_eq!(code, EB_ERR_OUT_OF_MEMORY, "{message}");
    assert!(message.starts_with("needs ") && message.contains("free: try n_ctx = "), "{message}");
}

#[test]
fn bad_parameters_are_named() {
    let (code, message) = refused(&model(), &[("thread", "2")]);
    assert_eq!(code, EB_ERR_INVALID);
    assert!(message.contains("`thread`") && message.contains("did you mean `threads`"), "{message}");
    let (code, message) = refused(&model(), &[("n_ctx", "many")]);
    assert_eq!(code, EB_ERR_INVALID);
    assert!(message.contains("n_ctx") && message.contains("1 to 16777216"), "{message}");
    assert_eq!(refused(&model(), &[("type_v", "q4_0")]).0, EB_ERR_INVALID);
    assert_eq!(refused(&model(), &[("n_gpu_layers", "99")]).0, EB_ERR_UNSUPPORTED);
}

#[test]
fn threads_stay_on_the_cpus_of_affinity_while_the_session_is_open() {
    let mask = || {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
    };
    let before = mask();
    let first = before.split(['-', ',']).next().unwrap().to_owned();
    let session = Session::demo(&[("affinity", &first)]);
    assert_eq!(mask(), first);
    drop(session);
    assert_eq!(mask(), before);
    let (code, message) = refused(&model(), &[("affinity", "8000")]);
    assert_eq!(code, EB_ERR_INVALID);
    assert!(message.contains("CPU 8000, which this process may not use"), "{message}");
}

#[test]
fn what_is_not_a_model_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    for (path, reason) in [
        (dir.path().join("missing.gguf"), "no such file"),
        (dir.path().to_owned(), "folder"),
        (Path::new("/dev/null").to_owned(), "not a regular file"),
        (Path::new("").to_owned(), "no model is given"),
        (file("empty.gguf", b""), "empty"),
        (file("text.gguf", "这不是模型".as_bytes()), "not a GGUF"),
        (file("old.gguf", b"GGUF\x01\0\0\0"), "version 1"),
        (file("tail.gguf", b"GGUF\x03\0\0\0\x01"), "truncated"),
    ] {
        let (code, message) = refused(&path, &[]);
        assert_eq!(code, EB_ERR_MODEL, "{message}");
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn a_truncated_model_is_refused_wherever_it_ends() {
    let whole = fs::read(model()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.gguf");
    // Early cuts hit the header, later ones the tensors.
    let mut random = 12345u64;
    for i in 0..60u32 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let range = if i % 2 == 0 { whole.len() / 20 } else { whole.len() - 32 };
        let len = (random >> 16) as usize % range;
        fs::write(&path, &whole[..len]).unwrap();
        let (code, message) = refused(&path, &[]);
        assert_eq!(code, EB_ERR_MODEL, "{len} bytes: {message}");
    }
}

#[test]
fn a_damaged_header_is_refused() {
    let whole = fs::read(model()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.gguf");
    // The key is followed by the type and the length of its value.
    let key = b"general.architecture";
    let arch = whole.windows(key.len()).position(|w| w == key).unwrap() + key.len() + 12;
    // The magic, the version, the numbers of tensors and of keys, the architecture.
    for (at, reason) in [(1, "not a GGUF"), (4, "version"), (8, ""), (13, "claims"), (16, ""), (arch, "")] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x15;
        fs::write(&path, &bytes).unwrap();
        let (code, message) = refused(&path, &[]);
        assert_eq!(code, EB_ERR_MODEL, "byte {at}: {message}");
        assert!(message.contains(reason), "byte {at}: {message}");
    }
    // What llama.cpp objects to is passed on.
    let mut bytes = whole.clone();
    bytes[arch] = b'x';
    fs::write(&path, &bytes).unwrap();
    let (_, message) = refused(&path, &[]);
    assert!(message.contains("unknown model architecture"), "{message}");
}

#[test]
fn flips_anywhere_in_the_header_never_crash_the_reader() {
    let whole = fs::read(model()).unwrap();
    let mut random = 99u64;
    for _ in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (random >> 20) as usize % (whole.len() / 20);
            bytes[at] ^= (random >> 8) as u8 | 1;
        }
        let _ = Gguf::read(std::io::Cursor::new(&bytes));
    }
}

#[test]
fn a_second_session_has_to_wait_for_the_first() {
    let first = Session::demo(&[]);
    let path = model();
    let params = EbOpenParams {
        struct_size: size_of::<EbOpenParams>() as u32,
        n_params: 0,
        params: null(),
        model: EbStr::new(path.to_str().unwrap()),
        log: None,
        log_user: null_mut(),
    };
    let mut raw = null_mut();
    let mut error = EbError::new();
    let status = unsafe { table().open.unwrap()(&params, &mut raw, &mut error) };
    assert_eq!((status, raw.is_null()), (EB_ERR_INVALID, true));
    assert!(error.text().contains("close it first"), "{}", error.text());
    drop(first);
    for _ in 0..3 {
        drop(Session::demo(&[]));
    }
}

#[test]
fn llama_cpps_log_reaches_the_host_line_by_line() {
    let session = Session::demo(&[("threads_batch", "2")]);
    let log = session.log();
    assert!(log.len() > 20);
    assert!(log.iter().all(|(level, line)| (EB_LOG_ERROR..=EB_LOG_DEBUG).contains(level) && !line.contains('\n')));
    assert!(log.iter().any(|(_, line)| line.contains("general.architecture")));
    assert!(!log.iter().any(|(level, _)| *level == EB_LOG_ERROR), "{log:?}");
}

#[test]
fn null_arguments_are_refused() {
    let b = table();
    let mut error = EbError::new();
    unsafe {
        assert_eq!(b.probe.unwrap()(null_mut(), &mut error), EB_ERR_INVALID);
        assert_eq!(b.open.unwrap()(null(), &mut null_mut(), &mut error), EB_ERR_INVALID);
        assert_eq!(b.open.unwrap()(null(), null_mut(), null_mut()), EB_ERR_INVALID);
        assert_eq!(b.info.unwrap()(null_mut(), null_mut(), &mut error), EB_ERR_INVALID);
        assert_eq!(b.reset.unwrap()(null_mut(), &mut error), EB_ERR_INVALID);
        assert_eq!(b.generate.unwrap()(null_mut(), null(), 0, null(), &mut error), EB_ERR_INVALID);
        b.close.unwrap()(null_mut());
        b.abort.unwrap()(null_mut());
        assert!(b.get_extension.unwrap()(EbStr::EMPTY).is_null());
        assert!(b.get_extension.unwrap()(EbStr::new("eb.score/2")).is_null());
    }
    let session = Session::demo(&[]);
    let sink = EbSink { struct_size: size_of::<EbSink>() as u32, reserved: 0, event: None, user: null_mut() };
    let pointers = [null::<EbRequest>()];
    unsafe {
        assert_eq!(b.info.unwrap()(session.raw, null_mut(), &mut error), EB_ERR_INVALID);
        assert_eq!(b.generate.unwrap()(session.raw, pointers.as_ptr(), 1, null(), &mut error), EB_ERR_INVALID);
        assert_eq!(b.generate.unwrap()(session.raw, pointers.as_ptr(), 1, &sink, &mut error), EB_ERR_INVALID);
        assert_eq!(
            b.tokenize.unwrap()(session.raw, EbStr::EMPTY, 0, null_mut(), 4, &mut 0, &mut error),
            EB_ERR_INVALID
        );
        assert_eq!(
            b.tokenize.unwrap()(session.raw, EbStr::EMPTY, 0, null_mut(), 0, null_mut(), null_mut()),
            EB_ERR_INVALID
        );
        assert_eq!(b.detokenize.unwrap()(session.raw, null(), 3, null_mut(), 0, &mut 0, &mut error), EB_ERR_INVALID);
    }
    assert_eq!(session.generate(&[]).0.unwrap_err().code, EB_ERR_INVALID);
}

#[test]
fn the_plugin_exports_its_one_symbol() {
    // Cargo builds the plugin beside the tests: target/<profile>/deps/.
    let plugin = std::env::current_exe().unwrap().with_file_name("libedgebench_llama.so");
    unsafe {
        let library = libloading::Library::new(&plugin).unwrap();
        let symbol = library.get::<EbBackendV1Fn>(EB_SYMBOL.as_bytes()).unwrap();
        let table = &*symbol(EB_ABI_MINOR);
        assert_eq!((table.name.to_string_lossy(), table.abi_minor), ("llama".to_owned(), EB_ABI_MINOR));
        // Its copy of llama.cpp is its own: ours stays usable beside it.
        let mut probe: EbProbe = std::mem::zeroed();
        probe.struct_size = size_of::<EbProbe>() as u32;
        assert_eq!(table.probe.unwrap()(&mut probe, null_mut()), EB_OK);
        assert!(!std::ptr::eq(table, edgebench_llama::table()));
    }
}
