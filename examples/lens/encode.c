/* SPDX-License-Identifier: BSD-3-Clause */
#include "encode.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Tokens of a batch: enough for the products, few enough for the caches. */
#define BATCH_TOKENS 512

/* The mean over the tokens, divided by its length. False: it is not finite. */
static bool pool(const float *x, size_t T, size_t M, float *vector) {
    double square = 0;
    for (size_t j = 0; j < M; j++)
        vector[j] = 0;
    for (size_t i = 0; i < T; i++)
        for (size_t j = 0; j < M; j++)
            vector[j] += x[i * M + j];
    for (size_t j = 0; j < M; j++)
        square += (double)vector[j] * vector[j];
    const float factor = square > 0 ? (float)(1 / sqrt(square)) : 0;
    for (size_t j = 0; j < M; j++)
        vector[j] *= factor;
    return isfinite(square);
}

/* A sentence of a batch, and where its vector goes. */
typedef struct place {
    const tokens *sentence;
    float *vector;
} place;

static int longest_first(const void *a, const void *b) {
    const place *x = a, *y = b;
    if (x->sentence->count != y->sentence->count)
        return x->sentence->count > y->sentence->count ? -1 : 1;
    return (x->vector > y->vector) - (x->vector < y->vector);
}

/* How many of the next sentences make a batch. */
static size_t batch_size(const place *places, size_t count) {
    size_t n = 1;
    for (size_t T = places->sentence->count; n < count && T + places[n].sentence->count <= BATCH_TOKENS; n++)
        T += places[n].sentence->count;
    return n;
}

static bool encode_batch(batch *b, attn_context *context, const model *m, const place *places, size_t count,
                         example_error *e) {
    batch_clear(b);
    for (size_t i = 0; i < count; i++)
        batch_add(b, places[i].sentence);
    if (!batch_run(b, context, m, e))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!pool(b->x + (size_t)b->starts[i] * m->width, places[i].sentence->count, m->width, places[i].vector))
            return example_fail(e, "a hidden state is not finite: the weights are too large");
    return true;
}

/* What the workers share. */
typedef struct job {
    const model *model;
    attn_precision precision;
    const place *places; /* the longest first */
    size_t *first;       /* [batches + 1]: batch i is places [first[i], first[i+1]) */
    size_t batches;
    atomic_size_t next;
} job;

typedef struct worker {
    job *job;
    attn_context *context;
    pthread_t thread;
    bool started, good;
    example_error e;
} worker;

static bool encode_next(worker *w, batch *b) {
    job *j = w->job;
    for (size_t i; (i = atomic_fetch_add(&j->next, 1)) < j->batches;)
        if (!encode_batch(b, w->context, j->model, j->places + j->first[i], j->first[i + 1] - j->first[i], &w->e))
            return false;
    return true;
}

static void *work(void *argument) {
    batch b;
    worker *w = argument;
    const size_t longest = w->job->places->sentence->count, room = longest > BATCH_TOKENS ? longest : BATCH_TOKENS;
    w->good = batch_open(&b, w->job->model, room, &w->e) && encode_next(w, &b);
    batch_close(&b);
    return NULL;
}

static void start(worker *w) {
    attn_context_options one;
    ATTN_INIT(&one);
    one.threads = 1;
    one.precision = w->job->precision;
    if (attn_context_create(&one, &w->context) != ATTN_OK)
        example_fail(&w->e, "libattn: %s", attn_context_last_error(NULL));
    else if (pthread_create(&w->thread, NULL, work, w) != 0)
        example_fail(&w->e, "a thread could not be started");
    else
        w->started = true;
}

static bool finish(worker *w, example_error *e) {
    if (w->started)
        pthread_join(w->thread, NULL);
    attn_context_destroy(w->context);
    return w->good || example_fail(e, "%s", w->e.text);
}

static bool run_workers(job *j, size_t count, example_error *e) {
    bool good = true;
    worker *workers = calloc(count, sizeof *workers);
    if (workers == NULL)
        return example_fail_memory(e);
    for (size_t i = 0; i < count; i++) {
        workers[i].job = j;
        start(&workers[i]);
    }
    for (size_t i = 0; i < count; i++)
        good = finish(&workers[i], e) && good;
    free(workers);
    return good;
}

static bool run_here(job *j, attn_context *context, example_error *e) {
    worker w = {.job = j, .context = context};
    work(&w);
    return w.good || example_fail(e, "%s", w.e.text);
}

static bool run(job *j, attn_context *context, example_error *e) {
    attn_context_info info;
    ATTN_INIT(&info);
    if (attn_context_describe(context, &info) != ATTN_OK)
        return example_fail(e, "libattn: %s", attn_context_last_error(context));
    j->precision = info.precision;
    const size_t workers = info.threads < j->batches ? info.threads : j->batches;
    return workers > 1 ? run_workers(j, workers, e) : run_here(j, context, e);
}

static bool encode_sorted(attn_context *context, const model *m, const place *places, size_t count, example_error *e) {
    job j = {.model = m, .places = places, .first = calloc(count + 1, sizeof *j.first)};
    if (j.first == NULL)
        return example_fail_memory(e);
    for (size_t done = 0; done < count; j.first[++j.batches] = done)
        done += batch_size(places + done, count - done);
    bool good = run(&j, context, e);
    free(j.first);
    return good;
}

bool encode(attn_context *context, const model *m, const tokens *sentences, size_t count, float *vectors,
            example_error *e) {
    if (count == 0)
        return true;
    place *places = calloc(count, sizeof *places);
    if (places == NULL)
        return example_fail_memory(e);
    for (size_t i = 0; i < count; i++)
        places[i] = (place){&sentences[i], vectors + i * m->width};
    qsort(places, count, sizeof *places, longest_first);
    bool good = encode_sorted(context, m, places, count, e);
    free(places);
    return good;
}
