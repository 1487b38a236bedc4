/* SPDX-License-Identifier: BSD-3-Clause */
/* The layer: packed weights, projections, and attention between them. */
#ifndef ATTNI_MHA_H
#define ATTNI_MHA_H

#include <stddef.h>

#include "attn/mha.h"
#include "context/context.h"
#include "linear/linear.h"
#include "mha/cache.h"
#include "mha/rows.h"
#include "sdpa/sdpa.h"

/* Norms inside a layer: of what the output projection reads, and of the latents of q and of k and v. */
typedef enum attni_norm_of { ATTNI_OUT_NORM, ATTNI_Q_NORM, ATTNI_KV_NORM, ATTNI_NORMS } attni_norm_of;

/* Where features of a packed weight are among those of the caller's: from `first` on, in runs that are `pitch` apart;
 * run = 0: all follow each other. */
typedef struct attni_origin {
    size_t first, run, pitch;
    size_t stride_out, stride_in;
} attni_origin;
static inline size_t attni_feature_of(const attni_origin *from, size_t o) {
    return from->run ? o / from->run * from->pitch + o % from->run : o;
}

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
    bool fused, gate_in_q;              /* q, k and v come from one matrix; the gate comes from that of q */
    attni_origin origins[ATTNI_PACKED]; /* by attni_role */

    /* Of latent attention, where L > 0: k makes [c, r], v nothing. */
    size_t L, R;
    attni_linear *of_heads; /* [ATTNI_OF_HEAD, H] */
};

/* The maps of head h: c to its key, without r; c to its value; and its query to what c is multiplied by. */
typedef enum attni_of_head { ATTNI_KEY_OF, ATTNI_VALUE_OF, ATTNI_QUERY_TO, ATTNI_OF_HEAD } attni_of_head;

/* A weight of a layer, its data being those of the first feature, with where they are in the caller's. */
typedef struct attni_mha_weight {
    attni_weight weight;
    attni_origin origin;
} attni_mha_weight;

/* Packs the weights, indexed by attni_role, and copies the norms, which may be NULL. The params are checked, without
 * zeros that mean defaults. NULL: no memory. */
attn_mha *attni_mha_new(attn_context *context, const attn_mha_params *params,
                        const attni_mha_weight weights[ATTNI_WEIGHTS], const attni_norm *const norms[ATTNI_NORMS]);
void attni_mha_delete(attn_mha *mha);

/* What of other params or weights does not fit in the place of what was packed, or NULL. */
const char *attni_mha_misfit(const attn_mha *mha, const attn_mha_params *params);
const char *attni_mha_weight_misfit(const attn_context *context, const attn_mha *mha, attni_role role,
                                    const attni_mha_weight *from, void *room);
/* Packs them there. That and the look at weights take so many bytes of room. */
size_t attni_mha_repack_bytes(const attn_mha *mha, const attni_mha_weight weights[ATTNI_WEIGHTS]);
void attni_mha_repack(attn_context *context, attn_mha *mha, const attn_mha_params *params,
                      const attni_mha_weight weights[ATTNI_WEIGHTS], const attni_norm *const norms[ATTNI_NORMS],
                      void *room);

static inline const attni_linear *attni_linear_of(const attn_mha *m, attni_role role) {
    const attni_linear *const maps[ATTNI_PACKED] = {&m->q, &m->k, &m->v, &m->out, &m->gate, &m->q_down};
    return maps[role];
}

static inline size_t attni_norm_width(const attn_mha *m, attni_norm_of which) {
    const size_t widths[ATTNI_NORMS] = {m->out.in, m->q_down.out, m->L};
    return widths[which];
}

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
    bool keeps;                     /* what the way back needs is kept in */
    float *kept;                    /* attni_mha_lay_kept(call).end floats */
    attni_sdpa attention;
} attni_mha_call;
size_t attni_mha_scratch(const attn_context *context, const attni_mha_call *call);

/* Fails, with nothing written or appended, only where keys or values do not fit the cache's int8. */
attn_status attni_mha_run(attn_context *context, const attni_mha_call *call, float *scratch);

/* Projected heads and what attention makes of them, which the way back needs: floats from where they are kept. */
typedef struct attni_mha_kept {
    size_t q, k, v, o, gate; /* [B·T, H·D] and so on; o is not gated or normed yet; of latents k is [c, r], v nothing */
    size_t keys, values;     /* k and v, or what the heads make of latents: [B·Tk, H·D] and [B·Tk, H·E] */
    size_t q_down;           /* what q is made of, if that is a latent */
    size_t q_plain, k_plain; /* that and k before they are normed, if they are, */
    size_t lse;              /* and [B,H,Tq], where the call keeps it all */
    size_t end;
} attni_mha_kept;
attni_mha_kept attni_mha_lay_kept(const attni_mha_call *call);
attni_view attni_mha_lse(const attni_mha_call *call, float *lse);

/* backward.c. The way back of a call without a cache. `kept` is what it kept, or NULL: then it is made again. Views
 * without data are not wanted; those of keys and values, where these are the query or the key, are added to those. */
typedef struct attni_mha_back {
    attni_mha_call call;
    attni_view d_out, d_query, d_key, d_value;
    bool self, same_value;        /* there is no key but the query, or no value but the key */
    attni_gradients attention;    /* of what is no tensor of the call */
    float *weights[ATTNI_PACKED]; /* of the caller's matrices, [0] being their first feature, or NULL */
    float *biases[ATTNI_PACKED];
    float *kv_up;
    attni_norm_sums norms[ATTNI_NORMS];
    bool accumulate;                    /* to those */
    bool add_query, add_key, add_value; /* to d_query, d_key and d_value */
} attni_mha_back;
size_t attni_mha_back_scratch(const attn_context *context, const attni_mha_back *back);
void attni_mha_back_run(attn_context *context, const attni_mha_back *back, float *scratch);

/* What is kept, without the output; with attni_mha_scratch bytes of scratch. */
void attni_mha_keep(attn_context *context, const attni_mha_call *call, float *scratch);

/* What attention made, x [rows, H·E], times the gate, if there is one, and normed, if there is a norm; y may be x. */
void attni_mha_finish(attn_context *context, const attn_mha *mha, const attni_norm *norm, size_t rows, const float *x,
                      const float *gate, float *y);

/* Heads inside a projected matrix [B·T, heads·width]. */
attni_view attni_heads_of(const attni_mha_call *call, float *data, size_t T, size_t heads, size_t width);

/* Only the part that appends to the cache: Tq is 0. */
size_t attni_mha_append_scratch(const attn_context *context, const attni_mha_call *call);
attn_status attni_mha_append(attn_context *context, const attni_mha_call *call, float *scratch);

#endif
