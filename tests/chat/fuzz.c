/* SPDX-License-Identifier: BSD-3-Clause */
/* Damages the file of a tiny model at random and loads it: fuzz SECONDS [SEED]. Nothing may crash, and what
 * loads must run. Meant for the asan
 * build. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bpe.h"
#include "decoder.h"
#include "tiny.h"

static bool read_tokens(const gguf *g, example_error *e) {
    static const char text[] = "the user's cat, <|im_end|> 12\xff and\n\n  ststst";
    id_list list = {0};
    bpe *b = bpe_open(g, e);
    const bool good = b != NULL && bpe_encode(b, (slice){text, sizeof text - 1}, true, &list, e);
    id_list_free(&list);
    bpe_close(b);
    return good;
}

/* What loads must run; its numbers may be any. */
static bool run_model(attn_context *context, const gguf *g, example_error *e) {
    static const int64_t tokens[] = {1, 7, 3, 9, 4};
    const size_t count = sizeof tokens / sizeof *tokens;
    model m;
    decoder d;
    if (!model_open(&m, context, g, ATTN_INT4, TINY_CONTEXT, e))
        return false;
    if (m.vocabulary > 9 && decoder_open(&d, context, &m, 1, ATTN_F16, e)) {
        (void)decoder_run(&d, tokens, &count, e);
        decoder_close(&d);
    }
    model_close(&m);
    return true;
}

/* Whether the file still loads. */
static bool try_file(attn_context *context, const char *path) {
    example_error e;
    gguf *g = gguf_open(path, &e);
    if (g == NULL)
        return false;
    const bool tokens = read_tokens(g, &e), runs = run_model(context, g, &e);
    gguf_close(g);
    return tokens && runs;
}

int main(int argc, char **argv) {
    const double seconds = argc > 1 ? strtod(argv[1], NULL) : 2;
    size_t tried = 0, loaded = 0;
    char path[64];
    attn_context *context;
    if (attn_context_create(NULL, &context) != ATTN_OK)
        return EXIT_FAILURE;
    bytes whole = tiny_make(GGUF_Q4_1, GGUF_Q4_K);
    tiny_save(&whole, path);
    damage_seed(argc > 2 ? strtoull(argv[2], NULL, 10) : 1);
    for (time_t end = time(NULL) + (time_t)seconds; time(NULL) <= end; tried++) {
        bytes b = damage_copy(&whole);
        if (!damage_save(path, &b))
            abort();
        loaded += try_file(context, path) ? 1 : 0;
        free(b.data);
    }
    remove(path);
    attn_context_destroy(context);
    free(whole.data);
    printf("%zu tried, %zu loaded\n", tried, loaded);
    return loaded > 0 && loaded < tried ? EXIT_SUCCESS : EXIT_FAILURE;
}
