/* SPDX-License-Identifier: BSD-3-Clause */
/* The run: every case on every backend, round by round. */
#ifndef ATTN_BENCH_SWEEP_H
#define ATTN_BENCH_SWEEP_H

#include "backends.h"
#include "cases.h"
#include "machine.h"
#include "stats.h"

/* What a backend did in one round: medians of its runs. */
typedef struct sample {
    double seconds, cpu;
    size_t runs;
} sample;

typedef enum cell_state {
    CELL_EMPTY,   /* the backend had ended before */
    CELL_LEFT,    /* left out: one run would take too long */
    CELL_FAILED,  /* `reason` tells why */
    CELL_WRONG,   /* timed, but the output differs from that of the first backend by `difference` */
    CELL_MEASURED /* timed, and the outputs agree */
} cell_state;

/* A case on a backend. */
typedef struct cell {
    cell_state state;
    size_t wanted, count; /* rounds to take part in, and done */
    sample *samples;
    stats seconds, cpu; /* over the rounds */
    double difference;
    char reason[400];
} cell;

typedef struct sweep {
    const options *options;
    machine machine;
    backends backends;
    bench_case *cases;
    size_t count;
    cell *cells;          /* [count][backends.running] */
    double *peak_samples; /* [count][rounds]: FMA peak of as many threads in GFLOP/s, measured between the backends */
    double *peaks;        /* [count]: upper quartile over all cases of as many threads: disturbances only lower it */
} sweep;

/* Starts the backends and makes room for the results. False: no memory. */
bool sweep_open(sweep *s, const options *o, const char *self);

void sweep_run(sweep *s);

void sweep_close(sweep *s);

cell *sweep_cell(const sweep *s, size_t index, size_t b);

static inline bool cell_has_time(const cell *c) { return c->state == CELL_MEASURED || c->state == CELL_WRONG; }

/* GFLOP/s of useful work, from the median; 0 where the case was not timed. */
double sweep_gflops(const sweep *s, size_t index, size_t b);

/* Whether a backend ran, and all that ran gave the same outputs. */
bool sweep_good(const sweep *s);

#endif
