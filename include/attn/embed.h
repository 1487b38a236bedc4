/* SPDX-License-Identifier: BSD-3-Clause */
/* What enters the first block: tokens with their positions and types, or patches of an image. */
#ifndef ATTN_EMBED_H
#define ATTN_EMBED_H

#include <stddef.h>
#include <stdint.h>

#include "context.h"
#include "export.h"
#include "norm.h"
#include "status.h"
#include "tensor.h"

typedef enum attn_positions {
    ATTN_POSITIONS_NONE = 0,
    ATTN_POSITIONS_TABLE = 1, /* learned: row p of position_table */
    /* Element 2i is sin(p / 10000^(2i/M)), element 2i+1 the cosine; Vaswani et al., 2017. */
    ATTN_POSITIONS_SINUSOIDAL = 2,
    ATTN_POSITIONS_SIN_COS = 3, /* the same numbers, all sines first: i and ⌈M/2⌉ + i; Marian, Pegasus */
    /* Sines, then cosines, of p / 10000^(i/(h−1)), i from 0 to h − 1, h = ⌊M/2⌋; the last element of an odd M is 0.
     * tensor2tensor, fairseq, Whisper's encoder; M2M-100, NLLB and Speech2Text, whose first position is 2. */
    ATTN_POSITIONS_FAIRSEQ = 4
} attn_positions;

/* All that attn_embed reads. Tables are dense and stay the caller's: nothing is copied, so that a mapped file will do.
 * Ids are dense [B,T]. */
typedef struct attn_embed_params {
    size_t struct_size;

    /* Either tokens to look up ... */
    const int64_t *ids;       /* [B,T], each in [0, token_count) */
    const float *token_table; /* [token_count, M] */
    size_t token_count;
    /* ... or their vectors, [B,1,T,M], for patches and the like; may be the output itself, the same view. */
    const attn_tensor *vectors;

    float scale; /* factor of the token or vector before anything is added. 0: 1. Vaswani et al. and T5-like: √M */

    attn_positions positions;
    const float *position_table; /* [position_count, M], with ATTN_POSITIONS_TABLE */
    size_t position_count;
    const int64_t *position_ids; /* [B,T], ≥ 0 and in the table if there is one. NULL: first_position + t */
    size_t first_position; /* tokens that came before: the length of a decoder's cache. Plus T at most INT64_MAX */

    const float *type_table; /* [type_count, M]; NULL: none. BERT's token_type_embeddings */
    size_t type_count;
    const int64_t *type_ids; /* [B,T], each in [0, type_count). NULL: 0 */

    const attn_norm_params *norm; /* of the sum; NULL: none */
} attn_embed_params;

#ifdef __cplusplus
extern "C" {
#endif

/* out = norm(scale · token + position + type).
 *   params  Required, since it holds the tokens.
 *   out     [B,1,T,M], output, f32: tells the sizes
 * Errors: NULL, SHAPE, STRIDE, DTYPE, VALUE (an id out of its table, named with its place), STRUCT, OVERFLOW, ALIAS;
 * nothing is written then. Needs no scratch. */
ATTN_API attn_status attn_embed(attn_context *context, const attn_embed_params *params, const attn_tensor *out);

/* Cuts images into patches, row by row, so that a convolution whose stride is its kernel's size is attn_linear of them:
 * its weight [M, C, height, width] is the [M, C·height·width] of ATTN_OUT_IN.
 *   image  [B,C,rows,columns]; of an image as [rows,columns,C] the last stride is not 1, so it must be copied first
 *   height, width  of a patch; they divide rows and columns
 *   out    [B,1,T,C·height·width], T = (rows/height)·(columns/width), output; element (c, y, x) of a patch is at
 *          (c·height + y)·width + x
 * Errors: NULL, SHAPE, STRIDE, DTYPE, OVERFLOW, ALIAS; nothing is written then. Needs no scratch. */
ATTN_API attn_status attn_patchify(attn_context *context, const attn_tensor *image, size_t height, size_t width,
                                   const attn_tensor *out);

#ifdef __cplusplus
}
#endif

#endif
