#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Builds the Debian packages of a commit, as they must be:  bash packaging/build-deb.sh [SUITE [COMMIT]]
#   SUITE   of Debian: bookworm (12, the default), trixie (13), …
# In a bare root, build/deb-SUITE, they are built twice, in different surroundings, to the same bytes; lintian has no
# error and no warning; in another one they are installed, and programs use them. They are then in build/deb. As root,
# with debootstrap.
set -euo pipefail
cd "$(dirname "$0")/.."
. cmake/debian-root.sh

suite=${1:-bookworm}
builder=$PWD/build/deb-$suite
user=$PWD/build/deb-$suite-user
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

fail() {
    echo "build-deb.sh: $*" >&2
    exit 1
}

leave() {
    leave_root "$builder"
    leave_root "$user"
}
trap leave EXIT

apt_get() {
    in_root "$1" / "DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $2 >/dev/null"
}

# build FOLDER LINES: the packages there, in surroundings that LINES set
build() {
    mkdir -p "$builder$1"
    cp "build/libattn-$version.tar.xz" "$builder$1/libattn_$version.orig.tar.xz"
    in_root "$builder" "$1" "tar -xf *.orig.tar.xz; cp -R libattn-*/packaging/debian libattn-$version"
    in_root "$builder" "$1/libattn-$version" "$2; dpkg-buildpackage --no-sign >../log 2>&1" ||
        { tail -n 40 "$builder$1/log"; fail "$1: see $builder$1/log"; }
    (cd "$builder$1" && sha256sum -- *.deb *.dsc *.debian.tar.xz) | tee "$builder$1/sums"
}

version=$(sh packaging/source.sh "${2:-HEAD}" build | sed 's/.*libattn-\(.*\)\.tar\.xz/\1/')
make_root "$suite" "$builder"
apt_get "$builder" "build-essential fakeroot lintian debhelper"

mkdir "$builder/needs"
cp -R packaging/debian "$builder/needs"
in_root "$builder" /needs "apt-get build-dep -q -y --no-install-recommends ./ >/dev/null"
build /first "export DEB_BUILD_OPTIONS=parallel=2"
build /second-time/elsewhere \
    "export DEB_BUILD_OPTIONS='parallel=1 nocheck' DEB_BUILD_PROFILES=nocheck TZ=Asia/Tokyo LC_ALL=C.UTF-8; umask 002"
diff -u "$builder/first/sums" "$builder/second-time/elsewhere/sums" || fail "two builds differ"
in_root "$builder" /first "lintian --allow-root --fail-on error,warning *.changes"

make_root "$suite" "$user"
mkdir "$user/packages"
cp "$builder"/first/*.deb packaging/debian/tests/example README.md "$user/packages"
apt_get "$user" "gcc libc6-dev pkg-config cmake make g++ /packages/*.deb"
cp -R tests/consumers "$user/consumers"
in_root "$user" /packages "sh ./example"
in_root "$user" /consumers "cmake -S find_package -B build && cmake --build build && cd build &&
    for kind in shared static; do ./\${kind}_c99 && ./\${kind}_cxx17; done"
in_root "$user" / "attn-bench machine && attn-bench compare --lengths 32 --heads 2 --rounds 2"
in_root "$user" / "zgrep -q softmax /usr/share/man/man3/attn_sdpa.3.gz"
in_root "$user" / "grep -q attn_sdpa /usr/share/doc/libattn/html/found.js"
in_root "$user" / "apt-get purge -q -y libattn-dev libattn-doc libattn0.1 attn-bench >/dev/null
    ! find /usr -name '*attn*' | grep ."
rm -rf build/deb
mkdir build/deb
cp "$builder"/first/*.deb "$builder"/first/*.dsc "$builder"/first/*.tar.xz "$builder"/first/*.changes build/deb
echo "build-deb.sh: $suite: ok"
