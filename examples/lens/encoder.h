/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs the encoder: tokens in, vectors and attention out. */
#ifndef LENS_ENCODER_H
#define LENS_ENCODER_H

#include "model.h"
#include "tokenizer.h"

/* Sentences of any lengths, one after the other without padding. */
typedef struct batch {
    size_t sentences, tokens; /* N and the sum of their tokens T */
    int64_t *starts;          /* [N+1]: sentence n is tokens [starts[n], starts[n+1]) */
    int64_t *ids, *positions; /* [T] */
    float *x;                 /* [T,M] */
} batch;

/* An empty batch with room for so many tokens. To be given to batch_close, also after failure. */
bool batch_open(batch *b, const model *m, size_t tokens_max, example_error *e);
void batch_add(batch *b, const tokens *sentence);
void batch_clear(batch *b);
void batch_close(batch *b);

/* x = the last hidden states. */
bool batch_run(const batch *b, attn_context *context, const model *m, example_error *e);

/* All that the encoder computes for one sentence of T tokens. */
typedef struct trace {
    size_t tokens;    /* T */
    float *hidden;    /* [L+1,T,M]: the embeddings, then the output of each layer */
    float *attention; /* [L,H,T,T]: row i is what token i attends to */
} trace;

bool trace_make(trace *t, attn_context *context, const model *m, const tokens *sentence, example_error *e);
void trace_free(trace *t);

#endif
