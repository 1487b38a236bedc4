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

/* In the order of the table in options.c. */
typedef enum bench_command { SWEEP, COMPARE, ROOFLINE, MODEL, MACHINE, EXPLAIN, DIFF, COMMAND_COUNT } bench_command;

/* In the order of the words of --chart. */
typedef enum chart_kind { CHART_LENGTH, CHART_HEADS, CHART_WINNER, CHART_ROOFLINE } chart_kind;

typedef struct options {
    bench_command command;
    size_list lengths, heads, dims, batches, threads;
    size_list variants, dtypes, precisions, ops; /* indices of the tables in axes.h */
    size_list caches;                            /* 0 warm, 1 cold */
    size_list models;                            /* indices of model_table; none: no model */
    bool lengths_given, ops_given, variants_given;
    size_t kv_heads; /* G; 0: as many as heads */
    name_list blas;  /* none: all that are found */
    name_list cores; /* of OpenBLAS, each a backend of its own */
    size_t rounds, max_rounds;
    double noise;   /* half of the interval of confidence, in % of the median, at which a case is done */
    double seconds; /* that a backend is timed for in each round */
    double budget;  /* for the whole run; 0: none */
    double max_run; /* longest single run that is worth waiting for */
    double timeout; /* after which a backend that does not answer is given up */
    size_t seed;
    char *json, *csv, *svg, *html;
    size_list chart;         /* which --svg draws, as chart_kind; the last counts */
    char command_line[1000]; /* as it was given; cut off where it is longer */
    bool no_pin, help, version;
    const char *files[2]; /* for DIFF: before and after */
} options;

typedef enum options_result { OPTIONS_OK, OPTIONS_BAD } options_result;

/* Fills `o` with the defaults and what argv[1..] says. When that is wrong, says so on stderr and returns OPTIONS_BAD.
 * The strings in `o` point into argv, whose lists are cut up in place. */
options_result options_parse(options *o, int argc, char **argv);

/* Of one command; of the program as a whole where `o` names none. */
void options_print_help(const options *o, FILE *file);

#endif
