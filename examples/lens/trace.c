/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "commands.h"
#include "npy.h"
#include "sentences.h"

static bool put(const char *folder, const char *name, const float *data, size_t rank, const size_t *shape,
                example_error *e) {
    char *path = path_join(folder, name);
    bool good = path != NULL ? npy_write(path, data, rank, shape, e) : example_fail_memory(e);
    free(path);
    return good;
}

static bool put_trace(const char *folder, const model *m, const trace *t, example_error *e) {
    const size_t T = t->tokens;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return example_fail(e, "%s: %s", folder, strerror(errno));
    return put(folder, "hidden.npy", t->hidden, 3, (const size_t[]){m->layers + 1, T, m->width}, e) &&
           put(folder, "attention.npy", t->attention, 4, (const size_t[]){m->layers, m->heads, T, T}, e);
}

bool command_trace(const options *o, attn_context *context, const model *m, example_error *e) {
    tokens s;
    trace t;
    if (!sentence_tokenize(o->text, m, &s, e))
        return false;
    bool good = trace_make(&t, context, m, &s, e);
    if (good) {
        good = put_trace(o->out, m, &t, e);
        trace_free(&t);
    }
    tokens_free(&s);
    return good;
}
