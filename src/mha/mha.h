/* SPDX-License-Identifier: BSD-3-Clause */
/* The layer: packed weights, projections, and attention between them. */
#ifndef ATTNI_MHA_H
#define ATTNI_MHA_H

#include <stddef.h>

#include "attn/mha.h"
#include "context/context.h"
#include "linear/linear.h"
#include "mha/cache.h"
#include "sdpa/sdpa.h"

struct attn_mha {
    attn_allocator allocator;
    void *memory; /* of all the panels and biases */
    size_t M, H, G, D, E;
    attni_linear q, k, v, out;
    float *extra_key, *extra_value; /* [G,D] and [G,E], or NULL */
    bool zero_key;
};

typedef enum attni_role { ATTNI_W_Q, ATTNI_W_K, ATTNI_W_V, ATTNI_W_OUT } attni_role;

/* Packs the weights, indexed by attni_role. The params are checked, without zeros that mean defaults. NULL: no memory.
 */
attn_mha *attni_mha_new(const attn_context *context, const attn_mha_params *params, const attni_weight weights[4]);
void attni_mha_delete(attn_mha *mha);

/* One call of the layer. Inputs and output are views [B,1,T,width]; `attention` has everything but q, k, v and out (in
 * a ragged batch its B, Tq and Tk are others, with a cache its Tk). */
typedef struct attni_mha_call {
    const attn_mha *mha;
    size_t B, Tq, Tk; /* of the views */
    attni_view query, key, value, out;
    attn_cache *cache; /* keys and values are appended to it, and it is attended to (attention.pages); or NULL */
    const int64_t *starts, *counts; /* as in attni_append */
    const attni_matrix *residual;   /* [B·Tq, M], added to the output; may be the output; or NULL */
    attni_sdpa attention;
} attni_mha_call;
size_t attni_mha_scratch(const attn_context *context, const attni_mha_call *call);

/* Fails, with nothing written or appended, only where keys or values do not fit the cache's int8. */
attn_status attni_mha_run(attn_context *context, const attni_mha_call *call, float *scratch);

/* Only the part that appends to the cache: Tq is 0. */
size_t attni_mha_append_scratch(const attn_context *context, const attni_mha_call *call);
attn_status attni_mha_append(attn_context *context, const attni_mha_call *call, float *scratch);

#endif
