/* SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>
#include <stdlib.h>

#include "svg.h"

#define MARGIN 24.0
#define HEAD 66.0   /* title and note */
#define FOOT 74.0   /* words and their scores */
#define WIDTH 520.0 /* at least, for the title */

/* Average width of a character at the size of .word, on the safe side. */
#define CHARACTER 12.0

static double word_width(const scene *s, size_t i) {
    const double text = CHARACTER * (double)text_width(s->words.label[i]) + 24;
    return text < 76 ? 76 : text;
}

static double total_width(const scene *s) {
    double width = 0;
    for (size_t i = s->first; i < s->last; i++)
        width += word_width(s, i);
    return width;
}

/* Middle of a word. */
static double middle(const scene *s, size_t word, double left) {
    for (size_t i = s->first; i < word; i++)
        left += word_width(s, i);
    return left + word_width(s, word) / 2;
}

/* The reach of an arc sets its height, by a root so that long sentences stay flat. */
static double arc_height(double reach) { return 7 * sqrt(reach); }

static double highest(const scene *s) {
    double height = 0;
    for (size_t i = s->first; i < s->last; i++)
        height = fmax(height, arc_height(fabs(middle(s, i, 0) - middle(s, s->source, 0))));
    return height;
}

/* The word with the highest score, other than the source. */
static size_t most_of(const scene *s) {
    size_t most = s->source;
    for (size_t i = s->first; i < s->last; i++)
        if (i != s->source && (most == s->source || scene_score(s, s->source, i) > scene_score(s, s->source, most)))
            most = i;
    return most;
}

static double share(const scene *s, size_t to, size_t most) {
    const float highest_score = scene_score(s, s->source, most);
    return highest_score > 0 ? (double)(scene_score(s, s->source, to) / highest_score) : 0;
}

/* A cubic whose two control points are 4/3 of its height away. `part`: of the strongest one. */
static void put_arc(const scene *s, FILE *file, size_t to, double left, double y, double part) {
    const double from = middle(s, s->source, left), x = middle(s, to, left);
    const double top = y - arc_height(fabs(x - from)) * 4 / 3;
    fprintf(file,
            "<path class=\"arc\" d=\"M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f\" stroke-width=\"%.1f\" "
            "stroke-opacity=\"%.2f\"/>\n",
            from, y, from, top, x, top, x, y, 1 + 8 * part, 0.4 + 0.6 * part);
}

static void put_word(const scene *s, FILE *file, size_t i, double left, double y, bool most) {
    char score[32];
    const double x = middle(s, i, left), width = word_width(s, i) - 14;
    if (i == s->source)
        fprintf(file, "<rect class=\"from\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"32\" rx=\"8\"/>\n",
                x - width / 2, y, width);
    svg_text(file, most ? "word most" : "word", "middle", x, y + 23, s->words.label[i]);
    snprintf(score, sizeof score, "%.0f %%", 100 * (double)scene_score(s, s->source, i));
    svg_text(file, most ? "score most" : "score", "middle", x, y + 53, score);
}

void arcs_write(const scene *s, FILE *file) {
    char title[300], about[200];
    const double line = total_width(s), width = fmax(line + 2 * MARGIN, WIDTH), left = (width - line) / 2;
    const double y = HEAD + highest(s) + 16;
    const size_t most = most_of(s);
    snprintf(title, sizeof title, "What “%.100s” attends to", s->words.label[s->source]);
    scene_describe(s, about, sizeof about);
    svg_begin(file, width, y + FOOT, title);
    svg_text(file, "title", "start", MARGIN, 34, title);
    svg_text(file, "note", "start", MARGIN, 56, about);
    for (size_t i = s->first; i < s->last; i++)
        if (i != s->source)
            put_arc(s, file, i, left, y, share(s, i, most));
    for (size_t i = s->first; i < s->last; i++)
        put_word(s, file, i, left, y + 6, i == most);
    fputs("</svg>\n", file);
}
