/* SPDX-License-Identifier: BSD-3-Clause */
#include "looks.h"

#include <stdlib.h>
#include <string.h>

enum { SHOWN = 8 };

typedef struct word {
    size_t begin, end; /* tokens */
    double share;
} word;

static bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Whether a token goes on with the word of the one before it. */
static bool goes_on(const session *s, const id_list *all, size_t at) {
    const slice text = bpe_text(s->words, all->item[at]);
    return !is_blank(text.data[0]) && !bpe_is_special(s->words, all->item[at]) &&
           !bpe_is_special(s->words, all->item[at - 1]);
}

/* The words before the last token, and how much of the attention each got: [rows, keys]. */
static size_t make_words(const session *s, const id_list *all, const float *attention, size_t rows, word *words) {
    const size_t keys = all->count;
    size_t count = 0;
    double sum = 0;
    for (size_t at = 1; at + 1 < keys; at++) {
        if (bpe_is_special(s->words, all->item[at]))
            continue;
        if (count == 0 || words[count - 1].end != at || !goes_on(s, all, at))
            words[count++] = (word){at, at, 0};
        words[count - 1].end = at + 1;
        for (size_t row = 0; row < rows; row++)
            words[count - 1].share += (double)attention[row * keys + at];
    }
    for (size_t i = 0; i < count; i++)
        sum += words[i].share;
    for (size_t i = 0; i < count; i++)
        words[i].share /= sum > 0 ? sum : 1;
    return count;
}

static int by_share(const void *a, const void *b) {
    const word *x = a, *y = b;
    return x->share != y->share ? (x->share < y->share ? 1 : -1) : (x->begin > y->begin) - (x->begin < y->begin);
}

/* White space as a space, or none where a word begins with it. */
static void print_tokens(const session *s, const id_list *all, size_t begin, size_t end) {
    bool begun = false;
    for (size_t at = begin; at < end; at++) {
        const slice text = bpe_text(s->words, all->item[at]);
        for (size_t i = 0; i < text.size; i++) {
            if (!is_blank(text.data[i]) || begun)
                putchar(is_blank(text.data[i]) ? ' ' : text.data[i]);
            begun = begun || !is_blank(text.data[i]);
        }
    }
    if (!begun)
        fputs("(white space)", stdout);
}

static void print_words(const session *s, const id_list *all, word *words, size_t count) {
    fputs("“", stdout);
    print_tokens(s, all, all->count - 1, all->count);
    fputs("”, the last token that was read, looked at\n", stdout);
    qsort(words, count, sizeof *words, by_share);
    for (size_t i = 0; i < count && i < SHOWN; i++) {
        printf("%5.1f %%  ", 100 * words[i].share);
        print_tokens(s, all, words[i].begin, words[i].end);
        putchar('\n');
    }
}

bool looks_print(const session *s, decoder *d, const id_list *all, example_error *e) {
    const size_t rows = s->model.layers * s->model.heads, keys = all->count;
    float *attention = malloc(rows * keys * sizeof *attention);
    word *words = malloc(keys * sizeof *words);
    bool good = false;
    if (attention == NULL || words == NULL)
        example_fail_memory(e);
    else
        good = decoder_truncate(d, keys - 1, e) && decoder_watch(d, all->item[keys - 1], attention, keys, e);
    if (good)
        print_words(s, all, words, make_words(s, all, attention, rows, words));
    free(attention);
    free(words);
    return good;
}
