//! The numbers of the GGUF format: tensor types with their blocks, value types, names of file types.
//! Constant tables only; a test holds the tensor types against llama.cpp's own.
//! It must not know files.

/// `(name, numbers per block, bytes per block)` of a `ggml_type`; `None` for numbers that are unused or retired.
pub fn block_of(ggml_type: u32) -> Option<(&'static str, u64, u64)> {
    Some(match ggml_type {
        0 => ("f32", 1, 4),
        1 => ("f16", 1, 2),
        2 => ("q4_0", 32, 18),
        3 => ("q4_1", 32, 20),
        6 => ("q5_0", 32, 22),
        7 => ("q5_1", 32, 24),
        8 => ("q8_0", 32, 34),
        9 => ("q8_1", 32, 36),
        10 => ("q2_K", 256, 84),
        11 => ("q3_K", 256, 110),
        12 => ("q4_K", 256, 144),
        13 => ("q5_K", 256, 176),
        14 => ("q6_K", 256, 210),
        15 => ("q8_K", 256, 292),
        16 => ("iq2_xxs", 256, 66),
        17 => ("iq2_xs", 256, 74),
        18 => ("iq3_xxs", 256, 98),
        19 => ("iq1_s", 256, 50),
        20 => ("iq4_nl", 32, 18),
        21 => ("iq3_s", 256, 110),
        22 => ("iq2_s", 256, 82),
        23 => ("iq4_xs", 256, 136),
        24 => ("i8", 1, 1),
        25 => ("i16", 1, 2),
        26 => ("i32", 1, 4),
        27 => ("i64", 1, 8),
        28 => ("f64", 1, 8),
        29 => ("iq1_m", 256, 56),
        30 => ("bf16", 1, 2),
        34 => ("tq1_0", 256, 54),
        35 => ("tq2_0", 256, 66),
        39 => ("mxfp4", 32, 17),
        40 => ("nvfp4", 64, 36),
        41 => ("q1_0", 128, 18),
        42 => ("q2_0", 64, 18),
        _ => return None,
    })
}

/// The usual name of a `general.file_type` (`llama_ftype`), as in file names.
pub fn file_type_name(file_type: i64) -> Option<&'static str> {
    Some(match file_type {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4",
        39 => "NVFP4",
        40 => "Q1_0",
        41 => "Q2_0",
        _ => return None,
    })
}

/// Bytes of a value of the `gguf_type`, unless it is a string, an array or unknown.
pub fn scalar_bytes(gguf_type: u32) -> Option<u64> {
    match gguf_type {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// Is the `gguf_type` an integer or a boolean?
pub fn is_integer(gguf_type: u32) -> bool {
    matches!(gguf_type, 0..=5 | 7 | 10 | 11)
}

#[cfg(all(test, feature = "link"))]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn tensor_types_are_those_of_llama_cpp() {
        for kind in 0..llama_cpp_sys_2::GGML_TYPE_COUNT {
            // SAFETY: constant tables of ggml, indexed below GGML_TYPE_COUNT.
            let (name, block, bytes) = unsafe {
                let name = CStr::from_ptr(llama_cpp_sys_2::ggml_type_name(kind));
                (name, llama_cpp_sys_2::ggml_blck_size(kind), llama_cpp_sys_2::ggml_type_size(kind))
            };
            match block_of(kind) {
                Some((ours, n, size)) => {
                    assert_eq!((ours, n as i64, size as usize), (name.to_str().unwrap(), block, bytes), "type {kind}");
                }
                None => assert_eq!(bytes, 0, "type {kind} ({name:?}) is missing"),
            }
        }
    }
}
