/* SPDX-License-Identifier: BSD-3-Clause */
#include "words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static char *label(const vocab *v, const token *t, slice text) {
    return t->end > t->begin ? strndup(text.data + t->begin, t->end - t->begin) : strdup(v->token[t->id]);
}

/* word [T], label [T]: returns how many words there are, the last label being NULL when memory ran out. */
static size_t cut(const vocab *v, const tokens *t, slice text, char **labels, size_t *word) {
    size_t count = 0;
    for (size_t i = 0; i < t->count; i++) {
        if (i == 0 || !t->item[i].inside) {
            labels[count++] = label(v, &t->item[i], text);
            if (labels[count - 1] == NULL)
                break;
        }
        word[i] = count - 1;
    }
    return count;
}

bool words_make(words *w, const vocab *v, const tokens *t, slice text, example_error *e) {
    char **labels = calloc(t->count + 1, sizeof *labels);
    size_t *word = calloc(t->count + 1, sizeof *word);
    const size_t count = labels != NULL && word != NULL ? cut(v, t, text, labels, word) : 0;
    *w = (words){.count = count, .label = labels, .word = word};
    if (count > 0 && labels[count - 1] != NULL)
        return true;
    words_free(w);
    return example_fail_memory(e);
}

void words_free(words *w) {
    for (size_t i = 0; i < w->count; i++)
        free(w->label[i]);
    free(w->label);
    free(w->word);
    *w = (words){0};
}

bool words_special(const words *w, size_t word) { return word == 0 || word + 1 == w->count; }

/* to [T,T] = the mean of the matrices [first, last) of from. */
static void mean(const float *from, size_t first, size_t last, size_t T, float *to) {
    const size_t size = T * T;
    memset(to, 0, size * sizeof *to);
    for (size_t n = first; n < last; n++)
        for (size_t i = 0; i < size; i++)
            to[i] += from[n * size + i] / (float)(last - first);
}

/* flow = (layer + identity)/2 · flow; `next` is of the same size. */
static void pass_on(const float *layer, size_t T, float *flow, float *next) {
    for (size_t i = 0; i < T; i++) {
        for (size_t j = 0; j < T; j++)
            next[i * T + j] = flow[i * T + j] / 2;
        for (size_t k = 0; k < T; k++)
            for (size_t j = 0; j < T; j++)
                next[i * T + j] += layer[i * T + k] * flow[k * T + j] / 2;
    }
    memcpy(flow, next, T * T * sizeof *flow);
}

static bool roll_out(const model *m, const trace *t, size_t layers, float *flow, example_error *e) {
    const size_t T = t->tokens;
    float *room = malloc(2 * T * T * sizeof *room);
    if (room == NULL)
        return example_fail_memory(e);
    memset(flow, 0, T * T * sizeof *flow);
    for (size_t i = 0; i < T; i++)
        flow[i * T + i] = 1;
    for (size_t layer = 0; layer < layers; layer++) {
        mean(t->attention, layer * m->heads, (layer + 1) * m->heads, T, room);
        pass_on(room, T, flow, room + T * T);
    }
    free(room);
    return true;
}

/* [T,T] of tokens. The heads of all layers lie in one row, so that a mean over layers, heads or both is one of a range,
 * but for one head of all layers. */
static bool select_tokens(const model *m, const trace *t, const view *v, float *chosen, example_error *e) {
    const size_t T = t->tokens, H = m->heads, L = m->layers;
    if (v->rollout)
        return roll_out(m, t, v->layer == 0 ? L : v->layer, chosen, e);
    const size_t first = v->layer == 0 ? 0 : v->layer - 1, last = v->layer == 0 ? L : v->layer;
    if (v->head == 0) {
        mean(t->attention, first * H, last * H, T, chosen);
        return true;
    }
    memset(chosen, 0, T * T * sizeof *chosen);
    for (size_t layer = first; layer < last; layer++)
        for (size_t i = 0; i < T * T; i++)
            chosen[i] += t->attention[(layer * H + v->head - 1) * T * T + i] / (float)(last - first);
    return true;
}

static void merge(const words *w, size_t T, const float *between, float *scores) {
    memset(scores, 0, w->count * w->count * sizeof *scores);
    for (size_t i = 0; i < T; i++) {
        size_t pieces = 0;
        for (size_t k = 0; k < T; k++)
            pieces += w->word[k] == w->word[i];
        for (size_t j = 0; j < T; j++)
            scores[w->word[i] * w->count + w->word[j]] += between[i * T + j] / (float)pieces;
    }
}

static void drop_special(const words *w, float *scores) {
    for (size_t i = 0; i < w->count; i++) {
        float *row = scores + i * w->count, sum = 0;
        for (size_t j = 0; j < w->count; j++) {
            row[j] = words_special(w, i) || words_special(w, j) ? 0 : row[j];
            sum += row[j];
        }
        for (size_t j = 0; j < w->count && sum > 0; j++)
            row[j] /= sum;
    }
}

static bool check_finite(const words *w, const float *scores, example_error *e) {
    for (size_t i = 0; i < w->count * w->count; i++)
        if (!isfinite(scores[i]))
            return example_fail(e, "a weight of the attention is not finite: the model's weights are too large");
    return true;
}

bool words_attend(const words *w, const model *m, const trace *t, const view *v, float *scores, example_error *e) {
    float *chosen = calloc(t->tokens * t->tokens, sizeof *chosen);
    if (chosen == NULL)
        return example_fail_memory(e);
    bool good = select_tokens(m, t, v, chosen, e);
    if (good)
        merge(w, t->tokens, chosen, scores);
    if (good && !v->keep_special)
        drop_special(w, scores);
    free(chosen);
    return good && check_finite(w, scores, e);
}
