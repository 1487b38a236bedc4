/* SPDX-License-Identifier: BSD-3-Clause */
#include "report/table.h"

#include <attn/attn.h>
#include <math.h>

#include "machine/peak.h"

/* Characters of the columns of a case, and of those of a backend. */
#define CASE_WIDTH 24
#define BACKEND_WIDTH 28

/* Characters of a backend's column where they are compared, and of the winner's. */
#define SPEED_WIDTH 17
#define WINNER_WIDTH 30

void table_header(const sweep *s, FILE *file) {
    machine_print(&s->machine, file);
    fprintf(file, "library:   libattn %s, %s kernels; peaks measured with ", attn_version(),
            s->backends.running > 0 ? s->backends.item[0].isa : "no");
    for (int type = 0; type < PEAK_TYPES; type++)
        fprintf(file, "%s%s (%s)", type > 0 ? ", " : "", peak_isa((peak_type)type), peak_names[type]);
    fputc('\n', file);
    backends_print(&s->backends, file);
}

#define CASE_HEADING " heads  length     peak "

static void print_title(const sweep *s, FILE *file, size_t index) {
    char title[200];
    case_title(&s->cases[index], title, sizeof title);
    fprintf(file, "\n%s, %s peak %.1f GFLOP/s\n", title, peak_names[case_roof(&s->cases[index])], s->peaks[index]);
}

static void print_heading(const sweep *s, FILE *file, size_t index, size_t from, size_t to) {
    print_title(s, file, index);
    fprintf(file, "%*s", CASE_WIDTH, "");
    for (size_t b = from; b < to; b++)
        fprintf(file, "  %-*.*s", BACKEND_WIDTH - 2, BACKEND_WIDTH - 2, s->backends.item[b].label);
    fprintf(file, "\n%s", CASE_HEADING);
    for (size_t b = from; b < to; b++)
        fprintf(file, "  %7s spread  share ratio", case_unit(&s->cases[index]));
    fputc('\n', file);
}

/* Its peak is that of its own rounds. */
static void print_case(const sweep *s, FILE *file, size_t index) {
    fprintf(file, "%6zu %7zu ", s->cases[index].H, s->cases[index].T);
    if (s->case_peaks[index] > 0)
        fprintf(file, "%8.1f%c", s->case_peaks[index], sweep_fell(s, index) ? '!' : ' ');
    else
        fprintf(file, "%8s ", "-");
}

/* One word for a cell without a time. */
static const char *word_of(const cell *c) {
    switch (c->state) {
    case CELL_FAILED:
        return "failed";
    case CELL_WRONG:
        return "WRONG";
    case CELL_LATE:
        return "late";
    case CELL_EMPTY:
    case CELL_LEFT:
    case CELL_MEASURED:
        break;
    }
    return "-";
}

/* The spread is the range between the quartiles, as a share of the median, where there are quartiles. */
static void print_spread(const cell *c, FILE *file) {
    if (c->count < 3)
        fprintf(file, " %6s", "-");
    else
        fprintf(file, " %5.1f%%", 100 * (c->seconds.high - c->seconds.low) / c->seconds.median);
}

static void print_cell(const sweep *s, FILE *file, size_t index, size_t b) {
    const cell *c = sweep_cell(s, index, b);
    const double speed = sweep_speed(s, index, b), first = sweep_speed(s, index, 0);
    if (!cell_has_time(c)) {
        fprintf(file, "  %7s %6s %6s %5s", word_of(c), "", "", "");
        return;
    }
    fprintf(file, "  %7.1f", speed);
    print_spread(c, file);
    fprintf(file, " %5.1f%%", 100 * sweep_gflops(s, index, b) / s->peaks[index]);
    if (first > 0)
        fprintf(file, " %5.2f", speed / first);
    else
        fprintf(file, " %5s", "-");
}

static void print_row(const sweep *s, FILE *file, size_t index, size_t from, size_t to) {
    print_case(s, file, index);
    for (size_t b = from; b < to; b++)
        print_cell(s, file, index, b);
    fputc('\n', file);
}

static void print_speeds(const sweep *s, FILE *file, size_t first, size_t count, size_t width) {
    const size_t running = s->backends.running;
    size_t fit = width > CASE_WIDTH + BACKEND_WIDTH ? (width - CASE_WIDTH) / BACKEND_WIDTH : 1;
    for (size_t from = 0; from < running; from += fit) {
        size_t to = from + fit < running ? from + fit : running;
        print_heading(s, file, first, from, to);
        for (size_t i = first; i < first + count; i++)
            print_row(s, file, i, from, to);
    }
}

/* How much faster the winner is than the next; 0 where there is no other. */
static double lead(const sweep *s, size_t index, size_t best) {
    double next = 0;
    for (size_t b = 0; b < s->backends.running; b++)
        next = b != best ? fmax(next, sweep_speed(s, index, b)) : next;
    return next > 0 ? sweep_speed(s, index, best) / next : 0;
}

static void print_tie(const sweep *s, FILE *file, size_t index) {
    const char *between = "  tie: ";
    for (size_t b = 0; b < s->backends.running; b++) {
        if (!sweep_ties(s, index, b))
            continue;
        fprintf(file, "%s%s", between, s->backends.item[b].label);
        between = " = ";
    }
}

static void print_winner(const sweep *s, FILE *file, size_t index) {
    bool tie;
    const size_t best = sweep_winner(s, index, &tie);
    if (best == s->backends.running)
        fputs("  none", file);
    else if (tie)
        print_tie(s, file, index);
    else if (lead(s, index, best) > 0)
        fprintf(file, "  %-18.18s +%.0f%%", s->backends.item[best].label, 100 * (lead(s, index, best) - 1));
    else
        fprintf(file, "  %s", s->backends.item[best].label);
    fputc('\n', file);
}

static void print_compared(const sweep *s, FILE *file, size_t index, size_t from, size_t to) {
    print_case(s, file, index);
    for (size_t b = from; b < to; b++) {
        const cell *c = sweep_cell(s, index, b);
        if (cell_has_time(c))
            fprintf(file, "%*.1f", SPEED_WIDTH, sweep_speed(s, index, b));
        else
            fprintf(file, "%*s", SPEED_WIDTH, word_of(c));
    }
    print_winner(s, file, index);
}

static void print_comparison(const sweep *s, FILE *file, size_t first, size_t count, size_t width) {
    const size_t running = s->backends.running, other = CASE_WIDTH + WINNER_WIDTH;
    size_t fit = width > other + SPEED_WIDTH ? (width - other) / SPEED_WIDTH : 1;
    for (size_t from = 0; from < running; from += fit) {
        size_t to = from + fit < running ? from + fit : running;
        print_title(s, file, first);
        fputs(CASE_HEADING, file);
        for (size_t b = from; b < to; b++)
            fprintf(file, " %*.*s", SPEED_WIDTH - 1, SPEED_WIDTH - 1, s->backends.item[b].label);
        fprintf(file, "  winner (%s)\n", case_unit(&s->cases[first]));
        for (size_t i = first; i < first + count; i++)
            print_compared(s, file, i, from, to);
    }
}

static void print_wins(const sweep *s, FILE *file) {
    size_t ties = 0, wins;
    bool tie;
    fputs("\nwins:", file);
    for (size_t i = 0; i < s->count; i++)
        ties += sweep_winner(s, i, &tie) < s->backends.running && tie;
    for (size_t b = 0; b < s->backends.running; b++) {
        wins = 0;
        for (size_t i = 0; i < s->count; i++)
            wins += sweep_winner(s, i, &tie) == b && !tie;
        fprintf(file, " %s %zu,", s->backends.item[b].label, wins);
    }
    fprintf(file, " ties %zu\n", ties);
}

/* What the roof allows at the intensity of a case. */
static double roof(const sweep *s, size_t index) {
    const double slope = s->bandwidths[index] * case_flops(&s->cases[index]) / case_bytes(&s->cases[index]);
    return slope > 0 && slope < s->peaks[index] ? slope : s->peaks[index];
}

static void print_roofline(const sweep *s, FILE *file, size_t first, size_t count) {
    print_title(s, file, first);
    fprintf(file,
            "reading from memory %.1f GB/s\n" CASE_HEADING "  %-18s  flop/byte     GB/s  GFLOP/s  roof, GFLOP/s  share "
            "of roof\n",
            s->bandwidths[first], "backend");
    for (size_t n = 0; n < count * s->backends.running; n++) {
        const size_t index = first + n / s->backends.running, b = n % s->backends.running;
        const bench_case *c = &s->cases[index];
        print_case(s, file, index);
        fprintf(file, "  %-18.18s %10.1f ", s->backends.item[b].label, case_flops(c) / case_bytes(c));
        if (cell_has_time(sweep_cell(s, index, b)))
            fprintf(file, "%8.1f %8.1f %14.1f %13.0f%%\n", sweep_gbytes(s, index, b), sweep_gflops(s, index, b),
                    roof(s, index), 100 * sweep_gflops(s, index, b) / roof(s, index));
        else
            fprintf(file, "%8s\n", word_of(sweep_cell(s, index, b)));
    }
}

static void print_section(const sweep *s, FILE *file, size_t first, size_t count, size_t width) {
    if (s->options->command == COMPARE)
        print_comparison(s, file, first, count, width);
    else if (s->options->command == ROOFLINE)
        print_roofline(s, file, first, count);
    else
        print_speeds(s, file, first, count, width);
}

static void print_trouble(const sweep *s, FILE *file, size_t index, size_t b) {
    char name[200], room[200];
    const cell *c = sweep_cell(s, index, b);
    case_name(&s->cases[index], name, sizeof name);
    if (c->state == CELL_FAILED || c->state == CELL_WRONG)
        fprintf(file, "%s: %s, %s: %s\n", c->state == CELL_WRONG ? "WRONG" : "failed", s->backends.item[b].label, name,
                cell_trouble(c, room, sizeof room));
}

static void print_count(FILE *file, const char *label, size_t count, const char *why) {
    if (count > 0)
        fprintf(file, "%s: %zu case%s %s\n", label, count, count == 1 ? "" : "s", why);
}

/* Cases that were left out are many and alike: one line a backend. */
static void print_left_out(const sweep *s, FILE *file, size_t b) {
    size_t counts[CELL_MEASURED + 1] = {0};
    for (size_t i = 0; i < s->count; i++)
        counts[sweep_cell(s, i, b)->state]++;
    print_count(file, s->backends.item[b].label, counts[CELL_LEFT],
                "left out: one run would take longer than --max-run");
    print_count(file, s->backends.item[b].label, counts[CELL_EMPTY], "not run because the backend had ended");
    print_count(file, s->backends.item[b].label, counts[CELL_LATE],
                "not timed because the budget was spent or the run interrupted");
}

static void print_means(const sweep *s, FILE *file) {
    bool headed = false;
    for (size_t b = 1; b < s->backends.running; b++) {
        size_t n;
        const double ratio = sweep_mean_ratio(s, b, &n);
        if (n == 0)
            continue;
        if (!headed)
            fprintf(file, "\nspeed in comparison with %s, geometric mean:\n", s->backends.item[0].label);
        headed = true;
        fprintf(file, "  %-18s %6.2f  (%zu case%s)\n", s->backends.item[b].label, ratio, n, n == 1 ? "" : "s");
    }
}

static const char *legend(bench_command command) {
    if (command == COMPARE)
        return "median of the rounds; +: ahead of the next; tie: another is as fast, the intervals of the medians "
               "overlap";
    if (command == ROOFLINE)
        return "roof: what peak and read bandwidth allow for so many operations a byte of inputs and outputs; a "
               "share\nover 100% ran from the caches";
    return "useful work by second, median of the rounds; spread: range between the quartiles; share: of the run's "
           "best\npeak, above; ratio: speed in comparison with the first backend";
}

void table_print(const sweep *s, FILE *file, size_t width) {
    char noise[600];
    if (s->backends.running == 0)
        return;
    for (size_t i = 0, n; i < s->count; i += n) {
        n = sweep_section(s, i);
        print_section(s, file, i, n, width);
    }
    fprintf(file, "\n%s\npeak: GFLOP/s of as many threads while the case ran; !: it fell, do not believe the speed\n",
            legend(s->options->command));
    if (s->options->command == COMPARE)
        print_wins(s, file);
    print_means(s, file);
    fputc('\n', file);
    for (size_t b = 0; b < s->backends.running; b++)
        print_left_out(s, file, b);
    for (size_t i = 0; i < s->count * s->backends.running; i++)
        print_trouble(s, file, i / s->backends.running, i % s->backends.running);
    sweep_noise(s, noise, sizeof noise);
    if (*noise != '\0')
        fprintf(file, "note: %s\n", noise);
}
