/* SPDX-License-Identifier: BSD-3-Clause */
#include "encoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tokens that go through the layers together: enough to keep the threads busy, few enough for the caches. */
#define BATCH_TOKENS 1024

/* B sentences of T tokens each. */
typedef struct batch {
    size_t B, T;
    int64_t *ids; /* [B,T] */
    float *x;     /* [B,T,M] */
} batch;

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

static bool run(attn_context *context, const model *m, const batch *b, lens_error *e) {
    if (!embed_tokens(context, m, b, e))
        return false;
    for (size_t layer = 0; layer < m->layers; layer++)
        if (!run_layer(context, m, layer, b, NULL, e))
            return false;
    return true;
}

static void put_ids(const tokens *sentence, int64_t *ids) {
    for (size_t i = 0; i < sentence->count; i++)
        ids[i] = sentence->item[i].id;
}

/* Each layer runs in place in its own copy of the hidden states. */
static bool trace_run(trace *t, attn_context *context, const model *m, int64_t *ids, lens_error *e) {
    const size_t T = t->tokens, state = T * m->width;
    batch b = {.B = 1, .T = T, .ids = ids, .x = t->hidden};
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
    bool good = (ids != NULL && t->hidden != NULL && t->attention != NULL) || lens_fail_memory(e);
    if (good) {
        put_ids(sentence, ids);
        good = trace_run(t, context, m, ids, e);
    }
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

/* The mean over the tokens, divided by its length. False: it is not finite. */
static bool pool(const float *x, size_t T, size_t M, float *vector) {
    double square = 0;
    for (size_t j = 0; j < M; j++)
        vector[j] = 0;
    for (size_t i = 0; i < T; i++)
        for (size_t j = 0; j < M; j++)
            vector[j] += x[i * M + j];
    for (size_t j = 0; j < M; j++)
        square += (double)vector[j] * vector[j];
    const float factor = square > 0 ? (float)(1 / sqrt(square)) : 0;
    for (size_t j = 0; j < M; j++)
        vector[j] *= factor;
    return isfinite(square);
}

/* A sentence of a batch, and where its vector goes. */
typedef struct place {
    const tokens *sentence;
    float *vector;
} place;

static int longest_first(const void *a, const void *b) {
    const place *x = a, *y = b;
    if (x->sentence->count != y->sentence->count)
        return x->sentence->count > y->sentence->count ? -1 : 1;
    return (x->vector > y->vector) - (x->vector < y->vector);
}

/* How many of the next sentences make a batch: without padding, those of one length. */
static size_t batch_size(const place *places, size_t count) {
    const size_t T = places->sentence->count;
    size_t n = 1;
    while (n < count && (n + 1) * T <= BATCH_TOKENS && places[n].sentence->count == T)
        n++;
    return n;
}

static bool encode_batch(attn_context *context, const model *m, const place *places, const batch *b, lens_error *e) {
    for (size_t i = 0; i < b->B; i++)
        put_ids(places[i].sentence, b->ids + i * b->T);
    if (!run(context, m, b, e))
        return false;
    for (size_t i = 0; i < b->B; i++)
        if (!pool(b->x + i * b->T * m->width, b->T, m->width, places[i].vector))
            return lens_fail(e, "a hidden state is not finite: the weights are too large");
    return true;
}

static bool encode_sorted(attn_context *context, const model *m, const place *places, size_t count, lens_error *e) {
    const size_t longest = places->sentence->count, room = longest > BATCH_TOKENS ? longest : BATCH_TOKENS;
    batch b = {.ids = malloc(room * sizeof *b.ids), .x = malloc(room * m->width * sizeof *b.x)};
    bool good = (b.ids != NULL && b.x != NULL) || lens_fail_memory(e);
    for (size_t done = 0; good && done < count; done += b.B) {
        b.B = batch_size(places + done, count - done);
        b.T = places[done].sentence->count;
        good = encode_batch(context, m, places + done, &b, e);
    }
    free(b.ids);
    free(b.x);
    return good;
}

bool encode(attn_context *context, const model *m, const tokens *sentences, size_t count, float *vectors,
            lens_error *e) {
    if (count == 0)
        return true;
    place *places = calloc(count, sizeof *places);
    if (places == NULL)
        return lens_fail_memory(e);
    for (size_t i = 0; i < count; i++)
        places[i] = (place){&sentences[i], vectors + i * m->width};
    qsort(places, count, sizeof *places, longest_first);
    bool good = encode_sorted(context, m, places, count, e);
    free(places);
    return good;
}
