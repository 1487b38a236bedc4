/* SPDX-License-Identifier: BSD-3-Clause */
#include "sampler.h"

#include <math.h>
#include <stdlib.h>

typedef struct choice {
    float logit;
    uint32_t id;
    double weight; /* exp((logit − the largest) / temperature) */
} choice;

/* Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014. From 0 to 1, without 1. */
static double uniform(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (double)((z ^ z >> 31) >> 11) / 9007199254740992.0;
}

static size_t likeliest(const float *logits, size_t count) {
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

/* The least logit comes to the top of the heap again. */
static void sink(choice *heap, size_t count) {
    const choice moved = heap[0];
    size_t at = 0;
    for (size_t child = 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && heap[child + 1].logit < heap[child].logit)
            child++;
        if (heap[child].logit >= moved.logit)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static int by_logit(const void *a, const void *b) {
    const choice *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

/* The `kept` largest logits, the largest first. */
static void keep(const float *logits, size_t count, choice *heap, size_t kept) {
    for (size_t i = 0; i < kept; i++)
        heap[i] = (choice){.logit = -INFINITY, .id = (uint32_t)i};
    for (size_t i = 0; i < count; i++) {
        if (!(logits[i] > heap[0].logit))
            continue;
        heap[0] = (choice){.logit = logits[i], .id = (uint32_t)i};
        sink(heap, kept);
    }
    qsort(heap, kept, sizeof *heap, by_logit);
}

static uint32_t draw(sampler *s, choice *c, size_t count) {
    double sum = 0, part = 0;
    size_t used = 0;
    for (size_t i = 0; i < count; i++)
        sum += c[i].weight = exp(((double)c[i].logit - (double)c[0].logit) / s->temperature);
    while (used < count && (used == 0 || part < s->top_p * sum))
        part += c[used++].weight;
    double left = uniform(&s->state) * part;
    for (size_t i = 0; i + 1 < used; i++) {
        left -= c[i].weight;
        if (left < 0)
            return c[i].id;
    }
    return c[used - 1].id;
}

bool sampler_pick(sampler *s, const float *logits, size_t count, int64_t *id, example_error *e) {
    const size_t kept = s->top_k == 0 || s->top_k > count ? count : s->top_k;
    if (s->temperature == 0) {
        *id = (int64_t)likeliest(logits, count);
        return true;
    }
    choice *choices = malloc(kept * sizeof *choices);
    if (choices == NULL)
        return example_fail_memory(e);
    keep(logits, count, choices, kept);
    *id = draw(s, choices, kept);
    free(choices);
    return true;
}
