/* SPDX-License-Identifier: BSD-3-Clause */
#include "vocab.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* An id is an index of an array: a file must not make us allocate what it likes. */
#define ID_MAX 10000000
#define WORD_MAX 1000000

/* FNV-1a */
static uint64_t hash(uint64_t h, slice text) {
    for (size_t i = 0; i < text.size; i++)
        h = (h ^ (unsigned char)text.data[i]) * 0x100000001b3;
    return h;
}

static const slice prefix = {"##", 2};

static uint64_t hash_token(bool inside, slice token) {
    const uint64_t start = 0xcbf29ce484222325;
    return hash(inside ? hash(start, prefix) : start, token);
}

static bool equal(const char *text, bool inside, slice token) {
    if (inside && strncmp(text, prefix.data, prefix.size) != 0)
        return false;
    text += inside ? prefix.size : 0;
    return strlen(text) == token.size && memcmp(text, token.data, token.size) == 0;
}

/* Where the token is, or would be. */
static uint32_t *place(const vocab *v, bool inside, slice token) {
    size_t at = (size_t)hash_token(inside, token) & (v->table_size - 1);
    while (v->table[at] != 0 && !equal(v->token[v->table[at] - 1], inside, token))
        at = (at + 1) & (v->table_size - 1);
    return &v->table[at];
}

bool vocab_find(const vocab *v, bool inside, slice token, uint32_t *id) {
    const uint32_t found = *place(v, inside, token);
    *id = found - 1;
    return found != 0;
}

static bool set_token(vocab *v, size_t *capacity, size_t id, slice text, example_error *e) {
    const size_t before = *capacity;
    if (!reserve((void *)&v->token, capacity, id + 1, sizeof *v->token, e))
        return false;
    memset(v->token + before, 0, (*capacity - before) * sizeof *v->token);
    if (v->token[id] != NULL)
        return strlen(v->token[id]) == text.size && memcmp(v->token[id], text.data, text.size) == 0
                   ? true
                   : example_fail(e, "two tokens have the id %zu", id);
    v->token[id] = strndup(text.data, text.size);
    v->count = id + 1 > v->count ? id + 1 : v->count;
    v->longest = text.size > v->longest ? text.size : v->longest;
    return v->token[id] != NULL || example_fail_memory(e);
}

/* At most half full, so that a search ends soon. Ids that no token has become empty tokens, which nothing looks up. */
static bool make_table(vocab *v, example_error *e) {
    v->table_size = 16;
    while (v->table_size < 2 * v->count)
        v->table_size *= 2;
    v->table = calloc(v->table_size, sizeof *v->table);
    if (v->table == NULL)
        return example_fail_memory(e);
    for (size_t id = 0; id < v->count; id++) {
        if (v->token[id] == NULL && (v->token[id] = strdup("")) == NULL)
            return example_fail_memory(e);
        uint32_t *free_place = place(v, false, (slice){v->token[id], strlen(v->token[id])});
        *free_place = *v->token[id] == '\0' ? 0 : (uint32_t)id + 1; /* of two alike the last counts, as in BERT */
    }
    return true;
}

static bool find_special(const vocab *v, const char *name, uint32_t *id, example_error *e) {
    return vocab_find(v, false, (slice){name, strlen(name)}, id) || example_fail(e, "there is no token %s", name);
}

/* In a text "[MASK]" and the like are tokens already. */
static bool note_special(vocab *v, const char *name, example_error *e) {
    uint32_t id;
    if (!vocab_find(v, false, (slice){name, strlen(name)}, &id))
        return true;
    if (v->special_count == VOCAB_SPECIAL_MAX)
        return example_fail(e, "there are more than %d added tokens", VOCAB_SPECIAL_MAX);
    v->special[v->special_count++] = id;
    return true;
}

static bool read_lines(vocab *v, const char *path, example_error *e) {
    static const char *const special[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    lines l;
    size_t capacity = 0;
    if (!lines_read(&l, path, e))
        return false;
    bool good = l.count <= ID_MAX || example_fail(e, "more than %d tokens", ID_MAX);
    for (size_t i = 0; good && i < l.count; i++)
        good = set_token(v, &capacity, i, l.line[i], e);
    lines_free(&l);
    if (!good || !make_table(v, e))
        return false;
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (!note_special(v, special[i], e))
            return false;
    return true;
}

static bool set_json_token(vocab *v, size_t *capacity, const char *text, const json_t *id, example_error *e) {
    const json_int_t number = json_is_integer(id) ? json_integer_value(id) : -1;
    if (number < 0 || number > ID_MAX)
        return example_fail(e, "the id of the token '%s' is not a whole number from 0 to %d", text, ID_MAX);
    return set_token(v, capacity, (size_t)number, (slice){text, strlen(text)}, e);
}

static bool read_json_tokens(vocab *v, const json_t *words, const json_t *added, example_error *e) {
    const char *text;
    json_t *item;
    size_t i, capacity = 0;
    json_object_foreach((json_t *)(uintptr_t)words, text, item) {
        if (!set_json_token(v, &capacity, text, item, e))
            return false;
    }
    json_array_foreach(added, i, item) {
        text = json_string_value(json_object_get(item, "content"));
        if (text == NULL || !set_json_token(v, &capacity, text, json_object_get(item, "id"), e))
            return text == NULL ? example_fail(e, "added_tokens[%zu] has no content", i) : false;
    }
    if (!make_table(v, e))
        return false;
    json_array_foreach(added, i, item) {
        if (!note_special(v, json_string_value(json_object_get(item, "content")), e))
            return false;
    }
    return true;
}

static void read_json_flag(const json_t *object, const char *name, bool *flag) {
    const json_t *value = json_object_get(object, name);
    if (json_is_boolean(value))
        *flag = json_is_true(value);
}

static void read_json_rules(vocab *v, const json_t *normalizer) {
    read_json_flag(normalizer, "lowercase", &v->rules.lower);
    v->rules.strip_accents = v->rules.lower; /* null means this */
    read_json_flag(normalizer, "strip_accents", &v->rules.strip_accents);
    read_json_flag(normalizer, "handle_chinese_chars", &v->rules.split_cjk);
}

static bool read_json_root(vocab *v, const json_t *root, example_error *e) {
    const json_t *model = json_object_get(root, "model"), *words = json_object_get(model, "vocab");
    const json_t *limit = json_object_get(model, "max_input_chars_per_word");
    const char *type = json_string_value(json_object_get(model, "type"));
    const char *before = json_string_value(json_object_get(model, "continuing_subword_prefix"));
    if ((type != NULL && strcmp(type, "WordPiece") != 0) || !json_is_object(words))
        return example_fail(e, "the model is not WordPiece with a vocab");
    if (before != NULL && strcmp(before, prefix.data) != 0)
        return example_fail(e, "continuing_subword_prefix is '%s', only '##' is known", before);
    if (json_is_integer(limit) && json_integer_value(limit) > 0 && json_integer_value(limit) < WORD_MAX)
        v->word_max = (size_t)json_integer_value(limit);
    else if (limit != NULL)
        return example_fail(e, "max_input_chars_per_word is not a whole number from 1 to %d", WORD_MAX - 1);
    read_json_rules(v, json_object_get(root, "normalizer"));
    return read_json_tokens(v, words, json_object_get(root, "added_tokens"), e);
}

static bool read_json(vocab *v, const char *path, example_error *e) {
    json_error_t why;
    json_t *root = json_load_file(path, 0, &why);
    bool good = root == NULL ? example_fail(e, "line %d: %s", why.line, why.text) : read_json_root(v, root, e);
    json_decref(root);
    return good;
}

static bool read_vocab(vocab *v, const char *path, bool is_json, example_error *e) {
    example_error why = {""};
    if ((is_json ? read_json : read_lines)(v, path, &why) && find_special(v, "[CLS]", &v->cls, &why) &&
        find_special(v, "[SEP]", &v->sep, &why) && find_special(v, "[UNK]", &v->unknown, &why))
        return true;
    return example_fail(e, "%s: %s", path, why.text);
}

bool vocab_open(vocab *v, const char *folder, example_error *e) {
    char *json = path_join(folder, "tokenizer.json"), *text = path_join(folder, "vocab.txt");
    *v = (vocab){.rules = {true, true, true}, .word_max = 100};
    bool good = json == NULL || text == NULL ? example_fail_memory(e)
                : path_exists(json)          ? read_vocab(v, json, true, e)
                                             : read_vocab(v, text, false, e);
    free(json);
    free(text);
    if (!good)
        vocab_free(v);
    return good;
}

void vocab_free(vocab *v) {
    for (size_t id = 0; id < v->count; id++)
        free(v->token[id]);
    free(v->token);
    free(v->table);
    *v = (vocab){0};
}
