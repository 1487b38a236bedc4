/* SPDX-License-Identifier: BSD-3-Clause */
#include "sentences.h"

#include <stdlib.h>

bool sentences_read(sentences *s, const char *path, lens_error *e) {
    *s = (sentences){0};
    if (!lines_read(&s->lines, path, e))
        return false;
    s->count = s->lines.count;
    s->tokens = calloc(s->count + 1, sizeof *s->tokens);
    if (s->tokens != NULL)
        return true;
    sentences_free(s);
    return lens_fail_memory(e);
}

bool sentences_tokenize(sentences *s, const model *m, size_t limit, lens_error *e) {
    lens_error why = {""};
    for (size_t i = 0; i < s->count; i++)
        if (!tokenize(&m->vocab, s->lines.line[i], limit, &s->tokens[i], &why))
            return lens_fail(e, "line %zu: %s", i + 1, why.text);
    return true;
}

bool sentences_encode(sentences *s, attn_context *context, const model *m, lens_error *e) {
    s->vectors = malloc((s->count * m->width + 1) * sizeof(float));
    return s->vectors != NULL ? encode(context, m, s->tokens, s->count, s->vectors, e) : lens_fail_memory(e);
}

void sentences_free(sentences *s) {
    for (size_t i = 0; s->tokens != NULL && i < s->count; i++)
        tokens_free(&s->tokens[i]);
    free(s->tokens);
    free(s->vectors);
    lines_free(&s->lines);
    *s = (sentences){0};
}
