# llama-cpp-sys-2 pins -DGGML_CPU_ARM_ARCH=armv8-a; each variant has its own.
set(GGML_CPU_ARM_ARCH "$ENV{EB_ARM_ARCH}" CACHE STRING "" FORCE)
