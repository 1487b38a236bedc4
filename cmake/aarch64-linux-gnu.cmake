# SPDX-License-Identifier: BSD-3-Clause
# Cross-compiles for 64-bit Arm on Debian: cmake --toolchain cmake/aarch64-linux-gnu.cmake ...
# Needs crossbuild-essential-arm64 and, after `dpkg --add-architecture arm64`, libopenblas-pthread-dev:arm64 and
# libpthreadpool-dev:arm64. The latter displaces the machine's own, so better in a chroot. qemu-user runs the programs.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64)
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)
