/* SPDX-License-Identifier: BSD-3-Clause */
/* Sentences in, vectors out. */
#ifndef LENS_ENCODE_H
#define LENS_ENCODE_H

#include "encoder.h"

/* vectors [count,M]: of each sentence the mean of its last hidden states, of length 1. Sentences go through the layers
 * in ragged batches, without padding. Several batches are shared out to as many threads as the context has, each with a
 * context of its own, around the one model; a single one is left to the threads of the context. */
bool encode(attn_context *context, const model *m, const tokens *sentences, size_t count, float *vectors,
            example_error *e);

#endif
