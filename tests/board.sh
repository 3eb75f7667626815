#!/bin/bash
# The whole way once: a Debian for 64-bit ARM boots in an emulated machine, the one file and the demo are copied onto it
# with scp, run there by hand and by cron, and the results are fetched. Slow (half an hour, most of it the first time),
# so it is not part of scripts/test.
#
#   tests/board.sh [FILE]     default: dist/edgebench-VERSION-aarch64, from cross/build.sh
#
# Needs root for debootstrap. The disk is kept in target/board; remove that folder for a fresh one.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need
need debootstrap qemu-user-static qemu-system-arm openssh-client e2fsprogs curl
file=${1:-dist/edgebench-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)-aarch64}
[ -x "$file" ] || {
    echo "$file is missing: cross/build.sh aarch64-unknown-linux-musl" >&2
    exit 2
}
work=$PWD/target/board
port=${BOARD_PORT:-2222}
mkdir -p "$work"
step() { echo "--- $(date +%T) $*"; }

# foreign COMMAND…: in a name space of mounts in which programs for arm64 run. Where the machine has no entry for them,
# users get a name space too, so that the entry is a private one (Linux 6.7).
foreign() {
    if grep -qs enabled /proc/sys/fs/binfmt_misc/qemu-aarch64; then
        unshare --mount "$@"
        return
    fi
    local gate=$work/gate child
    rm -f "$gate"
    mkfifo "$gate"
    # shellcheck disable=SC2016
    unshare --user --mount --pid --fork bash -ec 'read -r _ < "$0"
        mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
        cat /usr/lib/binfmt.d/qemu-aarch64.conf > /proc/sys/fs/binfmt_misc/register
        exec "$@"' "$gate" "$@" &
    child=$!
    # Until it is there.
    while [ "$(readlink "/proc/$child/ns/user")" = "$(readlink /proc/self/ns/user)" ]; do sleep 0.1; done
    echo '0 0 65536' > "/proc/$child/uid_map"
    echo '0 0 65536' > "/proc/$child/gid_map"
    echo > "$gate"
    wait "$child"
}

# --- A disk with Debian, sshd and cron, and the key of this test.
if [ ! -e "$work/disk.img" ]; then
    step "Debian 12 for arm64"
    [ -e "$work/key" ] || ssh-keygen -q -t ed25519 -N '' -f "$work/key"
    rm -rf "$work/root"
    debootstrap --foreign --arch=arm64 --variant=minbase \
        --include=systemd-sysv,udev,openssh-server,cron,linux-image-arm64 bookworm "$work/root" > "$work/debootstrap.log"
    # In a container debootstrap leaves a link there, which turns round when it is followed inside.
    rm -rf "$work/root/proc" && mkdir "$work/root/proc"
    # The packages' own scripts are arm64 programs. `container`: device nodes are not made but found.
    # shellcheck disable=SC2016
    foreign sh -ec 'mount --rbind /dev "$0/dev"; mount -t proc proc "$0/proc"
        container=lxc exec chroot "$0" /debootstrap/debootstrap --second-stage' "$work/root" >> "$work/debootstrap.log" 2>&1
    echo board > "$work/root/etc/hostname"
    echo '/dev/vda / ext4 defaults 0 1' > "$work/root/etc/fstab"
    install -d -m 700 "$work/root/root/.ssh"
    install -m 600 "$work/key.pub" "$work/root/root/.ssh/authorized_keys"
    printf '[Match]\nName=e*\n[Network]\nDHCP=ipv4\n' > "$work/root/etc/systemd/network/board.network"
    ln -sf /lib/systemd/system/systemd-networkd.service "$work/root/etc/systemd/system/multi-user.target.wants/"
    cp "$work"/root/boot/vmlinuz-* "$work/vmlinuz"
    cp "$work"/root/boot/initrd.img-* "$work/initrd"
    mke2fs -q -t ext4 -d "$work/root" "$work/disk.part" 2G
    rm -rf "$work/root"
    mv "$work/disk.part" "$work/disk.img"
fi

# --- The board: cores as in a Raspberry Pi 5.
step "booting"
qemu-system-aarch64 -M virt -cpu cortex-a76 -smp 2 -m 1G -nographic -no-reboot \
    -kernel "$work/vmlinuz" -initrd "$work/initrd" -append "root=/dev/vda rw console=ttyAMA0 quiet" \
    -drive "file=$work/disk.img,format=raw,if=virtio" \
    -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$port-:22" -device virtio-net-pci,netdev=net \
    > "$work/console.log" 2>&1 < /dev/null &
machine=$!
trap 'kill "$machine" 2> /dev/null || true' EXIT
options=(-i "$work/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=10)
board() { ssh "${options[@]}" -p "$port" root@127.0.0.1 "$@"; }
for _ in $(seq 120); do
    board true 2> /dev/null && break
    kill -0 "$machine" || {
        tail -20 "$work/console.log"
        exit 1
    }
    sleep 5
done
board 'uname -a; cat /etc/debian_version'

# --- What a user does.
step "copying $(basename "$file") ($(stat -c %s "$file") bytes) and the demo"
board 'rm -rf bench && mkdir bench'
scp -q "${options[@]}" -P "$port" -r "$file" datasets/demo root@127.0.0.1:bench/
board 'cd bench && mv edgebench-* edgebench'
step "probe"
board 'bench/edgebench probe'
step "the demo's comparison, by hand"
board 'cd bench && ./edgebench run demo/job.toml --only "*/compare" --out by-hand' 2>&1
step "its first case by cron"
# Cron starts it every minute: once is enough. One case, since a board that is emulated is slow.
board 'echo "* * * * * root cd /root/bench && [ -e by-cron ] || { ./edgebench run demo/job.toml --quiet --only demo.1/compare --out by-cron > cron.log 2>&1; echo \$? > cron.exit; }" > /etc/cron.d/edgebench'
for _ in $(seq 240); do
    board 'test -s bench/cron.exit' && break
    sleep 5
done
board 'rm /etc/cron.d/edgebench; cat bench/cron.log; echo "exit code under cron: $(cat bench/cron.exit)"'
step "fetching the results"
rm -rf "$work/results"
mkdir "$work/results"
scp -q "${options[@]}" -P "$port" -r root@127.0.0.1:bench/by-hand root@127.0.0.1:bench/by-cron "$work/results/"
board poweroff || true
wait "$machine" || true
trap - EXIT

# --- The same answers both times, and every case sound.
strip() { grep -F '"case":"demo.1/compare"' "$1" | sed 's/"scores".*//'; }
[ -n "$(strip "$work/results/by-cron/predictions.jsonl")" ]
cmp <(strip "$work/results/by-hand/predictions.jsonl") <(strip "$work/results/by-cron/predictions.jsonl")
for run in by-hand by-cron; do
    awk -F, -v run=$run 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "status") c = i }
        NR > 1 && !/,ok,/ { print run ": " $0; bad = 1 } END { print run ": " NR - 1 " cases"; exit bad }' "$work/results/$run/cases.csv"
done
step "done"
