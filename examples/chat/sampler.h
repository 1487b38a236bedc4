/* SPDX-License-Identifier: BSD-3-Clause */
/* Chooses the next token. */
#ifndef CHAT_SAMPLER_H
#define CHAT_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

typedef struct sampler {
    double temperature; /* 0: always the likeliest */
    size_t top_k;       /* of so many likeliest; 0: all */
    double top_p;       /* of the likeliest whose probabilities make up this; 1: all */
    uint64_t state;     /* the seed */
} sampler;

/* A token by its logits, [count], count > 0. */
bool sampler_pick(sampler *s, const float *logits, size_t count, int64_t *id, example_error *e);

#endif
