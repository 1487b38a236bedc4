/* SPDX-License-Identifier: BSD-3-Clause */
#include "table.h"

#include <attn/attn.h>
#include <math.h>

#include "peak.h"

/* Characters of the columns of a case, and of those of a backend. */
#define CASE_WIDTH 14
#define BACKEND_WIDTH 28

void table_header(const sweep *s, FILE *file) {
    const machine *m = &s->machine;
    fprintf(file, "machine:   %s, %zu CPU%s, FMA peak measured with %s\n", m->cpu, m->cpus, m->cpus == 1 ? "" : "s",
            peak_isa());
    fprintf(file, "library:   libattn %s, %s kernels\n", attn_version(),
            s->backends.running > 0 ? s->backends.item[0].isa : "no");
    backends_print(&s->backends, file);
}

static void print_heading(const sweep *s, FILE *file, size_t index, size_t from, size_t to) {
    char title[200];
    case_title(&s->cases[index], title, sizeof title);
    fprintf(file, "\n%s, FMA peak %.1f GFLOP/s\n%*s", title, s->peaks[index], CASE_WIDTH, "");
    for (size_t b = from; b < to; b++)
        fprintf(file, "  %-*.*s", BACKEND_WIDTH - 2, BACKEND_WIDTH - 2, s->backends.item[b].label);
    fprintf(file, "\n heads  length");
    for (size_t b = from; b < to; b++)
        fputs("  GFLOP/s spread   peak ratio", file);
    fputc('\n', file);
}

static void print_empty(FILE *file, const cell *c) {
    fprintf(file, "  %7s %6s %6s %5s", c->state == CELL_FAILED ? "failed" : "-", "", "", "");
}

/* The spread is the range between the quartiles, as a share of the median. */
static void print_cell(const sweep *s, FILE *file, size_t index, size_t b) {
    const cell *c = sweep_cell(s, index, b);
    const double speed = sweep_gflops(s, index, b), first = sweep_gflops(s, index, 0);
    if (!cell_has_time(c)) {
        print_empty(file, c);
        return;
    }
    fprintf(file, " %c%7.1f %5.1f%% %5.1f%%", c->state == CELL_WRONG ? '!' : ' ', speed,
            100 * (c->seconds.high - c->seconds.low) / c->seconds.median, 100 * speed / s->peaks[index]);
    if (first > 0)
        fprintf(file, " %5.2f", speed / first);
    else
        fprintf(file, " %5s", "-");
}

static void print_row(const sweep *s, FILE *file, size_t index, size_t from, size_t to) {
    const bench_case *c = &s->cases[index];
    fprintf(file, "%6zu %7zu", c->H, c->T);
    for (size_t b = from; b < to; b++)
        print_cell(s, file, index, b);
    fputc('\n', file);
}

static void print_section(const sweep *s, FILE *file, size_t first, size_t count, size_t width) {
    const size_t running = s->backends.running;
    size_t fit = width > CASE_WIDTH + BACKEND_WIDTH ? (width - CASE_WIDTH) / BACKEND_WIDTH : 1;
    for (size_t from = 0; from < running; from += fit) {
        size_t to = from + fit < running ? from + fit : running;
        print_heading(s, file, first, from, to);
        for (size_t i = first; i < first + count; i++)
            print_row(s, file, i, from, to);
    }
}

static void print_trouble(const sweep *s, FILE *file, size_t index, size_t b) {
    char name[200];
    const cell *c = sweep_cell(s, index, b);
    const char *label = s->backends.item[b].label;
    case_name(&s->cases[index], name, sizeof name);
    if (c->state == CELL_FAILED)
        fprintf(file, "failed: %s, %s: %s\n", label, name, c->reason);
    if (c->state == CELL_WRONG)
        fprintf(file, "! WRONG: %s, %s: output differs by %.2g from that of the first backend\n", label, name,
                c->difference);
}

/* Cases that were left out are many and alike: one line a backend. */
static void print_left_out(const sweep *s, FILE *file, size_t b) {
    size_t left = 0, gone = 0;
    for (size_t i = 0; i < s->count; i++) {
        left += sweep_cell(s, i, b)->state == CELL_LEFT;
        gone += sweep_cell(s, i, b)->state == CELL_EMPTY;
    }
    if (left > 0)
        fprintf(file, "%s: %zu case%s left out that would take over %g s for one run (--max-run)\n",
                s->backends.item[b].label, left, left == 1 ? "" : "s", s->options->max_run);
    if (gone > 0)
        fprintf(file, "%s: %zu case%s not run because the backend had ended\n", s->backends.item[b].label, gone,
                gone == 1 ? "" : "s");
}

static void print_mean(const sweep *s, FILE *file, size_t b) {
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < s->count; i++) {
        double speed = sweep_gflops(s, i, b), first = sweep_gflops(s, i, 0);
        if (speed > 0 && first > 0) {
            sum += log(speed / first);
            n++;
        }
    }
    if (n > 0)
        fprintf(file, "  %-18s %6.2f  (%zu case%s)\n", s->backends.item[b].label, exp(sum / (double)n), n,
                n == 1 ? "" : "s");
}

void table_print(const sweep *s, FILE *file, size_t width) {
    const size_t section = s->options->lengths.count * s->options->heads.count;
    if (s->backends.running == 0)
        return;
    for (size_t i = 0; i < s->count; i += section)
        print_section(s, file, i, section, width);
    fputs(
        "\nGFLOP/s of useful work, median of the rounds; spread: range between the quartiles; peak: share of the FMA\n"
        "peak of as many threads (GFLOP/s); ratio: speed in comparison with the first backend\n",
        file);
    if (s->backends.running > 1)
        fprintf(file, "\nspeed in comparison with %s, geometric mean:\n", s->backends.item[0].label);
    for (size_t b = 1; b < s->backends.running; b++)
        print_mean(s, file, b);
    fputc('\n', file);
    for (size_t b = 0; b < s->backends.running; b++)
        print_left_out(s, file, b);
    for (size_t i = 0; i < s->count * s->backends.running; i++)
        print_trouble(s, file, i / s->backends.running, i % s->backends.running);
}
