/* SPDX-License-Identifier: BSD-3-Clause */
/* The one file of the bench that looks inside the library, through the static one: what it will do for a shape, and the
 * parts of it that its public functions do not offer alone. */
#ifndef ATTN_BENCH_INSIDE_H
#define ATTN_BENCH_INSIDE_H

#include <attn/attn.h>
#include <stdbool.h>
#include <stddef.h>

/* How attention of a shape is cut. */
typedef struct inside_plan {
    enum { INSIDE_OWN, INSIDE_SMALL, INSIDE_PACKS } who; /* multiplies: libattn, OpenBLAS's small kernels, another */
    size_t width, rule_rows, keys, columns;              /* the tile rule of the backend */
    size_t rows;                                         /* of a tile of this shape */
    size_t tiles, supers; /* tiles that walk the keys together; such super-blocks for a K/V head */
    size_t segments;      /* of the keys */
    bool apart;           /* threads share the keys of a head, and results are merged */
    size_t panel_width, panel_rows, panel_depth; /* of a projection */
} inside_plan;
inside_plan inside_plan_of(const attn_context *context, size_t B, size_t H, size_t G, size_t Tq, size_t Tk, size_t D,
                           bool causal);

/* The two products of the tile loop, of 32 rows by 256 keys of width D on every backend, in blocks and panels as wide
 * as its rule has them: scores [32, 256] = q [32, D] · k [256/W][D][W], then out [32, D] += scores · v [D/C][256][C],
 * where the last panel has C columns too, though fewer are used. */
enum { INSIDE_ROWS = 32, INSIDE_KEYS = 256, INSIDE_REPEAT = 16 };
typedef struct inside_widths {
    size_t block, panel; /* W, C */
} inside_widths;
inside_widths inside_widths_of(const attn_context *context, size_t D);
double inside_tile_flops(size_t D);
double inside_tile_bytes(size_t D);
void inside_tile(attn_context *context, size_t D, const float *q, const float *k, const float *v, float *scores,
                 float *out);

/* The three projections of x [rows, M] into q, k, v, one after the other in `qkv`, and the fourth of q into y; `room`
 * has inside_project_floats. */
size_t inside_project_floats(const attn_context *context, const attn_mha *mha, size_t rows);
void inside_project(attn_context *context, const attn_mha *mha, float *x, size_t rows, float *room, float *qkv,
                    float *y);

#endif
