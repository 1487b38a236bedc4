/* SPDX-License-Identifier: BSD-3-Clause */
#include "peers.h"

#include <attn/attn.h>
#include <stdlib.h>

#include "peak.h"

/* Views are made in *_new with NULL data, and *_run only puts the pointers in: what is timed is the library. */
typedef struct peer {
    attn_context *context;
    attn_mha *mha;
    attn_cache *cache;
    attn_tensor q, k, v, out; /* a layer uses q for x */
    attn_sdpa_params params;
} peer;

static void peer_free(peer *p) {
    if (p == NULL)
        return;
    attn_mha_destroy(p->mha);
    attn_cache_destroy(p->cache);
    attn_context_destroy(p->context);
    free(p);
}

static peer *peer_new(int threads) {
    peer *p = calloc(1, sizeof *p);
    attn_context_options options;
    if (p == NULL)
        return NULL;
    ATTN_INIT(&p->params);
    ATTN_INIT(&options);
    options.threads = (size_t)threads;
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
    peer *p = peer_new(threads);
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
    peer *p = peer_new(threads);
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
    peer *p = peer_new(threads);
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

double peer_fma_peak(double flops) { return peak_run(flops); }
