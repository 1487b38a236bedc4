/* SPDX-License-Identifier: BSD-3-Clause */
#include "report/lines.h"

#include <math.h>

#include "base/text.h"
#include "report/panel.h"

/* Over the cases of a section. */
static double highest(const sweep *s, size_t first, size_t count) {
    double value = 0;
    for (size_t i = first; i < first + count; i++)
        for (size_t b = 0; b < s->backends.running; b++)
            value = fmax(value, sweep_speed(s, i, b));
    return value;
}

static panel panel_of(const picture *p, size_t first, size_t count) {
    const sweep *s = p->sweep;
    panel one = {.sweep = s, .file = p->file};
    one.peak = op_table[s->cases[first].op].by_bytes ? 0 : s->peaks[first];
    one.y = axis_to(1.1 * fmax(one.peak, highest(s, first, count)));
    return one;
}

/* The n-th panel of those of a section, from the left and downwards. */
static void place(const picture *p, panel *one, size_t n) {
    one->left = MARGIN + (double)(n % p->columns) * PANEL_WIDTH;
    const size_t row = n / p->columns;
    one->top = p->y + (double)row * PANEL_HEIGHT;
}

static void add(panel *one, size_t index, size_t x) {
    if (one->count == OPTIONS_LIST_MAX)
        return;
    one->cases[one->count] = index;
    one->x[one->count++] = x;
}

/* A panel for each number of heads. */
static size_t draw_by_length(const picture *p, size_t first, size_t count) {
    size_t panels = 0;
    for (size_t i = first; i < first + count; i += sweep_line(p->sweep, i)) {
        panel one = panel_of(p, first, count);
        const size_t H = p->sweep->cases[i].H;
        text_print(one.heading, sizeof one.heading, "%zu head%s", H, H == 1 ? "" : "s");
        one.x_label = "sequence length (tokens)";
        for (size_t n = 0; n < sweep_line(p->sweep, i); n++)
            add(&one, i + n, p->sweep->cases[i + n].T);
        place(p, &one, panels++);
        panel_draw(&one);
    }
    return panels;
}

/* A panel for each length. */
static size_t draw_by_heads(const picture *p, size_t first, size_t count) {
    const size_t lengths = sweep_line(p->sweep, first);
    for (size_t l = 0; l < lengths; l++) {
        panel one = panel_of(p, first, count);
        text_print(one.heading, sizeof one.heading, "%zu tokens", p->sweep->cases[first + l].T);
        one.x_label = "attention heads";
        for (size_t i = first + l; i < first + count; i += lengths)
            add(&one, i, p->sweep->cases[i].H);
        place(p, &one, l);
        panel_draw(&one);
    }
    return lengths;
}

void lines_draw(picture *p, size_t first, size_t count) {
    const size_t panels = p->kind == CHART_HEADS ? draw_by_heads(p, first, count) : draw_by_length(p, first, count);
    const size_t rows = (panels + p->columns - 1) / p->columns;
    p->y += (double)rows * PANEL_HEIGHT;
}
