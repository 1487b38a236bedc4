/* SPDX-License-Identifier: BSD-3-Clause */
#include "model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quants.h"

enum { LAYERS_MAX = 1024, WIDTH_MAX = 1 << 20, ROWS_AT_ONCE = 256 };

/* What making a model needs, apart from the model. */
typedef struct builder {
    attn_context *context;
    const gguf *file;
    attn_dtype weights;
    float *rows; /* some, on their way to being narrow */
    size_t room;
    example_error *e;
} builder;

/* A matrix as attn_linear_params and others want it; freed once it is packed. */
typedef struct matrix {
    void *numbers;
    float *scales;
    attn_dtype type;
} matrix;

static bool check(const builder *b, attn_status status) {
    return status == ATTN_OK || example_fail(b->e, "libattn: %s", attn_context_last_error(b->context));
}

static void matrix_free(matrix *m) {
    free(m->numbers);
    free(m->scales);
    *m = (matrix){0};
}

static bool check_finite(const gguf_tensor *t, const float *numbers, size_t count, example_error *e) {
    for (size_t i = 0; i < count; i++)
        if (!isfinite(numbers[i]))
            return example_fail(e, "tensor '%.*s' has numbers that are not finite", (int)t->name.size, t->name.data);
    return true;
}

static bool is_int4(const gguf_tensor *t) { return t->type == GGUF_Q4_0 || t->type == GGUF_Q4_1; }

/* Rows [first, first + rows) of a matrix, `columns` wide. */
static bool fill(builder *b, const gguf_tensor *t, size_t first, size_t rows, matrix *m) {
    const size_t columns = t->size[0], groups = (columns + 31) / 32;
    if (m->type == ATTN_INT4 && is_int4(t)) {
        float *scales = m->scales + 2 * first * groups;
        quant_int4(t, first, rows, (uint8_t *)m->numbers + first * (columns / 2), scales);
        return check_finite(t, scales, 2 * rows * groups, b->e);
    }
    float *to = m->type == ATTN_F32 ? (float *)m->numbers + first * columns : b->rows;
    quant_rows(t, first, rows, to);
    if (!check_finite(t, to, rows * columns, b->e))
        return false;
    if (m->type == ATTN_F32)
        return true;
    if (m->type == ATTN_INT8)
        return check(b, attn_quantize_weight(b->context, ATTN_OUT_IN, rows, columns, to,
                                             (int8_t *)m->numbers + first * columns, m->scales + first));
    return check(b, attn_quantize_weight_int4(b->context, ATTN_OUT_IN, rows, columns, to,
                                              (uint8_t *)m->numbers + first * ((columns + 1) / 2),
                                              m->scales + 2 * first * groups));
}

static bool allocate(builder *b, size_t rows, size_t columns, matrix *m) {
    const size_t groups = (columns + 31) / 32;
    const size_t bytes = m->type == ATTN_F32 ? 4 * columns : m->type == ATTN_INT8 ? columns : (columns + 1) / 2;
    m->numbers = malloc(rows * bytes + 1);
    m->scales = malloc(rows * groups * 2 * sizeof *m->scales + 1);
    return ((m->numbers != NULL && m->scales != NULL) || example_fail_memory(b->e)) &&
           reserve((void *)&b->rows, &b->room, ROWS_AT_ONCE * columns, sizeof *b->rows, b->e);
}

/* The matrix of a tensor; `name` is its name in the file. */
static bool read_matrix(builder *b, const char *name, size_t rows, size_t columns, attn_dtype type, matrix *m) {
    const gguf_tensor *t = gguf_matrix(b->file, name, rows, columns, b->e);
    m->type = type;
    if (t == NULL || !allocate(b, rows, columns, m))
        return false;
    for (size_t first = 0; first < rows; first += ROWS_AT_ONCE)
        if (!fill(b, t, first, rows - first < ROWS_AT_ONCE ? rows - first : ROWS_AT_ONCE, m))
            return false;
    gguf_forget(t);
    return true;
}

static bool read_vector(builder *b, const char *name, size_t width, float *to) {
    const gguf_tensor *t = gguf_matrix(b->file, name, 0, width, b->e);
    if (t == NULL)
        return false;
    quant_rows(t, 0, 1, to);
    return check_finite(t, to, width, b->e);
}

typedef enum part { Q, K, V, OUT, GATE, UP, DOWN, PARTS } part;

static const char *const part_name[] = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};

/* Matrices and both norms of a layer. */
typedef struct layer {
    matrix part[PARTS];
    float *self_weight, *feed_weight;
} layer;

static bool read_layer(builder *b, const model *m, size_t index, layer *l) {
    const size_t M = m->width, kv = m->kv_heads * m->head_width, q = m->heads * m->head_width;
    const size_t rows[] = {q, kv, kv, M, m->hidden, m->hidden, M}, columns[] = {M, M, M, q, M, M, m->hidden};
    char name[64];
    l->self_weight = malloc(M * sizeof(float));
    l->feed_weight = malloc(M * sizeof(float));
    if (l->self_weight == NULL || l->feed_weight == NULL)
        return example_fail_memory(b->e);
    for (part p = Q; p < PARTS; p++) {
        snprintf(name, sizeof name, "blk.%zu.%s.weight", index, part_name[p]);
        if (!read_matrix(b, name, rows[p], columns[p], b->weights, &l->part[p]))
            return false;
    }
    snprintf(name, sizeof name, "blk.%zu.attn_norm.weight", index);
    if (!read_vector(b, name, M, l->self_weight))
        return false;
    snprintf(name, sizeof name, "blk.%zu.ffn_norm.weight", index);
    return read_vector(b, name, M, l->feed_weight);
}

static void layer_free(layer *l) {
    for (part p = Q; p < PARTS; p++)
        matrix_free(&l->part[p]);
    free(l->self_weight);
    free(l->feed_weight);
}

/* Scales belong to narrow numbers only. */
static const float *scales_of(const matrix *m) { return m->type == ATTN_F32 ? NULL : m->scales; }

static bool make_block(builder *b, const model *m, const layer *l, attn_block **block) {
    const matrix *w = l->part;
    const attn_mha_params self = {.struct_size = sizeof self,
                                  .model_width = m->width,
                                  .heads = m->heads,
                                  .kv_heads = m->kv_heads,
                                  .head_width = m->head_width,
                                  .q_weight = w[Q].numbers,
                                  .k_weight = w[K].numbers,
                                  .v_weight = w[V].numbers,
                                  .out_weight = w[OUT].numbers,
                                  .weight_dtype = w[Q].type,
                                  .q_scale = scales_of(&w[Q]),
                                  .k_scale = scales_of(&w[K]),
                                  .v_scale = scales_of(&w[V]),
                                  .out_scale = scales_of(&w[OUT])};
    const attn_feed_params feed = {.struct_size = sizeof feed,
                                   .hidden_width = m->hidden,
                                   .activation = ATTN_SILU,
                                   .up_weight = w[UP].numbers,
                                   .gate_weight = w[GATE].numbers,
                                   .down_weight = w[DOWN].numbers,
                                   .weight_dtype = w[UP].type,
                                   .up_scale = scales_of(&w[UP]),
                                   .gate_scale = scales_of(&w[GATE]),
                                   .down_scale = scales_of(&w[DOWN])};
    attn_norm_params self_norm = m->norm, feed_norm = m->norm;
    self_norm.weight = l->self_weight;
    feed_norm.weight = l->feed_weight;
    const attn_block_params params = {.struct_size = sizeof params,
                                      .self_attention = &self,
                                      .self_norm = &self_norm,
                                      .feed = &feed,
                                      .feed_norm = &feed_norm};
    return check(b, attn_block_create(b->context, &params, block));
}

static bool make_blocks(builder *b, model *m) {
    m->blocks = calloc(m->layers, sizeof(attn_block *));
    if (m->blocks == NULL)
        return example_fail_memory(b->e);
    for (size_t i = 0; i < m->layers; i++) {
        layer l = {0};
        const bool good = read_layer(b, m, i, &l) && make_block(b, m, &l, &m->blocks[i]);
        layer_free(&l);
        if (!good)
            return false;
    }
    return true;
}

/* The head is the table of tokens where it has no weights of its own. */
static bool make_head(builder *b, model *m) {
    const char *name = gguf_find(b->file, "output.weight") != NULL ? "output.weight" : "token_embd.weight";
    const gguf_tensor *t = gguf_find(b->file, name);
    const attn_dtype type = b->weights == ATTN_INT4 && !is_int4(t) ? ATTN_INT8 : b->weights;
    matrix w = {0};
    bool good = read_matrix(b, name, m->vocabulary, m->width, type, &w);
    if (good) {
        const attn_linear_params params = {.struct_size = sizeof params,
                                           .in_width = m->width,
                                           .out_width = m->vocabulary,
                                           .weight = w.numbers,
                                           .weight_dtype = type,
                                           .weight_scale = scales_of(&w)};
        good = check(b, attn_linear_create(b->context, &params, &m->head));
    }
    matrix_free(&w);
    return good;
}

/* The rows of q and k in the file are in Meta's order, whose pairs are neighbours. */
static bool make_angles(builder *b, model *m, double base) {
    const size_t table = m->positions * (m->head_width / 2);
    const attn_rotary_tables_params params = {.struct_size = sizeof params, .base = base};
    m->angles = malloc(2 * table * sizeof *m->angles + 1);
    if (m->angles == NULL)
        return example_fail_memory(b->e);
    m->rotary = (attn_rotary){.struct_size = sizeof m->rotary,
                              .kind = ATTN_ROTARY_INTERLEAVED,
                              .positions = m->positions,
                              .cos = m->angles,
                              .sin = m->angles + table};
    return check(b, attn_rotary_tables(b->context, m->positions, m->head_width, &params, m->angles, m->angles + table));
}

static bool read_size(const gguf *g, const char *key, size_t most, size_t *value, example_error *e) {
    if (!gguf_number(g, key, value, e))
        return false;
    return (*value > 0 && *value <= most) || example_fail(e, "%s: %zu is wrong: expected 1 to %zu", key, *value, most);
}

static bool read_real(const gguf *g, const char *key, double *value, example_error *e) {
    if (!gguf_real(g, key, value, e))
        return false;
    return (*value > 0 && isfinite(*value)) || example_fail(e, "%s: %g is wrong: expected more than 0", key, *value);
}

static bool check_architecture(const gguf *g, example_error *e) {
    static const char *const unknown[] = {"rope_freqs.weight", "blk.0.attn_q.bias", "blk.0.ffn_gate_inp.weight"};
    slice name;
    if (!gguf_string(g, "general.architecture", &name, e))
        return false;
    if (name.size != 5 || memcmp(name.data, "llama", 5) != 0)
        return example_fail(e, "the architecture is '%.*s', expected llama", (int)name.size, name.data);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        if (gguf_find(g, unknown[i]) != NULL)
            return example_fail(e, "models with a tensor '%s' are not known", unknown[i]);
    return true;
}

static bool check_heads(const gguf *g, model *m, example_error *e) {
    size_t turned;
    if (m->heads > m->width || m->width % m->heads != 0 || m->heads % m->kv_heads != 0)
        return example_fail(e, "%zu heads, %zu of them for keys, do not fit a width of %zu", m->heads, m->kv_heads,
                            m->width);
    m->head_width = m->width / m->heads;
    if (!gguf_has(g, "llama.rope.dimension_count"))
        turned = m->head_width;
    else if (!gguf_number(g, "llama.rope.dimension_count", &turned, e))
        return false;
    return (turned == m->head_width && turned % 2 == 0) ||
           example_fail(e, "llama.rope.dimension_count: %zu of the %zu numbers of a head are not known", turned,
                        m->head_width);
}

static bool read_sizes(const gguf *g, model *m, size_t positions, double *base, example_error *e) {
    size_t trained;
    double eps;
    if (!check_architecture(g, e) || !read_size(g, "llama.block_count", LAYERS_MAX, &m->layers, e) ||
        !read_size(g, "llama.context_length", SIZE_MAX, &trained, e) ||
        !read_size(g, "llama.embedding_length", WIDTH_MAX, &m->width, e) ||
        !read_size(g, "llama.feed_forward_length", WIDTH_MAX, &m->hidden, e) ||
        !read_size(g, "llama.attention.head_count", WIDTH_MAX, &m->heads, e) ||
        !read_size(g, "llama.attention.head_count_kv", WIDTH_MAX, &m->kv_heads, e) ||
        !read_real(g, "llama.rope.freq_base", base, e) ||
        !read_real(g, "llama.attention.layer_norm_rms_epsilon", &eps, e) || !check_heads(g, m, e))
        return false;
    m->norm = (attn_norm_params){.struct_size = sizeof m->norm, .kind = ATTN_RMS_NORM, .eps = (float)eps};
    m->positions = positions < trained ? positions : trained;
    return true;
}

static bool read_embedding(const gguf *g, model *m, example_error *e) {
    const gguf_tensor *t = gguf_find(g, "token_embd.weight");
    m->vocabulary = t == NULL ? 0 : t->size[1];
    m->embedding = gguf_matrix(g, "token_embd.weight", m->vocabulary, m->width, e);
    return m->embedding != NULL;
}

static bool build(builder *b, model *m, size_t positions) {
    double base;
    if (!read_sizes(b->file, m, positions, &base, b->e) || !read_embedding(b->file, m, b->e))
        return false;
    m->final_weight = malloc(m->width * sizeof *m->final_weight);
    if (m->final_weight == NULL)
        return example_fail_memory(b->e);
    m->norm.weight = m->final_weight;
    return read_vector(b, "output_norm.weight", m->width, m->final_weight) && make_angles(b, m, base) &&
           make_blocks(b, m) && make_head(b, m);
}

bool model_open(model *m, attn_context *context, const gguf *g, attn_dtype weights, size_t positions,
                example_error *e) {
    builder b = {.context = context, .file = g, .weights = weights, .e = e};
    *m = (model){0};
    const bool good = build(&b, m, positions);
    free(b.rows);
    if (!good)
        model_close(m);
    return good;
}

void model_close(model *m) {
    for (size_t i = 0; m->blocks != NULL && i < m->layers; i++)
        attn_block_destroy(m->blocks[i]);
    free(m->blocks);
    attn_linear_destroy(m->head);
    free(m->final_weight);
    free(m->angles);
    *m = (model){0};
}
