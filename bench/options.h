/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of attn-bench. */
#ifndef ATTN_BENCH_OPTIONS_H
#define ATTN_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define OPTIONS_LIST_MAX 64

/* Ascending, without repeats. */
typedef struct size_list {
    size_t count;
    size_t item[OPTIONS_LIST_MAX];
} size_list;

/* As given. */
typedef struct name_list {
    size_t count;
    const char *item[OPTIONS_LIST_MAX];
} name_list;

typedef struct options {
    size_list lengths, heads, dims, batches, threads;
    size_list causal; /* 0 no, 1 yes */
    size_list ops;    /* enum bench_op */
    name_list blas;   /* none: all that are found */
    size_t rounds;
    double seconds; /* that a backend is timed for in each round */
    double max_run; /* longest single run that is worth waiting for */
    double timeout; /* after which a backend that does not answer is given up */
    char *json, *svg;
    bool list, help, version;
} options;

typedef enum options_result { OPTIONS_OK, OPTIONS_BAD } options_result;

/* Fills `o` with the defaults and what argv[1..] says. When that is wrong, says so on stderr and returns OPTIONS_BAD.
 * The strings in `o` point into argv, whose lists are cut up in place. */
options_result options_parse(options *o, int argc, char **argv);

void options_print_help(FILE *file);

#endif
