/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_BENCH_MACHINE_H
#define ATTN_BENCH_MACHINE_H

#include <stddef.h>
#include <stdio.h>

#define MACHINE_CACHES 8

typedef struct machine_cache {
    char type[16]; /* "Data", "Instruction" or "Unified" */
    size_t level, bytes, sharing;
} machine_cache;

typedef struct machine {
    char date[40];    /* ISO 8601, local time */
    char cpu[128];    /* model, or the architecture where the system does not tell */
    char host[128];   /* its name in the network */
    char isa[300];    /* instruction sets that matter here */
    size_t cpus;      /* online */
    size_t usable;    /* of them, for this process */
    double mhz;       /* now; 0: not told */
    double load;      /* average of the last minute; negative: not told */
    double stolen;    /* processor seconds since the start that a hypervisor took for others; negative: not told */
    size_t memory_mb; /* 0: not told */
    size_t cache_count;
    machine_cache caches[MACHINE_CACHES];
} machine;

machine machine_read(void);

/* For people: processors, caches, instruction sets, memory. */
void machine_print(const machine *m, FILE *file);

#endif
