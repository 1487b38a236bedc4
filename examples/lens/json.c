/* SPDX-License-Identifier: BSD-3-Clause */
#include <jansson.h>

#include "scene.h"

static json_t *tokens_json(const scene *s) {
    json_t *list = json_array();
    for (size_t i = 0; i < s->tokens.count; i++) {
        const token *t = &s->tokens.item[i];
        json_array_append_new(list, json_pack("{s:s, s:I, s:I}", "text", s->model->vocab.token[t->id], "id",
                                              (json_int_t)t->id, "word", (json_int_t)s->words.word[i]));
    }
    return list;
}

static json_t *words_json(const scene *s) {
    json_t *list = json_array();
    for (size_t i = 0; i < s->words.count; i++)
        json_array_append_new(list, json_string(s->words.label[i]));
    return list;
}

static json_t *scores_json(const scene *s) {
    json_t *rows = json_array();
    for (size_t i = 0; i < s->words.count; i++) {
        json_t *row = json_array();
        for (size_t j = 0; j < s->words.count; j++)
            json_array_append_new(row, json_real((double)scene_score(s, i, j)));
        json_array_append_new(rows, row);
    }
    return rows;
}

void json_write(const void *data, FILE *file) {
    const scene *s = data;
    char about[200];
    scene_describe(s, about, sizeof about);
    json_t *root = json_pack("{s:s, s:s, s:o, s:o, s:o}", "sentence", s->text, "view", about, "tokens", tokens_json(s),
                             "words", words_json(s), "scores", scores_json(s));
    json_dumpf(root, file, JSON_REAL_PRECISION(9));
    json_decref(root);
    fputc('\n', file);
}
