/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_BENCH_CSV_H
#define ATTN_BENCH_CSV_H

#include <stdio.h>

#include "run/results.h"

/* A heading, then a line for each case and backend; fields as RFC 4180 has them. */
void csv_write(const sweep *s, FILE *file);

#endif
