/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands that measure, and those that show what is inside: perplexity, bench, tokens, logits. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "clock.h"
#include "sampler.h"
#include "session.h"

enum { WINDOW = 512, ROWS = 64, STEPS = 64 };

/* The tokens of a whole file. */
static bool read_ids(session *s, id_list *list, example_error *e) {
    mapping file;
    if (!mapping_open(&file, s->options->file, e))
        return false;
    const bool good = bpe_encode(s->words, (slice){(const char *)file.data, file.size}, true, list, e);
    mapping_close(&file);
    return good;
}

/* Tokens that were run together, and the logits of some of them. */
typedef struct slab {
    const int64_t *ids;
    size_t count;       /* of all */
    size_t first, rows; /* of those with logits */
    const float *logits;
} slab;

typedef bool looker(const session *s, const slab *seen, void *data, example_error *e);

/* Runs tokens on an empty decoder and shows their logits to `look`. */
static bool run(const session *s, decoder *d, const int64_t *ids, size_t count, looker *look, void *data,
                example_error *e) {
    float *logits = malloc(ROWS * s->model.vocabulary * sizeof *logits);
    bool good = logits != NULL || example_fail_memory(e);
    good = good && decoder_truncate(d, 0, e) && decoder_run(d, ids, &count, e);
    for (size_t first = 0; good && first < count; first += ROWS) {
        const slab seen = {ids, count, first, count - first < ROWS ? count - first : ROWS, logits};
        good = decoder_logits(d, d->x + first * s->model.width, seen.rows, logits, e);
        good = good && look(s, &seen, data, e);
    }
    free(logits);
    return good;
}

/* The same with all tokens, in windows of so many. */
static bool run_windows(const session *s, const id_list *list, size_t window, looker *look, void *data,
                        example_error *e) {
    decoder d;
    if (!decoder_open(&d, s->context, &s->model, 1, s->options->cache, e))
        return false;
    bool good = true;
    for (size_t at = 0; good && at < list->count; at += window)
        good = run(s, &d, list->item + at, list->count - at < window ? list->count - at : window, look, data, e);
    decoder_close(&d);
    return good;
}

typedef struct total {
    double surprise;
    size_t count;
} total;

/* The logits of a token are about the one behind it. */
static bool add_up(const session *s, const slab *seen, void *data, example_error *e) {
    static const attn_cross_entropy_params sum = {.struct_size = sizeof sum, .factor = 1};
    total *t = data;
    const size_t V = s->model.vocabulary, behind = seen->count - seen->first - 1;
    const size_t rows = seen->rows < behind ? seen->rows : behind;
    double surprise;
    if (attn_cross_entropy(s->context, rows, V, seen->logits, V, seen->ids + seen->first + 1, &sum, &surprise) !=
        ATTN_OK)
        return example_fail(e, "libattn: %s", attn_context_last_error(s->context));
    t->surprise += surprise;
    t->count += rows;
    return true;
}

bool command_perplexity(session *s, example_error *e) {
    id_list list = {0};
    total t = {0};
    const size_t window = s->model.positions < WINDOW ? s->model.positions : WINDOW;
    bool good = read_ids(s, &list, e) && run_windows(s, &list, window, add_up, &t, e);
    if (good && t.count == 0)
        good = example_fail(e, "%s: no token comes after another", s->options->file);
    if (good)
        printf("perplexity %.4f, of %zu tokens\n", exp(t.surprise / (double)t.count), t.count);
    id_list_free(&list);
    return good;
}

static bool write_rows(const session *s, const slab *seen, void *data, example_error *e) {
    const size_t count = seen->rows * s->model.vocabulary;
    return fwrite(seen->logits, sizeof *seen->logits, count, data) == count ||
           example_fail(e, "%s: %s", s->options->out, strerror(errno));
}

static bool is_same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static FILE *open_out(const options *o, example_error *e) {
    FILE *file = NULL;
    if (is_same_file(o->out, o->model))
        example_fail(e, "--out: '%s' is the model, which is being read", o->out);
    else if ((file = fopen(o->out, "wb")) == NULL)
        example_fail(e, "%s: %s", o->out, strerror(errno));
    return file;
}

bool command_logits(session *s, example_error *e) {
    id_list list = {0};
    bool good = read_ids(s, &list, e);
    FILE *file = good ? open_out(s->options, e) : NULL;
    good = file != NULL && run_windows(s, &list, list.count, write_rows, file, e);
    if (file != NULL && fclose(file) != 0 && good)
        good = example_fail(e, "%s: %s", s->options->out, strerror(errno));
    id_list_free(&list);
    return good;
}

bool command_tokens(session *s, example_error *e) {
    lines text;
    id_list list = {0};
    bool good = lines_read(&text, s->options->file, e);
    for (size_t i = 0; good && i < text.count; i++) {
        list.count = 0;
        good = bpe_encode(s->words, text.line[i], true, &list, e);
        for (size_t n = 0; good && n < list.count; n++)
            printf("%s%lld", n == 0 ? "" : " ", (long long)list.item[n]);
        putchar('\n');
    }
    lines_free(&text);
    id_list_free(&list);
    return good;
}

/* Single tokens, each the likeliest after those before it. */
static bool step(const session *s, decoder *d, size_t steps, float *logits, example_error *e) {
    const size_t one = 1;
    int64_t id = 0;
    for (size_t i = 0; i < steps; i++) {
        sampler greedy = {0};
        if (!decoder_run(d, &id, &one, e) || !decoder_logits(d, d->x, 1, logits, e) ||
            !sampler_pick(&greedy, logits, s->model.vocabulary, &id, e))
            return false;
    }
    return true;
}

/* A prompt of `length` tokens, and an answer. */
static bool time_prompt(const session *s, decoder *d, const int64_t *ids, size_t length, float *logits,
                        example_error *e) {
    if (!decoder_truncate(d, 0, e))
        return false;
    const double begin = now();
    if (!session_prompt(s, d, ids, length, e))
        return false;
    const double middle = now();
    if (!step(s, d, STEPS, logits, e))
        return false;
    printf("%6zu %16.1f %16.1f\n", length, (double)length / (middle - begin), STEPS / (now() - middle));
    return fflush(stdout) == 0 || example_fail(e, "the output could not be written: %s", strerror(errno));
}

static bool time_all(session *s, decoder *d, float *logits, example_error *e) {
    static const size_t lengths[] = {128, 512, 1024, 4096}; /* the first warms up, too */
    int64_t id = 1, tokens[4096];
    if (s->model.positions < lengths[0] + STEPS)
        return example_fail(e, "a context of %zu tokens is too small for bench: expected %zu or more",
                            s->model.positions, lengths[0] + STEPS);
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++, id = (id * 5 + 77) % (int64_t)s->model.vocabulary)
        tokens[i] = id;
    printf("tokens  prompt tokens/s  answer tokens/s\n");
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        if (lengths[i] + STEPS <= s->model.positions && !time_prompt(s, d, tokens, lengths[i], logits, e))
            return false;
    printf("%.0f MB at most\n", memory_peak());
    return true;
}

bool command_bench(session *s, example_error *e) {
    decoder d;
    float *logits = malloc(s->model.vocabulary * sizeof *logits);
    bool good = logits != NULL || example_fail_memory(e);
    if (good && decoder_open(&d, s->context, &s->model, 1, s->options->cache, e)) {
        good = time_all(s, &d, logits, e);
        decoder_close(&d);
    } else
        good = false;
    free(logits);
    return good;
}
