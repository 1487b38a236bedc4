/* SPDX-License-Identifier: BSD-3-Clause */
/* The door out: normalise once, and write in the caller's layout. */
#include <math.h>
#include <string.h>

#include "context/sizes.h"
#include "sdpa/engine.h"

#define LN_2 0.69314718055994530942

static float log_sum_exp(const attni_row *row) {
    return row->sum == 0 ? -INFINITY : (float)(((double)row->max + log2(row->sum)) * LN_2);
}

/* For each head of the tile: its first row in the tile is h · tokens. */
void attni_write_output(const attni_engine *e, const attni_query_tile *t) {
    const attni_sdpa *call = e->call;
    for (size_t h = 0; h < t->heads; h++) {
        const attni_row *state = t->total_state + h * t->tokens;
        e->kernels->normalize(t->tokens, call->E, t->total_o + h * t->tokens * e->cut.o_width, e->cut.o_width, state,
                              attni_at(&call->out, t->batch, t->head + h, t->token), call->out.stride_t);
        for (size_t i = 0; call->lse && i < t->tokens; i++)
            call->lse[(t->batch * call->H + t->head + h) * call->Tq + t->token + i] = log_sum_exp(&state[i]);
    }
}

static void zero(float *y, size_t rows, size_t columns, ptrdiff_t ldy) {
    for (size_t r = 0; r < rows; r++)
        memset(y + (ptrdiff_t)r * ldy, 0, columns * sizeof *y);
}

void attni_write_probabilities(const attni_engine *e, const attni_query_tile *t, const attni_key_group *group,
                               const float *scores, size_t columns, const attni_range *range) {
    const attni_view *view = &e->call->probabilities;
    columns = attni_min(columns, group->count); /* beyond are least_keys */
    for (size_t h = 0; h < t->heads; h++) {
        const size_t row = h * t->tokens;
        float *y = attni_at(view, t->batch, t->head + h, t->token) + group->begin;
        e->kernels->softmax_final(t->tokens, columns, scores + row * e->cut.tile.keys, e->cut.tile.keys,
                                  range ? range + row : NULL, t->total_state + row, y, view->stride_t);
        zero(y + columns, t->tokens, group->count - columns, view->stride_t);
    }
}
