/* SPDX-License-Identifier: BSD-3-Clause */
/* One graph of the picture: speed against length for a number of heads, a line for each backend. */
#ifndef ATTN_BENCH_PANEL_H
#define ATTN_BENCH_PANEL_H

#include <stdio.h>

#include "axis.h"
#include "sweep.h"

/* Of a panel with its labels, in pixels. */
#define PANEL_WIDTH 400
#define PANEL_HEIGHT 286

/* How many backends differ in colour, marker and dashes. More begin again. */
#define PANEL_STYLES 6

typedef struct panel {
    const sweep *sweep;
    FILE *file;
    size_t first;     /* case of the shortest length; the others follow */
    double left, top; /* corner in the picture */
    axis y;           /* GFLOP/s */
    double peak;      /* GFLOP/s */
} panel;

void panel_draw(const panel *p);

/* The marker of a backend at a point. */
void panel_marker(FILE *file, size_t b, double x, double y);

#endif
