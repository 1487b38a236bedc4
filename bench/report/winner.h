/* SPDX-License-Identifier: BSD-3-Clause */
/* A field for each length and number of heads of a section, in the colour of the fastest backend. */
#ifndef ATTN_BENCH_WINNER_H
#define ATTN_BENCH_WINNER_H

#include "report/picture.h"

double winner_width(const sweep *s);
void winner_draw(picture *p, size_t first, size_t count);

#endif
