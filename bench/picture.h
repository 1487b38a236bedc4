/* SPDX-License-Identifier: BSD-3-Clause */
/* What the charts share: a picture that grows downwards. */
#ifndef ATTN_BENCH_PICTURE_H
#define ATTN_BENCH_PICTURE_H

#include "panel.h"
#include "svg.h"

#define MARGIN 20

typedef struct picture {
    const sweep *sweep;
    FILE *file;
    chart_kind kind;
    size_t columns;
    bool alone;      /* a file of its own, with all that a report tells once */
    double width, y; /* y: where the next thing goes */
} picture;

void picture_text(const picture *p, const char *class, double x, double y, const char *text);

/* Small print, over as many lines as it takes. */
void picture_note(picture *p, const char *text);

/* winner.c: a field for each length and number of heads of a section, in the colour of the fastest backend. */
double winner_width(const sweep *s);
void winner_draw(picture *p, size_t first, size_t count);

/* roofline.c: all cases as points, a graph for each number of threads. */
void roofline_draw(picture *p);

#endif
