/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_BENCH_MEASURE_H
#define ATTN_BENCH_MEASURE_H

#include "cases/options.h"

/* Times all cases, and tells the results in every form asked for. Returns the exit status. */
int measure_run(const options *o, const char *self);

#endif
