/* SPDX-License-Identifier: BSD-3-Clause */
#include "commands/diff.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "base/stats.h"
#include "base/text.h"

/* A regression is more than the noise, and more than this: two runs differ by more than the rounds of one do. */
#define LEAST_CHANGE 0.02

/* All repetitions of one benchmark. */
typedef struct bench {
    char *name;
    double *seconds;
    size_t count;
    bool failed, fell; /* fell: the peak did, so that its times say little */
    stats stats;
} bench;

/* The benchmarks of a file, and the entry that is being read. */
typedef struct run {
    bench *item;
    size_t count;
    bool short_of_memory;
    char *name;
    bool aggregate, failed, fell;
    double time, unit;
} run;

static double unit_of(const char *text) {
    return strcmp(text, "s") == 0 ? 1 : strcmp(text, "ms") == 0 ? 1e-3 : strcmp(text, "us") == 0 ? 1e-6 : 1e-9;
}

static bench *bench_of(run *r, const char *name) {
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->item[i].name, name) == 0)
            return &r->item[i];
    bench *more = realloc(r->item, (r->count + 1) * sizeof *more);
    char *copy = strdup(name);
    if (more != NULL)
        r->item = more;
    if (more == NULL || copy == NULL) {
        free(copy);
        return NULL;
    }
    r->item[r->count] = (bench){.name = copy};
    return &r->item[r->count++];
}

static void end_entry(run *r) {
    bench *b = r->name != NULL && !r->aggregate ? bench_of(r, r->name) : NULL;
    r->short_of_memory = r->short_of_memory || (r->name != NULL && !r->aggregate && b == NULL);
    if (b != NULL && !r->failed && r->time > 0) {
        double *more = realloc(b->seconds, (b->count + 1) * sizeof *more);
        if (more != NULL) {
            b->seconds = more;
            b->seconds[b->count++] = r->time * r->unit;
        }
        r->short_of_memory = r->short_of_memory || more == NULL;
    }
    if (b != NULL) {
        b->failed = b->failed || r->failed;
        b->fell = b->fell || r->fell;
    }
    free(r->name);
    r->name = NULL;
    r->aggregate = r->failed = r->fell = false;
    r->time = 0;
    r->unit = 1e-9;
}

static void take_value(void *data, const parse_value *value) {
    run *r = data;
    if (strcmp(value->array, "benchmarks") != 0 || value->depth != 2)
        return;
    if (value->text == NULL)
        end_entry(r);
    else if (strcmp(value->key, "run_name") == 0 || (strcmp(value->key, "name") == 0 && r->name == NULL)) {
        free(r->name);
        r->name = strdup(value->text);
    } else if (strcmp(value->key, "run_type") == 0)
        r->aggregate = strcmp(value->text, "aggregate") == 0;
    else if (strcmp(value->key, "error_occurred") == 0)
        r->failed = strcmp(value->text, "true") == 0;
    else if (strcmp(value->key, "peak_fell") == 0)
        r->fell = strcmp(value->text, "1") == 0;
    else if (strcmp(value->key, "real_time") == 0)
        r->time = strtod(value->text, NULL);
    else if (strcmp(value->key, "time_unit") == 0)
        r->unit = unit_of(value->text);
}

static void close_run(run *r) {
    for (size_t i = 0; i < r->count; i++) {
        free(r->item[i].name);
        free(r->item[i].seconds);
    }
    free(r->item);
    free(r->name);
}

/* The whole file as a string, to be freed; NULL and errno where it cannot be read. */
static char *read_file(const char *path) {
    FILE *file = fopen(path, "r");
    char *text = NULL;
    if (file == NULL)
        return NULL;
    const long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    if (size >= 0 && fseek(file, 0, SEEK_SET) == 0)
        text = calloc((size_t)size + 1, 1);
    if (text != NULL && fread(text, 1, (size_t)size, file) != (size_t)size) {
        free(text);
        text = NULL;
    }
    fclose(file);
    return text;
}

static bool open_run(run *r, const char *path) {
    *r = (run){.unit = 1e-9};
    char *text = read_file(path);
    if (text == NULL) {
        fprintf(stderr, "attn-bench: %s: %s\n", path, errno != 0 ? strerror(errno) : "cannot be read");
        return false;
    }
    const char *wrong = parse_json(text, take_value, r);
    if (wrong != NULL)
        fprintf(stderr, "attn-bench: %s: not JSON from byte %td on; write one with --json FILE\n", path, wrong - text);
    else if (r->short_of_memory)
        fputs("attn-bench: out of memory\n", stderr);
    const bool good = wrong == NULL && !r->short_of_memory;
    free(text);
    for (size_t i = 0; i < r->count; i++)
        r->item[i].stats = stats_of(r->item[i].seconds, r->item[i].count);
    return good;
}

static const char *verdict(const bench *a, const bench *b) {
    if (b->failed)
        return a->failed ? "fails as before" : "FAILS now";
    if (a->failed || a->count == 0)
        return "works now";
    if (a->fell || b->fell)
        return "the peak fell";
    const double change = b->stats.median / a->stats.median - 1;
    if (stats_tie(&a->stats, &b->stats) || fabs(change) < LEAST_CHANGE)
        return "same";
    return change > 0 ? "SLOWER" : "faster";
}

/* What the benchmarks that both files have came to. */
typedef struct tally {
    size_t shared, worse;
    double log_ratio;
} tally;

static void compare(const bench *a, const bench *b, tally *t) {
    const char *words = verdict(a, b);
    t->shared++;
    t->worse += strcmp(words, "SLOWER") == 0 || strcmp(words, "FAILS now") == 0;
    printf("%-72s", a->name);
    if (a->count > 0 && b->count > 0) {
        t->log_ratio += log(b->stats.median / a->stats.median);
        printf(" %10.1f %10.1f %+7.1f%% ±%4.1f%%", a->stats.median * 1e6, b->stats.median * 1e6,
               100 * (b->stats.median / a->stats.median - 1), 100 * (stats_noise(&a->stats) + stats_noise(&b->stats)));
    }
    printf("  %s\n", words);
}

static int compare_runs(const run *before, const run *after) {
    tally t = {0};
    printf("%-72s %10s %10s %8s %6s\n", "benchmark", "before, us", "after, us", "time", "noise");
    for (size_t i = 0; i < before->count; i++)
        for (size_t n = 0; n < after->count; n++)
            if (strcmp(before->item[i].name, after->item[n].name) == 0)
                compare(&before->item[i], &after->item[n], &t);
    if (t.shared == 0) {
        fputs("attn-bench: the two files have no benchmark in common\n", stderr);
        return EXIT_FAILURE;
    }
    printf("\n%zu benchmark%s in both files, %zu worse; time, geometric mean: %+.1f%%\n", t.shared,
           t.shared == 1 ? "" : "s", t.worse, 100 * (exp(t.log_ratio / (double)t.shared) - 1));
    return t.worse > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int diff_run(const char *before, const char *after) {
    run a, b = {0};
    int status = EXIT_FAILURE;
    if (open_run(&a, before) && open_run(&b, after))
        status = compare_runs(&a, &b);
    close_run(&a);
    close_run(&b);
    return status;
}
