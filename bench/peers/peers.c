/* SPDX-License-Identifier: BSD-3-Clause */
#include "peers/peers.h"

#include <attn/attn.h>
#include <stdlib.h>

#include "machine/peak.h"

/* Views are made in *_new with NULL data, and *_run only puts the pointers in: what is timed is the library. */
typedef struct peer {
    attn_context *context;
    attn_linear *linear;
    attn_mha *mha;
    attn_cache *cache;
    attn_tensor q, k, v, out; /* a layer and a linear map use q for x */
    attn_sdpa_params params;
    float *lse; /* for a backward pass */
} peer;

static void peer_free(peer *p) {
    if (p == NULL)
        return;
    attn_linear_destroy(p->linear);
    attn_mha_destroy(p->mha);
    attn_cache_destroy(p->cache);
    attn_context_destroy(p->context);
    free(p->lse);
    free(p);
}

static peer *peer_new(int threads, int precision) {
    peer *p = calloc(1, sizeof *p);
    attn_context_options options;
    if (p == NULL)
        return NULL;
    ATTN_INIT(&p->params);
    ATTN_INIT(&options);
    options.threads = (size_t)threads;
    options.precision = (attn_precision)precision;
    if (attn_context_create(&options, &p->context) == ATTN_OK)
        return p;
    free(p);
    return NULL;
}

/* Takes `status` of a size query, and grows the scratch now so that no run will. */
static peer *reserve(peer *p, attn_status status, size_t bytes) {
    if (status == ATTN_OK)
        status = attn_context_reserve(p->context, bytes);
    if (status == ATTN_OK)
        return p;
    peer_free(p);
    return NULL;
}

void *peer_sdpa_new(int B, int H, int G, int Lq, int Lk, int D, int causal, int threads) {
    size_t bytes = 0;
    peer *p = peer_new(threads, ATTN_PRECISION_F32);
    if (p == NULL)
        return NULL;
    p->q = attn_tensor_bhtd(NULL, ATTN_F32, (size_t)B, (size_t)H, (size_t)Lq, (size_t)D);
    p->k = attn_tensor_bhtd(NULL, ATTN_F32, (size_t)B, (size_t)G, (size_t)Lk, (size_t)D);
    p->v = p->k;
    p->out = p->q;
    p->params.causal = causal ? ATTN_CAUSAL_BOTTOM_RIGHT : ATTN_CAUSAL_NONE;
    attn_status status = attn_sdpa_scratch_size(p->context, &p->q, &p->k, &p->v, &p->out, &p->params, &bytes);
    return reserve(p, status, bytes);
}

/* The views are of memory that the caller gave as const; only `out` is written to. */
void peer_sdpa_run(void *handle, const float *q, const float *k, const float *v, float *o) {
    peer *p = handle;
    p->q.data = (void *)q;
    p->k.data = (void *)k;
    p->v.data = (void *)v;
    p->out.data = o;
    (void)attn_sdpa(p->context, &p->q, &p->k, &p->v, &p->out, &p->params);
}

void peer_sdpa_free(void *handle) { peer_free(handle); }

void *peer_mha_new(int B, int L, int M, int H, int threads, const float *wq, const float *wk, const float *wv,
                   const float *wo, const float *bq, const float *bk, const float *bv, const float *bo) {
    size_t bytes = 0;
    attn_mha_params params;
    peer *p = peer_new(threads, ATTN_PRECISION_F32);
    if (p == NULL)
        return NULL;
    ATTN_INIT(&params);
    params.model_width = (size_t)M;
    params.heads = (size_t)H;
    params.q_weight = wq, params.k_weight = wk, params.v_weight = wv, params.out_weight = wo;
    params.q_bias = bq, params.k_bias = bk, params.v_bias = bv, params.out_bias = bo;
    p->q = p->out = attn_tensor_btm(NULL, ATTN_F32, (size_t)B, (size_t)L, (size_t)M);
    attn_status status = attn_mha_create(p->context, &params, &p->mha);
    if (status == ATTN_OK)
        status = attn_mha_scratch_size(p->context, p->mha, &p->q, NULL, NULL, &p->out, &p->params, &bytes);
    return reserve(p, status, bytes);
}

void peer_mha_run(void *handle, const float *x, float *y) {
    peer *p = handle;
    p->q.data = (void *)x;
    p->out.data = y;
    (void)attn_mha_forward(p->context, p->mha, &p->q, NULL, NULL, &p->out, &p->params);
}

void peer_mha_free(void *handle) { peer_free(handle); }

void *peer_decode_new(int B, int H, int G, int Lk, int D, int threads, const float *k, const float *v) {
    const attn_tensor keys = attn_tensor_bhtd(k, ATTN_F32, (size_t)B, (size_t)G, (size_t)Lk, (size_t)D);
    const attn_tensor values = attn_tensor_bhtd(v, ATTN_F32, (size_t)B, (size_t)G, (size_t)Lk, (size_t)D);
    size_t bytes = 0;
    attn_cache_params params;
    peer *p = peer_new(threads, ATTN_PRECISION_F32);
    if (p == NULL)
        return NULL;
    ATTN_INIT(&params);
    params.batch = (size_t)B;
    params.kv_heads = (size_t)G;
    params.head_width = (size_t)D;
    params.capacity = (size_t)Lk;
    p->q = p->out = attn_tensor_bhtd(NULL, ATTN_F32, (size_t)B, (size_t)H, 1, (size_t)D);
    attn_status status = attn_cache_create(p->context, &params, &p->cache);
    if (status == ATTN_OK)
        status = attn_cache_append(p->context, p->cache, &keys, &values, NULL);
    if (status == ATTN_OK)
        status = attn_cache_scratch_size(p->context, p->cache, &p->q, &p->out, NULL, &bytes);
    return reserve(p, status, bytes);
}

void peer_decode_run(void *handle, const float *q, float *o) {
    peer *p = handle;
    p->q.data = (void *)q;
    p->out.data = o;
    (void)attn_cache_attend(p->context, p->cache, &p->q, &p->out, NULL);
}

void peer_decode_free(void *handle) { peer_free(handle); }

/* -- backward -- */

void *peer_backward_new(int B, int H, int G, int Lq, int Lk, int D, int causal, int threads) {
    size_t bytes = 0;
    peer *p = peer_sdpa_new(B, H, G, Lq, Lk, D, causal, threads);
    attn_sdpa_gradients gradients;
    if (p == NULL)
        return NULL;
    p->params.lse = p->lse = malloc((size_t)B * (size_t)H * (size_t)Lq * sizeof *p->lse);
    ATTN_INIT(&gradients);
    gradients.dq = &p->q;
    gradients.dk = gradients.dv = &p->k;
    attn_status status = p->lse ? attn_sdpa_backward_scratch_size(p->context, &p->q, &p->k, &p->v, &p->out, &p->out,
                                                                  &p->params, &gradients, &bytes)
                                : ATTN_ERROR_MEMORY;
    return reserve(p, status, bytes);
}

void peer_backward_run(void *handle, const float *q, const float *k, const float *v, const float *g, float *o,
                       float *dq, float *dk, float *dv) {
    peer *p = handle;
    attn_tensor d_out = p->out, to[3] = {p->q, p->k, p->v};
    attn_sdpa_gradients gradients;
    ATTN_INIT(&gradients);
    peer_sdpa_run(handle, q, k, v, o);
    d_out.data = (void *)g;
    to[0].data = dq, to[1].data = dk, to[2].data = dv;
    gradients.dq = &to[0], gradients.dk = &to[1], gradients.dv = &to[2];
    (void)attn_sdpa_backward(p->context, &p->q, &p->k, &p->v, &p->out, &d_out, &p->params, &gradients);
}

/* -- other types -- */

/* Of activations: those of int8 weights are f32. */
static attn_dtype type_of(int dtype) { return dtype == ATTN_INT8 ? ATTN_F32 : (attn_dtype)dtype; }

void *peer_typed_sdpa_new(int B, int H, int G, int Lq, int Lk, int D, int causal, int threads, int dtype,
                          int precision) {
    size_t bytes = 0;
    peer *p = peer_new(threads, precision);
    if (p == NULL)
        return NULL;
    p->q = attn_tensor_bhtd(NULL, type_of(dtype), (size_t)B, (size_t)H, (size_t)Lq, (size_t)D);
    p->k = attn_tensor_bhtd(NULL, type_of(dtype), (size_t)B, (size_t)G, (size_t)Lk, (size_t)D);
    p->v = p->k;
    p->out = p->q;
    p->params.causal = causal ? ATTN_CAUSAL_BOTTOM_RIGHT : ATTN_CAUSAL_NONE;
    attn_status status = attn_sdpa_scratch_size(p->context, &p->q, &p->k, &p->v, &p->out, &p->params, &bytes);
    return reserve(p, status, bytes);
}

void peer_typed_sdpa_run(void *handle, const void *q, const void *k, const void *v, void *o) {
    peer_sdpa_run(handle, q, k, v, o);
}

/* A weight as the peer's type has it, until it is packed. */
typedef struct weight {
    void *data;
    float *scale;
    attn_status status;
} weight;

static weight weight_new(const peer *p, int dtype, size_t out, size_t in, const float *w) {
    weight made = {.data = malloc(out * in * sizeof *w), .scale = malloc(out * sizeof *w), .status = ATTN_ERROR_MEMORY};
    const attn_tensor from = attn_tensor_btm(w, ATTN_F32, 1, out, in);
    const attn_tensor to = attn_tensor_btm(made.data, type_of(dtype), 1, out, in);
    if (made.data == NULL || made.scale == NULL)
        return made;
    if (dtype == ATTN_INT8) {
        made.status = attn_quantize_weight(p->context, ATTN_OUT_IN, out, in, w, made.data, made.scale);
        return made;
    }
    free(made.scale);
    made.scale = NULL;
    made.status = attn_tensor_copy(p->context, &from, &to);
    return made;
}

static void weight_free(weight *w) {
    free(w->data);
    free(w->scale);
}

void *peer_typed_mha_new(int B, int L, int M, int H, int threads, int dtype, int precision, const float *wq,
                         const float *wk, const float *wv, const float *wo, const float *bq, const float *bk,
                         const float *bv, const float *bo) {
    const float *const given[4] = {wq, wk, wv, wo};
    const size_t width = (size_t)M;
    size_t bytes = 0;
    attn_mha_params params;
    attn_status status = ATTN_OK;
    weight w[4];
    peer *p = peer_new(threads, precision);
    if (p == NULL)
        return NULL;
    for (int i = 0; i < 4; i++) {
        w[i] = weight_new(p, dtype, width, width, given[i]);
        status = status == ATTN_OK ? w[i].status : status;
    }
    ATTN_INIT(&params);
    params.model_width = width;
    params.heads = (size_t)H;
    params.weight_dtype = (attn_dtype)dtype;
    params.q_weight = w[0].data, params.k_weight = w[1].data, params.v_weight = w[2].data,
    params.out_weight = w[3].data;
    params.q_scale = w[0].scale, params.k_scale = w[1].scale, params.v_scale = w[2].scale,
    params.out_scale = w[3].scale;
    params.q_bias = bq, params.k_bias = bk, params.v_bias = bv, params.out_bias = bo;
    p->q = p->out = attn_tensor_btm(NULL, type_of(dtype), (size_t)B, (size_t)L, width);
    if (status == ATTN_OK)
        status = attn_mha_create(p->context, &params, &p->mha);
    if (status == ATTN_OK)
        status = attn_mha_scratch_size(p->context, p->mha, &p->q, NULL, NULL, &p->out, &p->params, &bytes);
    for (int i = 0; i < 4; i++)
        weight_free(&w[i]);
    return reserve(p, status, bytes);
}

void peer_typed_mha_run(void *handle, const void *x, void *y) { peer_mha_run(handle, x, y); }

void *peer_typed_linear_new(int rows, int in, int out, int threads, int dtype, int precision, const float *w,
                            const float *b) {
    size_t bytes = 0;
    attn_linear_params params;
    peer *p = peer_new(threads, precision);
    if (p == NULL)
        return NULL;
    weight made = weight_new(p, dtype, (size_t)out, (size_t)in, w);
    ATTN_INIT(&params);
    params.in_width = (size_t)in;
    params.out_width = (size_t)out;
    params.weight = made.data;
    params.weight_dtype = (attn_dtype)dtype;
    params.weight_scale = made.scale;
    params.bias = b;
    p->q = attn_tensor_btm(NULL, type_of(dtype), 1, (size_t)rows, (size_t)in);
    p->out = attn_tensor_btm(NULL, type_of(dtype), 1, (size_t)rows, (size_t)out);
    attn_status status = made.status;
    if (status == ATTN_OK)
        status = attn_linear_create(p->context, &params, &p->linear);
    if (status == ATTN_OK)
        status = attn_linear_scratch_size(p->context, p->linear, &p->q, &p->out, &bytes);
    weight_free(&made);
    return reserve(p, status, bytes);
}

void peer_typed_linear_run(void *handle, const void *x, void *y) {
    peer *p = handle;
    p->q.data = (void *)x;
    p->out.data = y;
    (void)attn_linear_forward(p->context, p->linear, &p->q, &p->out);
}

double peer_fma_peak(double flops) { return peak_run(PEAK_F32, flops); }
