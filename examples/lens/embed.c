/* SPDX-License-Identifier: BSD-3-Clause */
/* embed, similar and tokens: commands that read a file of sentences. */
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "commands.h"
#include "npy.h"
#include "sentences.h"

static void print_vectors(const sentences *s, size_t M) {
    for (size_t i = 0; i < s->count; i++)
        for (size_t j = 0; j < M; j++)
            printf("%.9g%c", (double)s->vectors[i * M + j], j + 1 < M ? ' ' : '\n');
}

static bool put_vectors(const options *o, const sentences *s, size_t M, example_error *e) {
    if (o->npy != NULL)
        return npy_write(o->npy, s->vectors, 2, (const size_t[]){s->count, M}, e);
    print_vectors(s, M);
    return true;
}

bool command_embed(const options *o, attn_context *context, const model *m, example_error *e) {
    sentences s;
    if (!sentences_read(&s, o->file, e))
        return false;
    const double start = now();
    bool good = sentences_tokenize(&s, m, e);
    const double middle = now();
    good = good && sentences_encode(&s, context, m, e);
    if (good && o->time)
        fprintf(stderr, "tokenize %.6f s, encode %.6f s\n", middle - start, now() - middle);
    good = good && put_vectors(o, &s, m->width, e);
    sentences_free(&s);
    return good;
}

/* NOLINTNEXTLINE(misc-unused-parameters): the type is that of the others */
bool command_tokens(const options *o, attn_context *context, const model *m, example_error *e) {
    sentences s;
    (void)context;
    if (!sentences_read(&s, o->file, e))
        return false;
    bool good = sentences_tokenize(&s, m, e);
    for (size_t i = 0; good && i < s.count; i++)
        for (size_t j = 0; j < s.tokens[i].count; j++)
            printf("%u%c", s.tokens[i].item[j].id, j + 1 < s.tokens[i].count ? ' ' : '\n');
    sentences_free(&s);
    return good;
}

typedef struct match {
    size_t line;
    float score;
} match;

static int best_first(const void *a, const void *b) {
    const match *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->line > y->line) - (x->line < y->line);
}

static float dot(const float *a, const float *b, size_t n) {
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* [CLS] and [SEP] alone say nothing. */
static bool blank(const tokens *t) { return t->count == 2; }

static bool print_matches(const sentences *s, const float *wanted, size_t M, size_t top, example_error *e) {
    size_t count = 0;
    match *found = calloc(s->count + 1, sizeof *found);
    if (found == NULL)
        return example_fail_memory(e);
    for (size_t i = 0; i < s->count; i++)
        if (!blank(&s->tokens[i]))
            found[count++] = (match){i, dot(wanted, s->vectors + i * M, M)};
    qsort(found, count, sizeof *found, best_first);
    for (size_t i = 0; i < count && i < top; i++) {
        const slice line = s->lines.line[found[i].line];
        printf("%6.3f  %.*s\n", (double)found[i].score, (int)line.size, line.data);
    }
    free(found);
    return true;
}

bool command_similar(const options *o, attn_context *context, const model *m, example_error *e) {
    sentences s;
    tokens t;
    float *wanted = malloc(m->width * sizeof *wanted);
    if (wanted == NULL)
        return example_fail_memory(e);
    bool good = sentence_tokenize(o->text, m, &t, e);
    if (good) {
        good = encode(context, m, &t, 1, wanted, e) && sentences_read(&s, o->file, e);
        tokens_free(&t);
    }
    if (good) {
        good = sentences_tokenize(&s, m, e) && sentences_encode(&s, context, m, e) &&
               print_matches(&s, wanted, m->width, o->top, e);
        sentences_free(&s);
    }
    free(wanted);
    return good;
}
