/* SPDX-License-Identifier: BSD-3-Clause */
#include "decoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "quants.h"

static bool check(const decoder *d, attn_status status, example_error *e) {
    return status == ATTN_OK || example_fail(e, "libattn: %s", attn_context_last_error(d->context));
}

static bool open_caches(decoder *d, attn_dtype type, example_error *e) {
    const model *m = d->model;
    const attn_cache_params params = {.struct_size = sizeof params,
                                      .batch = d->sequences,
                                      .capacity = m->positions,
                                      .kv_heads = m->kv_heads,
                                      .head_width = m->head_width,
                                      .dtype = type};
    for (size_t i = 0; i < m->layers; i++)
        if (!check(d, attn_cache_create(d->context, &params, &d->caches[i]), e))
            return false;
    return true;
}

bool decoder_open(decoder *d, attn_context *context, const model *m, size_t sequences, attn_dtype cache,
                  example_error *e) {
    *d = (decoder){.context = context, .model = m, .sequences = sequences};
    d->caches = calloc(m->layers, sizeof(attn_cache *));
    d->starts = calloc(sequences + 1, sizeof *d->starts);
    d->last = malloc(sequences * m->width * sizeof *d->last);
    const bool good =
        d->caches != NULL && d->starts != NULL && d->last != NULL ? open_caches(d, cache, e) : example_fail_memory(e);
    if (!good)
        decoder_close(d);
    return good;
}

void decoder_close(decoder *d) {
    for (size_t i = 0; d->caches != NULL && i < d->model->layers; i++)
        attn_cache_destroy(d->caches[i]);
    free(d->caches);
    free(d->starts);
    free(d->x);
    free(d->last);
    *d = (decoder){0};
}

size_t decoder_length(const decoder *d, size_t n) { return attn_cache_length(d->caches[0], n); }

/* x [tokens, M], read from the file: of a large table few rows are ever asked for. */
static bool embed(decoder *d, const int64_t *ids, size_t tokens, example_error *e) {
    const size_t M = d->model->width;
    if (!reserve((void *)&d->x, &d->room, tokens * M, sizeof *d->x, e))
        return false;
    for (size_t t = 0; t < tokens; t++)
        quant_rows(d->model->embedding, (size_t)ids[t], 1, d->x + t * M);
    return true;
}

/* The stream through all layers; `attention` as in decoder_watch, or NULL. */
static bool run_layers(decoder *d, size_t tokens, float *attention, size_t keys, example_error *e) {
    const model *m = d->model;
    const attn_tensor x = attn_tensor_btm(d->x, ATTN_F32, 1, tokens, m->width);
    attn_tensor weights = attn_tensor_bhtd(attention, ATTN_F32, 1, m->heads, 1, keys);
    const attn_sdpa_params self = {.struct_size = sizeof self,
                                   .causal = ATTN_CAUSAL_BOTTOM_RIGHT,
                                   .rotary = &m->rotary,
                                   .weights = attention == NULL ? NULL : &weights};
    for (size_t i = 0; i < m->layers; i++) {
        const attn_block_inputs inputs = {.struct_size = sizeof inputs,
                                          .self_params = &self,
                                          .cache = d->caches[i],
                                          .sequences = d->sequences,
                                          .starts = d->starts};
        if (!check(d, attn_block_forward(d->context, m->blocks[i], &x, &x, &inputs), e))
            return false;
        if (attention != NULL)
            weights.data = (float *)weights.data + m->heads * keys;
    }
    return true;
}

bool decoder_run(decoder *d, const int64_t *ids, const size_t *counts, example_error *e) {
    size_t tokens = 0;
    for (size_t n = 0; n < d->sequences; n++) {
        if (counts[n] > d->model->positions - decoder_length(d, n))
            return example_fail(e, "the context of %zu tokens is full", d->model->positions);
        d->starts[n + 1] = (int64_t)(tokens += counts[n]);
    }
    return embed(d, ids, tokens, e) && run_layers(d, tokens, NULL, 0, e);
}

bool decoder_watch(decoder *d, int64_t id, float *attention, size_t keys, example_error *e) {
    d->starts[1] = 1;
    return embed(d, &id, 1, e) && run_layers(d, 1, attention, keys, e);
}

static bool all_finite(const float *x, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

bool decoder_logits(decoder *d, const float *rows, size_t count, float *logits, example_error *e) {
    const model *m = d->model;
    float *normed = malloc(count * m->width * sizeof *normed + 1);
    if (normed == NULL)
        return example_fail_memory(e);
    const attn_tensor from = attn_tensor_btm(rows, ATTN_F32, 1, count, m->width);
    const attn_tensor x = attn_tensor_btm(normed, ATTN_F32, 1, count, m->width);
    const attn_tensor to = attn_tensor_btm(logits, ATTN_F32, 1, count, m->vocabulary);
    const bool good = check(d, attn_norm(d->context, &from, &x, &m->norm), e) &&
                      check(d, attn_linear_forward(d->context, m->head, &x, &to), e);
    free(normed);
    return good && (all_finite(logits, count * m->vocabulary) ||
                    example_fail(e, "the model's numbers overflow: its weights are damaged"));
}

size_t decoder_last(decoder *d, const size_t *counts) {
    const size_t M = d->model->width;
    size_t rows = 0;
    for (size_t n = 0; n < d->sequences; n++)
        if (counts[n] > 0)
            memcpy(d->last + rows++ * M, d->x + ((size_t)d->starts[n + 1] - 1) * M, M * sizeof *d->last);
    return rows;
}

bool decoder_fork(decoder *d, example_error *e) {
    for (size_t i = 0; i < d->model->layers; i++)
        for (size_t n = 1; n < d->sequences; n++)
            if (!check(d, attn_cache_fork(d->context, d->caches[i], 0, n), e))
                return false;
    return true;
}

bool decoder_truncate(decoder *d, size_t length, example_error *e) {
    for (size_t i = 0; i < d->model->layers; i++)
        if (!check(d, attn_cache_truncate(d->context, d->caches[i], 0, length), e))
            return false;
    return true;
}
