/* SPDX-License-Identifier: BSD-3-Clause */
#include "report/panel.h"

#include "base/text.h"

/* The plot within the panel; lines keep off its sides by PAD. */
#define PLOT_LEFT 52
#define PLOT_TOP 30
#define PLOT_WIDTH 330
#define PLOT_HEIGHT 200
#define PAD 16

/* Labels of neighbouring lengths keep this many pixels apart. */
#define LABEL_WIDTH 36

static double x_of(const panel *p, size_t i) {
    double low = (double)p->x[0], high = (double)p->x[p->count - 1];
    return p->left + PLOT_LEFT + PAD + axis_log((double)p->x[i], low, high) * (PLOT_WIDTH - 2 * PAD);
}

static double y_of(const panel *p, double speed) { return p->top + PLOT_TOP + PLOT_HEIGHT * (1 - speed / p->y.end); }

static void draw_frame(const panel *p) {
    const double x = p->left + PLOT_LEFT, middle = p->top + PLOT_TOP + PLOT_HEIGHT / 2.0;
    fprintf(p->file, "<text class=\"panel\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", x, p->top + PLOT_TOP - 10, p->heading);
    const int steps = (int)(p->y.end / p->y.step + 0.5);
    for (int i = 0; i <= steps; i++) {
        double value = i * p->y.step;
        fprintf(p->file, "<path class=\"grid\" d=\"M%.1f %.1fh%d\"/>\n", x, y_of(p, value), PLOT_WIDTH);
        fprintf(p->file, "<text class=\"tick\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">%g</text>\n", x - 7,
                y_of(p, value) + 4, value);
    }
    fprintf(p->file, "<text class=\"tick\" text-anchor=\"middle\" transform=\"translate(%.1f %.1f) rotate(-90)\">",
            p->left + 12, middle);
    fprintf(p->file, "%s</text>\n", case_unit(&p->sweep->cases[p->cases[0]]));
}

static void draw_ticks(const panel *p) {
    const double bottom = p->top + PLOT_TOP + PLOT_HEIGHT;
    double last = -LABEL_WIDTH;
    for (size_t i = 0; i < p->count; i++) {
        double x = x_of(p, i);
        fprintf(p->file, "<path class=\"axis\" d=\"M%.1f %.1fv5\"/>\n", x, bottom);
        if (x - last < LABEL_WIDTH)
            continue;
        last = x;
        fprintf(p->file, "<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">%zu%s</text>\n", x,
                bottom + 18, p->x[i], sweep_fell(p->sweep, p->cases[i]) ? "!" : "");
    }
    fprintf(p->file, "<path class=\"axis\" d=\"M%.1f %.1fh%d\"/>\n", p->left + PLOT_LEFT, bottom, PLOT_WIDTH);
    fprintf(p->file, "<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">%s</text>\n",
            p->left + PLOT_LEFT + PLOT_WIDTH / 2.0, bottom + 37, p->x_label);
}

static void draw_peak(const panel *p) {
    const bench_case *first = &p->sweep->cases[p->cases[0]];
    const double right = p->left + PLOT_LEFT + PLOT_WIDTH;
    fprintf(p->file, "<path class=\"peak\" d=\"M%.1f %.1fh%d\"/>\n", p->left + PLOT_LEFT, y_of(p, p->peak), PLOT_WIDTH);
    fprintf(p->file, "<text class=\"tick halo\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">%s peak %.0f %s</text>\n",
            right - 4, y_of(p, p->peak) - 5, peak_names[case_roof(first)], p->peak, case_unit(first));
}

static bool drawn(const panel *p, size_t i, size_t b) { return cell_has_time(sweep_cell(p->sweep, p->cases[i], b)); }

/* A case that was not measured breaks the line. */
static void draw_line(const panel *p, size_t b) {
    bool on = false;
    fprintf(p->file, "<path class=\"line s%zu\" d=\"M0 0", b % PANEL_STYLES);
    for (size_t i = 0; i < p->count; i++) {
        if (drawn(p, i, b))
            fprintf(p->file, "%c%.1f %.1f", on ? 'L' : 'M', x_of(p, i), y_of(p, sweep_speed(p->sweep, p->cases[i], b)));
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
        "M-5.5-2.5h11v5h-11z",                  /* lying bar */
        "M-2.5-5.5h5v11h-5z",                   /* standing bar */
    };
    fprintf(file, "<path class=\"mark s%zu\" transform=\"translate(%.1f %.1f)\" d=\"%s\">", b % PANEL_STYLES, x, y,
            shapes[b % PANEL_STYLES]);
}

/* The title is what a browser shows when the pointer rests on the marker. */
static void draw_point(const panel *p, size_t i, size_t b) {
    char name[200];
    const sweep *s = p->sweep;
    const size_t index = p->cases[i];
    panel_marker(p->file, b, x_of(p, i), y_of(p, sweep_speed(s, index, b)));
    case_name(&s->cases[index], name, sizeof name);
    fputs("<title>", p->file);
    text_xml(p->file, s->backends.item[b].label);
    fprintf(p->file, ", %s: %.1f %s, %.0f%% of the %s peak%s</title></path>\n", name, sweep_speed(s, index, b),
            case_unit(&s->cases[index]), 100 * sweep_gflops(s, index, b) / s->peaks[index],
            peak_names[case_roof(&s->cases[index])], sweep_fell(s, index) ? ", which fell meanwhile" : "");
}

/* The bar behind a point spans the quartiles. */
static void draw_spread(const panel *p, size_t i, size_t b) {
    const cell *c = sweep_cell(p->sweep, p->cases[i], b);
    const double work = case_work(&p->sweep->cases[p->cases[i]]) / 1e9;
    fprintf(p->file, "<path class=\"bar s%zu\" d=\"M%.1f %.1fV%.1f\"/>\n", b % PANEL_STYLES, x_of(p, i),
            y_of(p, work / c->seconds.high), y_of(p, work / c->seconds.low));
}

void panel_draw(const panel *p) {
    const size_t running = p->sweep->backends.running;
    draw_frame(p);
    draw_ticks(p);
    if (p->peak > 0)
        draw_peak(p);
    for (size_t b = 0; b < running; b++)
        draw_line(p, b);
    for (size_t n = 0; n < p->count * running; n++) {
        if (!drawn(p, n % p->count, n / p->count))
            continue;
        draw_spread(p, n % p->count, n / p->count);
        draw_point(p, n % p->count, n / p->count);
    }
}
