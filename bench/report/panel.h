/* SPDX-License-Identifier: BSD-3-Clause */
/* One graph of a picture: speed against length or heads, a line for each backend. */
#ifndef ATTN_BENCH_PANEL_H
#define ATTN_BENCH_PANEL_H

#include <stdio.h>

#include "report/axis.h"
#include "run/results.h"

/* Of a panel with its labels, in pixels. */
#define PANEL_WIDTH 400
#define PANEL_HEIGHT 286

/* How many backends differ in colour, marker and dashes. More begin again. */
#define PANEL_STYLES 8

typedef struct panel {
    const sweep *sweep;
    FILE *file;
    char heading[64];
    const char *x_label;
    size_t count, cases[OPTIONS_LIST_MAX], x[OPTIONS_LIST_MAX]; /* ascending in x */
    double left, top;                                           /* corner in the picture */
    axis y;
    double peak; /* 0: none to draw */
} panel;

void panel_draw(const panel *p);

/* The marker of a backend at a point: begins an element that the caller ends with </path>. */
void panel_marker(FILE *file, size_t b, double x, double y);

#endif
