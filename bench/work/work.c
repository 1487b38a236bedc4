/* SPDX-License-Identifier: BSD-3-Clause */
#include "work/work.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "inside/inside.h"

attn_context *work_context(const char *blas, size_t threads, attn_precision precision, char *error, size_t size) {
    attn_context *context;
    attn_context_options wanted;
    ATTN_INIT(&wanted);
    wanted.blas = *blas != '\0' ? blas : NULL;
    wanted.threads = threads;
    wanted.precision = precision;
    if (attn_context_create(&wanted, &context) != ATTN_OK)
        text_print(error, size, "%s", attn_context_last_error(NULL));
    return context;
}

/* Hands out pieces of one block of memory, each at the beginning of a cache line; only counts while base is NULL. */
typedef struct pile {
    char *base;
    double used; /* may be more than there is memory in the world */
} pile;

static void *take(pile *p, double bytes) {
    char *piece = p->base == NULL ? NULL : p->base + (size_t)p->used;
    p->used += 64 * ceil(bytes / 64);
    return piece;
}

/* Uniform numbers of mean 0 and deviation `deviation`, always the same (Knuth's MMIX generator). */
static void fill(const dtype_spec *type, void *to, size_t count, double deviation, uint64_t seed) {
    const double range = 2 * sqrt(3.0) * deviation;
    for (size_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        dtype_put(type, to, i, (double)(float)(range * ((double)(seed >> 40) / 16777216.0 - 0.5)));
    }
}

static float *fill_floats(float *to, size_t count, double deviation, uint64_t seed) {
    if (to != NULL)
        fill(&dtype_table[0], to, count, deviation, seed);
    return to;
}

static void *fill_piece(pile *p, const dtype_spec *type, double count, uint64_t seed) {
    void *piece = take(p, count * (double)dtype_size(type));
    if (piece != NULL)
        fill(type, piece, (size_t)count, 1, seed);
    return piece;
}

static attn_tensor heads(const bench_case *c, void *data, size_t H, size_t T) {
    return attn_tensor_bhtd(data, dtype_table[c->dtype].type, c->B, H, T, c->D);
}

/* q [B,H,Tq,D], k and v [B,G,T,D], out as q. */
static void lay_attention(work *w, pile *p, size_t Tq) {
    const bench_case *c = &w->what;
    const dtype_spec *type = &dtype_table[c->dtype];
    const double head = (double)c->B * (double)c->D;
    const double queries = head * (double)c->H * (double)Tq, keys = head * (double)c->G * (double)c->T;
    w->out = heads(c, take(p, queries * (double)dtype_size(type)), c->H, Tq);
    w->q = heads(c, fill_piece(p, type, queries, 1), c->H, Tq);
    w->k = heads(c, fill_piece(p, type, keys, 2), c->G, c->T);
    w->v = heads(c, fill_piece(p, type, keys, 3), c->G, c->T);
}

/* Attention, and its way back from a gradient of what it gave. */
static void lay_backward(work *w, pile *p) {
    const bench_case *c = &w->what;
    const dtype_spec *type = &dtype_table[c->dtype];
    const double size = (double)dtype_size(type), rows = (double)c->B * (double)c->T, width = (double)c->D;
    const double queries = rows * width * (double)c->H, keys = rows * width * (double)c->G;
    lay_attention(w, p, c->T);
    w->attended = heads(c, take(p, queries * size), c->H, c->T);
    w->d_attended = heads(c, fill_piece(p, type, queries, 12), c->H, c->T);
    w->dk = heads(c, take(p, keys * size), c->G, c->T);
    w->dv = heads(c, take(p, keys * size), c->G, c->T);
    w->params.lse = take(p, rows * (double)c->H * sizeof(float));
}

static float *lay_weights(pile *p, double out, double in, double deviation, uint64_t seed) {
    return fill_floats(take(p, out * in * sizeof(float)), (size_t)(out * in), deviation, seed);
}

/* Bytes and scales of an output feature, of int8 or int4. */
static double feature_bytes(attn_dtype type, double M) { return type == ATTN_INT4 ? ceil(M / 2) : M; }
static double feature_scales(attn_dtype type, double M) { return type == ATTN_INT4 ? 2 * ceil(M / 32) : 1; }

static void lay_narrow(layer_weights *w, pile *p, attn_dtype type, double M, double G) {
    const double bytes = feature_bytes(type, M), scales = feature_scales(type, M) * sizeof(float);
    w->q_narrow = take(p, M * bytes), w->k_narrow = take(p, G * bytes);
    w->v_narrow = take(p, G * bytes), w->out_narrow = take(p, M * bytes);
    w->q_scale = take(p, M * scales), w->k_scale = take(p, G * scales);
    w->v_scale = take(p, G * scales), w->out_scale = take(p, M * scales);
}

static bool is_quantised(attn_dtype type) { return type == ATTN_INT8 || type == ATTN_INT4; }

static void lay_layer(work *w, pile *p) {
    const bench_case *c = &w->what;
    const double M = (double)c->H * (double)c->D, G = (double)c->G * (double)c->D, rows = (double)c->B * (double)c->T;
    const double deviation = 1 / sqrt(M);
    w->out = attn_tensor_btm(take(p, rows * M * sizeof(float)), ATTN_F32, c->B, c->T, c->H * c->D);
    w->q = attn_tensor_btm(fill_piece(p, &dtype_table[0], rows * M, 1), ATTN_F32, c->B, c->T, c->H * c->D);
    w->weights.q = lay_weights(p, M, M, deviation, 4);
    w->weights.k = lay_weights(p, G, M, deviation, 5);
    w->weights.v = lay_weights(p, G, M, deviation, 6);
    w->weights.out = lay_weights(p, M, M, deviation, 7);
    w->weights.q_bias = lay_weights(p, M, 1, 0.1, 8);
    w->weights.k_bias = lay_weights(p, G, 1, 0.1, 9);
    w->weights.v_bias = lay_weights(p, G, 1, 0.1, 10);
    w->weights.out_bias = lay_weights(p, M, 1, 0.1, 11);
    const attn_dtype stored = precision_table[c->precision].stored;
    if (is_quantised(stored))
        lay_narrow(&w->weights, p, stored, M, G);
    if (c->op == OP_PROJECTIONS)
        w->between = take(p, rows * (M + 2 * G) * sizeof(float));
}

/* x and y [B·H·SOFTMAX_ROWS, T] as tensors of width T. */
static void lay_softmax(work *w, pile *p) {
    const bench_case *c = &w->what;
    const double count = (double)c->B * (double)c->H * SOFTMAX_ROWS * (double)c->T;
    w->out = attn_tensor_bhtd(take(p, count * sizeof(float)), ATTN_F32, c->B, c->H, SOFTMAX_ROWS, c->T);
    w->q = attn_tensor_bhtd(fill_piece(p, &dtype_table[0], count, 1), ATTN_F32, c->B, c->H, SOFTMAX_ROWS, c->T);
}

static void lay_tile(work *w, pile *p) {
    const double D = (double)w->what.D, C = (double)inside_widths_of(w->context, w->what.D).panel;
    const dtype_spec *type = &dtype_table[0];
    w->out = attn_tensor_bhtd(take(p, INSIDE_ROWS * D * sizeof(float)), ATTN_F32, 1, 1, INSIDE_ROWS, w->what.D);
    w->between = take(p, INSIDE_ROWS * INSIDE_KEYS * sizeof(float));
    w->q = attn_tensor_bhtd(fill_piece(p, type, INSIDE_ROWS * D, 1), ATTN_F32, 1, 1, INSIDE_ROWS, w->what.D);
    w->k = attn_tensor_bhtd(fill_piece(p, type, INSIDE_KEYS * D, 2), ATTN_F32, 1, 1, INSIDE_KEYS, w->what.D);
    w->v =
        attn_tensor_bhtd(fill_piece(p, type, INSIDE_KEYS * C * ceil(D / C), 3), ATTN_F32, 1, 1, INSIDE_KEYS, w->what.D);
}

static void lay(work *w, pile *p) {
    switch (w->what.op) {
    case OP_SDPA:
        lay_attention(w, p, w->what.T);
        break;
    case OP_DECODE:
        lay_attention(w, p, 1);
        break;
    case OP_BACKWARD:
        lay_backward(w, p);
        break;
    case OP_LAYER:
    case OP_PROJECTIONS:
        lay_layer(w, p);
        break;
    case OP_SOFTMAX:
        lay_softmax(w, p);
        break;
    case OP_SGEMM:
        lay_tile(w, p);
        break;
    }
}

/* Twice: to count the bytes, and with memory that has as many. */
static bool lay_out(work *w) {
    pile p = {0};
    lay(w, &p);
    if (p.used > (double)(SIZE_MAX / 8))
        return false;
    w->memory = aligned_alloc(64, (size_t)p.used + 64);
    if (w->memory == NULL)
        return false;
    memset(w->memory, 0, (size_t)p.used + 64);
    p = (pile){.base = w->memory};
    lay(w, &p);
    return true;
}

/* What a quantised weight [out, in] stands for. */
static void widen(attn_dtype type, size_t out, size_t in, const uint8_t *from, const float *scales, float *to) {
    const size_t bytes = (size_t)feature_bytes(type, (double)in), step = (size_t)feature_scales(type, (double)in);
    for (size_t o = 0; o < out; o++)
        for (size_t i = 0; i < in; i++) {
            const float *scale = scales + o * step + (type == ATTN_INT4 ? i / 32 * 2 : 0);
            const uint8_t *row = from + o * bytes;
            to[o * in + i] = type == ATTN_INT4 ? scale[0] * (float)(row[i / 2] >> i % 2 * 4 & 15) + scale[1]
                                               : scale[0] * (float)(int8_t)row[i];
        }
}

static attn_status quantize(work *w, attn_dtype type, size_t out, size_t in, float *weight, void *to, float *scales) {
    const attn_status status = type == ATTN_INT4
                                   ? attn_quantize_weight_int4(w->context, ATTN_OUT_IN, out, in, weight, to, scales)
                                   : attn_quantize_weight(w->context, ATTN_OUT_IN, out, in, weight, to, scales);
    if (status == ATTN_OK)
        widen(type, out, in, to, scales, weight);
    return status;
}

/* Puts int8 or int4 in the place of f32. */
static attn_status quantize_layer(work *w, attn_mha_params *params) {
    const layer_weights *from = &w->weights;
    const attn_dtype type = precision_table[w->what.precision].stored;
    const size_t M = params->model_width, G = params->kv_heads * params->head_width;
    const struct {
        size_t out;
        float *weight;
        void *to;
        float *scale;
    } each[] = {{M, from->q, from->q_narrow, from->q_scale},
                {G, from->k, from->k_narrow, from->k_scale},
                {G, from->v, from->v_narrow, from->v_scale},
                {M, from->out, from->out_narrow, from->out_scale}};
    attn_status status = ATTN_OK;
    for (size_t i = 0; status == ATTN_OK && i < sizeof each / sizeof *each; i++)
        status = quantize(w, type, each[i].out, M, each[i].weight, each[i].to, each[i].scale);
    params->weight_dtype = type;
    params->q_weight = from->q_narrow, params->k_weight = from->k_narrow, params->v_weight = from->v_narrow;
    params->out_weight = from->out_narrow;
    params->q_scale = from->q_scale, params->k_scale = from->k_scale, params->v_scale = from->v_scale;
    params->out_scale = from->out_scale;
    return status;
}

static attn_status create_layer(work *w) {
    attn_status status = ATTN_OK;
    attn_mha_params params;
    ATTN_INIT(&params);
    params.model_width = w->what.H * w->what.D;
    params.heads = w->what.H;
    params.kv_heads = w->what.G;
    params.head_width = w->what.D;
    params.q_weight = w->weights.q, params.k_weight = w->weights.k, params.v_weight = w->weights.v;
    params.q_bias = w->weights.q_bias, params.k_bias = w->weights.k_bias, params.v_bias = w->weights.v_bias;
    params.out_weight = w->weights.out, params.out_bias = w->weights.out_bias;
    if (w->weights.q_narrow != NULL)
        status = quantize_layer(w, &params);
    return status != ATTN_OK ? status : attn_mha_create(w->context, &params, &w->mha);
}

static attn_status fill_cache(work *w) {
    attn_cache_params params;
    ATTN_INIT(&params);
    params.batch = w->what.B;
    params.kv_heads = w->what.G;
    params.head_width = w->what.D;
    params.capacity = w->what.T;
    params.dtype = precision_table[w->what.precision].stored;
    attn_status status = attn_cache_create(w->context, &params, &w->cache);
    return status != ATTN_OK ? status : attn_cache_append(w->context, w->cache, &w->k, &w->v, NULL);
}

static attn_status make_room(work *w) {
    const size_t floats = inside_project_floats(w->context, w->mha, w->what.B * w->what.T);
    w->room = aligned_alloc(64, (floats * sizeof(float) / 64 + 1) * 64);
    return w->room != NULL ? ATTN_OK : ATTN_ERROR_MEMORY;
}

static attn_sdpa_gradients gradients_of(const work *w) {
    attn_sdpa_gradients gradients;
    ATTN_INIT(&gradients);
    gradients.dq = &w->out;
    gradients.dk = &w->dk;
    gradients.dv = &w->dv;
    return gradients;
}

/* The larger scratch of the two ways. */
static attn_status backward_scratch(work *w, size_t *bytes) {
    const attn_sdpa_gradients gradients = gradients_of(w);
    size_t forward = 0;
    const attn_status status =
        attn_sdpa_scratch_size(w->context, &w->q, &w->k, &w->v, &w->attended, &w->params, &forward);
    if (status != ATTN_OK)
        return status;
    const attn_status back = attn_sdpa_backward_scratch_size(w->context, &w->q, &w->k, &w->v, &w->attended,
                                                             &w->d_attended, &w->params, &gradients, bytes);
    *bytes = *bytes > forward ? *bytes : forward;
    return back;
}

static attn_status run_backward(work *w) {
    const attn_sdpa_gradients gradients = gradients_of(w);
    const attn_status status = attn_sdpa(w->context, &w->q, &w->k, &w->v, &w->attended, &w->params);
    return status != ATTN_OK ? status
                             : attn_sdpa_backward(w->context, &w->q, &w->k, &w->v, &w->attended, &w->d_attended,
                                                  &w->params, &gradients);
}

/* Makes what a run needs, and the scratch large enough that none of the runs will have to. */
static attn_status prepare(work *w) {
    size_t bytes = 0;
    attn_status status = ATTN_OK;
    if (w->what.op == OP_LAYER || w->what.op == OP_PROJECTIONS)
        status = create_layer(w);
    if (w->what.op == OP_DECODE)
        status = fill_cache(w);
    if (status != ATTN_OK)
        return status;
    if (w->what.op == OP_PROJECTIONS)
        return make_room(w);
    if (w->what.op == OP_SDPA)
        status = attn_sdpa_scratch_size(w->context, &w->q, &w->k, &w->v, &w->out, &w->params, &bytes);
    if (w->what.op == OP_BACKWARD)
        status = backward_scratch(w, &bytes);
    if (w->what.op == OP_LAYER)
        status = attn_mha_scratch_size(w->context, w->mha, &w->q, NULL, NULL, &w->out, &w->params, &bytes);
    if (w->what.op == OP_DECODE)
        status = attn_cache_scratch_size(w->context, w->cache, &w->q, &w->out, NULL, &bytes);
    return status != ATTN_OK ? status : attn_context_reserve(w->context, bytes);
}

void work_explain(const work *w, attn_status status, char *error, size_t size) {
    const char *detail = attn_context_last_error(w->context);
    text_print(error, size, "%s%s%s", attn_status_text(status), *detail != '\0' ? ": " : "", detail);
}

bool work_open(work *w, const char *blas, const bench_case *c, char *error, size_t size) {
    const attn_precision precision = precision_table[c->precision].precision;
    *w = (work){.what = *c, .context = work_context(blas, c->threads, precision, error, size)};
    if (w->context == NULL)
        return false;
    ATTN_INIT(&w->params);
    if (variant_table[c->variant].set != NULL)
        variant_table[c->variant].set(&w->params);
    attn_status status = lay_out(w) ? prepare(w) : ATTN_ERROR_MEMORY;
    if (status == ATTN_OK)
        return true;
    work_explain(w, status, error, size);
    work_close(w);
    return false;
}

attn_status work_run(work *w) {
    const bench_case *c = &w->what;
    switch (c->op) {
    case OP_SDPA:
        break;
    case OP_BACKWARD:
        return run_backward(w);
    case OP_LAYER:
        return attn_mha_forward(w->context, w->mha, &w->q, NULL, NULL, &w->out, &w->params);
    case OP_DECODE:
        return attn_cache_attend(w->context, w->cache, &w->q, &w->out, NULL);
    case OP_PROJECTIONS:
        inside_project(w->context, w->mha, w->q.data, c->B * c->T, w->room, w->between, w->out.data);
        return ATTN_OK;
    case OP_SOFTMAX:
        return attn_softmax(w->context, c->B * c->H * SOFTMAX_ROWS, c->T, w->q.data, c->T, w->out.data, c->T, NULL);
    case OP_SGEMM:
        memset(w->out.data, 0, INSIDE_ROWS * c->D * sizeof(float));
        inside_tile(w->context, c->D, w->q.data, w->k.data, w->v.data, w->between, w->out.data);
        return ATTN_OK;
    }
    return attn_sdpa(w->context, &w->q, &w->k, &w->v, &w->out, &w->params);
}

void work_close(work *w) {
    attn_mha_destroy(w->mha);
    attn_cache_destroy(w->cache);
    attn_context_destroy(w->context);
    free(w->memory);
    free(w->room);
    *w = (work){0};
}
