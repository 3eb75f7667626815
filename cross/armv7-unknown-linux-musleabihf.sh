# 32-bit ARM with NEON and VFPv4 (Cortex-A7 and later). The name and needs are those of src/backend/hosts/variant.rs.
ARCH=armv7
GLIBC_TARGET=armv7-unknown-linux-gnueabihf.2.17
VARIANTS="armv7-neon"
# For tests: zig's names of the targets of plugins, Debian's name of the architecture, the emulator elsewhere, and
# the variants that processors have to get.
ZIG_GLIBC=arm-linux-gnueabihf.2.17
ZIG_MUSL=arm-linux-musleabihf
DEBIAN=armhf
EMULATOR=qemu-arm-static
PROCESSORS="cortex-a7=armv7-neon max=armv7-neon"

# Exports what llama.cpp's build needs for variant $1.
variant() {
    case "$1" in
    armv7-neon) export EB_CPU=generic+v7a+neon+vfp4 ;;
    *) return 1 ;;
    esac
}
