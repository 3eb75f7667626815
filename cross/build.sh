#!/bin/sh
# Builds what is copied onto a board: one static file for each target, with the plugin hosts, llama.cpp and
# the client of servers inside.
#
#   cross/build.sh [--slim] [--variants "NAME …"] TARGET…
#   cross/build.sh --tools           only installs what it takes
#
# TARGET is aarch64-unknown-linux-musl, armv7-unknown-linux-musleabihf or x86_64-unknown-linux-musl. --slim leaves
# llama.cpp and the client out; --variants builds only these of its CPU variants. Runs on Debian 12 with rustup; what else it takes is
# installed (Debian packages) or put under target/cross (zig and cargo-zigbuild from PyPI).
# Leaves dist/edgebench-VERSION-ARCH (…-slim), the same as .tar.gz with README, header and demo, and dist/SHA256SUMS.
set -eu
cd "$(dirname "$0")/.."
ROOT="$(pwd)"
WORK="$ROOT/target/cross"
. scripts/need

SLIM=
ONLY=
TOOLS=
while [ $# -gt 0 ]; do
    case "$1" in
    --slim) SLIM=-slim ;;
    --tools) TOOLS=only ;;
    --variants) ONLY="$2"; shift ;;
    -*) echo "cross/build.sh: unknown option $1" >&2; exit 2 ;;
    *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || [ -n "$TOOLS" ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }

need_build
need ninja-build ccache zstd file python3-venv
if [ ! -x "$WORK/venv/bin/cargo-zigbuild" ]; then
    python3 -m venv "$WORK/venv"
    "$WORK/venv/bin/pip" install --quiet --disable-pip-version-check ziglang==0.17.1 cargo-zigbuild==0.24.0
fi
# For what std_for compiles.
if ! rustup component add rust-src >/dev/null 2>&1 && [ ! -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
    echo "cross/build.sh: the source of Rust's standard library is missing: rustup component add rust-src" >&2
    exit 1
fi
[ -z "$TOOLS" ] || exit 0
export PATH="$WORK/venv/bin:$PATH" ZIG_GLOBAL_CACHE_DIR="$WORK/zig" CARGO_ZIGBUILD_CACHE_DIR="$WORK/zigbuild"

# llama.cpp's variants differ in the flags of a few files; the others come from this cache. The compiler is a script
# of cargo-zigbuild's, which is written anew each time.
export CCACHE_DIR="$WORK/ccache" CCACHE_BASEDIR="$ROOT" CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=2G
export CCACHE_COMPILERCHECK=content CCACHE_COMPILERTYPE=clang
export CMAKE_GENERATOR=Ninja CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache
export CMAKE_PROJECT_TOP_LEVEL_INCLUDES="$ROOT/cross/llama.cmake"
export CARGO_INCREMENTAL=0

# The same bytes wherever and whenever it is built: no path of this machine in panics.
REMAP="--remap-path-prefix=$ROOT=edgebench --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
REMAP="$REMAP --remap-path-prefix=$(rustc --print sysroot)=rust"
# Nothing unwinds where a panic aborts. (llama.cpp's C++ does, and has tables of its own.)
COMPACT="-C force-unwind-tables=no"
# A dynamic musl program: Rust's own start files and libc are for static ones only.
MUSL_DYNAMIC="-C target-feature=-crt-static -C link-self-contained=no -C link-arg=-dynamic"
VERSION="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)"

# std_for TRIPLE OPT-LEVEL: makes sure of the target's standard library. STD: cargo's flags, where it has to be compiled:
# for programs that are to be small without backtraces, of which a quarter of a megabyte is, and where rustup has none.
std_for() {
    STD=
    if [ "$2" = 3 ]; then
        rustup target add "$1" >/dev/null 2>&1 && return
        echo "rustup has no std for $1 here: it is compiled from source" >&2
    fi
    STD="-Zbuild-std=std,panic_abort -Zbuild-std-features="
    [ "$2" = 3 ] || STD="${STD}optimize_for_size"
}

# zigbuild OUT TARGET BINARY FEATURES OPT-LEVEL RUSTFLAGS: builds one program; BUILT is its path.
zigbuild() {
    out="$1" target="$2" binary="$3" features="$4" opt="$5" flags="$6"
    triple="${target%.2.17}"
    std_for "$triple" "$opt"
    # Nothing to link start files from where std was compiled here: zig has them.
    case "$STD$triple" in -*musl*) flags="$flags -C link-self-contained=no" ;; esac
    echo "== $out ($target)" >&2
    # RUSTC_BOOTSTRAP allows -Z in a stable compiler, which compiles its own standard library with it.
    # shellcheck disable=SC2086
    env ${STD:+RUSTC_BOOTSTRAP=1} CARGO_PROFILE_DIST_OPT_LEVEL="$opt" RUSTFLAGS="$REMAP $flags" \
        cargo-zigbuild zigbuild --quiet --profile dist --no-default-features --features "$features" $STD \
        --target "$target" --target-dir "$WORK/$out-$triple" --bin "$binary" >&2
    BUILT="$WORK/$out-$triple/$triple/dist/$binary"
}

# headers TARGET: tells bindgen the headers of the compiler and of that target's C library. By itself it finds this machine's
# only, and others with the program clang, which need not be here.
headers() {
    clang="$(dirname "$(ls /usr/lib/llvm-*/lib/clang/*/include/stdbool.h | tail -1)")"
    libc="$(ls -d "$WORK"/venv/lib/python3*/site-packages/ziglang/lib/libc/include)"
    export BINDGEN_EXTRA_CLANG_ARGS="-isystem $clang -isystem $libc/${1%eabihf} -isystem $libc/generic-musl"
}

# pack FILE: FILE.zst. A window of 2 MiB costs 0.2 % in size and is all the memory that unpacking takes.
pack() { zstd --quiet --force --rm --ultra -22 --zstd=wlog=21 --no-check "$1"; }

for TARGET in "$@"; do
    if [ ! -f "cross/$TARGET.sh" ]; then
        echo "cross/build.sh: no target $TARGET; there is:" cross/*-*.sh | sed 's,cross/\([a-z0-9_-]*\)\.sh,\1,g' >&2
        exit 2
    fi
    . "cross/$TARGET.sh"
    # What lies in the controller: hosts. They are packed one by one, but those of the slim file together with it.
    HOSTS="$WORK/inside-$ARCH$SLIM/hosts"
    rm -rf "$WORK/inside-$ARCH$SLIM"
    mkdir -p "$HOSTS" dist
    zigbuild plugin-glibc "$GLIBC_TARGET" edgebench-host "" z "$COMPACT"
    cp "$BUILT" "$HOSTS/plugin-glibc"
    zigbuild plugin-musl "$TARGET" edgebench-host "" z "$COMPACT $MUSL_DYNAMIC"
    cp "$BUILT" "$HOSTS/plugin-musl"
    FEATURES=
    if [ -z "$SLIM" ]; then
        FEATURES=gguf
        zigbuild openai "$TARGET" edgebench-host openai z "$COMPACT"
        cp "$BUILT" "$HOSTS/openai"
        for VARIANT in ${ONLY:-$VARIANTS}; do
            (
                variant "$VARIANT" || { echo "cross/build.sh: $TARGET has no variant $VARIANT; there is: $VARIANTS" >&2; exit 2; }
                headers "$ZIG_MUSL"
                zigbuild "llama-$VARIANT" "$TARGET" edgebench-host llama 3 ""
                cp "$BUILT" "$HOSTS/llama-$VARIANT"
            )
        done
        for HOST in "$HOSTS"/*; do pack "$HOST"; done
    fi
    export EDGEBENCH_HOSTS="$HOSTS"
    zigbuild "edgebench$SLIM" "$TARGET" edgebench "$FEATURES" s "$COMPACT"
    if [ -n "$SLIM" ]; then
        export EDGEBENCH_HOSTS="$WORK/inside-$ARCH$SLIM/packed"
        mkdir "$EDGEBENCH_HOSTS"
        cp "$BUILT" "$EDGEBENCH_HOSTS/edgebench"
        pack "$EDGEBENCH_HOSTS/edgebench"
        zigbuild edgebench-packed "$TARGET" edgebench-packed "" z "$COMPACT"
    fi
    unset EDGEBENCH_HOSTS
    file -b "$BUILT" | grep -q "statically linked" || { echo "$BUILT is not static" >&2; exit 1; }
    NAME="edgebench-$VERSION-$ARCH$SLIM"
    cp "$BUILT" "dist/$NAME"

    # Everything that a board needs, with times, owners and modes that are always the same.
    PACK="$WORK/pack/$NAME"
    rm -rf "$PACK"
    mkdir -p "$PACK/datasets"
    cp "dist/$NAME" "$PACK/edgebench"
    cp README.md README.zh-CN.md LICENSE CHANGELOG.md backends/edgebench.h "$PACK"
    cp -r datasets/demo "$PACK/datasets/demo"
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --format=ustar -C "$WORK/pack" -cf - "$NAME" | gzip -n9 > "dist/$NAME.tar.gz"
done
(cd dist && sha256sum edgebench-* > SHA256SUMS)
ls -l dist >&2
