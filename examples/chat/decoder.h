/* SPDX-License-Identifier: BSD-3-Clause */
/* Sequences of tokens on their way through a model, each with what its layers remember of it. */
#ifndef CHAT_DECODER_H
#define CHAT_DECODER_H

#include "model.h"

/* Of N sequences. */
typedef struct decoder {
    attn_context *context;
    const model *model;
    size_t sequences;
    attn_cache **caches; /* one a layer */
    int64_t *starts;     /* [N+1] */
    float *x;            /* [rows, M], the stream */
    size_t room;         /* of x, in numbers */
    float *last;         /* [N, M], the last row of each sequence, for the logits */
} decoder;

bool decoder_open(decoder *d, attn_context *context, const model *m, size_t sequences, attn_dtype cache,
                  example_error *e);
void decoder_close(decoder *d);

/* Tokens of sequence n so far. */
size_t decoder_length(const decoder *d, size_t n);

/* Runs tokens, counts[n] of them for sequence n, one sequence after the other in `ids`; d->x then has their rows. All
 * ids must be below the vocabulary. */
bool decoder_run(decoder *d, const int64_t *ids, const size_t *counts, example_error *e);

/* The same, and the attention of all layers, [layers, heads, keys], for a single token of a single sequence, with
 * `keys` tokens once it is there. */
bool decoder_watch(decoder *d, int64_t id, float *attention, size_t keys, example_error *e);

/* Logits [count, vocabulary] of rows of the stream, [count, M]. */
bool decoder_logits(decoder *d, const float *rows, size_t count, float *logits, example_error *e);

/* The rows of the last tokens of sequences that had some in the last run, in their order; d->last. Returns how many. */
size_t decoder_last(decoder *d, const size_t *counts);

/* All other sequences begin as sequence 0 is. */
bool decoder_fork(decoder *d, example_error *e);

/* Forgets what is behind the first `length` tokens of sequence 0. */
bool decoder_truncate(decoder *d, size_t length, example_error *e);

#endif
