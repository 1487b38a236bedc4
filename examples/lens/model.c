/* SPDX-License-Identifier: BSD-3-Clause */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

/* Reads tensors whose names start alike, until one is missing or wrong. */
typedef struct reader {
    safetensors *file;
    const char *root; /* "bert." in a file of a model with a head on top */
    char prefix[64];
    attn_context *context;
    attn_dtype type; /* of weights, which are quantised unless it is ATTN_F32 */
    void *made[12];  /* for that, until the block is made */
    size_t count;
    bool good;
    example_error *e;
} reader;

static void *make(reader *r, size_t size) {
    void *piece = malloc(size);
    r->made[r->count++] = piece;
    r->good = piece != NULL || example_fail_memory(r->e);
    return piece;
}

static void forget_made(reader *r) {
    while (r->count > 0)
        free(r->made[--r->count]);
}

static const float *matrix(reader *r, const char *name, size_t rows, size_t columns) {
    char full[160];
    snprintf(full, sizeof full, "%s%s%s", r->root, r->prefix, name);
    const float *value = r->good ? safetensors_floats(r->file, full, rows, columns, r->e) : NULL;
    r->good = value != NULL;
    return value;
}

static attn_status quantize(const reader *r, size_t out, size_t in, const float *exact, void *numbers, float *scales) {
    return r->type == ATTN_INT4 ? attn_quantize_weight_int4(r->context, ATTN_OUT_IN, out, in, exact, numbers, scales)
                                : attn_quantize_weight(r->context, ATTN_OUT_IN, out, in, exact, numbers, scales);
}

/* A weight [out, in] in the type that it will be packed from. */
static const void *weight(reader *r, const char *name, size_t out, size_t in, const float **scale) {
    const float *exact = matrix(r, name, out, in);
    if (!r->good || r->type == ATTN_F32)
        return exact;
    void *numbers = make(r, out * in);
    float *scales = r->good ? make(r, out * 2 * ((in + 31) / 32) * sizeof *scales) : NULL; /* int4 has most */
    if (r->good && quantize(r, out, in, exact, numbers, scales) != ATTN_OK)
        r->good = example_fail(r->e, "%s%s: %s", r->prefix, name, attn_context_last_error(r->context));
    *scale = scales;
    return numbers;
}

static const float *vector(reader *r, const char *name, size_t size) { return matrix(r, name, 0, size); }

/* Of a norm. The first files of BERT's weights have the names of TensorFlow. */
static const float *norm_vector(reader *r, const model *m, const char *name, const char *now, const char *once) {
    char full[160], part[64];
    snprintf(part, sizeof part, "%s.%s", name, once);
    snprintf(full, sizeof full, "%s%s%s", r->root, r->prefix, part);
    if (!safetensors_has(r->file, full))
        snprintf(part, sizeof part, "%s.%s", name, now);
    return vector(r, part, m->width);
}

static attn_norm_params norm(reader *r, const model *m, const char *name) {
    attn_norm_params p;
    ATTN_INIT(&p);
    p.eps = m->eps;
    p.weight = norm_vector(r, m, name, "weight", "gamma");
    p.bias = norm_vector(r, m, name, "bias", "beta");
    return p;
}

static attn_mha_params attention(reader *r, const model *m) {
    const size_t M = m->width;
    attn_mha_params p;
    ATTN_INIT(&p);
    p.model_width = M;
    p.heads = m->heads;
    p.weight_dtype = r->type;
    p.q_weight = weight(r, "attention.self.query.weight", M, M, &p.q_scale);
    p.q_bias = vector(r, "attention.self.query.bias", M);
    p.k_weight = weight(r, "attention.self.key.weight", M, M, &p.k_scale);
    p.k_bias = vector(r, "attention.self.key.bias", M);
    p.v_weight = weight(r, "attention.self.value.weight", M, M, &p.v_scale);
    p.v_bias = vector(r, "attention.self.value.bias", M);
    p.out_weight = weight(r, "attention.output.dense.weight", M, M, &p.out_scale);
    p.out_bias = vector(r, "attention.output.dense.bias", M);
    return p;
}

static attn_feed_params feed_forward(reader *r, const model *m) {
    attn_feed_params p;
    ATTN_INIT(&p);
    p.hidden_width = m->hidden;
    p.activation = m->activation;
    p.weight_dtype = r->type;
    p.up_weight = weight(r, "intermediate.dense.weight", m->hidden, m->width, &p.up_scale);
    p.up_bias = vector(r, "intermediate.dense.bias", m->hidden);
    p.down_weight = weight(r, "output.dense.weight", m->width, m->hidden, &p.down_scale);
    p.down_bias = vector(r, "output.dense.bias", m->width);
    return p;
}

static bool make_block(reader *r, const model *m, size_t layer) {
    attn_block_params p;
    snprintf(r->prefix, sizeof r->prefix, "encoder.layer.%zu.", layer);
    const attn_mha_params self = attention(r, m);
    const attn_norm_params self_norm = norm(r, m, "attention.output.LayerNorm");
    const attn_feed_params feed = feed_forward(r, m);
    const attn_norm_params feed_norm = norm(r, m, "output.LayerNorm");
    ATTN_INIT(&p);
    p.norm_place = ATTN_POST_NORM;
    p.self_attention = &self;
    p.self_norm = &self_norm;
    p.feed = &feed;
    p.feed_norm = &feed_norm;
    if (r->good && attn_block_create(r->context, &p, &m->blocks[layer]) != ATTN_OK)
        r->good = example_fail(r->e, "layer %zu: %s", layer, attn_context_last_error(r->context));
    forget_made(r);
    return r->good;
}

static bool make_blocks(reader *r, model *m) {
    m->blocks = calloc(m->layers, sizeof(attn_block *));
    if (m->blocks == NULL)
        return example_fail_memory(r->e);
    for (size_t layer = 0; layer < m->layers; layer++)
        if (!make_block(r, m, layer))
            return false;
    return true;
}

static bool read_tables(reader *r, model *m) {
    snprintf(r->prefix, sizeof r->prefix, "embeddings.");
    m->token_table = matrix(r, "word_embeddings.weight", m->vocab_size, m->width);
    m->position_table = matrix(r, "position_embeddings.weight", m->positions, m->width);
    m->type_table = matrix(r, "token_type_embeddings.weight", m->types, m->width);
    m->embed_norm = norm(r, m, "LayerNorm");
    return r->good;
}

static bool read_weights(model *m, attn_context *context, attn_dtype weights, const char *path, example_error *e) {
    example_error why = {""};
    m->file = safetensors_open(path, e);
    if (m->file == NULL)
        return false;
    reader r = {.file = m->file, .root = "", .context = context, .type = weights, .good = true, .e = &why};
    if (safetensors_has(m->file, "bert.embeddings.word_embeddings.weight"))
        r.root = "bert.";
    return (read_tables(&r, m) && make_blocks(&r, m)) || example_fail(e, "%s: %s", path, why.text);
}

bool model_open(model *m, attn_context *context, attn_dtype weights, const char *folder, example_error *e) {
    *m = (model){0};
    char *path = path_join(folder, "model.safetensors");
    bool good = path != NULL ? config_read(m, folder, e) && vocab_open(&m->vocab, folder, e) : example_fail_memory(e);
    if (good && m->vocab.count > m->vocab_size)
        good = example_fail(e, "%s: the tokenizer has %zu tokens, the model vocab_size %zu", folder, m->vocab.count,
                            m->vocab_size);
    good = good && read_weights(m, context, weights, path, e);
    free(path);
    if (!good)
        model_close(m);
    return good;
}

void model_close(model *m) {
    for (size_t layer = 0; m->blocks != NULL && layer < m->layers; layer++)
        attn_block_destroy(m->blocks[layer]);
    free(m->blocks);
    safetensors_close(m->file);
    vocab_free(&m->vocab);
    *m = (model){0};
}
