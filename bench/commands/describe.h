/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_BENCH_DESCRIBE_H
#define ATTN_BENCH_DESCRIBE_H

#include "cases/options.h"

/* Prints what the machine is and can do, and the backends that are found. Returns the exit status. */
int describe_run(const options *o, const char *self);

#endif
