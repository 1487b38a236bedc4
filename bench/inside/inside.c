/* SPDX-License-Identifier: BSD-3-Clause */
#include "inside/inside.h"

#include "context/context.h"
#include "context/sizes.h"
#include "mha/mha.h"
#include "product/product.h"
#include "sdpa/engine.h"

inside_plan inside_plan_of(const attn_context *context, size_t B, size_t H, size_t G, size_t Tq, size_t Tk, size_t D,
                           bool causal) {
    const attni_sdpa call = {.B = B,
                             .H = H,
                             .G = G,
                             .Tq = Tq,
                             .Tk = Tk,
                             .D = D,
                             .E = D,
                             .causal = causal ? ATTN_CAUSAL_TOP_LEFT : ATTN_CAUSAL_NONE,
                             .left = -1,
                             .right = -1};
    const attni_tile rule = attni_tile_for_attention(context, D, D, Tk, causal, false);
    const attni_panel panel = attni_panel_for_weights(context, ATTN_F32);
    const attni_cut cut = attni_cut_call(context, &call, Tk);
    return (inside_plan){.who = !context->blas->sgemm    ? INSIDE_OWN
                                : context->blas->no_pack ? INSIDE_SMALL
                                                         : INSIDE_PACKS,
                         .width = rule.width,
                         .rule_rows = rule.rows,
                         .keys = rule.keys,
                         .columns = rule.columns,
                         .rows = cut.tile.rows,
                         .tiles = attni_ceil_div(cut.head_cuts * cut.token_cuts, cut.supers),
                         .supers = cut.supers,
                         .segments = cut.segments,
                         .apart = cut.apart,
                         .panel_width = panel.width,
                         .panel_rows = panel.rows,
                         .panel_depth = panel.depth};
}

inside_widths inside_widths_of(const attn_context *context, size_t D) {
    const attni_tile rule = attni_tile_for_attention(context, D, D, SIZE_MAX, false, false);
    return (inside_widths){rule.width, rule.columns < D ? rule.columns : D};
}

double inside_tile_flops(size_t D) { return INSIDE_REPEAT * 4.0 * INSIDE_ROWS * INSIDE_KEYS * (double)D; }

double inside_tile_bytes(size_t D) {
    return INSIDE_REPEAT * 4.0 * (2.0 * (double)D * (INSIDE_ROWS + INSIDE_KEYS) + 2.0 * INSIDE_ROWS * INSIDE_KEYS);
}

typedef struct tile_job {
    const attn_context *context;
    size_t D;
    const float *q, *k, *v;
    float *scores, *out;
} tile_job;

static void multiply(void *arg, size_t unit, size_t worker) {
    const tile_job *j = arg;
    const inside_widths w = inside_widths_of(j->context, j->D);
    const attni_panels k = {.data = (const char *)j->k, .width = w.block, .ld = w.block, .step = w.block * j->D};
    const attni_panels v = {.data = (const char *)j->v, .width = w.panel, .ld = w.panel, .step = w.panel * INSIDE_KEYS};
    (void)unit, (void)worker;
    for (int repeat = 0; repeat < INSIDE_REPEAT; repeat++) {
        attni_multiply(j->context, INSIDE_ROWS, INSIDE_KEYS, j->D, 1, j->q, j->D, &k, false, j->scores, INSIDE_KEYS);
        attni_multiply(j->context, INSIDE_ROWS, j->D, INSIDE_KEYS, 1, j->scores, INSIDE_KEYS, &v, true, j->out, j->D);
    }
}

void inside_tile(attn_context *context, size_t D, const float *q, const float *k, const float *v, float *scores,
                 float *out) {
    tile_job job = {context, D, q, k, v, scores, out};
    attni_blas_parallel(context, 1, inside_tile_flops(D), multiply, &job);
}

size_t inside_project_floats(const attn_context *context, const attn_mha *mha, size_t rows) {
    const size_t in = attni_product_floats(context, &mha->q, ATTN_F32, rows),
                 out = attni_product_floats(context, &mha->out, ATTN_F32, rows);
    return in > out ? in : out;
}

void inside_project(attn_context *context, const attn_mha *mha, float *x, size_t rows, float *room, float *qkv,
                    float *y) {
    const attni_linear *const in[] = {&mha->q, &mha->k, &mha->v};
    attni_product products[3];
    float *to = qkv;
    for (size_t i = 0; i < 3; i++) {
        products[i] =
            (attni_product){.linear = in[i], .x = {x, rows, mha->M}, .y = {to, rows, in[i]->out}, .room = room};
        to += rows * in[i]->out;
    }
    attni_project(context, products, 3);
    const attni_product last = {
        .linear = &mha->out, .x = {qkv, rows, mha->q.out}, .y = {y, rows, mha->M}, .room = room};
    attni_project(context, &last, 1);
}
