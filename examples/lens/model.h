/* SPDX-License-Identifier: BSD-3-Clause */
/* A BERT encoder in a folder: config.json, model.safetensors, and tokenizer.json or vocab.txt. */
#ifndef LENS_MODEL_H
#define LENS_MODEL_H

#include <attn/attn.h>
#include <stddef.h>

#include "error.h"
#include "safetensors.h"
#include "vocab.h"

typedef struct model {
    size_t width, layers, heads, hidden; /* M, L, H, F */
    size_t vocab_size, positions, types;
    size_t tokens_max; /* of a sentence, [CLS] and [SEP] included */
    float eps;
    attn_activation activation;
    vocab vocab;
    safetensors *file; /* holds the tables */
    const float *token_table, *position_table, *type_table;
    attn_norm_params embed_norm;
    attn_block **blocks; /* [L] */
} model;

/* Fills `m`, to be given to model_close. Weights are packed from a type: ATTN_F32, or ATTN_INT8 or ATTN_INT4, which
 * they are made first. */
bool model_open(model *m, attn_context *context, attn_dtype weights, const char *folder, example_error *e);
void model_close(model *m);

#endif
