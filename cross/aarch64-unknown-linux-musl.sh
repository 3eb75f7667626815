# 64-bit ARM. The names and needs of the variants are those of src/backend/hosts/variant.rs.
ARCH=aarch64
GLIBC_TARGET=aarch64-unknown-linux-gnu.2.17
VARIANTS="armv8.0 armv8.2-dotprod armv8.6-i8mm"
# For tests: zig's names of the targets of plugins, Debian's name of the architecture, the emulator elsewhere, and
# the variants that processors have to get.
ZIG_GLIBC=aarch64-linux-gnu.2.17
ZIG_MUSL=aarch64-linux-musl
DEBIAN=arm64
EMULATOR=qemu-aarch64-static
PROCESSORS="cortex-a53=armv8.0 cortex-a76=armv8.2-dotprod max=armv8.6-i8mm"

# Exports what llama.cpp's build needs for variant $1.
variant() {
    case "$1" in
    armv8.0) export EB_ARM_ARCH=armv8-a ;;
    armv8.2-dotprod) export EB_ARM_ARCH=armv8.2-a+dotprod+fp16 ;;
    armv8.6-i8mm) export EB_ARM_ARCH=armv8.2-a+dotprod+fp16+i8mm ;;
    *) return 1 ;;
    esac
}
