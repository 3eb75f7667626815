# Read by llama.cpp's CMake before anything else (CMAKE_PROJECT_TOP_LEVEL_INCLUDES).

# Assertions name their files: not by the paths of the machine that built them. No debug information: it is stripped
# anyway, and takes half of the time.
add_compile_options("-ffile-prefix-map=${CMAKE_SOURCE_DIR}=llama.cpp" -g0)

# llama-cpp-sys-2 pins armv8-a for 64-bit ARM; each variant has its own.
if(DEFINED ENV{EB_ARM_ARCH})
    set(GGML_CPU_ARM_ARCH "$ENV{EB_ARM_ARCH}" CACHE STRING "" FORCE)
endif()

# zig's name of a processor, for what it does not take from -march.
if(DEFINED ENV{EB_CPU})
    add_compile_options("-mcpu=$ENV{EB_CPU}")
endif()

# What a variant needs for llamafile's products of matrices alone.
if(DEFINED ENV{EB_SGEMM_FLAGS})
    cmake_language(DEFER CALL set_source_files_properties "${CMAKE_SOURCE_DIR}/ggml/src/ggml-cpu/llamafile/sgemm.cpp"
                   TARGET_DIRECTORY ggml-cpu PROPERTIES COMPILE_FLAGS "$ENV{EB_SGEMM_FLAGS}")
endif()
