#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# includes_can_fail.sh DIRECTORY: writes a tree with known faults there and holds includes.sh to finding exactly those.
set -eu
tree=$1
rm -rf "$tree"
mkdir -p "$tree/include/attn" "$tree/src/api" "$tree/src/sdpa" "$tree/src/blas" "$tree/src/kernels" "$tree/src/attic"
mkdir -p "$tree/bench/report" "$tree/bench/run" "$tree/bench/inside" "$tree/bench/attic"

printf '#include <stddef.h>\n#include "status.h"\n#include "blas/blas.h"\n' >"$tree/include/attn/sdpa.h"
printf '#include "mha/mha.h"\n#include "attn/sdpa.h"\n#include "api/check.h"\n' >"$tree/src/api/good.c"
printf '#include "context/context.h"\n\n  # include "mha/mha.h"\n' >"$tree/src/sdpa/up.c"
printf '#include "kernels/kernels.h"\n' >"$tree/src/blas/across.c"
printf '#include "kernels/body.h"\n#include "context/context.h"\n#include "../blas/blas.h"\n' >"$tree/src/kernels/up.c"
printf 'int unknown;\n' >"$tree/src/attic/unknown.c"
printf '#include "sdpa/engine.h"\n#include "cases/cases.h"\n' >"$tree/bench/inside/up.c"
printf '#include "run/results.h"\n#include "mha/mha.h"\n' >"$tree/bench/report/across.c"
printf '#include "base/text.h"\n#include "report/table.h"\n' >"$tree/bench/run/up.c"
printf 'int unknown;\n' >"$tree/bench/attic/unknown.c"

expected="bench/attic/unknown.c:1
bench/inside/up.c:2
bench/report/across.c:2
bench/run/up.c:2
include/attn/sdpa.h:3
src/attic/unknown.c:1
src/blas/across.c:1
src/kernels/up.c:2
src/kernels/up.c:3
src/sdpa/up.c:3"

if found=$(sh "$(dirname "$0")/includes.sh" "$tree"); then
    echo "includes.sh found nothing"
    exit 1
fi
echo "$found"
[ "$(echo "$found" | cut -d: -f1-2)" = "$expected" ]
