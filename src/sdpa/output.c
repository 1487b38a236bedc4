/* SPDX-License-Identifier: BSD-3-Clause */
/* The door out: normalise once, and write in the caller's layout and type. */
#include <math.h>

#include "sdpa/engine.h"

static float log_sum_exp(const attni_row *row) {
    return row->sum == 0 ? -INFINITY : (float)(((double)row->max + log2(row->sum)) / ATTNI_LOG2_E);
}

/* A sink is one more key whose value is 0. An empty row, which has no o yet, stays 0: 0 / 1. */
static void add_sink(const attni_engine *e, attni_row *row, float *o, float sink) {
    const double s = (double)sink * ATTNI_LOG2_E;
    const attni_row other = {.sum = 1, .max = (float)fmax(s, -0x1.fffffep127)};
    const size_t width = e->cut.o_width;
    if (row->max == -INFINITY && row->sum == 0) {
        for (size_t c = 0; c < width; c++)
            o[c] = 0;
        *row = other;
    } else if ((double)row->max >= s) {
        row->sum += exp2(s - (double)row->max);
    } else {
        const double factor = exp2((double)row->max - s);
        for (size_t c = 0; c < width; c++)
            o[c] *= (float)factor;
        *row = (attni_row){.sum = row->sum * factor + 1, .max = other.max};
    }
}

/* For each head of the tile: its first row in the tile is h · tokens. */
void attni_write_output(const attni_engine *e, const attni_query_tile *t) {
    const attni_sdpa *call = e->call;
    for (size_t h = 0; h < t->heads; h++) {
        attni_row *state = t->total_state + h * t->tokens;
        float *o = t->total_o + h * t->tokens * e->cut.o_width;
        for (size_t i = 0; call->sinks && call->sinks[t->head + h] != -INFINITY && i < t->tokens; i++)
            add_sink(e, &state[i], o + i * e->cut.o_width, call->sinks[t->head + h]);
        e->kernels->normalize(t->tokens, call->E, o, e->cut.o_width, state, call->out.dtype,
                              attni_at(&call->out, t->batch, t->head + h, t->token), call->out.stride_t);
        for (size_t i = 0; i < t->tokens; i++) {
            if (call->lse.data)
                *(float *)attni_at(&call->lse, t->batch, t->head + h, t->token + i) = log_sum_exp(&state[i]);
            if (e->states)
                e->states[(t->batch * call->H + t->head + h) * e->states_tokens + t->token + i] = state[i];
        }
    }
}
