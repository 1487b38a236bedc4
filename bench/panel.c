/* SPDX-License-Identifier: BSD-3-Clause */
#include "panel.h"

#include "text.h"

/* The plot within the panel; lines keep off its sides by PAD. */
#define PLOT_LEFT 52
#define PLOT_TOP 30
#define PLOT_WIDTH 330
#define PLOT_HEIGHT 200
#define PAD 16

/* Labels of neighbouring lengths keep this many pixels apart. */
#define LABEL_WIDTH 36

static double x_of(const panel *p, size_t length) {
    const size_list *lengths = &p->sweep->options->lengths;
    double low = (double)lengths->item[0], high = (double)lengths->item[lengths->count - 1];
    return p->left + PLOT_LEFT + PAD + axis_log((double)length, low, high) * (PLOT_WIDTH - 2 * PAD);
}

static double y_of(const panel *p, double gflops) { return p->top + PLOT_TOP + PLOT_HEIGHT * (1 - gflops / p->y.end); }

static void draw_frame(const panel *p) {
    const size_t heads = p->sweep->cases[p->first].H;
    const double x = p->left + PLOT_LEFT, middle = p->top + PLOT_TOP + PLOT_HEIGHT / 2.0;
    fprintf(p->file, "<text class=\"panel\" x=\"%.1f\" y=\"%.1f\">%zu head%s</text>\n", x, p->top + PLOT_TOP - 10,
            heads, heads == 1 ? "" : "s");
    const int steps = (int)(p->y.end / p->y.step + 0.5);
    for (int i = 0; i <= steps; i++) {
        double value = i * p->y.step;
        fprintf(p->file, "<path class=\"grid\" d=\"M%.1f %.1fh%d\"/>\n", x, y_of(p, value), PLOT_WIDTH);
        fprintf(p->file, "<text class=\"tick\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">%g</text>\n", x - 7,
                y_of(p, value) + 4, value);
    }
    fprintf(p->file, "<text class=\"tick\" text-anchor=\"middle\" transform=\"translate(%.1f %.1f) rotate(-90)\">",
            p->left + 12, middle);
    fputs("GFLOP/s</text>\n", p->file);
}

static void draw_lengths(const panel *p) {
    const size_list *lengths = &p->sweep->options->lengths;
    const double bottom = p->top + PLOT_TOP + PLOT_HEIGHT;
    double last = -LABEL_WIDTH;
    for (size_t i = 0; i < lengths->count; i++) {
        double x = x_of(p, lengths->item[i]);
        fprintf(p->file, "<path class=\"axis\" d=\"M%.1f %.1fv5\"/>\n", x, bottom);
        if (x - last < LABEL_WIDTH)
            continue;
        last = x;
        fprintf(p->file, "<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">%zu</text>\n", x,
                bottom + 18, lengths->item[i]);
    }
    fprintf(p->file, "<path class=\"axis\" d=\"M%.1f %.1fh%d\"/>\n", p->left + PLOT_LEFT, bottom, PLOT_WIDTH);
    fprintf(p->file,
            "<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">sequence length (tokens)</text>\n",
            p->left + PLOT_LEFT + PLOT_WIDTH / 2.0, bottom + 37);
}

static void draw_peak(const panel *p) {
    const double right = p->left + PLOT_LEFT + PLOT_WIDTH;
    fprintf(p->file, "<path class=\"peak\" d=\"M%.1f %.1fh%d\"/>\n", p->left + PLOT_LEFT, y_of(p, p->peak), PLOT_WIDTH);
    fprintf(p->file, "<text class=\"tick halo\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">FMA peak %.0f</text>\n",
            right - 4, y_of(p, p->peak) - 5, p->peak);
}

static bool drawn(const panel *p, size_t i, size_t b) {
    return sweep_cell(p->sweep, p->first + i, b)->state == CELL_MEASURED;
}

/* A case that was not measured breaks the line. */
static void draw_line(const panel *p, size_t b) {
    const size_list *lengths = &p->sweep->options->lengths;
    bool on = false;
    fprintf(p->file, "<path class=\"line s%zu\" d=\"M0 0", b % PANEL_STYLES);
    for (size_t i = 0; i < lengths->count; i++) {
        if (drawn(p, i, b))
            fprintf(p->file, "%c%.1f %.1f", on ? 'L' : 'M', x_of(p, lengths->item[i]),
                    y_of(p, sweep_gflops(p->sweep, p->first + i, b)));
        on = drawn(p, i, b);
    }
    fputs("\"/>\n", p->file);
}

/* The first is the largest, so that it shows behind another that is just as fast. */
void panel_marker(FILE *file, size_t b, double x, double y) {
    static const char *const shapes[PANEL_STYLES] = {
        "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0z", /* circle */
        "M-4-4h8v8h-8z",                        /* square */
        "M0-5.2L5 4h-10z",                      /* triangle */
        "M0-5.5L5.5 0L0 5.5L-5.5 0z",           /* diamond */
        "M0 5.2L5-4h-10z",                      /* triangle on its tip */
        "M-5-2h3v-3h4v3h3v4h-3v3h-4v-3h-3z",    /* cross */
    };
    fprintf(file, "<path class=\"mark s%zu\" transform=\"translate(%.1f %.1f)\" d=\"%s\">", b % PANEL_STYLES, x, y,
            shapes[b % PANEL_STYLES]);
}

/* The title is what a browser shows when the pointer rests on the marker. */
static void draw_point(const panel *p, size_t i, size_t b) {
    const sweep *s = p->sweep;
    const size_t index = p->first + i;
    const double speed = sweep_gflops(s, index, b);
    panel_marker(p->file, b, x_of(p, s->cases[index].T), y_of(p, speed));
    fputs("<title>", p->file);
    text_xml(p->file, s->backends.item[b].label);
    fprintf(p->file, ", %zu tokens: %.1f GFLOP/s, %.0f%% of the FMA peak</title></path>\n", s->cases[index].T, speed,
            100 * speed / s->peaks[index]);
}

/* The bar behind a point spans the quartiles. */
static void draw_spread(const panel *p, size_t i, size_t b) {
    const cell *c = sweep_cell(p->sweep, p->first + i, b);
    const double flops = case_flops(&p->sweep->cases[p->first + i]) / 1e9;
    fprintf(p->file, "<path class=\"bar s%zu\" d=\"M%.1f %.1fV%.1f\"/>\n", b % PANEL_STYLES,
            x_of(p, p->sweep->cases[p->first + i].T), y_of(p, flops / c->seconds.high),
            y_of(p, flops / c->seconds.low));
}

void panel_draw(const panel *p) {
    const size_t lengths = p->sweep->options->lengths.count, running = p->sweep->backends.running;
    draw_frame(p);
    draw_lengths(p);
    draw_peak(p);
    for (size_t b = 0; b < running; b++)
        draw_line(p, b);
    for (size_t n = 0; n < lengths * running; n++) {
        if (!drawn(p, n % lengths, n / lengths))
            continue;
        draw_spread(p, n % lengths, n / lengths);
        draw_point(p, n % lengths, n / lengths);
    }
}
