/* SPDX-License-Identifier: BSD-3-Clause */
/* The door out: normalise once, and write in the caller's layout and type. */
#include <math.h>
#include <string.h>

#include "sdpa/engine.h"

static float log_sum_exp(const attni_row *row) {
    return row->sum == 0 ? -INFINITY : (float)(attni_natural((double)row->max) + log2(row->sum) / ATTNI_LOG2_E);
}

/* A sink is one more key whose value is 0. An empty row, which has no o yet, stays 0: 0 / 1. */
static void add_sink(const attni_engine *e, attni_row *row, float *o, float sink) {
    const double s = (double)sink * ATTNI_LOG2_E;
    const attni_row other = {.sum = 1, .max = (float)fmax(s, (double)ATTNI_LOWEST)};
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

static void add_sinks(const attni_engine *e, const attni_query_tile *t, size_t h, attni_row *state, float *o) {
    const float sink = e->call->sinks ? e->call->sinks[t->head + h] : -INFINITY;
    for (size_t i = 0; sink != -INFINITY && i < t->tokens; i++)
        add_sink(e, &state[i], o + i * e->cut.o_width, sink);
}

static void write_lse(const attni_sdpa *call, const attni_query_tile *t, size_t h, const attni_row *state) {
    for (size_t i = 0; call->lse.data && i < t->tokens; i++)
        *(float *)attni_at(&call->lse, t->batch, t->head + h, t->token + i) = log_sum_exp(&state[i]);
}

/* For each head of the tile: its first row in the tile is h · tokens. */
void attni_write_output(const attni_engine *e, const attni_query_tile *t) {
    const attni_sdpa *call = e->call;
    for (size_t h = 0; h < t->heads; h++) {
        attni_row *state = t->total_state + h * t->tokens;
        float *o = t->total_o + h * t->tokens * e->cut.o_width;
        add_sinks(e, t, h, state, o);
        e->kernels->normalize(t->tokens, call->E, o, e->cut.o_width, state, call->out.dtype,
                              attni_at(&call->out, t->batch, t->head + h, t->token), call->out.stride_t);
        write_lse(call, t, h, state);
        if (e->states)
            memcpy(e->states + (t->batch * call->H + t->head + h) * e->states_tokens + t->token, state,
                   t->tokens * sizeof *state);
    }
}
