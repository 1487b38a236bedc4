/* SPDX-License-Identifier: BSD-3-Clause */
/* Embeddings and patches. */
#ifndef ATTNI_EMBED_H
#define ATTNI_EMBED_H

#include "attn/embed.h"
#include "context/context.h"
#include "sdpa/sdpa.h"

/* Validated, defaults resolved. */
typedef struct attni_embed {
    size_t B, T, M;
    attn_embed_params params; /* scale is no 0; the norm is below */
    attni_view vectors, out;
    const attni_norm *norm; /* or NULL */
} attni_embed;
void attni_embed_run(attn_context *context, const attni_embed *embed);

/* Gradients of what a call reads; NULL, or no data: not wanted. */
typedef struct attni_embed_back {
    const attni_embed *embed; /* `out` is not looked at */
    attni_view d_out, d_vectors;
    float *d_tokens, *d_positions, *d_types; /* tables */
    float *d_weight, *d_bias;                /* of the norm */
    bool accumulate;
} attni_embed_back;
size_t attni_embed_backward_scratch(const attni_embed_back *back); /* bytes */
void attni_embed_backward(attn_context *context, const attni_embed_back *back, char *scratch);

/* image [B,C,patches_y·height,patches_x·width] to out [B,1,patches_y·patches_x,C·height·width]. */
typedef struct attni_patches {
    size_t B, C, patches_y, patches_x, height, width;
    attni_view image, out;
} attni_patches;
void attni_patchify(attn_context *context, const attni_patches *patches);

#endif
