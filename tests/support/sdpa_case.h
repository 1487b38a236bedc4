/* SPDX-License-Identifier: BSD-3-Clause */
/* One call of attn_sdpa: its inputs, what to ask for, and what came of it. */
#ifndef ATTN_TESTS_SDPA_CASE_H
#define ATTN_TESTS_SDPA_CASE_H

#include "support/reference.h"
#include "support/support.h"

/* Values of causal_offset worth a test. */
extern const int64_t OFFSETS[14];

struct sdpa_case {
    char name[320]; /* besides the sizes, in messages */
    attn_tensor q, k, v;
    attn_sdpa_params params; /* the options; outputs come from the fields below */
    enum layout out_layout;  /* of out and of the weights */
    attn_dtype out_type, weights_type;
    attn_tensor out;         /* where to write to, if it has data */
    bool lse, probabilities; /* the latter: the weights of params.weights_stage */
    bool averaged;           /* weights over the heads */
    bool key_mass, entropy, largest;
    size_t top_keys;               /* k; 0: not wanted */
    double score_size, value_size; /* in multiples of those that inputs N(0,1) have */
    double weight_error;           /* of each weight that a value is multiplied by, relative; 0: that of f32 */
    double score_error;            /* of scores, absolute; 0: that of f32 */
};

/* Without data where not asked for. */
struct sdpa_result {
    attn_tensor out, lse, probabilities;     /* lse as [B,H,Tq,1]; probabilities: the weights of the stage */
    attn_tensor key_mass, entropy, largest;  /* as [B,H,Tk,1], [B,H,Tq,1] and [B,H,1,1] */
    attn_tensor top_keys, top_probabilities; /* [B,H,Tq,k]; the keys are int64_t, as 2k floats */
};

/* Inputs N(0,1), dense; lse and probabilities wanted. */
struct sdpa_case sdpa_case_of(size_t B, size_t H, size_t G, size_t Tq, size_t Tk, size_t D, size_t E);

/* `offsets` [B] are not copied; they are passed on under ATTN_CAUSAL_OFFSET only. */
void set_causal(struct sdpa_case *c, attn_causal causal, const int64_t *offsets);

/* Names it in messages, and makes its outputs. */
void name_sdpa(const struct sdpa_case *c);
struct sdpa_result new_sdpa_result(const struct sdpa_case *c);

/* The params of the call that writes there. `top` must outlive them. */
attn_sdpa_params params_for(const struct sdpa_case *c, const struct sdpa_result *r, attn_top_keys *top);

/* Runs it, into new outputs; nothing but those may be written to. */
struct sdpa_result run_sdpa(attn_context *context, const struct sdpa_case *c);

/* Near `want`, or near the reference's answer. */
void assert_answer_near(const struct sdpa_case *c, const struct sdpa_result *result, answer want);
void assert_sdpa_near(const struct sdpa_case *c, const struct sdpa_result *result);
void assert_same_result(const struct sdpa_result *got, const struct sdpa_result *want);

/* Runs it and compares it with the reference. */
void check_sdpa(attn_context *context, const struct sdpa_case *c);

#endif
