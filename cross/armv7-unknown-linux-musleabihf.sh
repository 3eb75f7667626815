# 32-bit ARM with NEON and VFPv4 (Cortex-A7 and later). The name and needs are those of src/backend/hosts/variant.rs.
ARCH=armv7
GLIBC_TARGET=armv7-unknown-linux-gnueabihf.2.17
VARIANTS="armv7-neon"
QEMU=qemu-arm-static

# Exports what llama.cpp's build needs for variant $1.
variant() {
    case "$1" in
    armv7-neon) export EB_CPU=generic+v7a+neon+vfp4 ;;
    *) return 1 ;;
    esac
}
