/* SPDX-License-Identifier: BSD-3-Clause */
#include "sweep.h"

#include <stdlib.h>

#include "check.h"
#include "clock.h"
#include "peak.h"
#include "progress.h"
#include "text.h"

/* A backend that needs longer than this for one run gets fewer rounds, and its first run, which made the output to
 * check, counts as one: warming up gains nothing there. */
#define SLOW_RUN 0.25

#define PEAK_SECONDS 0.01

/* Worker threads of a context that has just been used stay awake for some milliseconds. */
#define SETTLE_SECONDS 0.01

bool sweep_open(sweep *s, const options *o, const char *self) {
    *s = (sweep){.options = o, .machine = machine_read()};
    s->cases = cases_expand(o, &s->count);
    if (s->cases == NULL || !backends_start(&s->backends, o, self))
        return false;
    s->cells = calloc(s->count * s->backends.running + 1, sizeof *s->cells);
    s->peaks = calloc(s->count, sizeof *s->peaks);
    s->peak_samples = calloc(s->count * o->rounds, sizeof *s->peak_samples);
    for (size_t i = 0; s->cells != NULL && i < s->count * s->backends.running; i++)
        s->cells[i].samples = calloc(o->rounds + 1, sizeof(sample));
    return s->cells != NULL && s->peaks != NULL && s->peak_samples != NULL;
}

void sweep_close(sweep *s) {
    for (size_t i = 0; s->cells != NULL && i < s->count * s->backends.running; i++)
        free(s->cells[i].samples);
    backends_stop(&s->backends);
    free(s->cases);
    free(s->cells);
    free(s->peaks);
    free(s->peak_samples);
}

cell *sweep_cell(const sweep *s, size_t index, size_t b) { return &s->cells[index * s->backends.running + b]; }

double sweep_gflops(const sweep *s, size_t index, size_t b) {
    const cell *c = sweep_cell(s, index, b);
    return cell_has_time(c) ? case_flops(&s->cases[index]) / c->seconds.median / 1e9 : 0;
}

bool sweep_good(const sweep *s) {
    bool good = true, any = false;
    for (size_t i = 0; i < s->count * s->backends.running; i++) {
        any = any || s->cells[i].state == CELL_MEASURED;
        good = good && s->cells[i].state != CELL_WRONG;
    }
    return good && any;
}

static void fail(cell *c, const child *why) {
    c->state = CELL_FAILED;
    text_print(c->reason, sizeof c->reason, "%s", why->reason);
}

/* Whether one run would take longer than the user wants to wait, judging by the case before. */
static bool too_slow(const sweep *s, const backend *b, const bench_case *what) {
    return b->speed[what->op] > 0 && case_flops(what) / b->speed[what->op] > s->options->max_run;
}

/* How many rounds fit the time that is meant for all of them. */
static size_t rounds_wanted(const options *o, double first) {
    double limit = (double)o->rounds * (o->seconds > SLOW_RUN ? o->seconds : SLOW_RUN);
    double rounds = first > 0 ? limit / first : limit;
    return rounds < (double)o->rounds ? (size_t)rounds : o->rounds;
}

static void add_sample(cell *c, double seconds, double cpu, size_t runs) {
    c->samples[c->count++] = (sample){seconds, cpu, runs};
}

/* Makes a backend get a case ready and run it once. */
static void open_cell(sweep *s, size_t index, size_t b) {
    char answer[100];
    double first[2];
    const bench_case *what = &s->cases[index];
    backend *on = &s->backends.item[b];
    cell *c = sweep_cell(s, index, b);
    if (on->child.pid == 0)
        return;
    if (too_slow(s, on, what)) {
        c->state = CELL_LEFT;
        return;
    }
    if (!child_ask(&on->child, s->options->timeout, answer, sizeof answer, "case %d %d %zu %zu %zu %zu %zu\n",
                   (int)what->op, (int)what->causal, what->B, what->H, what->T, what->D, what->threads)) {
        fail(c, &on->child);
        return;
    }
    c->state = text_numbers(answer, first, 2) ? CELL_MEASURED : CELL_FAILED;
    c->wanted = rounds_wanted(s->options, first[0]);
    if (first[0] > SLOW_RUN)
        add_sample(c, first[0], first[1], 1);
}

/* Compares each output with that of the first backend that has one. */
static void check_case(sweep *s, size_t index) {
    const bench_case *what = &s->cases[index];
    const size_t count = what->B * what->H * what->T * what->D;
    const backend *reference = NULL;
    for (size_t b = 0; b < s->backends.running; b++) {
        cell *c = sweep_cell(s, index, b);
        const backend *on = &s->backends.item[b];
        if (c->state != CELL_MEASURED)
            continue;
        reference = reference == NULL ? on : reference;
        c->difference = check_difference(on->child.output, reference->child.output, count);
        if (!(c->difference <= CHECK_TOLERANCE))
            c->state = CELL_WRONG;
    }
}

static void time_cell(sweep *s, size_t index, size_t b) {
    char answer[100];
    double times[3];
    child *on = &s->backends.item[b].child;
    cell *c = sweep_cell(s, index, b);
    if (!cell_has_time(c))
        return;
    if (!child_ask(on, s->options->timeout, answer, sizeof answer, "time %g\n", s->options->seconds))
        fail(c, on);
    else if (text_numbers(answer, times, 3))
        add_sample(c, times[0], times[1], (size_t)times[2]);
    if (s->cases[index].threads > 1)
        clock_sleep(SETTLE_SECONDS);
}

/* Every round begins with another backend, so that none always runs after the same one. */
static void time_case(sweep *s, size_t index) {
    const size_t n = s->backends.running;
    for (size_t round = 0; round < s->options->rounds; round++) {
        s->peak_samples[index * s->options->rounds + round] = peak_measure(s->cases[index].threads, PEAK_SECONDS);
        for (size_t i = 0; i < n; i++) {
            size_t b = (i + round) % n;
            if (round < sweep_cell(s, index, b)->wanted)
                time_cell(s, index, b);
        }
    }
}

static void summarise(sweep *s, size_t index, size_t b, double *values) {
    cell *c = sweep_cell(s, index, b);
    for (size_t i = 0; i < c->count; i++)
        values[i] = c->samples[i].seconds;
    c->seconds = stats_of(values, c->count);
    for (size_t i = 0; i < c->count; i++)
        values[i] = c->samples[i].cpu;
    c->cpu = stats_of(values, c->count);
    if (cell_has_time(c))
        s->backends.item[b].speed[s->cases[index].op] = case_flops(&s->cases[index]) / c->seconds.median;
}

static void run_case(sweep *s, size_t index, double *values) {
    for (size_t b = 0; b < s->backends.running; b++)
        open_cell(s, index, b);
    check_case(s, index);
    time_case(s, index);
    for (size_t b = 0; b < s->backends.running; b++)
        summarise(s, index, b, values);
}

/* `values` has room for all samples. */
static void find_peak(sweep *s, size_t threads, double *values) {
    size_t n = 0;
    for (size_t i = 0; i < s->count * s->options->rounds; i++)
        if (s->cases[i / s->options->rounds].threads == threads)
            values[n++] = s->peak_samples[i];
    const double peak = stats_of(values, n).high;
    for (size_t i = 0; i < s->count; i++)
        if (s->cases[i].threads == threads)
            s->peaks[i] = peak;
}

/* The time that a case is expected to take, in no particular unit: at least that of the rounds. */
static double expected(const sweep *s, size_t index) {
    return s->options->seconds + case_flops(&s->cases[index]) / 4e10 / (double)s->cases[index].threads;
}

void sweep_run(sweep *s) {
    char name[200];
    double total = 0, *values = calloc(s->count * s->options->rounds + 1, sizeof *values);
    for (size_t i = 0; i < s->count; i++)
        total += expected(s, i);
    progress p = progress_start(total);
    for (size_t i = 0; values != NULL && s->backends.running > 0 && i < s->count; i++) {
        case_name(&s->cases[i], name, sizeof name);
        progress_show(&p, i, s->count, name);
        run_case(s, i, values);
        p.done += expected(s, i);
    }
    progress_end(&p);
    for (size_t i = 0; values != NULL && i < s->options->threads.count; i++)
        find_peak(s, s->options->threads.item[i], values);
    free(values);
}
