//! The demo model trained further, and what cannot be.

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

/// The demo model in F32.
fn f32_model(folder: &Path) -> PathBuf {
    let out = folder.join("f32.gguf");
    std::fs::write(&out, "").unwrap();
    let (model, path) = (demo("demo-f16.gguf").display().to_string(), out.display().to_string());
    let request = EbQuantizeRequest {
        struct_size: size_of::<EbQuantizeRequest>() as u32,
        threads: 1,
        flags: 0,
        model: EbStr::new(&model),
        out: EbStr::new(&path),
        kind: EbStr::new("F32"),
        imatrix: EbStr::EMPTY,
        log: None,
        log_user: std::ptr::null_mut(),
    };
    let size = size_of::<EbQuantized>() as u32;
    let mut made = EbQuantized { struct_size: size, n_fallback: 0, n_weights: 0, weights_bytes: 0 };
    let table = extension::<EbQuantizeV1>(EB_EXT_QUANTIZE);
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: everything lives for the call.
    assert_eq!(unsafe { table.quantize.unwrap()(&request, &mut made, &mut EbError::new()) }, EB_OK);
    assert_eq!(made.weights_bytes, 4 * made.n_weights);
    out
}

struct Wanted {
    texts: Vec<String>,
    n_ctx: u32,
    epochs: u32,
    rate: f32,
    share: f32,
    stop_at: u64,
}

impl Wanted {
    fn new(texts: Vec<String>) -> Wanted {
        Wanted { texts, n_ctx: 256, epochs: 1, rate: 3e-4, share: 0.0, stop_at: u64::MAX }
    }
}

/// What train() gives, and the steps that it told.
fn train(model: &Path, out: &Path, wanted: &Wanted) -> (Result<EbTrained, (i32, String)>, Vec<EbTrainStep>) {
    std::fs::write(out, "").unwrap();
    let (model, out) = (model.display().to_string(), out.display().to_string());
    let texts: Vec<EbStr> = wanted.texts.iter().map(|t| EbStr::new(t)).collect();
    let mut steps: (Vec<EbTrainStep>, u64) = (Vec::new(), wanted.stop_at);
    unsafe extern "C" fn on_step(user: *mut c_void, step: *const EbTrainStep) -> i32 {
        // SAFETY: `steps` below, which waits for the call; the step lives for this one.
        let (steps, step) = unsafe { (&mut *user.cast::<(Vec<EbTrainStep>, u64)>(), *step) };
        assert_eq!(step.struct_size as usize, size_of::<EbTrainStep>());
        steps.0.push(step);
        i32::from(step.step >= steps.1)
    }
    let request = EbTrainRequest {
        struct_size: size_of::<EbTrainRequest>() as u32,
        threads: 1,
        flags: 0,
        model: EbStr::new(&model),
        out: EbStr::new(&out),
        n_ctx: wanted.n_ctx,
        epochs: wanted.epochs,
        learning_rate: wanted.rate,
        validation_share: wanted.share,
        texts: texts.as_ptr(),
        n_texts: texts.len(),
        log: None,
        log_user: std::ptr::null_mut(),
        step: Some(on_step),
        step_user: std::ptr::from_mut(&mut steps).cast(),
    };
    let (mut made, mut error) = (EbTrained::new(), EbError::new());
    let table = extension::<EbTrainV1>(EB_EXT_TRAIN);
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: everything lives for the call.
    let status = unsafe { table.train.unwrap()(&request, &mut made, &mut error) };
    (if status == EB_OK { Ok(made) } else { Err((status, error.text())) }, steps.0)
}

/// Questions with answers, of a task that the demo model has never seen.
fn texts(n: usize) -> Vec<String> {
    let lines = std::fs::read_to_string(demo("smallest.train.jsonl")).unwrap();
    let text = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let mut text = format!("{}\n", record["question"].as_str().unwrap());
        for (letter, choice) in ["A", "B", "C", "D"].iter().zip(record["choices"].as_array().unwrap()) {
            text += &format!("{letter}. {}\n", choice.as_str().unwrap());
        }
        text + &format!("Answer: {}", record["answer"].as_str().unwrap())
    };
    lines.lines().take(n).map(text).collect()
}

/// Mean loss of what follows each of the first `n` tokens of `text`, as scored by the open model.
fn loss(session: &Session, text: &str, n: usize) -> f64 {
    let tokens = session.tokenize(text, EB_TOKENIZE_ADD_SPECIAL).unwrap();
    let (score, _) = session.scores(&tokens[..1], &[tokens[1..=n].to_vec()])[0];
    -score / n as f64
}

#[test]
fn the_loss_falls_and_is_the_one_that_the_model_has() {
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (f32_model(folder.path()), folder.path().join("trained.gguf"));
    // One text that is a little longer than a step: the second step goes on at its beginning.
    let text = texts(8).join("\n\n");
    let before = {
        let session = Session::open(&model, &[("threads", "1"), ("n_ctx", "512")]).unwrap();
        assert!(session.tokenize(&text, 0).unwrap().len() < 512, "two steps are enough");
        loss(&session, &text, 256)
    };
    let wanted = Wanted { epochs: 4, ..Wanted::new(vec![text.clone()]) };
    let (made, steps) = train(&model, &out, &wanted);
    let made = made.unwrap();
    assert!((made.loss_first - before).abs() < 1e-3, "{} by training, {before} by scoring", made.loss_first);
    assert_eq!((made.steps, made.tokens, made.n_ctx), (8, 8 * 256, 256));
    assert_eq!(steps.iter().map(|s| (s.step, s.epoch, s.n_steps)).collect::<Vec<_>>()[3], (4, 2, 8));
    assert!(made.loss_last < 0.8 * made.loss_first, "{made:?}");
    // All but the table that tokens are looked up in.
    let header = edgebench_llama::inspect(&model).unwrap();
    assert_eq!(made.n_weights, header.n_params);
    assert_eq!(made.n_trained, header.n_params - header.embedding.1 / 4);

    // What was written opens, knows what was learned, and is in nothing else another model.
    let session = Session::open(&out, &[("threads", "1"), ("n_ctx", "512")]).unwrap();
    let after = loss(&session, &text, 256);
    assert!(after < 0.8 * before, "{before} → {after}");
    let written = edgebench_llama::inspect(&out).unwrap();
    let same = |g: &edgebench_llama::gguf::Gguf| {
        (
            g.architecture.clone(),
            g.n_params,
            g.weights_bytes,
            g.n_vocab,
            g.name.clone(),
            g.quantization.clone(),
            g.n_ctx_train,
            g.chat_template.clone(),
            g.n_merges,
        )
    };
    assert_eq!(same(&written), same(&header));
    drop(session);

    // The same request gives the same losses, bit by bit.
    let (again, twice) = train(&model, &out, &wanted);
    assert_eq!(again.unwrap().loss_last.to_bits(), made.loss_last.to_bits());
    assert_eq!(
        twice.iter().map(|s| s.loss.to_bits()).collect::<Vec<_>>(),
        steps.iter().map(|s| s.loss.to_bits()).collect::<Vec<_>>()
    );
}

#[test]
fn held_out_texts_are_evaluated_and_nothing_is_learned_from_them() {
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (f32_model(folder.path()), folder.path().join("trained.gguf"));
    let wanted = Wanted { epochs: 2, share: 0.5, ..Wanted::new(texts(24)) };
    let (made, steps) = train(&model, &out, &wanted);
    let made = made.unwrap();
    let kinds: String = steps.iter().map(|s| if s.is_validation == 1 { 'v' } else { '.' }).collect();
    let per_epoch = ".".repeat(made.steps as usize / 2);
    assert_eq!(kinds, format!("v{per_epoch}v{per_epoch}v"));
    assert!(made.validation_after < made.validation_before, "{made:?}");
    let learned = |from: &Wanted| train(&model, &out, from).0.unwrap();
    let alone = learned(&Wanted { epochs: 2, ..Wanted::new(texts(12)) });
    assert_eq!((alone.loss_last, alone.validation_after.is_nan()), (made.loss_last, true));
}

#[test]
fn a_step_may_end_it_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (f32_model(folder.path()), folder.path().join("trained.gguf"));
    let (made, steps) = train(&model, &out, &Wanted { epochs: 9, stop_at: 2, ..Wanted::new(texts(12)) });
    assert_eq!((made.unwrap_err().0, steps.len()), (EB_ERR_ABORTED, 2));
    assert_eq!(std::fs::metadata(&out).unwrap().len(), 0);
}

#[test]
fn what_cannot_be_trained_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (f32_model(folder.path()), folder.path().join("trained.gguf"));
    for (model, texts, code, words) in [
        (demo("demo-f16.gguf"), texts(12), EB_ERR_UNSUPPORTED, "this one has F16: `edgebench quantize MODEL F32"),
        (demo("demo-q4_0.gguf"), texts(12), EB_ERR_UNSUPPORTED, "llama.cpp trains F32 models only"),
        (model.clone(), texts(1), EB_ERR_INVALID, "give more, or lower n_ctx"),
        (model.clone(), Vec::new(), EB_ERR_INVALID, "there are no texts"),
        (folder.path().join("nowhere.gguf"), texts(12), EB_ERR_MODEL, "no such file"),
    ] {
        let (made, steps) = train(&model, &out, &Wanted::new(texts));
        let (status, message) = made.unwrap_err();
        assert!(status == code && message.contains(words), "{status}: {message}");
        assert!(steps.is_empty());
    }
    for wanted in [
        Wanted { epochs: 0, ..Wanted::new(texts(12)) },
        Wanted { rate: 0.0, ..Wanted::new(texts(12)) },
        Wanted { rate: f32::NAN, ..Wanted::new(texts(12)) },
        Wanted { share: 1.0, ..Wanted::new(texts(12)) },
    ] {
        assert_eq!(train(&model, &out, &wanted).0.unwrap_err().0, EB_ERR_INVALID);
    }
    // A step of a million tokens is refused before anything is read.
    let (made, _) = train(&model, &out, &Wanted { n_ctx: 1 << 20, ..Wanted::new(texts(12)) });
    let (status, message) = made.unwrap_err();
    assert!(status == EB_ERR_OUT_OF_MEMORY && message.starts_with("training needs "), "{message}");
}
