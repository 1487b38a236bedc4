/* SPDX-License-Identifier: BSD-3-Clause */
/* Attention in double precision, as plain as its definition: what libattn's results are compared with. */
#ifndef ATTN_TESTS_REFERENCE_H
#define ATTN_TESTS_REFERENCE_H

#include <attn/attn.h>

/* Dense, from new_doubles. */
typedef struct answer {
    double *out;           /* [B,H,Tq,E], of a layer [B,1,Tq,M] */
    double *lse;           /* [B,H,Tq] */
    double *probabilities; /* [B,H,Tq,Tk] */
} answer;

/* How many keys query i sees: keys [0, n). */
size_t visible_keys(const attn_sdpa_params *params, size_t b, size_t i, size_t Tq, size_t Tk);

/* The factor of the scores that `params` mean. */
double effective_scale(const attn_sdpa_params *params, size_t D);

/* Of `params` the scale and the causal rule are read. */
answer reference_sdpa(attn_tensor q, attn_tensor k, attn_tensor v, const attn_sdpa_params *params);

/* The layer. All inputs are given. */
answer reference_mha(const attn_mha_params *layer, attn_tensor query, attn_tensor key, attn_tensor value,
                     const attn_sdpa_params *params);

/* Softmax of the first `visible` of n scores into p; the others are 0. Returns the log-sum-exp. */
double reference_softmax(const double *scores, size_t visible, size_t n, double *p);

#endif
