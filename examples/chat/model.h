/* SPDX-License-Identifier: BSD-3-Clause */
/* A GGUF file of the LLaMA architecture made into attn_blocks. */
#ifndef CHAT_MODEL_H
#define CHAT_MODEL_H

#include <attn/attn.h>

#include "gguf.h"

typedef struct model {
    size_t vocabulary, layers, width, heads, kv_heads, head_width, hidden;
    size_t positions;             /* that there are angles for */
    const gguf_tensor *embedding; /* [vocabulary, width], in the file */
    attn_block **blocks;
    attn_norm_params norm; /* behind the blocks */
    attn_linear *head;
    float *final_weight; /* of that norm */
    attn_rotary rotary;
    float *angles; /* its tables */
} model;

/* Packs the weights as `weights` says, for the precision of the context: ATTN_F32 (with precision BF16 that is bf16),
 * ATTN_INT8 or ATTN_INT4. Q4_0 and Q4_1 become int4 without loss; with ATTN_INT4 the head, if it has other numbers, is
 * int8. `positions` is at most the context that the model was trained for. The file must stay open. */
bool model_open(model *m, attn_context *context, const gguf *g, attn_dtype weights, size_t positions, example_error *e);
void model_close(model *m);

#endif
