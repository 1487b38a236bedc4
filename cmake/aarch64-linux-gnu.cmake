# SPDX-License-Identifier: BSD-3-Clause
# Cross-compiles for 64-bit Arm on Debian, and runs the tests under qemu-user, against the packages that
# aarch64-root.sh unpacked to build/aarch64-root. bash tests/run.sh aarch64 does it all.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

get_filename_component(attn_root "${CMAKE_CURRENT_LIST_DIR}/../build/aarch64-root" ABSOLUTE)
set(attn_root_libraries "${attn_root}/usr/lib/aarch64-linux-gnu")
set(CMAKE_FIND_ROOT_PATH "${attn_root}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${attn_root}")
set(ENV{PKG_CONFIG_LIBDIR} "${attn_root_libraries}/openblas-pthread/pkgconfig:${attn_root_libraries}/pkgconfig")

# What OpenBLAS links in its turn.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,-rpath-link,${attn_root_libraries}")
set(CMAKE_SHARED_LINKER_FLAGS_INIT "-Wl,-rpath-link,${attn_root_libraries}")
# A plain core: qemu emulates the instructions of newer ones slowly.
set(CMAKE_CROSSCOMPILING_EMULATOR "qemu-aarch64-static;-cpu;cortex-a72;-L;${attn_root}")
