/* SPDX-License-Identifier: BSD-3-Clause */
/* The child process that times one backend, and the lines that it exchanges with the driver:
 *     (start)                          ready TAB blas TAB version TAB core TAB threading TAB path TAB isa
 *     case op causal B H T D threads   ok <seconds of the first run> <its processor seconds>
 *     time <seconds>                   ok <median seconds a run> <median processor seconds a run> <runs>
 * or, in place of any answer,          error TAB text
 * The first run of a case leaves its output in the output file. The worker ends when its input does. */
#ifndef ATTN_BENCH_WORKER_H
#define ATTN_BENCH_WORKER_H

/* The first argument of a command line that makes attn-bench a worker; the name of the backend and the number of the
 * open output file follow. */
#define WORKER_OPTION "--worker"

/* Returns the exit status. */
int worker_main(const char *blas, int output);

#endif
