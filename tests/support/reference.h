/* SPDX-License-Identifier: BSD-3-Clause */
/* Attention in double precision, as plain as its definition: what libattn's results are compared with. */
#ifndef ATTN_TESTS_REFERENCE_H
#define ATTN_TESTS_REFERENCE_H

#include <stdbool.h>

#include <attn/attn.h>

enum { STAGES = 4, CAUSALS = 4 };

/* One sequence of a call: which tokens of the tensors are its own, and how many of them are there. */
typedef struct span {
    size_t q_start, Tq, queries; /* tokens [q_start, q_start + Tq), the first `queries` of them live */
    size_t k_start, Tk, keys;
} span;

/* Dense, from new_doubles. Of a call on N sequences, the longest of Tq queries and Tk keys: */
typedef struct answer {
    size_t N, H, Tq, Tk;
    double *out;            /* [B,H,T,E], T = q.size[2]; of a layer [B,1,T,M] */
    double *lse;            /* [B,H,T] */
    double *stages[STAGES]; /* [N,H,Tq,Tk], by attn_stage; 0 beyond the tokens that are there, BIASED: −inf */
    double *probabilities;  /* that stage */
    double *key_mass;       /* [N,H,Tk] */
    double *entropy;        /* [N,H,Tq] */
    double *largest;        /* [N,H] */
    double score_size;      /* the largest score that matters: rounding it is what errors come from */
} answer;

/* How many keys query i sees under the causal rule alone: keys [0, n). */
size_t visible_keys(const attn_sdpa_params *params, size_t b, size_t i, size_t Tq, size_t Tk);

/* Where query 0 of sequence n stands among the keys: any integer. */
long double first_position(const attn_sdpa_params *params, const span *s, size_t n);

/* The factor of the scores that `params` mean. */
double effective_scale(const attn_sdpa_params *params, size_t D);

/* Sequence n of a call whose tensors have Tq and Tk tokens; how many there are of B in the tensors. */
span span_of(const attn_sdpa_params *params, size_t n, size_t Tq, size_t Tk);
size_t sequences_of(const attn_sdpa_params *params, size_t B);

/* The slope of head h of H. */
double alibi_slope(const attn_sdpa_params *params, size_t h, size_t H);

/* Numbers of a head's table of relative biases, and which of them key j gets from a query at p; SIZE_MAX: none. */
size_t relative_width(const attn_relative_bias *r);
size_t relative_number(const attn_relative_bias *r, long double p, size_t j);

/* The score program, for key j of query i of head h of sequence n. */
double capped_score(const attn_sdpa_params *params, double raw);
/* −inf where masked. A callback sees q and k [D], which may be NULL. */
double biased_score(const attn_sdpa_params *params, const span *s, size_t n, size_t h, size_t H, size_t i, size_t j,
                    double capped, const float *q, const float *k, size_t D);

/* Whether it is not masked, by a callback neither. */
bool sees(const attn_sdpa_params *params, const span *s, size_t n, size_t h, size_t H, size_t i, size_t j);

/* What query i of head h of sequence n is multiplied by. Of q before norm and rotation nothing is known here. */
double query_factor(const attn_sdpa_params *params, const span *s, size_t n, size_t h, size_t i);

/* All inputs of `params` are read, no output. */
answer reference_sdpa(attn_tensor q, attn_tensor k, attn_tensor v, const attn_sdpa_params *params);

/* y [rows, out_width] of a linear map, for x [rows, in_width], both dense. */
double *reference_linear(const attn_linear_params *p, const double *x, size_t rows);

/* The layer. All inputs are given. */
answer reference_mha(const attn_mha_params *layer, attn_tensor query, attn_tensor key, attn_tensor value,
                     const attn_sdpa_params *params);

/* The mean over the heads of a stage: [N,1,Tq,Tk]. */
double *average_of_heads(const answer *a, attn_stage stage);

/* Softmax of the first `visible` of n scores into p; the others are 0. Returns the log-sum-exp. */
double reference_softmax(const double *scores, size_t visible, size_t n, double *p);

/* (out [rows,E], lse [rows]) becomes that of its keys and the other part's. */
void reference_merge(size_t rows, size_t E, double *out, double *lse, const double *part, const double *part_lse);

/* What reference_sdpa and reference_mha share. Dense: q [B,H,T,D], k [B,G,T,D], v [B,G,T,E]. */
struct heads {
    size_t B, H, G, Tq, Tk, D, E;
    const double *q, *k, *v;
    const attn_sdpa_params *params;
};
answer reference_attend(const struct heads *a);
double *doubles_of(attn_tensor t);

/* Gradients, dense: of q, k and v as in `heads`, of the bias in its own shape, of what all rows share. */
typedef struct answer_back {
    double *dq, *dk, *dv, *d_bias, *d_sinks, *d_slopes, *d_table;
    double size; /* the largest of Σ |terms| of an element: rounding these is what errors come from */
} answer_back;

/* For d_out [B,H,Tq,E] and d_lse [B,H,Tq] or NULL. `slope` is the derivative of params.score at a score, or NULL: 1. */
answer_back reference_backward(const struct heads *a, const double *d_out, const double *d_lse,
                               double (*slope)(double score));

#endif
