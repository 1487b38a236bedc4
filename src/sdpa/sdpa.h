/* SPDX-License-Identifier: BSD-3-Clause */
/* The attention engine: door in (pack.c), tile loop (tile.c), door out (output.c), and who does what (schedule.c). */
#ifndef ATTNI_SDPA_H
#define ATTNI_SDPA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attn/sdpa.h"
#include "blas/blas.h"
#include "context/context.h"

/* A view whose last stride is 1: element (b, h, t, d) is at data[b·stride_b + h·stride_h + t·stride_t + d]. */
typedef struct attni_view {
    float *data;
    ptrdiff_t stride_b, stride_h, stride_t;
} attni_view;

static inline float *attni_at(const attni_view *view, size_t b, size_t h, size_t t) {
    return view->data + (ptrdiff_t)b * view->stride_b + (ptrdiff_t)h * view->stride_h + (ptrdiff_t)t * view->stride_t;
}

/* Keys and values of all key/value heads, b · G + g, in the engine's own form: K in blocks [capacity/width][D][width],
 * V in panels [ceil(E/panel)][capacity][panel], columns beyond E being zeros. */
typedef struct attni_blocks {
    float *k, *v;
    size_t k_head, v_head; /* floats of one head */
    size_t width, panel, capacity;
} attni_blocks;

/* One call of attention: validated, defaults resolved. */
typedef struct attni_sdpa {
    size_t B, H, G, Tq, Tk, D, E;
    attni_view q, k, v, out;
    const attni_blocks *blocks; /* K and V, instead of k and v; or NULL */
    bool wants_probabilities;   /* data may be NULL all the same: where there are none, or only a size is asked for */
    attni_view probabilities;
    float *lse; /* [B,H,Tq], or NULL */
    float scale;
    attn_causal causal;
    const int64_t *causal_offset;
} attni_sdpa;

/* Columns of the output that the engine computes: E rounded up. */
size_t attni_output_width(size_t E);

/* Bytes of scratch that attni_sdpa_run needs. */
size_t attni_sdpa_scratch(const attn_context *context, const attni_sdpa *call);

/* Does it. `scratch` begins a cache line. */
void attni_sdpa_run(attn_context *context, const attni_sdpa *call, float *scratch);

#endif
