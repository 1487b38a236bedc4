#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# includes.sh ROOT: prints every #include that points up or across between the rooms of src/, or out of include/attn/.
set -eu
cd "$1"

# Room by room, what it may include besides the public headers and itself.
find src include -name '*.[ch]' | sort | xargs awk '
BEGIN {
    may["api"] = "block mha linear sdpa product blas kernels context"
    may["block"] = "mha linear sdpa product blas kernels context"
    may["mha"] = "linear sdpa product blas kernels context"
    may["linear"] = "product blas kernels context"
    may["sdpa"] = "product blas kernels context"
    may["product"] = "blas kernels context"
    may["blas"] = "context"
    may["kernels"] = ""
    may["context"] = "kernels"
}

function complain(why) {
    printf "%s:%d: %s (%s)\n", FILENAME, FNR, $0, why
    bad = 1
}

FNR == 1 {
    split(FILENAME, path, "/")
    room = path[2]
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
    if (to != "attn" && to != room && (" " may[room] " ") !~ (" " to " "))
        complain(room " may not include " to)
}

END { exit bad }'
