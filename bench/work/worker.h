/* SPDX-License-Identifier: BSD-3-Clause */
/* The child process that times one backend, and the lines that it exchanges with the driver:
 *     (start)            ready TAB blas TAB version TAB core TAB threading TAB path TAB isa
 *     case op variant dtype precision cold B H G T D threads
 *                        ok <seconds of the first run> <its processor seconds> <difference>
 *     time <seconds>     ok <median seconds a run> <median processor seconds a run> <runs>
 * or, in place of any answer,
 *                        error TAB text
 * The output of the first run of a case is checked: `difference` is from what it should be. The worker ends when its
 * input does. */
#ifndef ATTN_BENCH_WORKER_H
#define ATTN_BENCH_WORKER_H

#include <stdbool.h>

/* The first argument of a command line that makes attn-bench a worker; the name of the backend follows, and whether to
 * bind threads to processors: 0 or 1. */
#define WORKER_OPTION "--worker"

/* Returns the exit status. */
int worker_main(const char *blas, bool pin);

#endif
