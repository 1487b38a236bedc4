/* SPDX-License-Identifier: BSD-3-Clause */
/* The door out: normalise once, and write in the caller's layout and type. */
#include <math.h>
#include <string.h>

#include "sdpa/engine.h"

static float log_sum_exp(const attni_row *row) {
    return row->sum == 0 ? -INFINITY : (float)((double)row->max + log(row->sum));
}

/* One more key, with the score s, beside those that a row has seen; value = NULL: zeros. An empty row has no
 * o yet. */
static void add_key(const attni_engine *e, attni_row *row, float *o, double s, const float *value) {
    const bool empty = row->max == -INFINITY && row->sum == 0;
    const double max = empty || s > (double)row->max ? s : (double)row->max;
    const double old = empty ? 0 : exp((double)row->max - max), share = exp(s - max);
    for (size_t c = 0; c < e->cut.o_width; c++) {
        const float v = value && c < e->call->E ? value[c] : 0.0F;
        o[c] = empty ? (float)share * v : o[c] * (float)old + (float)share * v;
    }
    *row = (attni_row){.sum = row->sum * old + share, .max = (float)max};
}

/* The same for weights that are sigmoids. */
static void add_weighted(const attni_engine *e, attni_row *row, float *o, double s, const float *value) {
    const float weight = (float)(1 / (1 + exp(-s)));
    for (size_t c = 0; c < e->cut.o_width; c++)
        o[c] = (row->sum == 0 ? 0 : o[c]) + (c < e->call->E ? weight * value[c] : 0);
    *row = (attni_row){.sum = 1, .max = 0};
}

static double score_of(const attni_engine *e, const attni_query_tile *t, size_t row, const float *k) {
    const float *q = (const float *)(const void *)(t->q.data + row * t->q.step);
    const double most = (double)e->call->softcap;
    double s = 0;
    for (size_t d = 0; d < e->call->D; d++)
        s += (double)(e->form == ATTNI_PLAIN ? q[d] : attni_left_element(&t->q, row, d)) * (double)k[d];
    s *= (double)e->factor;
    return most > 0 ? most * tanh(s / most) : s;
}

/* What every query of a head sees besides its keys: a sink, which is a key whose value is 0, and those of the layer. */
static void add_keys(const attni_engine *e, const attni_query_tile *t, size_t h, attni_row *state, float *o) {
    const attni_sdpa *call = e->call;
    const size_t head = t->head + h, g = head / (call->H / call->G), width = e->cut.o_width;
    const float sink = call->sinks ? call->sinks[head] : -INFINITY;
    for (size_t i = 0; i < t->tokens && sink != -INFINITY; i++)
        add_key(e, &state[i], o + i * width, (double)sink, NULL);
    for (size_t i = 0; i < t->tokens && call->extra_key; i++) {
        const double s = score_of(e, t, h * t->tokens + i, call->extra_key + g * call->D);
        if (call->sigmoid)
            add_weighted(e, &state[i], o + i * width, s, call->extra_value + g * call->E);
        else
            add_key(e, &state[i], o + i * width, s, call->extra_value + g * call->E);
    }
    for (size_t i = 0; i < t->tokens && call->zero_key && !call->sigmoid; i++)
        add_key(e, &state[i], o + i * width, 0, NULL);
}

static void write_lse(const attni_sdpa *call, const attni_query_tile *t, size_t h, const attni_row *state) {
    for (size_t i = 0; call->lse.data && i < t->tokens; i++)
        *(float *)attni_at(&call->lse, t->batch, t->head + h, t->token + i) = log_sum_exp(&state[i]);
}

void attni_settle(const attni_engine *e, attni_query_tile *t) {
    for (size_t n = 0; n < t->rows * e->cut.o_width; n++)
        t->o[n] = (float)t->total[n];
    memcpy(t->state, t->sum, t->rows * sizeof *t->state);
}

/* Segments have each added their 1. */
static void forget_sums(attni_row *state, size_t rows) {
    for (size_t r = 0; r < rows; r++)
        state[r].sum = state[r].sum > 0;
}

/* For each head of the tile: its first row in the tile is h · tokens. */
void attni_write_output(const attni_engine *e, const attni_query_tile *t) {
    const attni_sdpa *call = e->call;
    for (size_t h = 0; h < t->heads; h++) {
        attni_row *state = t->state + h * t->tokens;
        float *o = t->o + h * t->tokens * e->cut.o_width;
        add_keys(e, t, h, state, o);
        if (call->sigmoid)
            forget_sums(state, t->tokens);
        e->kernels->normalize(t->tokens, call->E, o, e->cut.o_width, state, call->out.dtype,
                              attni_at(&call->out, t->batch, t->head + h, t->token), call->out.stride_t);
        write_lse(call, t, h, state);
        if (e->states)
            memcpy(e->states + (t->batch * call->H + t->head + h) * e->states_tokens + t->token, state,
                   t->tokens * sizeof *state);
    }
}
