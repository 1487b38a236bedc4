/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Larger than any real encoder, small enough for products of two to be computed with. */
#define SIZE_LIMIT 10000000

static bool read_size(const json_t *root, const char *name, size_t *size, example_error *e) {
    const json_t *value = json_object_get(root, name);
    const json_int_t number = json_is_integer(value) ? json_integer_value(value) : 0;
    if (number < 1 || number > SIZE_LIMIT)
        return example_fail(e, "%s must be a whole number from 1 to %d", name, SIZE_LIMIT);
    *size = (size_t)number;
    return true;
}

static bool read_sizes(model *m, const json_t *root, example_error *e) {
    if (!read_size(root, "hidden_size", &m->width, e) || !read_size(root, "num_hidden_layers", &m->layers, e) ||
        !read_size(root, "num_attention_heads", &m->heads, e) || !read_size(root, "intermediate_size", &m->hidden, e) ||
        !read_size(root, "vocab_size", &m->vocab_size, e) ||
        !read_size(root, "max_position_embeddings", &m->positions, e) ||
        !read_size(root, "type_vocab_size", &m->types, e))
        return false;
    if (m->width % m->heads != 0)
        return example_fail(e, "hidden_size %zu is no multiple of num_attention_heads %zu", m->width, m->heads);
    return m->positions >= 2 || example_fail(e, "max_position_embeddings must be at least 2");
}

static bool read_activation(model *m, const char *name, example_error *e) {
    static const struct {
        const char *name;
        attn_activation value;
    } known[] = {{"gelu", ATTN_GELU}, {"gelu_new", ATTN_GELU_TANH}, {"relu", ATTN_RELU}, {"silu", ATTN_SILU}};
    for (size_t i = 0; name != NULL && i < sizeof known / sizeof *known; i++) {
        m->activation = known[i].value;
        if (strcmp(known[i].name, name) == 0)
            return true;
    }
    return example_fail(e, "hidden_act '%s' is unknown", name == NULL ? "" : name);
}

/* A string that must be as expected where it is given. */
static bool expect(const json_t *root, const char *name, const char *expected, example_error *e) {
    const char *value = json_string_value(json_object_get(root, name));
    return value == NULL || strcmp(value, expected) == 0 ||
           example_fail(e, "%s is '%s', only '%s' is known", name, value, expected);
}

static bool read_config(model *m, const json_t *root, example_error *e) {
    const double eps = json_number_value(json_object_get(root, "layer_norm_eps"));
    m->eps = (float)eps;
    if (!(m->eps > 0 && eps < 1))
        return example_fail(e, "layer_norm_eps must be between 0 and 1");
    return expect(root, "model_type", "bert", e) && expect(root, "position_embedding_type", "absolute", e) &&
           read_sizes(m, root, e) && read_activation(m, json_string_value(json_object_get(root, "hidden_act")), e);
}

static bool read_limit(model *m, const json_t *root, example_error *e) {
    size_t limit = 0;
    if (!read_size(root, "max_seq_length", &limit, e) || limit < 2)
        return example_fail(e, "max_seq_length must be a whole number from 2");
    m->tokens_max = limit < m->positions ? limit : m->positions;
    return true;
}

static bool read_file(model *m, const char *path, bool (*read)(model *m, const json_t *root, example_error *e),
                      example_error *e) {
    json_error_t about;
    example_error why = {""};
    json_t *root = json_load_file(path, 0, &about);
    if (root == NULL)
        return example_fail(e, "%s: line %d: %s", path, about.line, about.text);
    bool good = read(m, root, &why) || example_fail(e, "%s: %s", path, why.text);
    json_decref(root);
    return good;
}

bool config_read(model *m, const char *folder, example_error *e) {
    char *config = path_join(folder, "config.json"), *sentences = path_join(folder, "sentence_bert_config.json");
    bool good = config != NULL && sentences != NULL ? read_file(m, config, read_config, e) : example_fail_memory(e);
    m->tokens_max = m->positions;
    if (good && path_exists(sentences))
        good = read_file(m, sentences, read_limit, e);
    free(config);
    free(sentences);
    return good;
}
