/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_BENCH_EXPLAIN_H
#define ATTN_BENCH_EXPLAIN_H

#include "cases/options.h"

/* Prints what libattn will do for each shape on each backend: nothing is run. Returns the exit status, a failure where
 * none of the backends can be used. */
int explain_run(const options *o);

#endif
