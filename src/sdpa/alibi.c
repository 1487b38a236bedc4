/* SPDX-License-Identifier: BSD-3-Clause */
/* Where ALiBi proves that nothing is left. By Cauchy and Schwarz no score differs from another by more than
 * 2·|scale|·‖q‖·‖k‖, the largest norms taken. Beside the nearest key that a query sees, a key so much further that
 * slope · distance outweighs that by 2^−160 has a probability that is 0 in f32: it need not be computed. The norms are
 * those before q and k are turned, which tables and weights of the caller's change. */
#include <string.h>

#include "context/sizes.h"
#include "sdpa/engine.h"

/* 2^−149 is the smallest float, the maximum may lag, and norms are rounded. */
#define NOTHING 111.0F

/* Scores are wanted even of what is too far to matter. */
static bool wants_scores(const attni_inspection *in) { return in->weights_wanted && in->stage == ATTN_STAGE_BIASED; }

bool attni_alibi_ends(const attni_sdpa *call) {
    return call->alibi != ATTN_ALIBI_NONE && !call->sigmoid && !wants_scores(&call->inspection) &&
           !attni_turns(&call->q_turn) && !attni_turns(&call->k_turn) && !call->pages && !call->score &&
           !call->bias.there && !call->mask.there && !call->key_mask.there && !call->block_map.there &&
           !attni_has_hole(call) && !call->tree.tokens && !call->relative.table && !call->lists.keys;
}

typedef struct reach_job {
    const attn_context *context;
    const attni_sdpa *call;
    size_t *reach;
    float *norms; /* [B,G], of the longest key; NaN or ∞ where something is not finite */
} reach_job;

enum { PIECE = 256, LANES = 16 };

/* The sum of squares of a row; what is not finite makes it so. */
static float square(const attni_kernels *kernels, const attni_view *view, size_t b, size_t h, size_t t, size_t width) {
    const char *row = attni_at(view, b, h, t);
    float piece[PIECE], sums[LANES] = {0}, sum = 0;
    for (size_t d = 0; d < width; d += PIECE) {
        const size_t n = attni_min(PIECE, width - d);
        kernels->copy(1, n, view->dtype, row + d * attni_size_of(view->dtype), 0, ATTN_F32, piece, 0);
        memset(piece + n, 0, (attni_round_up(n, LANES) - n) * sizeof *piece);
        for (size_t i = 0; i < n; i += LANES)
            for (size_t lane = 0; lane < LANES; lane++)
                sums[lane] += piece[i + lane] * piece[i + lane];
    }
    for (size_t lane = 0; lane < LANES; lane++)
        sum += sums[lane];
    return sum;
}

/* NaN stays. */
static float larger(float a, float b) { return a >= b || a != a ? a : b; }

static void measure_keys(void *arg, size_t unit, size_t worker) {
    const reach_job *j = arg;
    const size_t b = unit / j->call->G, g = unit % j->call->G;
    const attni_sdpa one = attni_sequence_of(j->call, b);
    float largest = 0, finite = 0;
    (void)worker;
    for (size_t t = 0; t < one.Tk; t++) {
        largest = larger(largest, square(j->context->kernels, &one.k, b, g, t, one.D));
        finite += 0.0F * square(j->context->kernels, &one.v, b, g, t, one.E); /* NaN, once anything is not finite */
    }
    j->norms[unit] = sqrtf(largest) + finite;
}

/* What is not finite reaches everywhere, capped or not. */
static size_t reach_of(const attni_sdpa *call, float slope, float norms) {
    const float spread = call->softcap > 0 && norms > call->softcap && isfinite(norms) ? call->softcap : norms;
    const float reach = (2.02F * spread + NOTHING) / slope;
    return reach >= 0 && reach < (float)(PTRDIFF_MAX / 8) ? (size_t)reach + 1 : PTRDIFF_MAX / 8;
}

static void measure_queries(void *arg, size_t unit, size_t worker) {
    const reach_job *j = arg;
    const size_t b = unit / j->call->H, h = unit % j->call->H, g = h / (j->call->H / j->call->G);
    const attni_sdpa one = attni_sequence_of(j->call, b);
    float largest = 0;
    (void)worker;
    for (size_t t = 0; t < one.Tq; t++)
        largest = larger(largest, square(j->context->kernels, &one.q, b, h, t, one.D));
    j->reach[unit] = reach_of(j->call, attni_slope(j->call, h),
                              fabsf(j->call->scale) * sqrtf(largest) * j->norms[b * j->call->G + g]);
}

void attni_alibi_reach(attn_context *context, const attni_sdpa *call, size_t *reach, float *norms) {
    reach_job job = {context, call, reach, norms};
    const double keys = (double)call->B * (double)call->G * (double)call->Tk * (double)(call->D + call->E);
    const double queries = (double)call->B * (double)call->H * (double)call->Tq * (double)call->D;
    attni_parallel(context, call->B * call->G, 8 * keys, measure_keys, &job);
    attni_parallel(context, call->B * call->H, 8 * queries, measure_queries, &job);
}
