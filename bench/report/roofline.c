/* SPDX-License-Identifier: BSD-3-Clause */
/* Williams, Waterman, Patterson, "Roofline: an insightful visual performance model", 2009. */
#include "report/roofline.h"

#include <math.h>

#include "base/text.h"
#include "report/panel.h"

#define PLOT_LEFT 70
#define PLOT_HEIGHT 340

/* Decades shown: of operations a byte, and of GFLOP/s. */
typedef struct graph {
    const picture *picture;
    double left, top, width, x_low, x_high, y_low, y_high, bandwidth, peak[PEAK_TYPES]; /* peaks: 0 if not used */
} graph;

static double x_of(const graph *g, double intensity) {
    return g->left + axis_log(intensity, g->x_low, g->x_high) * g->width;
}
static double y_of(const graph *g, double gflops) {
    return g->top + PLOT_HEIGHT * (1 - axis_log(gflops, g->y_low, g->y_high));
}

static double intensity_of(const bench_case *c) { return case_flops(c) / case_bytes(c); }

static double decade_below(double value) { return pow(10, floor(log10(value))); }
static double decade_above(double value) { return pow(10, ceil(log10(value))); }

static void put_grid(const graph *g) {
    char text[40];
    FILE *file = g->picture->file;
    for (double x = g->x_low; x <= 1.001 * g->x_high; x *= 10) {
        fprintf(file, "<path class=\"grid\" d=\"M%.1f %.1fv%d\"/>\n", x_of(g, x), g->top, PLOT_HEIGHT);
        text_print(text, sizeof text, "%g", x);
        picture_text(g->picture, "tick value", x_of(g, x), g->top + PLOT_HEIGHT + 18, text);
    }
    for (double y = g->y_low; y <= 1.001 * g->y_high; y *= 10) {
        fprintf(file, "<path class=\"grid\" d=\"M%.1f %.1fh%.1f\"/>\n", g->left, y_of(g, y), g->width);
        text_print(text, sizeof text, "%g", y);
        picture_text(g->picture, "tick", g->left - 36, y_of(g, y) + 4, text);
    }
    picture_text(g->picture, "tick", g->left, g->top - 8, "GFLOP/s");
    picture_text(g->picture, "tick value", g->left + g->width / 2, g->top + PLOT_HEIGHT + 37,
                 "operations for each byte of inputs and outputs");
}

static void put_roof(const graph *g, peak_type type) {
    char text[100];
    const double peak = g->peak[type], ridge = fmin(fmax(peak / g->bandwidth, g->x_low), g->x_high);
    const double foot = fmax(g->x_low, g->y_low / g->bandwidth);
    fprintf(g->picture->file, "<path class=\"roof\" d=\"M%.1f %.1fL%.1f %.1fH%.1f\"/>\n", x_of(g, foot),
            y_of(g, foot * g->bandwidth), x_of(g, ridge), y_of(g, peak), g->left + g->width);
    text_print(text, sizeof text, "%s peak %.0f GFLOP/s, reading %.1f GB/s", peak_names[type], peak, g->bandwidth);
    picture_text(g->picture, "tick halo", x_of(g, ridge), y_of(g, peak) - 10, text);
}

static void put_point(const graph *g, size_t index, size_t b) {
    char name[200];
    const sweep *s = g->picture->sweep;
    const bench_case *c = &s->cases[index];
    const double speed = sweep_gflops(s, index, b);
    if (speed <= 0)
        return;
    panel_marker(g->picture->file, b, x_of(g, intensity_of(c)), y_of(g, speed));
    case_name(c, name, sizeof name);
    fputs("<title>", g->picture->file);
    text_xml(g->picture->file, s->backends.item[b].label);
    fprintf(g->picture->file, ", %s: %.1f GFLOP/s</title></path>\n", name, speed);
}

/* The operation's name stands below the last point of a section, the longest sequence, at a height of its own. */
static void put_name(const graph *g, size_t index) {
    const sweep *s = g->picture->sweep;
    const bench_case *c = &s->cases[index];
    const double speed = sweep_gflops(s, index, 0);
    if (speed > 0 && (index + 1 == s->count || !case_same_section(c, c + 1)))
        picture_text(g->picture, "tick halo value", x_of(g, intensity_of(c)), y_of(g, speed) + 20 + 15 * (c->op % 3),
                     op_table[c->op].name);
}

static graph graph_of(const picture *p, size_t threads) {
    const sweep *s = p->sweep;
    graph g = {.picture = p, .left = PLOT_LEFT, .top = p->y + 24, .width = p->width - PLOT_LEFT - 2 * MARGIN};
    double low = 1, high = 10, slow = 1, most = 10;
    for (size_t i = 0; i < s->count; i++) {
        if (s->cases[i].threads != threads)
            continue;
        g.peak[case_roof(&s->cases[i])] = s->peaks[i];
        most = fmax(most, s->peaks[i]);
        g.bandwidth = s->bandwidths[i];
        low = fmin(low, intensity_of(&s->cases[i]));
        high = fmax(high, intensity_of(&s->cases[i]));
        for (size_t b = 0; b < s->backends.running; b++)
            if (sweep_gflops(s, i, b) > 0)
                slow = fmin(slow, sweep_gflops(s, i, b));
    }
    g.x_low = decade_below(low);
    g.x_high = decade_above(high);
    g.y_low = decade_below(slow);
    g.y_high = decade_above(most);
    return g;
}

static void put_graph(picture *p, size_t threads) {
    const sweep *s = p->sweep;
    const graph g = graph_of(p, threads);
    char text[60];
    text_print(text, sizeof text, "%zu thread%s", threads, threads == 1 ? "" : "s");
    picture_text(p, "section", p->width - MARGIN - 90, g.top - 8, text);
    put_grid(&g);
    for (int type = 0; type < PEAK_TYPES; type++)
        if (g.bandwidth > 0 && g.peak[type] > 0)
            put_roof(&g, (peak_type)type);
    for (size_t n = 0; n < s->count * s->backends.running; n++)
        if (s->cases[n / s->backends.running].threads == threads)
            put_point(&g, n / s->backends.running, n % s->backends.running);
    for (size_t i = 0; i < s->count; i++)
        if (s->cases[i].threads == threads)
            put_name(&g, i);
    p->y = g.top + PLOT_HEIGHT + 50;
}

void roofline_draw(picture *p) {
    const sweep *s = p->sweep;
    for (size_t i = 0; i < s->count; i++) {
        bool seen = false;
        for (size_t n = 0; n < i; n++)
            seen = seen || s->cases[n].threads == s->cases[i].threads;
        if (!seen)
            put_graph(p, s->cases[i].threads);
    }
}
