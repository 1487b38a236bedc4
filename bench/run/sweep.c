/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "run/progress.h"
#include "run/roofs.h"

/* A backend that needs longer than this for one run gets fewer rounds, and its first run, which made the output to
 * check, counts as one: warming up gains nothing there. */
#define SLOW_RUN 0.25

/* How often a case is timed at most, where the peak fell each time. */
#define TRIES_MOST 3

/* However small the budget: no backend is timed for less in a round. */
#define SECONDS_LEAST 0.001

/* Worker threads of a context that has just been used stay awake for some milliseconds. */
#define SETTLE_SECONDS 0.01

/* What the run works in: values for all samples, an order of backends, and what a case gave that is timed again. */
typedef struct room {
    double *values;
    size_t *order;
    cell *cells;
    double *peaks;
} room;

bool sweep_open(sweep *s, const options *o, const char *self) {
    *s = (sweep){.options = o, .machine = machine_read(), .begin = clock_now()};
    s->end = o->budget > 0 ? s->begin + o->budget : s->begin + 1e9;
    s->cases = cases_expand(o, &s->count);
    if (s->cases == NULL || !backends_start(&s->backends, o, self))
        return false;
    s->cells = calloc(s->count * s->backends.running + 1, sizeof *s->cells);
    s->case_peaks = calloc(s->count, sizeof *s->case_peaks);
    s->peaks = calloc(s->count, sizeof *s->peaks);
    s->tries = calloc(s->count, sizeof *s->tries);
    s->bandwidths = calloc(s->count, sizeof *s->bandwidths);
    s->peak_samples = calloc(s->count * o->max_rounds, sizeof *s->peak_samples);
    bool good = s->cells != NULL && s->case_peaks != NULL && s->peaks != NULL && s->tries != NULL &&
                s->bandwidths != NULL && s->peak_samples != NULL;
    for (size_t i = 0; good && i < s->count * s->backends.running; i++)
        good = (s->cells[i].samples = calloc(o->max_rounds + 1, sizeof(sample))) != NULL;
    return good;
}

void sweep_close(sweep *s) {
    for (size_t i = 0; s->cells != NULL && i < s->count * s->backends.running; i++)
        free(s->cells[i].samples);
    backends_stop(&s->backends);
    free(s->cases);
    free(s->cells);
    free(s->case_peaks);
    free(s->peaks);
    free(s->tries);
    free(s->bandwidths);
    free(s->peak_samples);
}

static bool over(const sweep *s) { return interrupt_seen() || clock_now() >= s->end; }

/* A worker that was ended because time was up did nothing wrong. */
static void fail(const sweep *s, cell *c, const child *why) {
    c->state = over(s) ? CELL_LATE : CELL_FAILED;
    text_print(c->reason, sizeof c->reason, "%s", why->reason);
}

/* How long to wait for an answer: no longer than the budget lasts. */
static double patience(const sweep *s) {
    const double left = s->end - clock_now();
    return left < s->options->timeout ? fmax(left, 0) : s->options->timeout;
}

/* Whether one run would take longer than the user wants to wait, judging by the case before. */
static bool too_slow(const sweep *s, const backend *b, const bench_case *what) {
    return b->speed[what->op] > 0 && case_flops(what) / b->speed[what->op] > s->options->max_run;
}

/* How many rounds fit the time that is meant for all of them. */
static size_t rounds_wanted(const options *o, double first) {
    double limit = (double)o->rounds * (o->seconds > SLOW_RUN ? o->seconds : SLOW_RUN);
    double rounds = first > SLOW_RUN ? limit / first : (double)o->max_rounds;
    return rounds < (double)o->max_rounds ? (size_t)rounds : o->max_rounds;
}

static void add_sample(cell *c, double seconds, double cpu, size_t runs) {
    c->samples[c->count++] = (sample){seconds, cpu, runs};
}

/* Makes a backend get a case ready and run it once; what it answered is checked there. */
static void open_cell(sweep *s, size_t index, size_t b) {
    char answer[100];
    double first[3];
    const bench_case *what = &s->cases[index];
    backend *on = &s->backends.item[b];
    cell *c = sweep_cell(s, index, b);
    if (over(s) || on->child.pid == 0)
        c->state = over(s) ? CELL_LATE : CELL_EMPTY;
    else if (too_slow(s, on, what))
        c->state = CELL_LEFT;
    else if (!child_ask(&on->child, patience(s), answer, sizeof answer,
                        "case %d %zu %zu %zu %d %zu %zu %zu %zu %zu %zu\n", (int)what->op, what->variant, what->dtype,
                        what->precision, (int)what->cold, what->B, what->H, what->G, what->T, what->D, what->threads))
        fail(s, c, &on->child);
    else if (text_numbers(answer, first, 3)) {
        c->difference = first[2];
        c->state = c->difference <= case_tolerance(what) ? CELL_MEASURED : CELL_WRONG;
        c->wanted = rounds_wanted(s->options, first[0]);
        if (first[0] > SLOW_RUN && c->state == CELL_MEASURED)
            add_sample(c, first[0], first[1], 1);
    }
}

static stats seconds_of(const cell *c, double *values) {
    for (size_t i = 0; i < c->count; i++)
        values[i] = c->samples[i].seconds;
    return stats_of(values, c->count);
}

/* More rounds would not be worth their time, or the user does not want them. */
static bool settled(const sweep *s, const cell *c, double *values) {
    if (!cell_has_time(c) || c->count >= c->wanted)
        return true;
    const stats now = seconds_of(c, values);
    return c->count >= s->options->rounds && stats_noise(&now) <= s->options->noise / 100;
}

static void time_cell(sweep *s, size_t index, size_t b, double seconds) {
    char answer[100];
    double times[3];
    child *on = &s->backends.item[b].child;
    cell *c = sweep_cell(s, index, b);
    if (!child_ask(on, patience(s), answer, sizeof answer, "time %g\n", seconds)) {
        if (!over(s) || c->count == 0)
            fail(s, c, on);
    } else if (text_numbers(answer, times, 3))
        add_sample(c, times[0], times[1], (size_t)times[2]);
    if (s->cases[index].threads > 1)
        clock_sleep(SETTLE_SECONDS);
}

/* Fisher and Yates; the generator is Knuth's MMIX. */
static void shuffle(size_t *order, size_t n, uint64_t *seed) {
    for (size_t i = 0; i < n; i++)
        order[i] = i;
    for (size_t i = n; i > 1; i--) {
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        const size_t j = (size_t)(*seed >> 33) % i, kept = order[i - 1];
        order[i - 1] = order[j];
        order[j] = kept;
    }
}

/* In every round the backends run in a new order, so that none always runs after the same one. A round is begun until
 * `end`, the first one in any case. */
static void time_case(sweep *s, size_t index, double end, room *r) {
    const size_t n = s->backends.running;
    const double share = (end - clock_now()) / (double)(n * s->options->rounds);
    const double seconds = fmax(fmin(s->options->seconds, share), SECONDS_LEAST);
    uint64_t seed = s->options->seed + index;
    bool open = true;
    for (size_t round = 0; open && round < s->options->max_rounds; round++) {
        if (over(s) || (round > 0 && clock_now() >= end))
            break;
        s->peak_samples[index * s->options->max_rounds + round] = roofs_measure(s, index);
        open = false;
        shuffle(r->order, n, &seed);
        for (size_t i = 0; i < n; i++) {
            const cell *c = sweep_cell(s, index, r->order[i]);
            if (settled(s, c, r->values) || (c->count > 0 && over(s)))
                continue;
            time_cell(s, index, r->order[i], seconds);
            open = true;
        }
    }
}

static void summarise(sweep *s, size_t index, size_t b, double *values) {
    cell *c = sweep_cell(s, index, b);
    if (c->state == CELL_MEASURED && c->count == 0)
        c->state = CELL_LATE;
    c->seconds = seconds_of(c, values);
    for (size_t i = 0; i < c->count; i++)
        values[i] = c->samples[i].cpu;
    c->cpu = stats_of(values, c->count);
    if (cell_has_time(c))
        s->backends.item[b].speed[s->cases[index].op] = case_flops(&s->cases[index]) / c->seconds.median;
}

static void run_case(sweep *s, size_t index, double end, room *r) {
    s->tries[index]++;
    for (size_t b = 0; b < s->backends.running; b++)
        open_cell(s, index, b);
    time_case(s, index, end, r);
    for (size_t b = 0; b < s->backends.running; b++)
        summarise(s, index, b, r->values);
}

/* Puts what a case gave aside, and leaves it as if it had not run. */
static void set_aside(sweep *s, size_t index, room *r) {
    const size_t rounds = s->options->max_rounds;
    double *peaks = &s->peak_samples[index * rounds];
    memcpy(r->peaks, peaks, rounds * sizeof *peaks);
    memset(peaks, 0, rounds * sizeof *peaks);
    for (size_t b = 0; b < s->backends.running; b++) {
        cell *now = sweep_cell(s, index, b), *before = &r->cells[b];
        sample *samples = before->samples;
        *before = *now;
        *now = (cell){.samples = samples};
    }
}

/* The peak fell less, and no backend lacks a time that it had: one that ended meanwhile, or has no time left. */
static bool went_better(const sweep *s, size_t index, const room *r) {
    bool better = roofs_median(s, index, r->values) > s->case_peaks[index];
    for (size_t b = 0; b < s->backends.running; b++)
        better = better && (cell_has_time(sweep_cell(s, index, b)) || !cell_has_time(&r->cells[b]));
    return better;
}

/* Of both tries, the better counts; a backend that had no time before, and has none now, tells why it had none. */
static void try_again(sweep *s, size_t index, double end, room *r) {
    const size_t rounds = s->options->max_rounds;
    set_aside(s, index, r);
    run_case(s, index, end, r);
    const bool better = went_better(s, index, r);
    if (!better)
        memcpy(&s->peak_samples[index * rounds], r->peaks, rounds * sizeof *r->peaks);
    for (size_t b = 0; b < s->backends.running; b++) {
        cell *now = sweep_cell(s, index, b), kept = *now;
        if (better && cell_has_time(now))
            continue;
        *now = r->cells[b];
        r->cells[b] = kept;
    }
}

/* The time that a case is expected to take, in no particular unit: at least that of the rounds. */
static double expected(const sweep *s, size_t index) {
    return s->options->seconds * (double)s->options->rounds +
           4 * case_flops(&s->cases[index]) / 4e10 / (double)s->cases[index].threads;
}

/* All cases at first, then those whose peak fell. Each gets its share of what is left of the budget. */
static void run_cases(sweep *s, bool again, room *r) {
    char name[200];
    double total = 0;
    for (size_t i = 0; i < s->count; i++)
        total += !again || sweep_fell(s, i) ? expected(s, i) : 0;
    progress p = progress_start(total);
    for (size_t i = 0; i < s->count; i++) {
        const double now = clock_now(), share = expected(s, i);
        if (again && !sweep_fell(s, i))
            continue;
        case_name(&s->cases[i], name, sizeof name);
        progress_show(&p, i, s->count, name);
        (again ? try_again : run_case)(s, i, now + (s->end - now) * share / (p.total - p.done), r);
        p.done += share;
    }
    progress_end(&p);
}

static void run_tries(sweep *s, room *r) {
    for (int tries = 0; tries < TRIES_MOST && (tries == 0 || !over(s)); tries++) {
        run_cases(s, tries > 0, r);
        roofs_find_peaks(s, r->values);
    }
}

static bool room_open(room *r, const sweep *s) {
    const size_t running = s->backends.running, rounds = s->options->max_rounds;
    *r = (room){.values = calloc(s->count * rounds + 1, sizeof *r->values),
                .order = calloc(running + 1, sizeof *r->order),
                .cells = calloc(running + 1, sizeof *r->cells),
                .peaks = calloc(rounds, sizeof *r->peaks)};
    bool good = r->values != NULL && r->order != NULL && r->cells != NULL && r->peaks != NULL;
    for (size_t b = 0; good && b < running; b++)
        good = (r->cells[b].samples = calloc(rounds + 1, sizeof(sample))) != NULL;
    return good;
}

static void room_close(room *r, const sweep *s) {
    for (size_t b = 0; r->cells != NULL && b < s->backends.running; b++)
        free(r->cells[b].samples);
    free(r->values);
    free(r->order);
    free(r->cells);
    free(r->peaks);
}

void sweep_run(sweep *s) {
    room r;
    if (room_open(&r, s) && s->backends.running > 0) {
        run_tries(s, &r);
        roofs_find_bandwidths(s);
    }
    s->end = clock_now();
    s->after = machine_read();
    room_close(&r, s);
}
