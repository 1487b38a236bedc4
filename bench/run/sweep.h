/* SPDX-License-Identifier: BSD-3-Clause */
/* The run: every case on every backend, round by round. */
#ifndef ATTN_BENCH_SWEEP_H
#define ATTN_BENCH_SWEEP_H

#include "run/results.h"

/* Starts the backends and makes room for the results. False: no memory. */
bool sweep_open(sweep *s, const options *o, const char *self);

void sweep_run(sweep *s);

void sweep_close(sweep *s);

#endif
