/* SPDX-License-Identifier: BSD-3-Clause */
/* What a run measured, and what that says. */
#ifndef ATTN_BENCH_RESULTS_H
#define ATTN_BENCH_RESULTS_H

#include "base/stats.h"
#include "cases/cases.h"
#include "machine/machine.h"
#include "run/backends.h"

/* What a backend did in one round: medians of its runs. */
typedef struct sample {
    double seconds, cpu;
    size_t runs;
} sample;

typedef enum cell_state {
    CELL_EMPTY,   /* the backend had ended before */
    CELL_LEFT,    /* left out: one run would take too long */
    CELL_LATE,    /* the budget was spent, or the user interrupted */
    CELL_FAILED,  /* `reason` tells why */
    CELL_WRONG,   /* not timed: the output differs from what it should be by `difference` */
    CELL_MEASURED /* timed, and right */
} cell_state;

/* A case on a backend. */
typedef struct cell {
    cell_state state;
    size_t wanted, count; /* rounds to take part in at most, and done */
    sample *samples;
    stats seconds, cpu; /* over the rounds */
    double difference;
    char reason[400];
} cell;

typedef struct sweep {
    const options *options;
    machine machine, after; /* before and after the run */
    backends backends;
    bench_case *cases;
    size_t count;
    cell *cells; /* [count][backends.running] */
    /* [count][max_rounds]: peak of what is multiplied, of as many threads in GFLOP/s, measured between the backends; 0
     * where a round was not begun */
    double *peak_samples;
    double *case_peaks; /* [count]: median of the case's rounds; 0: it had none */
    double *peaks;      /* [count]: the run's best, of the cases of the same roof: disturbances only lower it */
    size_t *tries;      /* [count]: how often the case was timed */
    double *bandwidths; /* [count]: GB/s that as many threads read */
    double begin, end;  /* of the run, by clock_now(); `end` of the budget while it runs */
} sweep;

cell *sweep_cell(const sweep *s, size_t index, size_t b);

static inline bool cell_has_time(const cell *c) { return c->state == CELL_MEASURED; }

/* Whether two cases multiply the same type on as many threads. */
bool sweep_same_roof(const sweep *s, size_t a, size_t b);

/* The first of them. */
bool sweep_first_roof(const sweep *s, size_t index);

/* Whether the peak had fallen while a case was timed, whose speeds then say less of the backends than of the machine:
 * on a virtual one two processors may share a core for seconds. Threads that outnumber the processors have no steady
 * peak that could fall. */
bool sweep_fell(const sweep *s, size_t index);

/* In the case's unit, from the median; 0 where the case was not timed. */
double sweep_speed(const sweep *s, size_t index, size_t b);

/* GFLOP/s whatever the unit. */
double sweep_gflops(const sweep *s, size_t index, size_t b);

/* GB/s whatever the unit. */
double sweep_gbytes(const sweep *s, size_t index, size_t b);

/* How many cases from `first` on make up its section; how many of one number of heads. */
size_t sweep_section(const sweep *s, size_t first);
size_t sweep_line(const sweep *s, size_t first);

/* Whether the backend is the fastest of a case, or as fast as that within the noise; none is where the budget was spent
 * before all had their turn. */
bool sweep_ties(const sweep *s, size_t index, size_t b);

/* The first, in the order asked for, of those backends; the number of backends where none was timed. `*tie`: there are
 * others. */
size_t sweep_winner(const sweep *s, size_t index, bool *tie);

/* Geometric mean over cases of the speed of backend `b` relative to that of the first; *cases counts them. */
double sweep_mean_ratio(const sweep *s, size_t b, size_t *cases);

/* Why a cell has no time, in a few words. */
const char *cell_trouble(const cell *c, char *room, size_t size);

/* Whether a backend ran, and none gave a wrong answer. */
bool sweep_good(const sweep *s);

/* What may have disturbed the run: more threads than processors, a peak that fell, load, time stolen by a hypervisor, a
 * changing clock; "" if nothing is known of. */
void sweep_noise(const sweep *s, char *to, size_t size);

#endif
