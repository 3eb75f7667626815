//! The header compiles as vendors will compile it, and the Rust mirror has its sizes, offsets and constants.

use edgebench::backend::abi::*;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;

fn backends() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("backends")
}

/// Compiles `source` with warnings as errors and fails the test with the compiler's words.
fn compile(compiler: &str, language: &[&str], source: &Path, output: &Path) {
    let out = Command::new(compiler)
        .args(language)
        .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(backends())
        .arg(source)
        .arg("-o")
        .arg(output)
        .output()
        .unwrap_or_else(|e| panic!("{compiler} cannot be started ({e}): install gcc and g++"));
    assert!(out.status.success(), "{compiler} {language:?}:\n{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn the_header_compiles_as_c99_and_as_cpp() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("empty.c");
    std::fs::write(&source, "#include <edgebench.h>\nint main(void) { return eb_str_eq((eb_str){0, 0}, \"\") - 1; }\n")
        .unwrap();
    compile("cc", &["-std=c99"], &source, &dir.path().join("c99"));
    compile("cc", &["-std=c11"], &source, &dir.path().join("c11"));
    let source = dir.path().join("empty.cpp");
    std::fs::write(
        &source,
        "#include <edgebench.h>\nint main() { eb_str s = {0, 0}; return eb_str_eq(s, \"\") - 1; }\n",
    )
    .unwrap();
    compile("c++", &["-std=c++11"], &source, &dir.path().join("cpp11"));
    compile("c++", &["-std=c++20"], &source, &dir.path().join("cpp20"));
}

/// Lines of C that print `name value`, and the same from Rust.
#[derive(Default)]
struct Layout {
    c: String,
    rust: Vec<(String, u64)>,
}

impl Layout {
    fn add(&mut self, c_expression: &str, value: u64) {
        self.c += &format!("    printf(\"%s %llu\\n\", \"{c_expression}\", (unsigned long long)({c_expression}));\n");
        self.rust.push((c_expression.to_owned(), value));
    }
}

macro_rules! layout {
    ($layout:ident, $c:ident = $rust:ident { $($field:ident),* }) => {
        $layout.add(concat!("sizeof(", stringify!($c), ")"), size_of::<$rust>() as u64);
        $($layout.add(concat!("offsetof(", stringify!($c), ", ", stringify!($field), ")"),
            offset_of!($rust, $field) as u64);)*
    };
}

macro_rules! constants {
    ($layout:ident, $($name:ident),*) => { $($layout.add(stringify!($name), $name as u64);)* };
}

#[test]
fn the_rust_mirror_has_the_headers_layout() {
    let mut l = Layout::default();
    layout!(l, eb_str = EbStr { ptr, len });
    layout!(l, eb_param = EbParam { key, value });
    layout!(l, eb_error = EbError { struct_size, code, vendor_code, message });
    layout!(l, eb_probe = EbProbe { struct_size, device_count, runtime, device, note });
    layout!(l, eb_open_params = EbOpenParams { struct_size, n_params, params, model, log, log_user });
    layout!(
        l,
        eb_info = EbInfo {
            struct_size,
            n_ctx,
            n_ctx_train,
            n_vocab,
            flags,
            n_weights,
            weights_bytes,
            kv_bytes,
            compute_bytes,
            bos_token,
            eos_token,
            architecture,
            quantization,
            description,
            chat_template,
            bos_text,
            eos_text,
            scored_by
        }
    );
    layout!(
        l,
        eb_request = EbRequest {
            struct_size,
            max_new,
            id,
            flags,
            text,
            tokens,
            n_tokens,
            stop,
            n_stop,
            temperature,
            top_p,
            top_k,
            prefix_len,
            prefix_id,
            seed
        }
    );
    layout!(
        l,
        eb_event = EbEvent {
            struct_size,
            kind,
            request_id,
            prompt_tokens,
            cached_tokens,
            token,
            index,
            text,
            logprob,
            n_tokens,
            is_greedy,
            finish,
            status,
            claim_prefill_ms,
            claim_decode_ms
        }
    );
    layout!(l, eb_sink = EbSink { struct_size, reserved, event, user });
    layout!(
        l,
        eb_backend = EbBackend {
            struct_size,
            abi_minor,
            name,
            version,
            probe,
            open,
            close,
            info,
            tokenize,
            detokenize,
            generate,
            reset,
            abort,
            get_extension
        }
    );
    layout!(
        l,
        eb_score_request = EbScoreRequest {
            struct_size,
            n_continuations,
            id,
            context,
            n_context,
            continuations,
            n_tokens,
            prefix_len,
            reserved,
            prefix_id
        }
    );
    layout!(l, eb_score_v1 = EbScoreV1 { struct_size, reserved, score });
    layout!(
        l,
        eb_score_text_request = EbScoreTextRequest { struct_size, n_continuations, id, flags, context, continuations }
    );
    layout!(l, eb_score_text_v1 = EbScoreTextV1 { struct_size, reserved, score });
    layout!(l, eb_lora = EbLora { struct_size, scale, path });
    layout!(l, eb_lora_v1 = EbLoraV1 { struct_size, reserved, set });
    layout!(l, eb_logits_v1 = EbLogitsV1 { struct_size, reserved, evaluate });
    layout!(
        l,
        eb_quantize_request =
            EbQuantizeRequest { struct_size, threads, flags, model, out, kind, imatrix, log, log_user }
    );
    layout!(l, eb_quantized = EbQuantized { struct_size, n_fallback, n_weights, weights_bytes });
    layout!(l, eb_quantize_v1 = EbQuantizeV1 { struct_size, reserved, quantize });
    layout!(
        l,
        eb_train_step = EbTrainStep { struct_size, is_validation, epoch, reserved, step, n_steps, tokens, loss }
    );
    layout!(
        l,
        eb_train_request = EbTrainRequest {
            struct_size,
            threads,
            flags,
            model,
            out,
            n_ctx,
            epochs,
            learning_rate,
            validation_share,
            texts,
            n_texts,
            log,
            log_user,
            step,
            step_user
        }
    );
    layout!(
        l,
        eb_trained = EbTrained {
            struct_size,
            n_ctx,
            steps,
            tokens,
            n_trained,
            n_weights,
            loss_first,
            loss_last,
            validation_before,
            validation_after
        }
    );
    layout!(l, eb_train_v1 = EbTrainV1 { struct_size, reserved, train });
    layout!(l, eb_device = EbDevice { struct_size, cores, name, driver, memory_bytes, memory_free_bytes });
    layout!(l, eb_device_v1 = EbDeviceV1 { struct_size, reserved, get });
    layout!(l, eb_power_v1 = EbPowerV1 { struct_size, n_rails, name, read });
    constants!(
        l,
        EB_ABI_MAJOR,
        EB_ABI_MINOR,
        EB_ERROR_MESSAGE_SIZE,
        EB_OK,
        EB_ERR_INVALID,
        EB_ERR_UNSUPPORTED,
        EB_ERR_OUT_OF_MEMORY,
        EB_ERR_MODEL,
        EB_ERR_CONTEXT_FULL,
        EB_ERR_ABORTED,
        EB_ERR_DEVICE,
        EB_ERR_BUFFER,
        EB_ERR_INTERNAL,
        EB_LOG_ERROR,
        EB_LOG_WARN,
        EB_LOG_INFO,
        EB_LOG_DEBUG,
        EB_INFO_TOKENIZER,
        EB_INFO_SAMPLING,
        EB_INFO_BATCH,
        EB_INFO_PREFIX,
        EB_TOKENIZE_ADD_SPECIAL,
        EB_TOKENIZE_PARSE_SPECIAL,
        EB_REQUEST_IGNORE_EOS,
        EB_REQUEST_PARSE_SPECIAL,
        EB_QUANTIZE_PURE,
        EB_TRAIN_FORCE_MEMORY,
        EB_EVENT_PREFILL,
        EB_EVENT_TOKEN,
        EB_EVENT_SCORE,
        EB_EVENT_DONE,
        EB_FINISH_EOS,
        EB_FINISH_STOP,
        EB_FINISH_LENGTH,
        EB_FINISH_SINK,
        EB_FINISH_ABORTED,
        EB_FINISH_ERROR,
        EB_FINISH_SCORED
    );

    let dir = tempfile::tempdir().unwrap();
    let (source, program) = (dir.path().join("layout.c"), dir.path().join("layout"));
    let text = format!("#include <stdio.h>\n#include <edgebench.h>\nint main(void) {{\n{}    return 0;\n}}\n", l.c);
    std::fs::write(&source, text).unwrap();
    compile("cc", &["-std=c99"], &source, &program);
    let out = Command::new(&program).output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    let expected: String = l.rust.iter().map(|(name, value)| format!("{name} {value}\n")).collect();
    assert_eq!(said, expected);
}

#[test]
fn the_mock_backend_compiles_as_c99() {
    let dir = tempfile::tempdir().unwrap();
    let source = backends().join("mock/mock.c");
    compile("cc", &["-std=c99", "-shared", "-fPIC"], &source, &dir.path().join("libmock.so"));
}
