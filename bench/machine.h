/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_BENCH_MACHINE_H
#define ATTN_BENCH_MACHINE_H

#include <stddef.h>

typedef struct machine {
    char cpu[128];  /* model, or the architecture where the system does not tell */
    char host[128]; /* its name in the network */
    size_t cpus;    /* online */
    double mhz;     /* now; 0: not told */
    double load;    /* average of the last minute; negative: not told */
} machine;

machine machine_read(void);

#endif
