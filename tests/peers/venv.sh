#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# venv.sh PYTHON FOLDER REQUIREMENTS: a virtual environment with what REQUIREMENTS lists, made anew when it changed. 77,
# which ctest takes as skipped, where that fails, as without a package index.
set -eu
python=$1 venv=$2 requirements=$3

! cmp -s "$requirements" "$venv/requirements.txt" || exit 0
rm -rf "$venv"
"$python" -m venv "$venv" || exit 77
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements" || exit 77
cp "$requirements" "$venv/requirements.txt"
