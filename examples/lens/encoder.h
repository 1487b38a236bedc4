/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs the encoder: tokens in, vectors and attention out. */
#ifndef LENS_ENCODER_H
#define LENS_ENCODER_H

#include "model.h"
#include "tokenizer.h"

/* B sentences of T tokens each. */
typedef struct batch {
    size_t B, T;
    int64_t *ids; /* [B,T] */
    float *x;     /* [B,T,M] */
} batch;

/* x = the last hidden states. */
bool encoder_run(attn_context *context, const model *m, const batch *b, lens_error *e);

/* ids [T] */
void encoder_put_ids(const tokens *sentence, int64_t *ids);

/* All that the encoder computes for one sentence of T tokens. */
typedef struct trace {
    size_t tokens;    /* T */
    float *hidden;    /* [L+1,T,M]: the embeddings, then the output of each layer */
    float *attention; /* [L,H,T,T]: row i is what token i attends to */
} trace;

bool trace_make(trace *t, attn_context *context, const model *m, const tokens *sentence, lens_error *e);
void trace_free(trace *t);

#endif
