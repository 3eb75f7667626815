//! Which of llama.cpp's variants this processor can run. Each variant has instructions that it needs; the first one,
//! from the most to the least demanding, whose instructions are all there is taken. It must not know files.

use std::collections::BTreeSet;

/// Environment variable that overrules the choice, for comparisons.
pub const VARIABLE: &str = "EDGEBENCH_CPU_VARIANT";

/// A variant and what it needs, as `detected` names it.
struct Variant {
    name: &'static str,
    needs: &'static [&'static str],
}

/// From the most demanding on. `cross/build.sh` compiles them with the same instructions.
const VARIANTS: &[Variant] = &[
    #[cfg(target_arch = "x86_64")]
    Variant {
        name: "avx512",
        needs: &[
            "avx2",
            "fma",
            "f16c",
            "bmi2",
            "avx512f",
            "avx512bw",
            "avx512cd",
            "avx512dq",
            "avx512vl",
            "avx512vbmi",
            "avx512vnni",
        ],
    },
    #[cfg(target_arch = "x86_64")]
    Variant { name: "avx2", needs: &["avx2", "fma", "f16c", "bmi2"] },
    #[cfg(target_arch = "x86_64")]
    Variant { name: "sse42", needs: &["sse4.2"] },
    #[cfg(target_arch = "aarch64")]
    Variant { name: "armv8.6-i8mm", needs: &["dotprod", "fp16", "i8mm"] },
    #[cfg(target_arch = "aarch64")]
    Variant { name: "armv8.2-dotprod", needs: &["dotprod", "fp16"] },
    #[cfg(target_arch = "aarch64")]
    Variant { name: "armv8.0", needs: &[] },
    #[cfg(target_arch = "arm")]
    Variant { name: "armv7-neon", needs: &["neon", "vfpv4"] },
];

/// Those features of this processor that variants ask for.
pub fn features() -> Vec<&'static str> {
    let all: BTreeSet<&str> = VARIANTS.iter().flat_map(|v| v.needs).copied().collect();
    all.into_iter().filter(|f| detected(f)).collect()
}

/// A variant and why it is the one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub name: String,
    pub reason: String,
}

/// The best of the variants in `there` for this processor, or the one that the environment wants.
///
/// # Errors
/// None of them runs here; the sentence says what is missing.
pub fn choose(there: &[&str]) -> Result<Choice, String> {
    let wanted = std::env::var(VARIABLE).ok().filter(|v| !v.is_empty());
    pick(there, &|feature| detected(feature), wanted.as_deref())
}

fn pick(there: &[&str], has: &dyn Fn(&str) -> bool, wanted: Option<&str>) -> Result<Choice, String> {
    let missing = |v: &Variant| v.needs.iter().copied().filter(|f| !has(f)).collect::<Vec<_>>().join(", ");
    let known = || VARIANTS.iter().filter(|v| there.contains(&v.name));
    if let Some(wanted) = wanted {
        let variant = known().find(|v| v.name == wanted);
        let variant = variant.ok_or_else(|| format!("{VARIABLE}={wanted}: there is {}", there.join(", ")))?;
        let missing = missing(variant);
        return match missing.is_empty() {
            true => Ok(Choice { name: wanted.to_owned(), reason: format!("{VARIABLE} says so") }),
            false => Err(format!("{VARIABLE}={wanted}: this processor lacks {missing}")),
        };
    }
    let mut passed_over = Vec::new();
    for variant in known() {
        let missing = missing(variant);
        if missing.is_empty() {
            let has = if variant.needs.is_empty() {
                "runs on all".to_owned()
            } else {
                format!("has {}", variant.needs.join(", "))
            };
            let not =
                if passed_over.is_empty() { String::new() } else { format!("; not {}", passed_over.join("; not ")) };
            return Ok(Choice { name: variant.name.to_owned(), reason: format!("{has}{not}") });
        }
        passed_over.push(format!("{}, which needs {missing}", variant.name));
    }
    Err(format!("no variant of llama.cpp inside runs on this processor: not {}", passed_over.join("; not ")))
}

#[cfg(target_arch = "x86_64")]
fn detected(feature: &str) -> bool {
    match feature {
        "sse4.2" => is_x86_feature_detected!("sse4.2"),
        "avx2" => is_x86_feature_detected!("avx2"),
        "fma" => is_x86_feature_detected!("fma"),
        "f16c" => is_x86_feature_detected!("f16c"),
        "bmi2" => is_x86_feature_detected!("bmi2"),
        "avx512f" => is_x86_feature_detected!("avx512f"),
        "avx512bw" => is_x86_feature_detected!("avx512bw"),
        "avx512vl" => is_x86_feature_detected!("avx512vl"),
        "avx512dq" => is_x86_feature_detected!("avx512dq"),
        "avx512cd" => is_x86_feature_detected!("avx512cd"),
        "avx512vbmi" => is_x86_feature_detected!("avx512vbmi"),
        "avx512vnni" => is_x86_feature_detected!("avx512vnni"),
        _ => false,
    }
}

#[cfg(target_arch = "aarch64")]
fn detected(feature: &str) -> bool {
    match feature {
        "dotprod" => std::arch::is_aarch64_feature_detected!("dotprod"),
        "fp16" => std::arch::is_aarch64_feature_detected!("fp16"),
        "i8mm" => std::arch::is_aarch64_feature_detected!("i8mm"),
        _ => false,
    }
}

/// HWCAP bits of 32-bit ARM (arch/arm/include/uapi/asm/hwcap.h of the kernel). A 64-bit kernel sets them too.
#[cfg(target_arch = "arm")]
fn detected(feature: &str) -> bool {
    let (hwcap, _) = rustix::param::linux_hwcap();
    match feature {
        "neon" => hwcap & (1 << 12) != 0,
        "vfpv4" => hwcap & (1 << 16) != 0,
        _ => false,
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm")))]
fn detected(_feature: &str) -> bool {
    false
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    const ALL: [&str; 3] = ["avx2", "avx512", "sse42"];

    #[test]
    fn the_most_demanding_one_that_runs_is_taken() {
        let zen2 = |f: &str| ["sse4.2", "avx2", "fma", "f16c", "bmi2"].contains(&f);
        let choice = pick(&ALL, &zen2, None).unwrap();
        assert_eq!(choice.name, "avx2");
        assert!(choice.reason.contains("has avx2, fma") && choice.reason.contains("not avx512, which needs avx512f"));
        assert_eq!(pick(&ALL, &|_| true, None).unwrap().name, "avx512");
        assert_eq!(pick(&["sse42"], &|_| true, None).unwrap().name, "sse42", "what is not inside cannot be taken");
    }

    #[test]
    fn what_cannot_run_is_refused_with_what_is_missing() {
        assert!(pick(&ALL, &|_| false, None).unwrap_err().contains("sse42, which needs sse4.2"));
        assert_eq!(pick(&ALL, &|_| true, Some("sse42")).unwrap().name, "sse42");
        assert!(pick(&ALL, &|f| f == "sse4.2", Some("avx2")).unwrap_err().contains("lacks avx2, fma"));
        assert!(pick(&ALL, &|_| true, Some("avx9")).unwrap_err().contains("there is avx2, avx512, sse42"));
    }
}
