#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Installs what is missing on a Debian or Ubuntu machine: install-deps.sh [build|base|builtin|test|lint|coverage|docs|bench|chat|lens|aarch64|avx512]...
# The default is build. Asks the network only when something is missing. As root, or with sudo.
set -eu

packages() {
    case $1 in
    base) echo "cmake make gcc libc6-dev pkg-config" ;;
    # The pthread flavour: the serial one may not be called from several threads, the OpenMP one hangs after fork().
    build) echo "$(packages base) libopenblas-pthread-dev" ;;
    # For -DATTN_OPENBLAS=OFF, and its tests.
    builtin) echo "$(packages base) g++ libcmocka-dev python3" ;;
    test)
        echo "$(packages build) $(packages backends) $(packages lens) $(packages docs)"
        echo "g++ clang libcmocka-dev libdlpack-dev valgrind python3-venv libxml2-utils abigail-tools groff-base"
        ;;
    # For -DATTN_BUILD_DOCS=ON.
    docs) echo "cmark-gfm python3" ;;
    lint) echo "$(packages test) clang-format clang-tidy cppcheck" ;;
    coverage) echo "$(packages test) gcovr" ;;
    bench) echo "$(packages build) $(packages backends)" ;;
    # What examples/chat links, and for the model that it fetches.
    chat) echo "libutf8proc-dev python3-venv" ;;
    # What examples/lens links, and for the model that it fetches.
    lens) echo "libjansson-dev $(packages chat)" ;;
    # And what aarch64-root.sh unpacks.
    aarch64) echo "cmake make pkg-config gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static" ;;
    # And what emulated-root.sh unpacks.
    avx512) echo "busybox-static cpio genisoimage isolinux syslinux-common" ;;
    # What ATTN_BLAS can choose, and the serial OpenBLAS, which it must refuse.
    backends)
        echo "libopenblas0-pthread libopenblas0-openmp libopenblas0-serial"
        echo "libblis4-pthread libblis4-openmp libblas3 libatlas3-base"
        ;;
    *)
        echo "install-deps.sh: no list '$1'; there are: build, base, builtin, test, lint, coverage, docs, bench, chat, lens, aarch64, avx512" >&2
        return 1
        ;;
    esac
}

# Of this machine's own architecture, whatever there may be of others.
installed() {
    dpkg-query -W -f '${Architecture} ${db:Status-Status}\n' "$1" 2>/dev/null | grep -qxE "($architecture|all) installed"
}

wanted=
for list in "${@:-build}"; do
    wanted="$wanted $(packages "$list")"
done
wanted=$(printf '%s\n' $wanted | sort -u)

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "install-deps.sh: this is no Debian or Ubuntu machine. Install what these Debian packages hold:" >&2
    echo $wanted >&2
    exit 1
fi

architecture=$(dpkg --print-architecture)
missing=
for package in $wanted; do
    installed "$package" || missing="$missing $package"
done
[ "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install-deps.sh: run this as root, there is no sudo: apt-get install$missing" >&2
        exit 1
    fi
    as_root="sudo"
fi

$as_root apt-get update -q
# Of the backends that a BLAS can be chosen from, those that this release has: Debian 13 has no ATLAS.
for package in $(packages backends); do
    apt-cache show "$package" >/dev/null 2>&1 || missing=$(printf '%s\n' $missing | grep -vx "$package" | tr '\n' ' ')
done
echo "Installing: $missing"
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
