/* SPDX-License-Identifier: BSD-3-Clause */
#include "work/worker.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/stats.h"
#include "base/text.h"
#include "machine/affinity.h"
#include "work/reference.h"
#include "work/work.h"

#define RUNS_MAX 4096

/* Walked over to have nothing else in the caches; twice the last level, within reason. */
#define FLUSH_LEAST ((size_t)32 << 20)
#define FLUSH_MOST ((size_t)256 << 20)

typedef struct worker {
    const char *blas;
    bool pin;
    char *flush; /* what is walked over; NULL until needed */
    size_t flush_bytes;
    FILE *answers;
    work work;
    double last, last_cpu; /* seconds and processor seconds of the latest run */
} worker;

static void answer_error(worker *w, char *text) {
    text_flatten(text);
    fprintf(w->answers, "error\t%s\n", text);
}

static bool announce(worker *w) {
    char error[400];
    attn_context_info info;
    attn_context *context = work_context(w->blas, 1, ATTN_PRECISION_F32, error, sizeof error);
    if (context == NULL) {
        answer_error(w, error);
        return false;
    }
    ATTN_INIT(&info);
    attn_context_describe(context, &info);
    fprintf(w->answers, "ready\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", info.blas, info.blas_version, info.blas_core,
            info.blas_threads, info.blas_path, info.isa, info.blas_choice);
    attn_context_destroy(context);
    return true;
}

static bool run_once(worker *w) {
    double begin_cpu = clock_cpu(), begin = clock_now();
    attn_status status = work_run(&w->work);
    w->last = clock_now() - begin;
    w->last_cpu = clock_cpu() - begin_cpu;
    if (status == ATTN_OK)
        return true;
    char error[400];
    work_explain(&w->work, status, error, sizeof error);
    answer_error(w, error);
    return false;
}

static bool read_case(bench_case *c, const char *line) {
    double n[11];
    if (!text_numbers(line, n, 11))
        return false;
    *c = (bench_case){.op = (bench_op)n[0], .variant = (size_t)n[1], .dtype = (size_t)n[2]};
    c->precision = (size_t)n[3];
    c->cold = n[4] != 0;
    c->B = (size_t)n[5];
    c->H = (size_t)n[6];
    c->G = (size_t)n[7];
    c->T = (size_t)n[8];
    c->D = (size_t)n[9];
    c->threads = (size_t)n[10];
    return true;
}

static void open_case(worker *w, const char *line) {
    bench_case c;
    char error[400] = "request not understood";
    work_close(&w->work);
    const bool read = read_case(&c, line);
    if (read && w->pin)
        affinity_take(0, c.threads);
    if (!read || !work_open(&w->work, w->blas, &c, error, sizeof error)) {
        answer_error(w, error);
        return;
    }
    if (run_once(w))
        fprintf(w->answers, "ok %.9g %.9g %.9g\n", w->last, w->last_cpu, reference_difference(&w->work));
}

static void flush_caches(worker *w) {
    if (w->flush == NULL) {
#ifdef _SC_LEVEL3_CACHE_SIZE
        const long level3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
#else
        const long level3 = 0;
#endif
        const size_t wanted = level3 > 0 ? 2 * (size_t)level3 : 0;
        w->flush_bytes = wanted < FLUSH_LEAST ? FLUSH_LEAST : wanted > FLUSH_MOST ? FLUSH_MOST : wanted;
        w->flush = calloc(w->flush_bytes, 1);
    }
    for (volatile char *c = w->flush; c != NULL && c < w->flush + w->flush_bytes; c += 64)
        (*c)++;
}

/* Other backends had the caches since the last run. A few runs, where they cost little of the time, bring this one's
 * data and threads back. */
static bool warm_up(worker *w, double seconds) {
    double begin = clock_now();
    for (int i = 0; i < 3 && clock_now() - begin + w->last < seconds / 4; i++)
        if (!run_once(w))
            return false;
    return true;
}

static void time_runs(worker *w, double seconds) {
    static double wall[RUNS_MAX], cpu[RUNS_MAX];
    size_t n = 0;
    const bool cold = w->work.what.cold;
    if (w->work.context == NULL || (!cold && !warm_up(w, seconds)))
        return;
    double begin = clock_now();
    do {
        if (cold)
            flush_caches(w);
        if (!run_once(w))
            return;
        wall[n] = w->last;
        cpu[n++] = w->last_cpu;
    } while (n < RUNS_MAX && clock_now() - begin < seconds);
    fprintf(w->answers, "ok %.9g %.9g %zu\n", stats_of(wall, n).median, stats_of(cpu, n).median, n);
}

/* Answers go to what was stdout; what a library prints there joins stderr. */
static FILE *take_stdout(void) {
    FILE *answers = fdopen(dup(STDOUT_FILENO), "w");
    dup2(STDERR_FILENO, STDOUT_FILENO);
    if (answers != NULL)
        setvbuf(answers, NULL, _IOLBF, 0);
    return answers;
}

int worker_main(const char *blas, bool pin) {
    char line[400];
    worker w = {.blas = blas, .pin = pin, .answers = take_stdout()};
    if (w.answers == NULL || !announce(&w))
        return EXIT_FAILURE;
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (strncmp(line, "case ", 5) == 0)
            open_case(&w, line + 5);
        else if (strncmp(line, "time ", 5) == 0)
            time_runs(&w, strtod(line + 5, NULL));
    }
    work_close(&w.work);
    free(w.flush);
    fclose(w.answers);
    return EXIT_SUCCESS;
}
