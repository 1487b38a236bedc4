/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_BENCH_SVG_H
#define ATTN_BENCH_SVG_H

#include <stdio.h>

#include "run/results.h"

/* Draws the results: light or dark as the viewer prefers. */
void svg_write(const sweep *s, chart_kind kind, FILE *file);

/* The same as a part of a page that has the styles, and tells of the machine and of what did not run. */
void svg_embed(const sweep *s, chart_kind kind, FILE *file);
void svg_style(FILE *file);

#endif
