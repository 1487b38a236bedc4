/* SPDX-License-Identifier: BSD-3-Clause */
/* Independent chains of the instructions that products are made of, in registers. */
#ifndef ATTN_BENCH_CHAINS_H
#define ATTN_BENCH_CHAINS_H

#include <stddef.h>

#include "machine/peak.h"

/* Runs about so many operations on the calling thread; returns how many. */
typedef struct chain {
    double (*run)(double operations);
    const char *isa;
    double piece; /* operations of some ten microseconds */
} chain;

/* The fastest that this CPU has for factors of a type. */
chain chain_of(peak_type type);

#endif
