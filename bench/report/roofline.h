/* SPDX-License-Identifier: BSD-3-Clause */
/* All cases as points, a graph for each number of threads. */
#ifndef ATTN_BENCH_ROOFLINE_H
#define ATTN_BENCH_ROOFLINE_H

#include "report/picture.h"

void roofline_draw(picture *p);

#endif
