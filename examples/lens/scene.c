/* SPDX-License-Identifier: BSD-3-Clause */
#include "scene.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

static bool check_view(const model *m, const view *v, example_error *e) {
    if (v->layer > m->layers)
        return example_fail(e, "--layer: %zu is wrong: the model has %zu layers", v->layer, m->layers);
    if (v->head > m->heads)
        return example_fail(e, "--head: %zu is wrong: the model has %zu heads", v->head, m->heads);
    return !v->rollout || v->head == 0 || example_fail(e, "--head: roll-out is of all heads");
}

static bool attend(scene *s, example_error *e) {
    const size_t L = s->model->layers, H = s->model->heads, size = s->words.count * s->words.count;
    s->scores = malloc(size * sizeof(float));
    s->all = malloc(L * H * size * sizeof(float));
    if (s->scores == NULL || s->all == NULL)
        return example_fail_memory(e);
    for (size_t i = 0; i < L * H; i++) {
        const view one = {.layer = i / H + 1, .head = i % H + 1, .keep_special = s->view.keep_special};
        if (!words_attend(&s->words, s->model, &s->trace, &one, s->all + i * size, e))
            return false;
    }
    return words_attend(&s->words, s->model, &s->trace, &s->view, s->scores, e);
}

/* "cat:2" is the second "cat": cuts the number off; 0: none. */
static size_t take_number(const char *word, size_t *length) {
    const char *colon = strrchr(word, ':');
    char *end;
    *length = strlen(word);
    if (colon == NULL || colon == word || colon[1] < '1' || colon[1] > '9')
        return 0;
    const size_t number = (size_t)strtoul(colon + 1, &end, 10);
    *length = *end == '\0' ? (size_t)(colon - word) : *length;
    return *end == '\0' ? number : 0;
}

/* Of the words that `same` finds like the first `length` bytes: how many. s->source becomes the one of that number. */
static size_t choose(scene *s, int (*same)(const char *a, const char *b, size_t n), const char *word, size_t length,
                     size_t number) {
    size_t count = 0;
    for (size_t i = s->first; i < s->last; i++)
        if (strlen(s->words.label[i]) == length && same(s->words.label[i], word, length) == 0 && ++count == number)
            s->source = i;
    return count;
}

/* The word as it is written, else in any case. */
static bool find_source(scene *s, const char *word, example_error *e) {
    size_t length;
    if (word == NULL)
        return true;
    const size_t number = take_number(word, &length), wanted = number > 0 ? number : 1;
    size_t count = choose(s, strncmp, word, length, wanted);
    if (count == 0)
        count = choose(s, strncasecmp, word, length, wanted);
    if (count == 0)
        return example_fail(e, "--word: '%.*s' is no word of the sentence", (int)length, word);
    if (wanted > count)
        return example_fail(e, "--word: '%.*s' is %zu time%s in the sentence, not %zu", (int)length, word, count,
                            count == 1 ? "" : "s", wanted);
    if (count > 1 && number == 0)
        fprintf(stderr, "attn-lens: --word: '%s' is %zu times in the sentence: the first is shown, %s:2 is the next\n",
                word, count, word);
    return true;
}

static bool fill(scene *s, attn_context *context, const char *word, example_error *e) {
    const slice text = {s->text, strlen(s->text)};
    if (!tokenize(&s->model->vocab, text, SIZE_MAX, &s->tokens, e))
        return false;
    if (s->tokens.count > s->model->tokens_max)
        return example_fail(e, "the sentence has %zu tokens, the model takes %zu", s->tokens.count,
                            s->model->tokens_max);
    if (!words_make(&s->words, &s->model->vocab, &s->tokens, text, e))
        return false;
    s->first = s->view.keep_special ? 0 : 1;
    s->last = s->words.count - s->first;
    if (s->first == s->last)
        return example_fail(e, "the sentence has no words");
    return find_source(s, word, e) && trace_make(&s->trace, context, s->model, &s->tokens, e) && attend(s, e);
}

bool scene_open(scene *s, attn_context *context, const model *m, const char *text, const view *v, const char *word,
                example_error *e) {
    *s = (scene){.model = m, .text = text, .view = *v, .source = SIZE_MAX};
    if (check_view(m, v, e) && fill(s, context, word, e))
        return true;
    scene_close(s);
    return false;
}

void scene_close(scene *s) {
    tokens_free(&s->tokens);
    words_free(&s->words);
    trace_free(&s->trace);
    free(s->scores);
    free(s->all);
    *s = (scene){0};
}

float scene_score(const scene *s, size_t from, size_t to) { return s->scores[from * s->words.count + to]; }

void scene_describe(const scene *s, char *text, size_t size) {
    char layer[64] = "mean of all layers", head[64] = "mean of all heads";
    if (s->view.layer != 0)
        snprintf(layer, sizeof layer, "layer %zu", s->view.layer);
    if (s->view.head != 0)
        snprintf(head, sizeof head, "head %zu", s->view.head);
    if (s->view.rollout)
        snprintf(text, size, "roll-out through %zu layers", s->view.layer == 0 ? s->model->layers : s->view.layer);
    else if (s->view.layer == 0 && s->view.head == 0)
        snprintf(text, size, "mean of all layers and heads");
    else
        snprintf(text, size, "%s, %s", layer, head);
}

/* The bytes of the first character; its columns in *width. */
static size_t step(const char *text, size_t size, size_t *width) {
    int32_t code;
    const long length = (long)utf8proc_iterate((const utf8proc_uint8_t *)text, (long)size, &code);
    *width = length > 0 ? (size_t)utf8proc_charwidth(code) : 1;
    return length > 0 ? (size_t)length : 1;
}

size_t text_fitting(const char *text, size_t limit) {
    const size_t size = strlen(text);
    size_t at = 0, width, used = 0;
    while (at < size) {
        const size_t length = step(text + at, size - at, &width);
        if (used + width > limit)
            break;
        used += width;
        at += length;
    }
    return at;
}

size_t text_width(const char *text) {
    const size_t size = strlen(text);
    size_t at = 0, width, used = 0;
    while (at < size) {
        at += step(text + at, size - at, &width);
        used += width;
    }
    return used;
}
