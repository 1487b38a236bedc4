/* SPDX-License-Identifier: BSD-3-Clause */
/* The results for people, on a terminal or in a file. */
#ifndef ATTN_BENCH_TABLE_H
#define ATTN_BENCH_TABLE_H

#include <stdio.h>

#include "run/results.h"

/* Machine, library and backends: what is known before the run. */
void table_header(const sweep *s, FILE *file);

/* What the command of the run asks for: one section for each operation, variant, type, batch, width and number of
 * threads. Backends that do not fit side by side into `width` characters follow below. Then what went wrong, and the
 * means. */
void table_print(const sweep *s, FILE *file, size_t width);

#endif
