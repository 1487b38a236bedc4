#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# in_venv.sh FOLDER SCRIPT [ARGUMENTS]: runs it in an environment that venv.sh made; 77 where it could not.
set -eu
venv=$1
shift

[ -e "$venv/requirements.txt" ] || {
    echo "$venv could not be made"
    exit 77
}
exec "$venv/bin/python" "$@"
