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

/* image [B,C,patches_y·height,patches_x·width] to out [B,1,patches_y·patches_x,C·height·width]. */
typedef struct attni_patches {
    size_t B, C, patches_y, patches_x, height, width;
    attni_view image, out;
} attni_patches;
void attni_patchify(attn_context *context, const attni_patches *patches);

#endif
