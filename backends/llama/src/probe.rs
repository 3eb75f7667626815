//! What this build of llama.cpp is and whether this machine can run it. Loads no model.
//! It owns the strings of `eb_probe`, which live until the process ends.
//! It must not know sessions.

use llama_cpp_sys_2 as sys;
use std::ffi::{CStr, c_char};
use std::sync::OnceLock;

/// The answer to `probe()`.
pub struct Report {
    /// Devices that could be used; 0: none, see `note`.
    pub device_count: u32,
    /// `llama.cpp <version>`.
    pub runtime: String,
    /// `CPU (AVX2, FMA, …)`.
    pub device: String,
    /// What is missing, or empty.
    pub note: String,
}

/// Looks once; the answer cannot change within a process.
pub fn report() -> &'static Report {
    static REPORT: OnceLock<Report> = OnceLock::new();
    REPORT.get_or_init(|| {
        crate::log::hook();
        // SAFETY: a constant string of llama.cpp.
        let runtime = format!("llama.cpp {}", unsafe { text(sys::llama_version()) });
        let built_for = features();
        let device = if built_for.is_empty() { "CPU".to_owned() } else { format!("CPU ({})", built_for.join(", ")) };
        let lacking: Vec<&str> = built_for.iter().copied().filter(|f| lacks(f)).collect();
        if !lacking.is_empty() {
            // Going on would end in SIGILL.
            let note = format!(
                "this build needs {}, which this CPU lacks: build llama.cpp without (GGML_{}=OFF)",
                lacking.join(", "),
                lacking[0]
            );
            return Report { device_count: 0, runtime, device, note };
        }
        // SAFETY: asks for a constant of the build.
        let gpu = unsafe { sys::llama_supports_gpu_offload() };
        let note = if cfg!(target_arch = "x86_64") && !built_for.contains(&"AVX2") && !lacks("AVX2") {
            "built without AVX2 although this CPU has it, which is many times slower: build with GGML_AVX2=ON"
        } else {
            ""
        };
        Report { device_count: 1 + u32::from(gpu), runtime, device, note: note.to_owned() }
    })
}

/// Instruction sets that ggml was compiled for.
fn features() -> Vec<&'static str> {
    type Has = unsafe extern "C" fn() -> i32;
    const ALL: &[(&str, Has)] = &[
        ("AVX", sys::ggml_cpu_has_avx),
        ("AVX2", sys::ggml_cpu_has_avx2),
        ("FMA", sys::ggml_cpu_has_fma),
        ("F16C", sys::ggml_cpu_has_f16c),
        ("BMI2", sys::ggml_cpu_has_bmi2),
        ("AVX_VNNI", sys::ggml_cpu_has_avx_vnni),
        ("AVX512", sys::ggml_cpu_has_avx512),
        ("AVX512_VBMI", sys::ggml_cpu_has_avx512_vbmi),
        ("AVX512_VNNI", sys::ggml_cpu_has_avx512_vnni),
        ("AVX512_BF16", sys::ggml_cpu_has_avx512_bf16),
        ("NEON", sys::ggml_cpu_has_neon),
        ("DOTPROD", sys::ggml_cpu_has_dotprod),
        ("I8MM", sys::ggml_cpu_has_matmul_int8),
        ("SVE", sys::ggml_cpu_has_sve),
        ("RVV", sys::ggml_cpu_has_riscv_v),
    ];
    // SAFETY: each returns a constant of the build and runs no special instruction itself.
    ALL.iter().filter(|(_, has)| unsafe { has() } != 0).map(|(name, _)| *name).collect()
}

/// Is `feature` known to be absent from this CPU?
#[cfg(target_arch = "x86_64")]
fn lacks(feature: &str) -> bool {
    use std::arch::is_x86_feature_detected as has;
    match feature {
        "AVX" => !has!("avx"),
        "AVX2" => !has!("avx2"),
        "FMA" => !has!("fma"),
        "F16C" => !has!("f16c"),
        "BMI2" => !has!("bmi2"),
        "AVX512" => !has!("avx512f"),
        "AVX512_VBMI" => !has!("avx512vbmi"),
        "AVX512_VNNI" => !has!("avx512vnni"),
        "AVX512_BF16" => !has!("avx512bf16"),
        _ => false,
    }
}

/// Is `feature` known to be absent from this CPU?
#[cfg(target_arch = "aarch64")]
fn lacks(feature: &str) -> bool {
    use std::arch::is_aarch64_feature_detected as has;
    match feature {
        "DOTPROD" => !has!("dotprod"),
        "I8MM" => !has!("i8mm"),
        "SVE" => !has!("sve"),
        _ => false,
    }
}

/// Is `feature` known to be absent from this CPU? Not told here.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn lacks(_: &str) -> bool {
    false
}

/// A string that llama.cpp owns; empty for NULL.
///
/// # Safety
/// `ptr` must be NULL or NUL-terminated, and live for this call.
pub unsafe fn text(ptr: *const c_char) -> String {
    if ptr.is_null() {
        return String::new();
    }
    // SAFETY: passed on to the caller.
    unsafe { CStr::from_ptr(ptr) }.to_string_lossy().into_owned()
}
