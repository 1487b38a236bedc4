/* SPDX-License-Identifier: BSD-3-Clause */
/* What the functions of chains.h are made of. */
#ifndef ATTN_BENCH_CHAINS_BODY_H
#define ATTN_BENCH_CHAINS_BODY_H

#include "machine/chains.h"

/* The chains of an operation are CHAINS_12 or CHAINS_16: 12 hide a latency of 4 cycles at 2 operations a cycle and fit
 * 16 registers; 16 hide it at 4 a cycle where there are 32. BEGIN makes what they share, NEW(i) is where a chain
 * begins, STEP(r) does `work` operations, and FIRST takes a float out of what ADD made of all. */
#define CHAINS_12(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define CHAINS_16(X) CHAINS_12(X) X(12) X(13) X(14) X(15)
#define CHAIN_NEW(i) VECTOR r##i = NEW(i);
#define CHAIN_STEP(i) STEP(r##i);
#define CHAIN_SUM(i) sum = ADD(sum, r##i);

#define CHAIN_FUNCTION(name, attributes, work, chains)                                                                 \
    attributes static double name(double operations) {                                                                 \
        const double pass = (double)(work) * (chains);                                                                 \
        const size_t passes = (size_t)(operations / pass) + 1;                                                         \
        BEGIN;                                                                                                         \
        VECTOR sum = NEW(0);                                                                                           \
        CHAINS_##chains(CHAIN_NEW);                                                                                    \
        for (size_t n = 0; n < passes; n++) {                                                                          \
            CHAINS_##chains(CHAIN_STEP);                                                                               \
        }                                                                                                              \
        CHAINS_##chains(CHAIN_SUM);                                                                                    \
        chain_out = (float)FIRST(sum);                                                                                 \
        return pass * (double)passes;                                                                                  \
    }

/* Read and written through volatile, so that the compiler can neither foresee the numbers nor drop the work. */
static volatile float chain_in = 0.5F;
static _Thread_local volatile float chain_out;

#endif
