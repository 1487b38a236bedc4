/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of what layers and blocks do with caches. */
#ifndef ATTNI_LAYER_H
#define ATTNI_LAYER_H

#include "api/cached.h"
#include "block/block.h"
#include "mha/mha.h"

/* The tensors of a call of a layer: what the caller left out filled in. */
typedef struct attni_layer_tensors {
    const attn_tensor *query, *key, *value, *out;
    const char *key_name, *value_name, *out_name; /* of what the caller gave */
    bool self, same_value;                        /* no key, no value */
    bool reads_out;                               /* `out` is an input: its gradient */
} attni_layer_tensors;
attni_layer_tensors attni_complete(const attn_tensor *query, const attn_tensor *key, const attn_tensor *value,
                                   const attn_tensor *out);

/* A call of attn_mha_forward but for the overlaps. */
attn_status attni_check_mha(attn_context *context, const attn_mha *mha, const attni_layer_tensors *t,
                            const attn_sdpa_params *params, bool data, attni_mha_call *call, attni_extras *extras);

/* Which tokens x has, as attn_block_inputs and attn_mha_inputs tell it. */
typedef struct attni_tokens {
    const int64_t *counts, *starts;
    size_t given; /* sequences, as they say it */
    size_t N;     /* those there are */
} attni_tokens;

/* x and out, which have names, each [B,1,T,M]. */
attn_status attni_check_layer_tensors(attn_context *context, const char *name, const attn_tensor *x,
                                      const char *out_name, const attn_tensor *out, bool reads_out, bool data,
                                      size_t M);

/* x [B,1,T,width]; sets N. */
attn_status attni_check_tokens(attn_context *context, const char *name, const attn_tensor *x, attni_tokens *tokens);

/* A cache of N sequences for the keys and values of a layer. */
attn_status attni_check_layer_cache(attn_context *context, const char *name, const attn_cache *cache,
                                    const attn_mha *mha, size_t N);

/* What may be done to keys and values of latents. */
attn_status attni_check_latent(attn_context *context, const attn_mha *mha, const attni_turn *k, const attni_turn *v);

/* A call of a layer, of which the views, the cache and the options are to be set. */
attni_mha_call attni_layer_call(const attn_mha *mha, size_t B, size_t T, size_t keys);

/* The options of one attention, to a cache, or NULL, with what is appended to it, or NULL. Where its keys are made of
 * x, too (`of_x`), nothing of these may be said twice. */
attn_status attni_check_layer_params(attn_context *context, const attn_mha *mha, const attn_sdpa_params *params,
                                     const attni_tokens *tokens, const attn_cache *cache, const attni_append *append,
                                     bool of_x, bool data, attni_sdpa *call, attni_extras *extras);

/* Appends the projected keys and values of tensors [B,1,T,width] to a cache. */
attn_status attni_layer_append(attn_context *context, const attn_mha *mha, const char *key_name, const attn_tensor *key,
                               const char *value_name, const attn_tensor *value, attn_cache *cache,
                               const attn_cache_append_params *params);

/* A call of a block: the tensors, and what the attentions read and write besides. */
typedef struct attni_block_arguments {
    const attn_block *block;
    const attn_tensor *x, *out;
    attn_block_inputs inputs;
    attni_tokens tokens;
    attni_extras self_extras, cross_extras;
    bool data, reads_out; /* `out` is an input: d_out */
} attni_block_arguments;

/* A call of attn_block_forward, of which block, x, out, data and reads_out are set, but for the overlaps; and these:
 * the outputs are out and the extra ones of both attentions, x may be out. */
attn_status attni_check_block(attn_context *context, attni_block_arguments *a, const attn_block_inputs *inputs,
                              attni_block_call *call);
attn_status attni_check_block_outputs(attn_context *context, const attni_block_arguments *a);

#endif
