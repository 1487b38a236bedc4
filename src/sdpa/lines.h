/* SPDX-License-Identifier: BSD-3-Clause */
/* What lines of the score program work on, and those that have a file of their own. */
#ifndef ATTNI_LINES_H
#define ATTNI_LINES_H

#include "sdpa/engine.h"

/* Queries [i, i + rows) of one head against keys [key, key + keys), and their scores. */
typedef struct attni_area {
    size_t b, h, i, rows, key, keys;
    float *s;           /* scores, or gradients of them */
    size_t lds, at;     /* where s is in those of the tile */
    const float *q, *k; /* what they are products of: [rows, D], and in blocks [D][W] where a callback may look */
} attni_area;

/* lists.c */
bool attni_is_listed(const attni_sdpa *call);
void attni_apply_lists(const attni_engine *e, const attni_area *a);
unsigned attni_lists_seen(const attni_engine *e, const attni_area *a);

/* relative.c */
bool attni_is_relative(const attni_sdpa *call);
void attni_add_relative(const attni_engine *e, const attni_area *a);
void attni_add_relative_back(const attni_engine *e, const attni_area *a);

#endif
