/* SPDX-License-Identifier: BSD-3-Clause */
#include "session.h"

#include <sys/resource.h>
#include <unistd.h>

#include "clock.h"

double memory_peak(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024; /* which is in KiB */
}

static bool open_context(session *s, example_error *e) {
    attn_context_options how;
    ATTN_INIT(&how);
    how.threads = s->options->threads;
    how.precision = s->options->arithmetic.precision;
    return attn_context_create(&how, &s->context) == ATTN_OK ||
           example_fail(e, "libattn: %s", attn_context_last_error(NULL));
}

static bool open_file(session *s, example_error *e) {
    example_error why = {""};
    const options *o = s->options;
    s->words = bpe_open(s->file, &why);
    if (s->words != NULL && model_open(&s->model, s->context, s->file, o->arithmetic.weights, o->context, &why)) {
        if (bpe_size(s->words) == s->model.vocabulary)
            return true;
        example_fail(&why, "%zu tokens, and %zu vectors of tokens", bpe_size(s->words), s->model.vocabulary);
    }
    return example_fail(e, "%s: %s", o->model, why.text);
}

bool session_open(session *s, const options *o, example_error *e) {
    *s = (session){.options = o, .begun = now()};
    s->file = gguf_open(o->model, e);
    const bool good = s->file != NULL && open_context(s, e) && open_file(s, e);
    if (!good)
        session_close(s);
    return good;
}

void session_close(session *s) {
    model_close(&s->model);
    attn_context_destroy(s->context);
    bpe_close(s->words);
    gguf_close(s->file);
}

bool session_prompt(const session *s, decoder *d, const int64_t *ids, size_t count, example_error *e) {
    const size_t chunk = s->options->chunk;
    const bool show = count > chunk && isatty(STDERR_FILENO);
    size_t counts[PROMPTS_MAX] = {0};
    bool good = true;
    for (size_t at = 0; good && at < count; at += counts[0]) {
        counts[0] = count - at < chunk ? count - at : chunk;
        good = decoder_run(d, ids + at, counts, e);
        if (show)
            fprintf(stderr, "\r%zu of %zu tokens read%s", at + counts[0], count,
                    at + counts[0] < count ? "" : "\r\033[K");
    }
    return good;
}
