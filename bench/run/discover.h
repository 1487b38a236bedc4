/* SPDX-License-Identifier: BSD-3-Clause */
/* Which BLAS libraries there may be. */
#ifndef ATTN_BENCH_DISCOVER_H
#define ATTN_BENCH_DISCOVER_H

#include <stdbool.h>
#include <stddef.h>

/* Tells of one more that is worth trying. `blas` is a name that libattn knows or a path. False: enough. */
typedef bool (*discover_found)(void *data, const char *label, const char *blas);

/* "linked" is first: it is what the others are compared with. */
void discover(discover_found found, void *data);

/* What libattn is asked for under a name of the table; the name itself where it is not in it. */
const char *discover_named(const char *name);

#endif
