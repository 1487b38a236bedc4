# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# Sourced by scripts in bash that run things on a bare Debian. As root, with debootstrap; packages come from where this
# machine's apt gets its own.

debian_root_fail() {
    echo "debian-root.sh: $*" >&2
    exit 1
}

# leave_root ROOT: takes back what make_root mounted
leave_root() {
    umount "$1/proc" 2>/dev/null || true
}

# make_root SUITE ROOT: makes it anew. Its log is ROOT.log. The caller leaves it in the end.
make_root() {
    local suite=$1 root=$2 mirror
    [ "$(id -u)" = 0 ] || debian_root_fail "run this as root"
    command -v debootstrap >/dev/null || debian_root_fail "install debootstrap"
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Component: main' |
        grep -v security | head -n 1)
    [ "$mirror" ] || debian_root_fail "this machine's apt names no mirror"
    debian_proxy=
    eval "$(apt-config shell debian_proxy Acquire::http::Proxy)"
    leave_root "$root"
    rm -rf --one-file-system "$root"
    mkdir -p "${root%/*}"
    env ${debian_proxy:+http_proxy="$debian_proxy"} debootstrap --variant=minbase "$suite" "$root" "$mirror" \
        >"$root.log" || debian_root_fail "see $root.log"
    mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
}

# in_root ROOT FOLDER LINES: there, as typed
in_root() {
    printf '== %s: %s\n' "$2" "$3"
    chroot "$1" /usr/bin/env -i HOME=/root PATH="$PATH" ${debian_proxy:+http_proxy="$debian_proxy"} \
        bash -ec "cd $2; $3" </dev/null
}
