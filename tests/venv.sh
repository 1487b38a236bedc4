#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# venv.sh DIRECTORY PACKAGE==VERSION...: a Python virtual environment with these packages, made once.
set -eu
directory=$1
shift

fail() {
    echo "venv.sh: $*" >&2
    exit 1
}

stamp=$directory/installed
wanted=$(echo "$@")
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi
command -v python3 >/dev/null || fail "there is no python3: sh cmake/install-deps.sh test"
rm -rf "$directory"
python3 -m venv "$directory" || fail "python3 cannot make a virtual environment: sh cmake/install-deps.sh test"
"$directory/bin/pip" install --quiet --disable-pip-version-check --no-input "$@" ||
    fail "pip could not install $wanted: these tests need a Python package index that pip can reach"
echo "$wanted" >"$stamp"
