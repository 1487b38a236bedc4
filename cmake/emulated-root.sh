#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Fills a folder with what tests/emulated.sh boots: emulated-root.sh FOLDER
# Debian 13's Bochs is the oldest one that emulates AVX-512 with BF16 and VNNI; the kernel is of the same release. Nothing
# is installed: apt, told of that release on this machine's Debian mirror and of no package installed, downloads them, and
# dpkg-deb unpacks them. Needs no root, and no network once done.
set -eu

root=$1
state=$root.apt
release=trixie
[ ! -d "$root" ] || exit 0

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | grep -v security | head -n 1)
keys=/usr/share/keyrings/debian-archive-keyring.gpg
if [ ! "$mirror" ] || [ ! -f "$keys" ]; then
    echo "emulated-root.sh: apt knows no mirror of Debian here, or its keys are missing" >&2
    exit 1
fi

debian() {
    command=$1
    shift
    "$command" -q -o APT::Architecture=amd64 -o APT::Architectures=amd64 -o APT::Sandbox::User= \
        -o Dir::State="$state" -o Dir::State::status="$state/status" -o Dir::Cache="$state" \
        -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts="$state/none" "$@"
}

echo "Downloading Bochs and a kernel of Debian to $root"
rm -rf "$state"
mkdir -p "$state/lists/partial" "$state/archives/partial" "$state/none" "$state/root"
state=$(cd "$state" && pwd)
: >"$state/status"
echo "deb [signed-by=$keys] $mirror $release main" >"$state/sources.list"
debian apt-get update
debian apt-get install --download-only -y --no-install-recommends bochs bochs-term bochsbios
kernel=$(debian apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p' | grep -m 1 linux-image)
(cd "$state/archives" && debian apt-get download "$kernel")
for package in "$state"/archives/*.deb; do
    dpkg-deb --extract "$package" "$state/root"
done
rm -rf "$state/root/usr/lib/modules" "$state/root/lib/modules" "$state/root/usr/share/doc" "$state/root/usr/share/locale"
mv "$state/root" "$root"
rm -rf "$state"
