/* SPDX-License-Identifier: BSD-3-Clause */
/* What the charts share: a picture that grows downwards. */
#ifndef ATTN_BENCH_PICTURE_H
#define ATTN_BENCH_PICTURE_H

#include <stdio.h>

#include "run/results.h"

#define MARGIN 20
#define LINE_HEIGHT 20

/* Average width of a character of a 12 pixel sans-serif font, on the safe side. */
#define CHARACTER 6.6

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

#endif
