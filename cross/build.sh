#!/bin/sh
# Builds what is copied onto a board: one static file for each target, with the plugin hosts and llama.cpp inside.
#
#   cross/build.sh [--slim] [--variants "NAME …"] TARGET…
#
# TARGET is aarch64-unknown-linux-musl, armv7-unknown-linux-musleabihf or x86_64-unknown-linux-musl. --slim leaves
# llama.cpp out; --variants builds only these of its CPU variants. Runs on Debian 12 with rustup; what else it takes is
# installed (Debian packages) or put under target/cross (zig and cargo-zigbuild from PyPI).
# Leaves dist/edgebench-VERSION-ARCH (…-slim), the same as .tar.gz with README, header and demo, and dist/SHA256SUMS.
set -eu
cd "$(dirname "$0")/.."
ROOT="$(pwd)"
WORK="$ROOT/target/cross"
. scripts/need

SLIM=
ONLY=
while [ $# -gt 0 ]; do
    case "$1" in
    --slim) SLIM=-slim ;;
    --variants) ONLY="$2"; shift ;;
    -*) echo "cross/build.sh: unknown option $1" >&2; exit 2 ;;
    *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }

need_build
need ninja-build ccache python3-venv
if [ ! -x "$WORK/venv/bin/cargo-zigbuild" ]; then
    mkdir -p "$WORK"
    python3 -m venv "$WORK/venv"
    "$WORK/venv/bin/pip" install --quiet --disable-pip-version-check ziglang==0.17.1 cargo-zigbuild==0.24.0
fi
export PATH="$WORK/venv/bin:$PATH"

# The variants of llama.cpp differ in the flags of a few files; the others come from this cache.
export CCACHE_DIR="$WORK/ccache" CCACHE_BASEDIR="$ROOT" CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=2G
export CMAKE_GENERATOR=Ninja CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache
export CARGO_INCREMENTAL=0

# The same bytes wherever and whenever it is built: no path of this machine in panics and debug strings.
CARGO_HOME="${CARGO_HOME:-$HOME/.cargo}"
REMAP="--remap-path-prefix=$ROOT=edgebench --remap-path-prefix=$CARGO_HOME=cargo"
VERSION="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)"

# std of the target: from rustup, else compiled from source.
STD=
std_for() {
    STD=
    if rustup target add "$1" >/dev/null 2>&1; then return; fi
    echo "rustup has no std for $1 here: it is compiled from rust-src" >&2
    rustup component add rust-src >/dev/null 2>&1
    export RUSTC_BOOTSTRAP=1
    STD="-Zbuild-std=std,panic_abort"
}

# zigbuild TARGET OUT-NAME BINARY FEATURES OPT-LEVEL RUSTFLAGS: builds one program and puts it into $HOSTS/OUT-NAME.
zigbuild() {
    target="$1" out="$2" binary="$3" features="$4" opt="$5" flags="$6"
    triple="${target%.2.17}"
    std_for "$triple"
    echo "== $out ($target)" >&2
    env CARGO_PROFILE_DIST_OPT_LEVEL="$opt" RUSTFLAGS="$REMAP $flags" \
        cargo-zigbuild zigbuild --quiet --profile dist --no-default-features --features "$features" $STD \
        --target "$target" --target-dir "$WORK/$out-$triple" --bin "$binary" >&2
    cp "$WORK/$out-$triple/$triple/dist/$binary" "$HOSTS/$out.part"
    mv "$HOSTS/$out.part" "$HOSTS/$out"
}

# A dynamic musl program: Rust's own start files and libc are for static ones only.
MUSL_DYNAMIC="-C target-feature=-crt-static -C link-self-contained=no -C link-arg=-dynamic"

for TARGET in "$@"; do
    [ -f "cross/$TARGET.sh" ] || { echo "cross/build.sh: no such target $TARGET; there is: $(cd cross && ls *-*.sh | sed 's/\.sh//' | tr '\n' ' ')" >&2; exit 2; }
    . "cross/$TARGET.sh"
    HOSTS="$WORK/hosts-$ARCH$SLIM"
    rm -rf "$HOSTS"
    mkdir -p "$HOSTS" dist
    zigbuild "$GLIBC_TARGET" plugin-glibc edgebench-host "" z ""
    zigbuild "$TARGET" plugin-musl edgebench-host "" z "$MUSL_DYNAMIC"
    if [ -z "$SLIM" ]; then
        for VARIANT in ${ONLY:-$VARIANTS}; do
            variant "$VARIANT" || { echo "cross/build.sh: $TARGET has no variant $VARIANT; there is: $VARIANTS" >&2; exit 2; }
            zigbuild "$TARGET" "llama-$VARIANT" edgebench-host llama 3 ""
        done
    fi
    # The controller carries them.
    std_for "$TARGET"
    echo "== edgebench ($TARGET$SLIM)" >&2
    env CARGO_PROFILE_DIST_OPT_LEVEL=s RUSTFLAGS="$REMAP" EDGEBENCH_HOSTS="$HOSTS" \
        cargo-zigbuild zigbuild --quiet --profile dist --no-default-features $STD \
        --target "$TARGET" --target-dir "$WORK/edgebench$SLIM-$TARGET" --bin edgebench >&2
    NAME="edgebench-$VERSION-$ARCH$SLIM"
    cp "$WORK/edgebench$SLIM-$TARGET/$TARGET/dist/edgebench" "dist/$NAME"
    file -b "dist/$NAME" | grep -q "statically linked" || { echo "dist/$NAME is not static" >&2; exit 1; }

    # Everything that a board needs, with times and owners that are always the same.
    PACK="$WORK/pack/$NAME"
    rm -rf "$PACK"
    mkdir -p "$PACK/datasets"
    cp "dist/$NAME" "$PACK/edgebench"
    cp README.md README.zh-CN.md LICENSE CHANGELOG.md backends/edgebench.h "$PACK"
    cp -r datasets/demo "$PACK/datasets/demo"
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=ustar -C "$WORK/pack" -cf - "$NAME" | gzip -n9 > "dist/$NAME.tar.gz"
done
(cd dist && sha256sum edgebench-* > SHA256SUMS)
ls -l dist >&2
