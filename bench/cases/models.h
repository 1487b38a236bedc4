/* SPDX-License-Identifier: BSD-3-Clause */
/* The attention of well-known models. */
#ifndef ATTN_BENCH_MODELS_H
#define ATTN_BENCH_MODELS_H

#include <stddef.h>

#define MODEL_NAMES "bert-base,gpt-2,llama-3-8b,vit-b16,whisper-base"
#define MODEL_COUNT 5

/* H heads and G key/value heads of width D, lengths that are usual, and what it spends its time in: indices of op_table
 * and of variant_table. Its model width is H·D. */
typedef struct model_spec {
    const char *name;
    size_t H, G, D, lengths[4], ops[3], op_count, variant;
} model_spec;

extern const model_spec model_table[MODEL_COUNT];

#endif
