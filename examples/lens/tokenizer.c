/* SPDX-License-Identifier: BSD-3-Clause */
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* A word as UTF-8, its characters at `start`; word_max of them at most. */
typedef struct word {
    char *text;
    size_t *start; /* [characters + 1] */
    size_t characters;
} word;

typedef struct cutter {
    const vocab *vocab;
    tokens *out;
    glyphs glyphs;
    word word;
} cutter;

static bool push(tokens *t, token added, example_error *e) {
    if (!reserve((void *)&t->item, &t->capacity, t->count + 1, sizeof *t->item, e))
        return false;
    t->item[t->count++] = added;
    return true;
}

/* The longest piece that starts at character `from`: its end; 0 if there is none. */
static size_t longest_piece(const cutter *c, size_t from, uint32_t *id) {
    const word *w = &c->word;
    for (size_t to = w->characters; to > from; to--) {
        const slice piece = {w->text + w->start[from], w->start[to] - w->start[from]};
        if (piece.size <= c->vocab->longest && vocab_find(c->vocab, from > 0, piece, id))
            return to;
    }
    return 0;
}

/* A word that cannot be cut into pieces is one unknown token. */
static bool cut_word(cutter *c, size_t begin, size_t end, example_error *e) {
    const size_t first = c->out->count;
    token piece = {.begin = begin, .end = end};
    for (size_t from = 0, to; from < c->word.characters; from = to) {
        to = longest_piece(c, from, &piece.id);
        if (to == 0) {
            c->out->count = first;
            return push(c->out, (token){c->vocab->unknown, begin, end, false}, e);
        }
        piece.inside = from > 0;
        if (!push(c->out, piece, e))
            return false;
    }
    return true;
}

static bool add_word(cutter *c, size_t first, size_t last, example_error *e) {
    word *w = &c->word;
    const glyph *g = c->glyphs.item;
    w->characters = 0;
    w->start[0] = 0;
    if (last - first > c->vocab->word_max)
        return push(c->out, (token){c->vocab->unknown, g[first].begin, g[last - 1].end, false}, e);
    for (size_t i = first; i < last; i++) {
        const size_t at = w->start[w->characters++];
        w->start[w->characters] = at + (size_t)utf8proc_encode_char(g[i].code, (utf8proc_uint8_t *)w->text + at);
    }
    return cut_word(c, g[first].begin, g[last - 1].end, e);
}

static bool add_words(cutter *c, example_error *e) {
    const glyphs *g = &c->glyphs;
    for (size_t i = 0, first; i < g->count;) {
        first = i++;
        if (g->item[first].code == ' ')
            continue;
        if (!glyph_is_punctuation(g->item[first].code))
            while (i < g->count && g->item[i].code != ' ' && !glyph_is_punctuation(g->item[i].code))
                i++;
        if (!add_word(c, first, i, e))
            return false;
    }
    return true;
}

static bool add_text(cutter *c, slice text, size_t begin, size_t end, example_error *e) {
    c->glyphs.count = 0;
    return glyphs_append(&c->glyphs, &c->vocab->rules, text, begin, end, e) && add_words(c, e);
}

/* The longest special token that the text has at `at`; false: none. */
static bool special_at(const vocab *v, slice text, size_t at, token *found) {
    found->end = at;
    for (size_t i = 0; i < v->special_count; i++) {
        const char *name = v->token[v->special[i]];
        const size_t size = strlen(name);
        if (size <= text.size - at && memcmp(name, text.data + at, size) == 0 && at + size > found->end)
            *found = (token){v->special[i], at, at + size, false};
    }
    return found->end > at;
}

static bool add_all(cutter *c, slice text, example_error *e) {
    size_t begin = 0;
    token special;
    for (size_t at = 0; at < text.size; at++) {
        if (!special_at(c->vocab, text, at, &special))
            continue;
        if (!add_text(c, text, begin, at, e) || !push(c->out, special, e))
            return false;
        begin = special.end;
        at = begin - 1;
    }
    return add_text(c, text, begin, text.size, e);
}

static bool add_ends(cutter *c, slice text, size_t limit, example_error *e) {
    tokens *t = c->out;
    if (!push(t, (token){.id = c->vocab->cls}, e) || !add_all(c, text, e))
        return false;
    t->cut = t->count > limit - 1 ? t->count - (limit - 1) : 0;
    t->count -= t->cut;
    return push(t, (token){c->vocab->sep, text.size, text.size, false}, e);
}

bool tokenize(const vocab *v, slice text, size_t limit, tokens *t, example_error *e) {
    cutter c = {.vocab = v, .out = t};
    *t = (tokens){0};
    c.word.text = malloc(4 * v->word_max);
    c.word.start = malloc((v->word_max + 1) * sizeof *c.word.start);
    bool good = c.word.text != NULL && c.word.start != NULL ? add_ends(&c, text, limit, e) : example_fail_memory(e);
    free(c.word.text);
    free(c.word.start);
    glyphs_free(&c.glyphs);
    if (!good)
        tokens_free(t);
    return good;
}

void tokens_free(tokens *t) {
    free(t->item);
    *t = (tokens){0};
}
