/* SPDX-License-Identifier: BSD-3-Clause */
/* Speeds of a section as lines: a panel for each number of heads, or for each length. */
#ifndef ATTN_BENCH_LINES_H
#define ATTN_BENCH_LINES_H

#include "report/picture.h"

void lines_draw(picture *p, size_t first, size_t count);

#endif
