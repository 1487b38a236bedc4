/* SPDX-License-Identifier: BSD-3-Clause */
/* The BLAS backends of a run: each has a worker process. */
#ifndef ATTN_BENCH_BACKENDS_H
#define ATTN_BENCH_BACKENDS_H

#include <stdio.h>

#include "cases/options.h"
#include "run/child.h"

typedef struct backend {
    char label[64]; /* how it is called in tables */
    char blas[256]; /* what libattn is asked for: a name or a path */
    const char *core;
    child child;
    /* As attn_context_describe tells. */
    char library[32], version[64], kernels[32], threading[16], path[256], isa[16], choice[256];
    double speed[8]; /* of the latest case of each bench_op, in flop/s; 0: none yet */
} backend;

typedef struct backends {
    backend *item; /* first those that run, then those that cannot, in the order asked for */
    size_t running, count;
    char choice[400]; /* what libattn does for a caller that names no backend */
} backends;

/* What a name, a path or PATH:name on the command line stands for: label and blas. */
backend backend_named(const char *wish);

/* Starts a worker for each backend of o->blas or, where it is empty, each that is found, and for each of o->cores.
 * Backends that cannot run have child.reason. False: no memory. */
bool backends_start(backends *set, const options *o, const char *self);

void backends_stop(backends *set);

/* "openblas 0.3.21, Haswell kernels, pthread" */
void backend_describe(const backend *b, char *to, size_t size);

/* One line for each backend, those that run and those that cannot, and what the user should know about them. */
void backends_print(const backends *set, FILE *file);

/* A sentence on settings of the environment that make a backend slower than it could be; "" if there are none. */
void backends_note(const backends *set, char *to, size_t size);

#endif
