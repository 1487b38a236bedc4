/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_BENCH_SVG_H
#define ATTN_BENCH_SVG_H

#include <stdio.h>

#include "sweep.h"

/* Draws the results as one SVG document that needs nothing else: a row of panels for each section of the table, a panel
 * for each number of heads. It follows the reader's choice of a light or dark page. */
void svg_write(const sweep *s, FILE *file);

#endif
