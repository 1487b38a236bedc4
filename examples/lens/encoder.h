/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs the encoder: tokens in, vectors and attention out. */
#ifndef LENS_ENCODER_H
#define LENS_ENCODER_H

#include "model.h"
#include "tokenizer.h"

/* All that the encoder computes for one sentence of T tokens. */
typedef struct trace {
    size_t tokens;    /* T */
    float *hidden;    /* [L+1,T,M]: the embeddings, then the output of each layer */
    float *attention; /* [L,H,T,T]: row i is what token i attends to */
} trace;

bool trace_make(trace *t, attn_context *context, const model *m, const tokens *sentence, lens_error *e);
void trace_free(trace *t);

/* vectors [count,M]: of each sentence the mean of its last hidden states, of length 1. */
bool encode(attn_context *context, const model *m, const tokens *sentences, size_t count, float *vectors,
            lens_error *e);

#endif
