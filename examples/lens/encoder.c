/* SPDX-License-Identifier: BSD-3-Clause */
#include "encoder.h"

#include <stdlib.h>
#include <string.h>

static bool check(attn_context *context, attn_status status, lens_error *e) {
    return status == ATTN_OK || lens_fail(e, "libattn: %s", attn_context_last_error(context));
}

static bool embed_tokens(attn_context *context, const model *m, const batch *b, lens_error *e) {
    attn_embed_params p;
    ATTN_INIT(&p);
    p.ids = b->ids;
    p.token_table = m->token_table;
    p.token_count = m->vocab_size;
    p.positions = ATTN_POSITIONS_TABLE;
    p.position_table = m->position_table;
    p.position_count = m->positions;
    p.type_table = m->type_table;
    p.type_count = m->types;
    p.norm = &m->embed_norm;
    const attn_tensor x = attn_tensor_btm(b->x, ATTN_F32, b->B, b->T, m->width);
    return check(context, attn_embed(context, &p, &x), e);
}

/* x = layer(x); `attention` [B,H,T,T] or NULL. */
static bool run_layer(attn_context *context, const model *m, size_t layer, const batch *b, float *attention,
                      lens_error *e) {
    attn_sdpa_params self;
    attn_block_inputs inputs;
    ATTN_INIT(&self);
    ATTN_INIT(&inputs);
    const attn_tensor x = attn_tensor_btm(b->x, ATTN_F32, b->B, b->T, m->width);
    const attn_tensor weights = attn_tensor_bhtd(attention, ATTN_F32, b->B, m->heads, b->T, b->T);
    self.probabilities = attention != NULL ? &weights : NULL;
    inputs.self_params = &self;
    return check(context, attn_block_forward(context, m->blocks[layer], &x, &x, &inputs), e);
}

bool encoder_run(attn_context *context, const model *m, const batch *b, lens_error *e) {
    if (!embed_tokens(context, m, b, e))
        return false;
    for (size_t layer = 0; layer < m->layers; layer++)
        if (!run_layer(context, m, layer, b, NULL, e))
            return false;
    return true;
}

void encoder_put_ids(const tokens *sentence, int64_t *ids) {
    for (size_t i = 0; i < sentence->count; i++)
        ids[i] = sentence->item[i].id;
}

/* Each layer runs in place in its own copy of the hidden states. */
static bool trace_run(trace *t, attn_context *context, const model *m, const tokens *sentence, int64_t *ids,
                      lens_error *e) {
    const size_t T = t->tokens, state = T * m->width;
    batch b = {.B = 1, .T = T, .ids = ids, .x = t->hidden};
    encoder_put_ids(sentence, ids);
    if (!embed_tokens(context, m, &b, e))
        return false;
    for (size_t layer = 0; layer < m->layers; layer++) {
        memcpy(b.x + state, b.x, state * sizeof(float));
        b.x += state;
        if (!run_layer(context, m, layer, &b, t->attention + layer * m->heads * T * T, e))
            return false;
    }
    return true;
}

bool trace_make(trace *t, attn_context *context, const model *m, const tokens *sentence, lens_error *e) {
    const size_t T = sentence->count;
    int64_t *ids = malloc(T * sizeof *ids);
    *t = (trace){.tokens = T};
    t->hidden = malloc((m->layers + 1) * T * m->width * sizeof(float));
    t->attention = malloc(m->layers * m->heads * T * T * sizeof(float));
    bool good = ids != NULL && t->hidden != NULL && t->attention != NULL ? trace_run(t, context, m, sentence, ids, e)
                                                                         : lens_fail_memory(e);
    free(ids);
    if (!good)
        trace_free(t);
    return good;
}

void trace_free(trace *t) {
    free(t->hidden);
    free(t->attention);
    *t = (trace){0};
}
