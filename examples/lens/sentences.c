/* SPDX-License-Identifier: BSD-3-Clause */
#include "sentences.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool sentences_read(sentences *s, const char *path, example_error *e) {
    *s = (sentences){0};
    if (!lines_read(&s->lines, path, e))
        return false;
    s->count = s->lines.count;
    s->tokens = calloc(s->count + 1, sizeof *s->tokens);
    if (s->tokens != NULL)
        return true;
    sentences_free(s);
    return example_fail_memory(e);
}

static void warn_of_cut(const tokens *t, const model *m, const char *what) {
    if (t->cut > 0)
        fprintf(stderr, "attn-lens: %s: %zu of %zu tokens are cut off, the model takes %zu\n", what, t->cut,
                t->count + t->cut, m->tokens_max);
}

bool sentence_tokenize(const char *text, const model *m, tokens *t, example_error *e) {
    if (!tokenize(&m->vocab, (slice){text, strlen(text)}, m->tokens_max, t, e))
        return false;
    warn_of_cut(t, m, "the sentence");
    return true;
}

bool sentences_tokenize(sentences *s, const model *m, example_error *e) {
    example_error why = {""};
    char line[40];
    for (size_t i = 0; i < s->count; i++) {
        snprintf(line, sizeof line, "line %zu", i + 1);
        if (!tokenize(&m->vocab, s->lines.line[i], m->tokens_max, &s->tokens[i], &why))
            return example_fail(e, "%s: %s", line, why.text);
        warn_of_cut(&s->tokens[i], m, line);
    }
    return true;
}

bool sentences_encode(sentences *s, attn_context *context, const model *m, example_error *e) {
    s->vectors = malloc((s->count * m->width + 1) * sizeof(float));
    return s->vectors != NULL ? encode(context, m, s->tokens, s->count, s->vectors, e) : example_fail_memory(e);
}

void sentences_free(sentences *s) {
    for (size_t i = 0; s->tokens != NULL && i < s->count; i++)
        tokens_free(&s->tokens[i]);
    free(s->tokens);
    free(s->vectors);
    lines_free(&s->lines);
    *s = (sentences){0};
}
