/* SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>

#include "svg.h"

#define MARGIN 24.0
#define HEAD 104.0
#define CHARACTER 7.5  /* of .label */
#define PANEL_MAX 84.0 /* of one head */
#define PANEL_MIN 36.0
#define GRID 912.0 /* of all heads side by side, where they fit: a page of 1100 pixels has room */
#define GAP 8.0
#define HEAD_WIDTH 48.0 /* of a caption "head 12" */
#define SIDE 64.0       /* captions of the rows */
#define CELL 26.0       /* of the large map */
#define WIDTH 520.0

/* Smaller scores are not drawn. The opacity is the root of a score, so that in a long sentence too something is seen.
 */
#define SCORE_MIN 0.01F

typedef struct map {
    const scene *scene;
    FILE *file;
    const float *scores; /* [words,words] */
    double x, y, cell;
} map;

static void put_cell(const map *m, size_t i, size_t j) {
    const scene *s = m->scene;
    const float score = m->scores[i * s->words.count + j];
    if (score < SCORE_MIN)
        return;
    fprintf(m->file,
            "<rect class=\"cell\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" opacity=\"%.2f\"><title>",
            m->x + (double)(j - s->first) * m->cell, m->y + (double)(i - s->first) * m->cell, m->cell, m->cell,
            sqrt((double)score));
    svg_escape(m->file, s->words.label[i]);
    fputs(" → ", m->file);
    svg_escape(m->file, s->words.label[j]);
    fprintf(m->file, " %.0f %%</title></rect>\n", 100 * (double)score);
}

static void put_map(const map *m) {
    const scene *s = m->scene;
    const double side = (double)(s->last - s->first) * m->cell;
    fprintf(m->file, "<rect class=\"frame\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"/>\n", m->x, m->y, side,
            side);
    for (size_t i = s->first; i < s->last; i++)
        for (size_t j = s->first; j < s->last; j++)
            put_cell(m, i, j);
}

static double label_width(const scene *s) {
    size_t longest = 0;
    for (size_t i = s->first; i < s->last; i++)
        longest = text_width(s->words.label[i]) > longest ? text_width(s->words.label[i]) : longest;
    return CHARACTER * (double)longest + 12;
}

/* The view of the scene, with the words: rows attend to columns, whose words stand upright. */
static void put_large(const scene *s, FILE *file, double top) {
    const double side = label_width(s);
    const map m = {s, file, s->scores, MARGIN + side, top + side, CELL};
    for (size_t i = s->first; i < s->last; i++) {
        const double middle = ((double)(i - s->first) + 0.5) * CELL + 5;
        svg_text(file, "label", "end", m.x - 8, m.y + middle, s->words.label[i]);
        fprintf(file, "<g transform=\"translate(%.1f %.1f) rotate(-90)\">", m.x + middle, m.y - 8);
        svg_text(file, "label", "start", 0, 0, s->words.label[i]);
        fputs("</g>\n", file);
    }
    put_map(&m);
}

static double panel_size(const scene *s) {
    return fmax(PANEL_MIN, fmin(PANEL_MAX, GRID / (double)s->model->heads - GAP));
}

/* What the colours stand for. */
static void put_scale(FILE *file, double y) {
    static const double shares[] = {0.01, 0.05, 0.1, 0.25, 0.5, 1};
    char text[16];
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        const double x = MARGIN + (double)i * 72;
        fprintf(file, "<rect class=\"cell\" x=\"%.1f\" y=\"%.1f\" width=\"16\" height=\"16\" opacity=\"%.2f\"/>\n", x,
                y, sqrt(shares[i]));
        fprintf(file, "<rect class=\"frame\" x=\"%.1f\" y=\"%.1f\" width=\"16\" height=\"16\"/>\n", x, y);
        snprintf(text, sizeof text, "%.0f %%", 100 * shares[i]);
        svg_text(file, "label", "start", x + 22, y + 13, text);
    }
}

static void put_grid(const scene *s, FILE *file, double top) {
    char text[32];
    const double panel = panel_size(s);
    const size_t L = s->model->layers, H = s->model->heads, size = s->words.count * s->words.count;
    for (size_t h = 0; h < H; h++) {
        snprintf(text, sizeof text, panel >= HEAD_WIDTH ? "head %zu" : "%zu", h + 1);
        svg_text(file, "label", "start", MARGIN + SIDE + (double)h * (panel + GAP), top + 12, text);
    }
    for (size_t l = 0; l < L; l++) {
        const double y = top + 20 + (double)l * (panel + GAP);
        snprintf(text, sizeof text, "layer %zu", l + 1);
        svg_text(file, "label", "start", MARGIN, y + panel / 2 + 4, text);
        for (size_t h = 0; h < H; h++) {
            const map m = {s,
                           file,
                           s->all + (l * H + h) * size,
                           MARGIN + SIDE + (double)h * (panel + GAP),
                           y,
                           panel / (double)(s->last - s->first)};
            put_map(&m);
        }
    }
}

void heat_write(const scene *s, FILE *file) {
    char about[200], note[300];
    const double large = label_width(s) + (double)(s->last - s->first) * CELL;
    const double grid = SIDE + (double)s->model->heads * (panel_size(s) + GAP);
    const double width = fmax(WIDTH, fmax(large, grid) + 2 * MARGIN), second = HEAD + large + 30;
    scene_describe(s, about, sizeof about);
    snprintf(note, sizeof note, "Rows attend to columns; the fuller the colour, the more. The large map: %s", about);
    svg_begin(file, width, second + 20 + (double)s->model->layers * (panel_size(s) + GAP) + MARGIN, s->text);
    svg_text(file, "title", "start", MARGIN, 34, "What each word attends to");
    svg_text(file, "note", "start", MARGIN, 56, note);
    put_scale(file, 68);
    put_large(s, file, HEAD);
    put_grid(s, file, second);
    fputs("</svg>\n", file);
}
