/* SPDX-License-Identifier: BSD-3-Clause */
#include "encoder.h"

#include <stdlib.h>

static bool check(attn_context *context, attn_status status, example_error *e) {
    return status == ATTN_OK || example_fail(e, "libattn: %s", attn_context_last_error(context));
}

bool batch_open(batch *b, const model *m, size_t tokens_max, example_error *e) {
    *b = (batch){.starts = calloc(tokens_max + 1, sizeof *b->starts),
                 .ids = calloc(tokens_max, sizeof *b->ids),
                 .positions = calloc(tokens_max, sizeof *b->positions),
                 .x = malloc(tokens_max * m->width * sizeof *b->x)};
    return (b->starts != NULL && b->ids != NULL && b->positions != NULL && b->x != NULL) || example_fail_memory(e);
}

void batch_add(batch *b, const tokens *sentence) {
    for (size_t i = 0; i < sentence->count; i++) {
        b->ids[b->tokens] = sentence->item[i].id;
        b->positions[b->tokens++] = (int64_t)i;
    }
    b->starts[++b->sentences] = (int64_t)b->tokens;
}

void batch_clear(batch *b) { b->sentences = b->tokens = 0; }

void batch_close(batch *b) {
    free(b->starts);
    free(b->ids);
    free(b->positions);
    free(b->x);
    *b = (batch){0};
}

/* x [T,M] = norm(token + position + type) */
static bool embed(const batch *b, attn_context *context, const model *m, float *x, example_error *e) {
    attn_embed_params p;
    ATTN_INIT(&p);
    p.ids = b->ids;
    p.token_table = m->token_table;
    p.token_count = m->vocab_size;
    p.positions = ATTN_POSITIONS_TABLE;
    p.position_table = m->position_table;
    p.position_count = m->positions;
    p.position_ids = b->positions;
    p.type_table = m->type_table;
    p.type_count = m->types;
    p.norm = &m->embed_norm;
    const attn_tensor to = attn_tensor_btm(x, ATTN_F32, 1, b->tokens, m->width);
    return check(context, attn_embed(context, &p, &to), e);
}

/* to = layer(from), [T,M] both, or the same; `attention` [H,T,T] of a single sentence, or NULL. */
static bool run_layer(const batch *b, attn_context *context, const model *m, size_t layer, const float *from, float *to,
                      float *attention, example_error *e) {
    attn_sdpa_params self;
    attn_block_inputs inputs;
    ATTN_INIT(&self);
    ATTN_INIT(&inputs);
    const attn_tensor x = attn_tensor_btm(from, ATTN_F32, 1, b->tokens, m->width);
    const attn_tensor y = attn_tensor_btm(to, ATTN_F32, 1, b->tokens, m->width);
    const attn_tensor weights = attn_tensor_bhtd(attention, ATTN_F32, 1, m->heads, b->tokens, b->tokens);
    self.weights = attention != NULL ? &weights : NULL;
    inputs.self_params = &self;
    inputs.sequences = b->sentences;
    inputs.starts = b->starts;
    return check(context, attn_block_forward(context, m->blocks[layer], &x, &y, &inputs), e);
}

bool batch_run(const batch *b, attn_context *context, const model *m, example_error *e) {
    if (!embed(b, context, m, b->x, e))
        return false;
    for (size_t layer = 0; layer < m->layers; layer++)
        if (!run_layer(b, context, m, layer, b->x, b->x, NULL, e))
            return false;
    return true;
}

static bool trace_run(const trace *t, const batch *b, attn_context *context, const model *m, example_error *e) {
    const size_t T = t->tokens, state = T * m->width;
    if (!embed(b, context, m, t->hidden, e))
        return false;
    for (size_t layer = 0; layer < m->layers; layer++) {
        float *from = t->hidden + layer * state;
        if (!run_layer(b, context, m, layer, from, from + state, t->attention + layer * m->heads * T * T, e))
            return false;
    }
    return true;
}

bool trace_make(trace *t, attn_context *context, const model *m, const tokens *sentence, example_error *e) {
    const size_t T = sentence->count;
    batch b;
    *t = (trace){.tokens = T};
    t->hidden = malloc((m->layers + 1) * T * m->width * sizeof(float));
    t->attention = malloc(m->layers * m->heads * T * T * sizeof(float));
    bool good = batch_open(&b, m, T, e);
    if (good && (t->hidden == NULL || t->attention == NULL))
        good = example_fail_memory(e);
    if (good) {
        batch_add(&b, sentence);
        good = trace_run(t, &b, context, m, e);
    }
    batch_close(&b);
    if (!good)
        trace_free(t);
    return good;
}

void trace_free(trace *t) {
    free(t->hidden);
    free(t->attention);
    *t = (trace){0};
}
