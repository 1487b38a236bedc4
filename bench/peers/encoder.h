/* SPDX-License-Identifier: BSD-3-Clause */
/* A stack of blocks behind an interface that encoder_vs_ort.py calls through ctypes. */
#ifndef ATTN_BENCH_ENCODER_H
#define ATTN_BENCH_ENCODER_H

typedef struct encoder_shape {
    int layers, batch, tokens, width, heads, hidden; /* of x: [batch, tokens, width] */
    int post, rms, gated, activation, causal; /* attn_norm_place, attn_norm_kind, or not, attn_activation, or not */
} encoder_shape;

/* One layer after the other, each: in_weight [3M,M], in_bias, out_weight [M,M], out_bias, norm weight and bias [M]
 * twice, gate_weight [F,M] and gate_bias if gated, up_weight [F,M], up_bias, down_weight [M,F], down_bias. NULL: it
 * failed. */
void *encoder_new(const encoder_shape *shape, const float *weights, int threads);

/* Which backend it multiplies with, and why. */
const char *encoder_choice(void *encoder);

/* Returns 0, or the status that it failed with. */
int encoder_run(void *encoder, const float *x, float *out);
void encoder_free(void *encoder);

#endif
