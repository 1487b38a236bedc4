#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Fills a folder with what libattn's tests need of Debian for 64-bit Arm: aarch64-root.sh FOLDER
# Nothing is installed: apt, told that this is an Arm machine without any package, downloads them, and dpkg-deb unpacks
# them. Needs no root, and no network once done.
set -eu

root=$1
state=$root.apt
[ ! -d "$root" ] || exit 0

arm_apt() {
    apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User= \
        -o Dir::State="$state" -o Dir::State::status="$state/status" -o Dir::Cache="$state" "$@"
}

echo "Downloading Debian's arm64 packages to $root"
rm -rf "$state"
mkdir -p "$state/lists/partial" "$state/archives/partial" "$state/root"
state=$(cd "$state" && pwd)
: >"$state/status"
arm_apt update
arm_apt install --download-only -y --no-install-recommends libopenblas-pthread-dev libcmocka-dev
for package in "$state"/archives/*.deb; do
    dpkg-deb --extract "$package" "$state/root"
done
mv "$state/root" "$root"
rm -rf "$state"
