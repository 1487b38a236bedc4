/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/results.h"

#include <math.h>
#include <string.h>

#include "base/text.h"

/* Of the run's best. Peaks of undisturbed rounds differ by a few hundredths; of two threads on one core by a half. */
#define FELL_BELOW 0.9

cell *sweep_cell(const sweep *s, size_t index, size_t b) { return &s->cells[index * s->backends.running + b]; }

static double per_second(const sweep *s, size_t index, size_t b, double work) {
    const cell *c = sweep_cell(s, index, b);
    return cell_has_time(c) ? work / c->seconds.median / 1e9 : 0;
}

double sweep_speed(const sweep *s, size_t index, size_t b) {
    return per_second(s, index, b, case_work(&s->cases[index]));
}

double sweep_gflops(const sweep *s, size_t index, size_t b) {
    return per_second(s, index, b, case_flops(&s->cases[index]));
}

double sweep_gbytes(const sweep *s, size_t index, size_t b) {
    return per_second(s, index, b, case_bytes(&s->cases[index]));
}

size_t sweep_section(const sweep *s, size_t first) {
    size_t n = 1;
    while (first + n < s->count && case_same_section(&s->cases[first], &s->cases[first + n]))
        n++;
    return n;
}

size_t sweep_line(const sweep *s, size_t first) {
    const size_t section = sweep_section(s, first);
    size_t n = 1;
    while (n < section && s->cases[first + n].H == s->cases[first].H)
        n++;
    return n;
}

static size_t fastest(const sweep *s, size_t index) {
    size_t best = s->backends.running;
    for (size_t b = 0; b < s->backends.running; b++)
        if (sweep_speed(s, index, b) > (best < s->backends.running ? sweep_speed(s, index, best) : 0))
            best = b;
    return best;
}

static bool was_cut_short(const sweep *s, size_t index) {
    for (size_t b = 0; b < s->backends.running; b++)
        if (sweep_cell(s, index, b)->state == CELL_LATE)
            return true;
    return false;
}

bool sweep_ties(const sweep *s, size_t index, size_t b) {
    const size_t best = fastest(s, index);
    return !was_cut_short(s, index) && cell_has_time(sweep_cell(s, index, b)) &&
           (b == best || stats_tie(&sweep_cell(s, index, b)->seconds, &sweep_cell(s, index, best)->seconds));
}

size_t sweep_winner(const sweep *s, size_t index, bool *tie) {
    const size_t running = s->backends.running;
    size_t first = running, count = 0;
    for (size_t b = 0; b < running; b++) {
        if (!sweep_ties(s, index, b))
            continue;
        first = first == running ? b : first;
        count++;
    }
    *tie = count > 1;
    return first;
}

bool sweep_same_roof(const sweep *s, size_t a, size_t b) {
    return s->cases[a].threads == s->cases[b].threads && case_roof(&s->cases[a]) == case_roof(&s->cases[b]);
}

bool sweep_first_roof(const sweep *s, size_t index) {
    for (size_t i = 0; i < index; i++)
        if (sweep_same_roof(s, i, index))
            return false;
    return true;
}

bool sweep_fell(const sweep *s, size_t index) {
    return s->cases[index].threads <= s->machine.usable && s->case_peaks[index] > 0 &&
           s->case_peaks[index] < FELL_BELOW * s->peaks[index];
}

double sweep_mean_ratio(const sweep *s, size_t b, size_t *cases) {
    double sum = 0;
    *cases = 0;
    for (size_t i = 0; i < s->count; i++) {
        const double speed = sweep_speed(s, i, b), first = sweep_speed(s, i, 0);
        if (speed <= 0 || first <= 0)
            continue;
        sum += log(speed / first);
        ++*cases;
    }
    return *cases > 0 ? exp(sum / (double)*cases) : 0;
}

const char *cell_trouble(const cell *c, char *room, size_t size) {
    switch (c->state) {
    case CELL_EMPTY:
        return "the backend had ended before";
    case CELL_LEFT:
        return "left out: one run would take too long";
    case CELL_LATE:
        return "not timed: the budget was spent or the run interrupted";
    case CELL_FAILED:
        return c->reason;
    case CELL_WRONG:
        text_print(room, size, "wrong answer: output differs by %.2g from double precision", c->difference);
        return room;
    case CELL_MEASURED:
        break;
    }
    return "";
}

bool sweep_good(const sweep *s) {
    bool good = true, any = false;
    for (size_t i = 0; i < s->count * s->backends.running; i++) {
        any = any || s->cells[i].state == CELL_MEASURED;
        good = good && s->cells[i].state != CELL_WRONG;
    }
    return good && any;
}

static size_t most_threads(const sweep *s) {
    size_t most = 0;
    for (size_t i = 0; i < s->count; i++)
        most = s->cases[i].threads > most ? s->cases[i].threads : most;
    return most;
}

/* What became of the cases whose peak fell. */
static void peak_noise(const sweep *s, char *to, size_t size) {
    size_t fell = 0, mended = 0;
    double least = 1;
    for (size_t i = 0; i < s->count; i++) {
        fell += sweep_fell(s, i);
        mended += !sweep_fell(s, i) && s->tries[i] > 1;
        least = fmin(least, sweep_fell(s, i) ? s->case_peaks[i] / s->peaks[i] : 1);
    }
    if (fell > 0)
        text_print(to + strlen(to), size - strlen(to),
                   "the peak fell, to %.0f%% of the run's best, while %zu case%s ran, marked !; ", 100 * least, fell,
                   fell == 1 ? "" : "s");
    if (mended > 0)
        text_print(to + strlen(to), size - strlen(to), "%zu case%s timed again since the peak had fallen; ", mended,
                   mended == 1 ? " was" : "s were");
}

void sweep_noise(const sweep *s, char *to, size_t size) {
    const double wall = s->end - s->begin, stolen = s->after.stolen - s->machine.stolen;
    const size_t threads = most_threads(s), usable = s->machine.usable;
    *to = '\0';
    if (threads > usable)
        text_print(to, size, "%zu threads share %zu usable CPU%s; ", threads, usable, usable == 1 ? "" : "s");
    peak_noise(s, to, size);
    if (s->machine.load > 0.5 * (double)s->machine.cpus)
        text_print(to + strlen(to), size - strlen(to), "the load was %.1f when the run began; ", s->machine.load);
    if (s->machine.stolen >= 0 && wall > 0 && stolen > 0.01 * wall)
        text_print(to + strlen(to), size - strlen(to), "a hypervisor took %.1f s of processor time for others; ",
                   stolen);
    if (s->machine.mhz > 0 && fabs(s->after.mhz / s->machine.mhz - 1) > 0.05)
        text_print(to + strlen(to), size - strlen(to), "the clock went from %.0f to %.0f MHz; ", s->machine.mhz,
                   s->after.mhz);
    if (*to != '\0')
        to[strlen(to) - 2] = '\0';
}
