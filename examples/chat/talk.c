/* SPDX-License-Identifier: BSD-3-Clause */
#include "talk.h"

#include <stdlib.h>
#include <string.h>

/* The text between two others, empty where they are not there. */
static slice between(slice text, const char *before, const char *after) {
    const char *begin = memmem(text.data, text.size, before, strlen(before));
    if (begin == NULL)
        return (slice){text.data, 0};
    begin += strlen(before);
    const char *end = memmem(begin, (size_t)(text.data + text.size - begin), after, strlen(after));
    return (slice){begin, end == NULL ? 0 : (size_t)(end - begin)};
}

bool talk_open(talk *t, const gguf *g, bpe *words, example_error *e) {
    slice template;
    if (!gguf_string(g, "tokenizer.chat_template", &template, e))
        return false;
    *t = (talk){.words = words, .start = bpe_find(words, "<|im_start|>"), .stop = bpe_find(words, "<|im_end|>")};
    t->system = between(template, "<|im_start|>system\n", "<|im_end|>");
    return (t->start >= 0 && t->stop >= 0 && memmem(template.data, template.size, "<|im_start|>", 12) != NULL) ||
           example_fail(e, "tokenizer.chat_template is not of the kind that is known, with <|im_start|>");
}

/* A part: its role, and if there are any its words and its end. */
static bool add(const talk *t, const char *role, const slice *text, id_list *out, example_error *e) {
    const size_t size = strlen(role) + 1;
    char *whole = malloc(size + (text == NULL ? 0 : text->size));
    if (whole == NULL)
        return example_fail_memory(e);
    memcpy(whole, role, size - 1);
    whole[size - 1] = '\n';
    if (text != NULL)
        memcpy(whole + size, text->data, text->size);
    const slice all = {whole, size + (text == NULL ? 0 : text->size)};
    const bool good = id_list_add(out, t->start, e) && bpe_encode(t->words, all, false, out, e) &&
                      (text == NULL || talk_end(t, out, e));
    free(whole);
    return good;
}

bool talk_end(const talk *t, id_list *out, example_error *e) {
    return id_list_add(out, t->stop, e) && bpe_encode(t->words, (slice){"\n", 1}, false, out, e);
}

bool talk_begin(const talk *t, const char *text, id_list *out, example_error *e) {
    const slice system = text == NULL ? t->system : (slice){text, strlen(text)};
    return system.size == 0 || add(t, "system", &system, out, e);
}

bool talk_ask(const talk *t, slice text, id_list *out, example_error *e) {
    return add(t, "user", &text, out, e) && add(t, "assistant", NULL, out, e);
}
