/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_BENCH_REFERENCE_H
#define ATTN_BENCH_REFERENCE_H

#include "work/work.h"

/* The largest |x - y| / (1 + |y|) between the output of the latest run and plain arithmetic in double precision, over
 * rows spread evenly, as many as take a moment, and of the way back sums of what keys and values got; infinity where
 * any number of the output is not finite, or memory is short. */
double reference_difference(const work *w);

#endif
