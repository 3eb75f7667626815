#!/bin/bash
# Tests what cross/build.sh has left in dist: the file itself, its hosts, and that they start where boards make it hard.
#
#   cross/test.sh [--slim] TARGET…
#
# Other architectures run under qemu-user with the C libraries of Debian's packages. With llama.cpp inside, the demo's
# multiple-choice tasks have to give the predictions of the x86-64 file or, where that is not there, of an ordinary build
# (cargo build --release). What this machine does not allow is skipped, and said.
set -euo pipefail
cd "$(dirname "$0")/.."
ROOT=$PWD
WORK=$ROOT/target/cross
. scripts/need
need gcc file qemu-user-static
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
SLIM=
if [ "${1:-}" = --slim ]; then
    SLIM=-slim
    shift
fi
tmp=$(mktemp -d)
chmod 755 "$tmp"
trap 'rm -rf "$tmp"' EXIT
failed=0

pass() { echo "ok    $ARCH$SLIM: $*"; }
skip() { echo "skip  $ARCH$SLIM: $*"; }
fail() {
    echo "FAIL  $ARCH$SLIM: $*"
    failed=1
}
# check WHAT WORDS FILE: passes if WORDS are in FILE.
check() {
    if grep -qF -- "$2" "$3"; then pass "$1"; else
        fail "$1: no \"$2\" in:"
        tail -5 "$3"
    fi
}

zig() { "$WORK/venv/bin/python3" -m ziglang "$@"; }
# plugin ZIG-TARGET OUT: the mock backend for that target.
plugin() {
    zig cc -target "$1" -std=c99 -O2 -shared -fPIC -I backends backends/mock/mock.c -o "$2" -lm -lpthread
}

# libraries DEBIAN-ARCHITECTURE: a folder with that architecture's C libraries, for qemu and plugins.
libraries() {
    local folder=$WORK/libraries-$1
    if [ ! -e "$folder/done" ]; then
        mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/partial" "$folder/root"
        local apt=(apt-get -qq -o "APT::Architecture=$1" -o "APT::Architectures=$1" -o "Dir::State::lists=$folder/apt/lists"
            -o "Dir::Cache=$folder/apt/cache" -o "Dir::State::status=/dev/null" -o APT::Sandbox::User=root)
        "${apt[@]}" update >&2
        (cd "$folder/apt" && "${apt[@]}" download "libc6:$1" "libgcc-s1:$1" "musl:$1" >&2)
        for package in "$folder"/apt/*.deb; do dpkg -x "$package" "$folder/root"; done
        rm -rf "$folder/apt"
        touch "$folder/done"
    fi
    echo "$folder/root"
}

# A job with the mock backend as FILE.
mock_job() {
    printf '[[object]]\nname = "mock"\nbackend = "%s"\nparams = { text = "x" }\n[[task]]\nname = "t"\ndataset = "t.jsonl"\nmethod = "generate"\nmax_tokens = 4\n' "$1"
}
printf '{"question":"a?","answer":"x"}\n{"question":"b?","answer":"x"}\n' > "$tmp/t.jsonl"

# attempt COMMAND…: runs the job t.toml with the command in front of the program; what it says is in $tmp/said.
attempt() {
    rm -rf "$tmp/out"
    (cd "$tmp" && RUST_LOG=timing=debug "$@" "${RUN[@]}" run t.toml --quiet --out out) > "$tmp/said" 2>&1
}

plugins() {
    mock_job ./glibc.so > "$tmp/t.toml"
    plugin "$ZIG_GLIBC" "$tmp/glibc.so"
    attempt env || true
    check "a plugin for glibc runs" "plugin-glibc from memory after" "$tmp/said"
    mock_job ./musl.so > "$tmp/t.toml"
    plugin "$ZIG_MUSL" "$tmp/musl.so"
    attempt env || true
    if [ -n "$QEMU" ] || [ -e "/lib/ld-musl-$ARCH.so.1" ]; then
        check "a plugin for musl runs" "plugin-musl from memory after" "$tmp/said"
    else
        check "a plugin for musl is refused where there is no musl" "which this board does not have" "$tmp/said"
    fi
    plugin riscv64-linux-gnu "$tmp/other.so"
    mock_job ./other.so > "$tmp/t.toml"
    attempt env || true
    check "a plugin for another machine is refused" "is built for riscv64, this board is" "$tmp/said"
    if "${RUN[@]}" conform "$tmp/glibc.so" > "$tmp/said" 2>&1; then pass "conform runs in the host inside"; else fail "conform: $(tail -3 "$tmp/said")"; fi
}

# Starting a host where a board makes it hard. Natively only: qemu-user passes exec on to this machine's kernel.
ladder() {
    mock_job ./glibc.so > "$tmp/t.toml"
    mkdir -p "$tmp/bin"
    cp "$FILE" "$tmp/bin/edgebench"
    local RUN=("$tmp/bin/edgebench")
    gcc -O1 -o "$tmp/deny" cross/deny_memfd.c
    attempt "$tmp/deny" || true
    check "without memfd: from the program's own folder" "from a file in $tmp/bin after" "$tmp/said"
    EDGEBENCH_TMPDIR=$tmp/mine
    mkdir -p "$EDGEBENCH_TMPDIR"
    export EDGEBENCH_TMPDIR
    attempt "$tmp/deny" || true
    check "without memfd: from EDGEBENCH_TMPDIR" "from a file in $tmp/mine after" "$tmp/said"
    unset EDGEBENCH_TMPDIR
    if [ -n "$(ls -A "$tmp/mine")" ] || [ "$(ls -A "$tmp/bin")" != edgebench ]; then fail "a file of a host was left behind"; else pass "no file of a host is left"; fi

    local nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups env -u HOME)
    if [ "$(id -u)" = 0 ]; then
        chmod 777 "$tmp"
        attempt "${nobody[@]}" || true
        check "a user without a home, from memory" "from memory after" "$tmp/said"
        rm -rf "$tmp/out"
        attempt "${nobody[@]}" "$tmp/deny" || true
        check "a user without a home and memfd, from /tmp" "from a file in /tmp after" "$tmp/said"
        rm -rf "$tmp/out"
    else
        skip "a user without a home: needs root"
    fi

    # A name space of mounts of its own, in which nothing but the results' folder can be written, and from none of the
    # usual folders a program can be started.
    local space=(unshare --mount)
    [ "$(id -u)" = 0 ] || space=(unshare --mount --map-root-user)
    if ! "${space[@]}" true 2> /dev/null; then
        skip "read-only root and noexec folders: no name spaces here"
        return
    fi
    cat > "$tmp/space.sh" << 'SH'
set -e
from=$1; shift
mount -t tmpfs tmpfs /mnt
mkdir /mnt/bin /mnt/job
mount -t tmpfs tmpfs /mnt/bin
mount -t tmpfs -o noexec tmpfs /mnt/job
cp "$from/bin/edgebench" "$from/deny" /mnt/bin
cp "$from"/t.* "$from"/*.so /mnt/job
mount -o remount,ro /mnt/bin
for folder in /tmp /var/tmp /dev/shm /run; do
    mount --bind $folder $folder
    mount -o remount,bind,noexec $folder
done
mount -o remount,bind,ro /
cd /mnt/job
exec "$@" /mnt/bin/edgebench run t.toml --quiet --out out
SH
    export RUST_LOG=timing=debug
    "${space[@]}" sh "$tmp/space.sh" "$tmp" env > "$tmp/said" 2>&1 || true
    check "read-only root and noexec folders: from memory" "from memory after" "$tmp/said"
    "${space[@]}" sh "$tmp/space.sh" "$tmp" /mnt/bin/deny > "$tmp/said" 2>&1 || true
    check "without memfd as well: every way is named" "set EDGEBENCH_TMPDIR to a folder" "$tmp/said"
    # The kernel can refuse to execute memory: a setting of each process name space since Linux 6.3.
    space+=(--pid --fork --mount-proc)
    local refuse='echo 2 > /proc/sys/vm/memfd_noexec'
    if "${space[@]}" sh -c "$refuse" 2> /dev/null; then
        "${space[@]}" sh -c "$refuse; exec sh $tmp/space.sh $tmp env" > "$tmp/said" 2>&1 || true
        if [ -n "$SLIM" ]; then
            check "memory and folders refused: every way is named" "set EDGEBENCH_TMPDIR to a folder" "$tmp/said"
        else
            check "memory and folders refused: through the loader" "plugin-glibc through /" "$tmp/said"
        fi
    else
        skip "memory that cannot be executed: this kernel has no vm.memfd_noexec"
    fi
    unset RUST_LOG
}

# The demo's choice tasks, shortened: predictions of FILE into OUT.
predictions() {
    local demo=$ROOT/datasets/demo
    {
        printf '[job]\nname = "choice"\nwarmup = 0\ntimeout = "600s"\n[[object]]\nname = "demo"\nbackend = "llama"\nmodel = ["%s"]\nparams = { threads = 1, n_ctx = 1024 }\n' \
            "$(echo "$demo"/demo-q8_0.gguf "$demo"/demo-q4_0.gguf "$demo"/demo-q2_k.gguf | sed 's/ /", "/g')"
        for task in compare alphabet zh-compare zh-order sentiment; do
            printf '[[task]]\nname = "%s"\ndataset = "%s/%s.jsonl"\nmethod = "choice"\nlimit = %s\nshots = { n = 2, from = "%s/%s.dev.jsonl" }\n' "$task" "$demo" "$task" "${CHOICE_LIMIT:-10}" "$demo" "$task"
        done
    } > "$tmp/choice.toml"
    rm -rf "$1"
    "${RUN[@]}" run "$tmp/choice.toml" --quiet --out "$1" > "$tmp/said" 2>&1
}

# compare REFERENCE OTHER: the same predictions? Prints the largest difference of a score.
compare() {
    python3 - "$1/predictions.jsonl" "$2/predictions.jsonl" << 'PY'
import json, sys
a, b = ([json.loads(l) for l in open(f)] for f in sys.argv[1:])
key = lambda r: (r["case"], r["id"])
assert [key(r) for r in a] == [key(r) for r in b] and a, "other records"
numbers = lambda v: [v] if isinstance(v, (int, float)) else [n for x in (v.values() if isinstance(v, dict) else v) for n in numbers(x)] if isinstance(v, (list, dict)) else []
worst = max(abs(x - y) for r, s in zip(a, b) for x, y in zip(numbers(r["scores"]), numbers(s["scores"])))
other = [key(r) for r, s in zip(a, b) if r["prediction"] != s["prediction"]]
print(f"{len(a) - len(other)} of {len(a)} predictions alike, log-likelihoods differ by {worst:.3g} at most")
sys.exit(bool(other))
PY
}

# The right variant for each kind of processor, as far as this file has it.
processors() {
    local pair inside
    inside=$("${RUN[@]}" probe 2> /dev/null | grep -o 'llama-[a-z0-9.-]*' || true)
    for pair in $PROCESSORS; do
        if ! grep -qx "llama-${pair#*=}" <<< "$inside"; then
            skip "${pair%=*}: llama.cpp ${pair#*=} is not in this file"
            continue
        fi
        "$EMULATOR" -cpu "${pair%=*}" "$FILE" probe > "$tmp/said" 2>&1 || true
        check "${pair%=*} gets ${pair#*=}" "variant ${pair#*=}:" "$tmp/said"
    done
}

llama() {
    local reference=$WORK/choice-x86_64 native=$ROOT/dist/edgebench-$VERSION-x86_64 VARIANT
    [ -x "$native" ] || native=$ROOT/target/release/edgebench
    if [ ! "$reference/cases.csv" -nt "$native" ]; then
        if [ ! -x "$native" ] || ! (unset EDGEBENCH_HOST_RUNNER && RUN=("$native") && predictions "$reference"); then
            fail "llama.cpp: there are no predictions of x86-64 to compare with: cross/build.sh x86_64-unknown-linux-musl, or cargo build --release"
            return
        fi
    fi
    for VARIANT in $VARIANTS; do
        export EDGEBENCH_CPU_VARIANT=$VARIANT
        if ! predictions "$WORK/choice-$ARCH-$VARIANT"; then
            if grep -q "this processor lacks" "$tmp/said"; then skip "llama.cpp $VARIANT: $(grep -om1 'this processor lacks.*' "$tmp/said")"; elif
                grep -q "there is " "$tmp/said"
            then skip "llama.cpp $VARIANT is not in this file"; else
                fail "llama.cpp $VARIANT: $(tail -3 "$tmp/said")"
            fi
            continue
        fi
        if compare "$reference" "$WORK/choice-$ARCH-$VARIANT" > "$tmp/said" 2>&1; then pass "llama.cpp $VARIANT: $(cat "$tmp/said")"; else fail "llama.cpp $VARIANT: $(tail -1 "$tmp/said")"; fi
    done
    unset EDGEBENCH_CPU_VARIANT
}

for TARGET in "$@"; do
    . "cross/$TARGET.sh"
    FILE=$ROOT/dist/edgebench-$VERSION-$ARCH$SLIM
    RUN=("$FILE")
    unset EDGEBENCH_HOST_RUNNER
    QEMU=
    if [ "$(uname -m)" != "$ARCH" ]; then
        QEMU="$EMULATOR -cpu max -L $(libraries "$DEBIAN")"
        export EDGEBENCH_HOST_RUNNER="$QEMU"
        # shellcheck disable=SC2206
        RUN=($QEMU "$FILE")
    fi
    if file -b "$FILE" | grep -q "statically linked"; then pass "statically linked, $(stat -c %s "$FILE") bytes"; else fail "not statically linked"; fi
    "${RUN[@]}" version > "$tmp/said" 2>&1 || true
    check "it starts" "edgebench $VERSION" "$tmp/said"
    plugins
    [ -n "$QEMU" ] || ladder
    [ -n "$SLIM" ] || { processors && llama; }
done
exit $failed
