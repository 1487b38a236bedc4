/* SPDX-License-Identifier: BSD-3-Clause */
/* Sequences of different lengths, padded or one after the other: each is a call of its own, with its own cut. */
#include <string.h>

#include "context/sizes.h"
#include "sdpa/engine.h"

bool attni_is_varied(const attni_sdpa *call) { return call->query_starts || call->query_lengths || call->key_lengths; }

size_t attni_tokens_of(const int64_t *starts, const int64_t *lengths, size_t b, size_t most, size_t *start) {
    *start = starts ? (size_t)starts[b] : 0;
    const size_t tokens = starts ? (size_t)(starts[b + 1] - starts[b]) : most;
    return lengths ? attni_min(tokens, (size_t)lengths[b]) : tokens;
}

void attni_advance(attni_view *view, size_t tokens) {
    if (view->data && tokens)
        view->data = attni_at(view, 0, 0, tokens);
}

attni_sdpa attni_sequence_of(const attni_sdpa *call, size_t b) {
    attni_sdpa one = *call;
    size_t q, k;
    one.Tq = attni_tokens_of(call->query_starts, call->query_lengths, b, call->Tq, &q);
    one.Tk = attni_tokens_of(call->key_starts, call->key_lengths, b, call->Tk, &k);
    attni_advance(&one.q, q);
    attni_advance(&one.out, q);
    attni_advance(&one.lse, q);
    attni_advance(&one.k, k);
    attni_advance(&one.v, k);
    one.q_turn.positions = one.q_turn.positions ? one.q_turn.positions + q : NULL;
    one.tree.ancestors = one.tree.ancestors ? one.tree.ancestors + q * one.tree.words : NULL;
    one.k_turn.positions = one.k_turn.positions ? one.k_turn.positions + k : NULL;
    one.v_turn.positions = one.v_turn.positions ? one.v_turn.positions + k : NULL;
    return one;
}

const attni_engine *attni_engine_of(const attni_engine *e, size_t b, attni_engine *local, attni_sdpa *one) {
    if (!e->varied)
        return e;
    *local = *e;
    *one = attni_sequence_of(e->call, b);
    local->call = one;
    local->cut = attni_cut_call(e->context, one, e->call->Tk);
    local->cut.apart = e->room.apart;
    return local;
}

/* Query tokens of head h that are beyond the length of sequence b. */
static void blank_queries(const attni_kernels *kernels, const attni_sdpa *call, size_t b, size_t h) {
    const attni_row none = {0, -INFINITY};
    const attni_sdpa one = attni_sequence_of(call, b);
    size_t start;
    const size_t end = attni_tokens_of(call->query_starts, NULL, b, call->Tq, &start);
    for (size_t i = one.Tq; i < end; i++) {
        kernels->normalize(1, one.E, NULL, 0, &none, one.out.dtype, attni_at(&one.out, b, h, i), 0);
        if (one.lse.data)
            *(float *)attni_at(&one.lse, b, h, i) = one.sinks ? one.sinks[h] : -INFINITY;
    }
}

static void blank_weights(const attni_kernels *kernels, const attni_sdpa *call, size_t b, size_t h) {
    const attni_inspection *in = &call->inspection;
    const float nothing = in->stage == ATTN_STAGE_BIASED && call->H ? -INFINITY : 0.0F;
    for (size_t i = 0; i < call->Tq; i++)
        kernels->copy(call->Tk, 1, ATTN_F32, &nothing, 0, in->weights.dtype, attni_at(&in->weights, b, h, i), 1);
}

static void blank_rows(const attni_sdpa *call, size_t b, size_t h) {
    const attni_inspection *in = &call->inspection;
    const size_t head = b * call->H + h, k = in->top.k, top = head * call->Tq * k;
    if (in->key_mass)
        memset(in->key_mass + head * call->Tk, 0, call->Tk * sizeof *in->key_mass);
    if (in->largest)
        in->largest[head] = -INFINITY;
    if (in->entropy)
        memset(in->entropy + head * call->Tq, 0, call->Tq * sizeof *in->entropy);
    for (size_t n = top; n < top + call->Tq * k; n++) {
        in->top.keys[n] = -1;
        if (in->top.probabilities)
            in->top.probabilities[n] = 0;
    }
}

typedef struct blank_job {
    const attni_kernels *kernels;
    const attni_sdpa *call;
} blank_job;

static void blank_head(void *arg, size_t unit, size_t worker) {
    const blank_job *j = arg;
    const size_t b = unit / j->call->H, h = unit % j->call->H;
    (void)worker;
    if (j->call->query_lengths)
        blank_queries(j->kernels, j->call, b, h);
    if (j->call->inspection.weights_wanted && !j->call->inspection.averaged)
        blank_weights(j->kernels, j->call, b, h);
    blank_rows(j->call, b, h);
}

/* The average over no heads is 0. */
static void blank_average(void *arg, size_t b, size_t worker) {
    const blank_job *j = arg;
    (void)worker;
    blank_weights(j->kernels, j->call, b, 0);
}

void attni_blank_beyond(attn_context *context, const attni_sdpa *call) {
    blank_job job = {context->kernels, call};
    attni_parallel(context, call->B * call->H, 0, blank_head, &job);
    if (call->inspection.weights_wanted && call->inspection.averaged)
        attni_parallel(context, call->B, 0, blank_average, &job);
}
