/* SPDX-License-Identifier: BSD-3-Clause */
#include "work.h"

#include <math.h>
#include <stdlib.h>

#include "text.h"

attn_context *work_context(const char *blas, size_t threads, char *error, size_t size) {
    attn_context *context;
    attn_context_options wanted;
    ATTN_INIT(&wanted);
    wanted.blas = blas;
    wanted.threads = threads;
    if (attn_context_create(&wanted, &context) != ATTN_OK)
        text_print(error, size, "%s", attn_context_last_error(NULL));
    return context;
}

/* Room for `count` floats, with the size checked first; NULL where there is none. */
static float *floats(double count) {
    const size_t alignment = 64;
    if (count > (double)(SIZE_MAX / 8))
        return NULL;
    size_t bytes = ((size_t)count * sizeof(float) + alignment - 1) / alignment * alignment;
    return aligned_alloc(alignment, bytes);
}

/* Uniform numbers of mean 0 and deviation `deviation`, always the same (Knuth's MMIX generator). */
static float *fill(float *to, size_t count, double deviation, uint64_t seed) {
    const double range = 2 * sqrt(3.0) * deviation;
    for (size_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        to[i] = (float)(range * ((double)(seed >> 40) / 16777216.0 - 0.5));
    }
    return to + count;
}

static attn_status open_sdpa(work *w, const bench_case *c) {
    const size_t n = c->B * c->H * c->T * c->D;
    size_t bytes = 0;
    w->memory = floats(4.0 * (double)c->B * (double)c->H * (double)c->T * (double)c->D);
    if (w->memory == NULL)
        return ATTN_ERROR_MEMORY;
    fill(w->memory + n, 3 * n, 1, 1);
    w->out = attn_tensor_bhtd(w->memory, ATTN_F32, c->B, c->H, c->T, c->D);
    w->q = attn_tensor_bhtd(w->memory + n, ATTN_F32, c->B, c->H, c->T, c->D);
    w->k = attn_tensor_bhtd(w->memory + 2 * n, ATTN_F32, c->B, c->H, c->T, c->D);
    w->v = attn_tensor_bhtd(w->memory + 3 * n, ATTN_F32, c->B, c->H, c->T, c->D);
    w->out_count = n;
    attn_status status = attn_sdpa_scratch_size(w->context, &w->q, &w->k, &w->v, &w->out, &w->params, &bytes);
    return status != ATTN_OK ? status : attn_context_reserve(w->context, bytes);
}

/* `weights` holds the three input matrices [3M, M], the output matrix [M, M], then their biases. */
static attn_status create_layer(work *w, const bench_case *c, float *weights) {
    const size_t M = c->H * c->D;
    attn_mha_params params;
    ATTN_INIT(&params);
    params.model_width = M;
    params.heads = c->H;
    params.in_weight = weights;
    params.out_weight = weights + 3 * M * M;
    params.in_bias = weights + 4 * M * M;
    params.out_bias = params.in_bias + 3 * M;
    float *biases = fill(weights, 4 * M * M, 1 / sqrt((double)M), 2);
    fill(biases, 4 * M, 0.1, 3);
    return attn_mha_create(w->context, &params, &w->mha);
}

static attn_status open_layer(work *w, const bench_case *c) {
    const double width = (double)c->H * (double)c->D;
    const size_t M = c->H * c->D, n = c->B * c->T * M;
    size_t bytes = 0;
    w->memory = floats(2.0 * (double)c->B * (double)c->T * width + 4 * width * (width + 1));
    if (w->memory == NULL)
        return ATTN_ERROR_MEMORY;
    float *weights = fill(w->memory + n, n, 1, 1);
    w->out = attn_tensor_btm(w->memory, ATTN_F32, c->B, c->T, M);
    w->q = attn_tensor_btm(w->memory + n, ATTN_F32, c->B, c->T, M);
    w->out_count = n;
    attn_status status = create_layer(w, c, weights);
    if (status == ATTN_OK)
        status = attn_mha_scratch_size(w->context, w->mha, &w->q, NULL, NULL, &w->out, &w->params, &bytes);
    return status != ATTN_OK ? status : attn_context_reserve(w->context, bytes);
}

void work_explain(const work *w, attn_status status, char *error, size_t size) {
    const char *detail = attn_context_last_error(w->context);
    text_print(error, size, "%s%s%s", attn_status_text(status), *detail != '\0' ? ": " : "", detail);
}

bool work_open(work *w, const char *blas, const bench_case *c, char *error, size_t size) {
    *w = (work){.context = work_context(blas, c->threads, error, size)};
    if (w->context == NULL)
        return false;
    ATTN_INIT(&w->params);
    w->params.causal = c->causal ? ATTN_CAUSAL_TOP_LEFT : ATTN_CAUSAL_NONE;
    attn_status status = c->op == OP_LAYER ? open_layer(w, c) : open_sdpa(w, c);
    if (status == ATTN_OK)
        return true;
    work_explain(w, status, error, size);
    work_close(w);
    return false;
}

attn_status work_run(work *w) {
    if (w->mha != NULL)
        return attn_mha_forward(w->context, w->mha, &w->q, NULL, NULL, &w->out, &w->params);
    return attn_sdpa(w->context, &w->q, &w->k, &w->v, &w->out, &w->params);
}

void work_close(work *w) {
    attn_mha_destroy(w->mha);
    attn_context_destroy(w->context);
    free(w->memory);
    *w = (work){0};
}
