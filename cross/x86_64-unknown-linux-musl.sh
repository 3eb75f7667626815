# x86-64. The names and needs of the variants are those of src/backend/hosts/variant.rs.
ARCH=x86_64
GLIBC_TARGET=x86_64-unknown-linux-gnu.2.17
VARIANTS="sse42 avx2 avx512"
# For tests: zig's names of the targets of plugins, Debian's name of the architecture, the emulator elsewhere, and
# the variants that processors have to get.
ZIG_GLIBC=x86_64-linux-gnu.2.17
ZIG_MUSL=x86_64-linux-musl
DEBIAN=amd64
EMULATOR=qemu-x86_64-static
PROCESSORS="Nehalem=sse42 Haswell=avx2"

# Sixteen registers are just enough for the products of matrices. clang's scheduler reads so far ahead that one of twelve sums
# lives in memory, which takes 1.6 times as long (F16, AVX2); with these its code is as good as gcc's (two dashes: cargo-zigbuild takes -e… for the linker). AVX-512 has twice as many.
FEW_REGISTERS="-mllvm --enable-misched=0 -mllvm --pre-RA-sched=list-hybrid"

# Exports what llama.cpp's build needs for variant $1. Instructions that are not named are off in a cross build.
variant() {
    case "$1" in
    sse42) export GGML_SSE42=ON EB_SGEMM_FLAGS="$FEW_REGISTERS" ;;
    avx2) variant sse42 && export GGML_AVX=ON GGML_AVX2=ON GGML_FMA=ON GGML_F16C=ON GGML_BMI2=ON ;;
    # Ice Lake, Zen 4 and later.
    avx512) variant avx2 && unset EB_SGEMM_FLAGS && export GGML_AVX512=ON GGML_AVX512_VBMI=ON GGML_AVX512_VNNI=ON ;;
    *) return 1 ;;
    esac
}
