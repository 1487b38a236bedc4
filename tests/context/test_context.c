/* SPDX-License-Identifier: BSD-3-Clause */
/* The context: what it tells, its messages, the caller's sgemm and threads, and fork. */
#define _GNU_SOURCE /* sched_getaffinity, RTLD_DEFAULT */
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/layer.h"
#include "support/pools.h"
#include "support/sdpa_case.h"

static struct sdpa_case small_case(void) { return sdpa_case_of(2, 4, 2, 70, 130, 16, 24); }

/* ---- what it tells ---- */

static void describes_defaults(void **state) {
    (void)state;
    cpu_set_t cores;
    assert_int_equal(sched_getaffinity(0, sizeof cores, &cores), 0);
    const attn_context_info info = describe(new_context(NULL));
    assert_in_range(info.threads, 1, CPU_COUNT(&cores)); /* fewer where a cgroup has a quota */
    assert_int_equal(info.scratch_bytes, 0);
    assert_non_null(strstr(info.blas_choice, info.blas));
    if (strcmp(info.blas, "builtin") == 0) /* no OpenBLAS is linked, or one that is too old for this CPU */
        return;
    assert_string_equal(info.blas, "openblas");
    assert_true(strlen(info.blas_version) > 0 && strlen(info.blas_core) > 0);
    assert_non_null(strstr(info.blas_path, "blas"));
    assert_string_not_equal(info.blas_threads, "serial");
}

static void describes_options(void **state) {
    (void)state;
    const size_t threads[] = {1, 2, 7, 1024}; /* which are not started until there is work */
    for (size_t i = 0; i < COUNT(threads); i++) {
        const attn_context_info info = describe(new_context_of(threads[i], ATTN_ISA_GENERIC));
        assert_int_equal(info.threads, threads[i]);
        assert_string_equal(info.isa, "generic");
    }
}

/* Of a mask with several, the best that the CPU has. */
static void best_isa_of_the_mask(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    const char *best = describe(contexts[n - 1]).isa;
    assert_string_equal(describe(new_context_of(1, 0)).isa, best);
    assert_string_equal(
        describe(new_context_of(1, ATTN_ISA_GENERIC | ATTN_ISA_AVX2 | ATTN_ISA_AVX512 | ATTN_ISA_NEON)).isa, best);
    assert_string_equal(describe(new_context_of(1, ATTN_ISA_GENERIC)).isa, "generic");
}

/* ---- messages ---- */

static void last_error_is_of_the_last_failure(void **state) {
    (void)state;
    const struct sdpa_case c = small_case();
    attn_context *context = new_context_of(1, 0), *other = new_context_of(1, 0);
    assert_string_equal(attn_context_last_error(context), "");
    assert_int_equal(attn_sdpa(context, NULL, &c.k, &c.v, &c.q, NULL), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "q");
    assert_string_equal(attn_context_last_error(other), "");
    assert_int_equal(attn_softmax(context, 1, 5, NULL, 3, NULL, 5, NULL), ATTN_ERROR_SHAPE);
    assert_mentions(attn_context_last_error(context), "ldx");
    (void)run_sdpa(context, &c);
    assert_mentions(attn_context_last_error(context), "ldx");
}

static void *fail_to_create(void *arg) {
    attn_context_options options;
    attn_context *context = NULL;
    ATTN_INIT(&options);
    options.isa = 1U << 30;
    *(attn_status *)arg = attn_context_create(&options, &context);
    return NULL;
}

/* Without a context, messages are of this thread. */
static void last_error_without_a_context(void **state) {
    (void)state;
    pthread_t thread;
    attn_status status = ATTN_OK;
    attn_context_options options;
    attn_context *context = NULL;
    ATTN_INIT(&options);
    options.threads = 5000;
    assert_int_equal(attn_context_create(&options, &context), ATTN_ERROR_VALUE);
    assert_int_equal(pthread_create(&thread, NULL, fail_to_create, &status), 0);
    pthread_join(thread, NULL);
    assert_int_equal(status, ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(NULL), "threads");
    assert_int_equal(attn_sdpa(NULL, NULL, NULL, NULL, NULL, NULL), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(NULL), "context");
}

/* ---- the caller's sgemm ---- */

static int sgemm_data;
static atomic_size_t sgemm_calls, sgemm_faults;

static void counted_sgemm(void *data, size_t M, size_t N, size_t K, float alpha, const float *A, size_t lda,
                          const float *Bm, size_t ldb, float beta, float *C, size_t ldc) {
    sgemm_calls++;
    sgemm_faults += data != &sgemm_data || lda < K || ldb < N || ldc < N;
    plain_sgemm(data, M, N, K, alpha, A, lda, Bm, ldb, beta, C, ldc);
}

static attn_context *new_context_with_sgemm(size_t threads, attn_sgemm_fn sgemm) {
    attn_context_options options;
    ATTN_INIT(&options);
    options.threads = threads;
    options.sgemm = sgemm;
    options.sgemm_data = &sgemm_data;
    return new_context(&options);
}

static void sgemm_of_the_caller(void **state) {
    (void)state;
    seed(6);
    for (size_t threads = 1; threads <= 3; threads += 2) {
        attn_context *context = new_context_with_sgemm(threads, counted_sgemm);
        assert_string_equal(describe(context).blas, "callback");
        for (int causal = 0; causal < CAUSALS; causal++) {
            struct sdpa_case c = small_case();
            set_causal(&c, (attn_causal)causal, (const int64_t[]){3, -3});
            c.out_layout = BTHD;
            check_sdpa(context, &c);
            end_case();
        }
        struct mha_case layer = mha_case_of(40, 4, 2, 30);
        fill_layer(&layer.layer, true, ALL_BIASES);
        check_mha(context, &layer);
        end_case();
    }
    assert_true(sgemm_calls > 0);
    assert_int_equal(sgemm_faults, 0);
}

static bool silent;

/* Every matrix product goes through it: without one, nothing comes out right. */
static void no_sgemm(void *data, size_t M, size_t N, size_t K, float alpha, const float *A, size_t lda, const float *Bm,
                     size_t ldb, float beta, float *C, size_t ldc) {
    if (!silent) {
        counted_sgemm(data, M, N, K, alpha, A, lda, Bm, ldb, beta, C, ldc);
        return;
    }
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++)
            C[i * ldc + j] = 0;
}

static void all_products_go_through_it(void **state) {
    (void)state;
    seed(7);
    attn_context *context = new_context_with_sgemm(1, no_sgemm);
    silent = true;
    struct sdpa_case c = small_case();
    const struct sdpa_result r = run_sdpa(context, &c);
    for (size_t n = 0; n < element_count(r.out); n++)
        assert_true(*element(r.out, n) == 0);
    for (size_t n = 0; n < element_count(r.probabilities); n++) /* all scores 0 */
        assert_true(fabsf(*element(r.probabilities, n) - 1.0F / 130) < 1e-8F);
}

/* ---- threads of the caller's ---- */

static void parallel_for_of_the_caller(void **state) {
    (void)state;
    static const size_t threads = 3;
    const attn_parallel_for_fn pools[] = {run_in_order, run_backwards, run_on_pthreads};
    seed(8);
    struct mha_case layer = mha_case_of(40, 4, 2, 200);
    fill_layer(&layer.layer, true, ALL_BIASES);
    const struct sdpa_case c = small_case();
    for (size_t i = 0; i < COUNT(pools); i++) {
        parallel_calls = 0;
        attn_context *context = new_context_on(pools[i], &threads);
        check_sdpa(context, &c);
        check_mha(context, &layer);
        assert_true(parallel_calls > 0);
    }
}

/* Two contexts in two threads at once: nothing is shared. */
struct errand {
    attn_context *context;
    const struct sdpa_case *c;
    attn_tensor out;
    attn_status status;
};

static void *run_errand(void *arg) {
    struct errand *e = arg;
    for (int i = 0; i < 10 && e->status == ATTN_OK; i++)
        e->status = attn_sdpa(e->context, &e->c->q, &e->c->k, &e->c->v, &e->out, NULL);
    return NULL;
}

static void a_context_for_each_thread(void **state) {
    (void)state;
    enum { CALLERS = 4 };
    pthread_t threads[CALLERS];
    struct errand errands[CALLERS];
    seed(9);
    const struct sdpa_case c = small_case();
    const struct sdpa_result want = run_sdpa(new_context_of(1, 0), &c);
    for (size_t i = 0; i < CALLERS; i++) {
        errands[i] = (struct errand){new_context_of(1 + i % 2, 0), &c, new_tensor(BHTD, 2, 4, 70, 24), ATTN_OK};
        assert_int_equal(pthread_create(&threads[i], NULL, run_errand, &errands[i]), 0);
    }
    for (size_t i = 0; i < CALLERS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < CALLERS; i++) {
        assert_ok(errands[i].context, errands[i].status);
        assert_bits(errands[i].out, want.out);
    }
}

/* A call leaves the number of threads of the BLAS, which is the process's, as it was. */
static void leaves_the_blas_as_it_was(void **state) {
    (void)state;
    int (*get)(void);
    void (*set)(int);
    *(void **)&get = dlsym(RTLD_DEFAULT, "openblas_get_num_threads");
    *(void **)&set = dlsym(RTLD_DEFAULT, "openblas_set_num_threads");
    if (!get || !set)
        skip();
    seed(10);
    const struct sdpa_case c = small_case();
    set(2);
    check_sdpa(new_context_of(2, 0), &c);
    assert_int_equal(get(), 2);
}

/* ---- fork ---- */

/* In the child: no assertions, no return. */
static void run_in_child(attn_context *context, const struct sdpa_case *c, const struct sdpa_result *want) {
    const size_t bytes = element_count(want->out) * sizeof(float);
    const attn_tensor out = new_tensor(BHTD, 2, 4, 70, 24);
    alarm(30);
    const attn_status status = attn_sdpa(context, &c->q, &c->k, &c->v, &out, &c->params);
    attn_context_destroy(context);
    _exit(status == ATTN_OK && memcmp(out.data, want->out.data, bytes) == 0 ? 0 : 1);
}

static void check_fork(attn_context *context, const struct sdpa_case *c, const struct sdpa_result *want) {
    int status = -1;
    const pid_t child = fork();
    if (child == 0)
        run_in_child(context, c, want);
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Before the context has worker threads, when it has, and when it has had them in another child. */
static void usable_after_fork(void **state) {
    (void)state;
    if (UNDER_TSAN) {
        print_message("skipped: TSan ends a process that starts threads after a fork\n");
        skip();
    }
    seed(11);
    const struct sdpa_case c = small_case();
    const struct sdpa_result want = run_sdpa(new_context_of(1, 0), &c);
    attn_context *context = new_context_of(2, 0);
    check_fork(context, &c, &want);
    for (int i = 0; i < 3; i++) {
        const struct sdpa_result got = run_sdpa(context, &c);
        assert_same_result(&got, &want);
        check_fork(context, &c, &want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(describes_defaults),
                                       TEST(describes_options),
                                       TEST(best_isa_of_the_mask),
                                       TEST(last_error_is_of_the_last_failure),
                                       TEST(last_error_without_a_context),
                                       TEST(sgemm_of_the_caller),
                                       TEST(all_products_go_through_it),
                                       TEST(parallel_for_of_the_caller),
                                       TEST(a_context_for_each_thread),
                                       TEST(leaves_the_blas_as_it_was),
                                       TEST(usable_after_fork)};
    return cmocka_run_group_tests_name("context", tests, NULL, NULL);
}
