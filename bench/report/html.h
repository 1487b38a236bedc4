/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_BENCH_HTML_H
#define ATTN_BENCH_HTML_H

#include <stdio.h>

#include "run/results.h"

/* A page that needs no other file: what ran where, all charts, a table of every case, and what went wrong. It is XML
 * too. */
void html_write(const sweep *s, FILE *file);

#endif
