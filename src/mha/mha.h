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

/* Norms inside a layer: of what the output projection reads, and of the latents of q and of k and v. */
typedef enum attni_norm_of { ATTNI_OUT_NORM, ATTNI_Q_NORM, ATTNI_KV_NORM, ATTNI_NORMS } attni_norm_of;

struct attn_mha {
    attn_allocator allocator;
    void *memory; /* of all the panels and biases */
    size_t M, H, G, D, E;
    attni_linear q, k, v, out;
    attni_linear gate;   /* out = H·E, H, or 0: none */
    attni_linear q_down; /* out = what q reads, or 0: none */
    struct {
        bool there;
        attni_norm norm;
    } norms[ATTNI_NORMS];
    attni_activation clip;          /* of q, k and v, if it clips */
    float *extra_key, *extra_value; /* [G,D] and [G,E], or NULL */
    bool zero_key;

    /* Of latent attention, where L > 0: k makes [c, r], v nothing. */
    size_t L, R;
    attni_linear *of_heads; /* [ATTNI_OF_HEAD, H] */
};

/* The maps of head h: c to its key, without r; c to its value; and its query to what c is multiplied by. */
typedef enum attni_of_head { ATTNI_KEY_OF, ATTNI_VALUE_OF, ATTNI_QUERY_TO, ATTNI_OF_HEAD } attni_of_head;

/* Of latent attention K is [c, r]; KV_UP is what the maps of the heads are made of, or has no features. */
typedef enum attni_role {
    ATTNI_W_Q,
    ATTNI_W_K,
    ATTNI_W_V,
    ATTNI_W_OUT,
    ATTNI_W_GATE,
    ATTNI_W_Q_DOWN,
    ATTNI_PACKED, /* so many are packed as they are */
    ATTNI_W_KV_UP = ATTNI_PACKED,
    ATTNI_WEIGHTS
} attni_role;

/* A weight of a layer. Its output features are in runs, each `pitch` features behind the one before; run = 0: all
 * follow each other. */
typedef struct attni_mha_weight {
    attni_weight weight;
    size_t run, pitch;
} attni_mha_weight;

/* Packs the weights, indexed by attni_role, and copies the norms, which may be NULL. The params are checked, without
 * zeros that mean defaults. NULL: no memory. */
attn_mha *attni_mha_new(const attn_context *context, const attn_mha_params *params,
                        const attni_mha_weight weights[ATTNI_WEIGHTS], const attni_norm *const norms[ATTNI_NORMS]);
void attni_mha_delete(attn_mha *mha);

/* What a cache of the layer keeps. */
static inline attni_kept attni_kept_of(const attn_mha *mha) {
    return mha->L ? (attni_kept){1, mha->L + mha->R, mha->L} : (attni_kept){mha->G, mha->D, mha->E};
}

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
