#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# includes.sh ROOT: prints every #include that points up or across between the rooms of src/ or of bench/, into src/ from
# elsewhere than bench/inside/, or out of include/attn/.
set -eu
cd "$1"

# Room by room, what it may include besides the public headers and itself.
find include src bench -name '*.[ch]' -o -name '*.hpp' | sort | xargs awk '
BEGIN {
    may["src/api"] = "block mha linear sdpa product blas kernels context"
    may["src/block"] = "mha linear sdpa product blas kernels context"
    may["src/mha"] = "linear sdpa product blas kernels context"
    may["src/linear"] = "product blas kernels context"
    may["src/sdpa"] = "product blas kernels context"
    may["src/product"] = "blas kernels context"
    may["src/blas"] = "context"
    may["src/kernels"] = ""
    may["src/context"] = "kernels"

    may["bench/commands"] = "report run work cases inside machine base"
    may["bench/report"] = "run cases machine base"
    may["bench/run"] = "work cases machine base"
    may["bench/work"] = "cases inside machine base"
    may["bench/cases"] = "inside machine base"
    may["bench/inside"] = "mha sdpa product context"
    may["bench/machine"] = "base"
    may["bench/base"] = ""
    may["bench/peers"] = "machine"
}

function complain(why) {
    printf "%s:%d: %s (%s)\n", FILENAME, FNR, $0, why
    bad = 1
}

FNR == 1 {
    split(FILENAME, path, "/")
    room = path[1] "/" path[2]
    public = path[1] == "include"
    if (!public && !(room in may))
        complain("no such room: " room)
}

/^[ \t]*#[ \t]*include[ \t]*"/ {
    target = $0
    sub(/^[^"]*"/, "", target)
    sub(/".*/, "", target)
    if (public) {
        if (target ~ /\//)
            complain("public headers include their neighbours only")
        next
    }
    if (target !~ /^[a-z]+\/[a-z0-9_]+\.h$/) {
        complain("write \"room/file.h\"")
        next
    }
    to = target
    sub(/\/.*/, "", to)
    if (to != "attn" && to != path[2] && (" " may[room] " ") !~ (" " to " "))
        complain(room " may not include " to)
}

END { exit bad }'
