/* SPDX-License-Identifier: BSD-3-Clause */
/* A BLAS that is held at one thread by a setting of the process: fork() beside calls, and the application's own changes
 * of the setting. `test_fork N` forks N times. */
#define _GNU_SOURCE /* RTLD_DEFAULT */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/sdpa_case.h"

static size_t forks = 40;
static int (*get_threads)(void);
static void (*set_threads)(int);

static struct sdpa_case some_case(void) { return sdpa_case_of(1, 4, 2, 130, 200, 32, 32); }

/* ---- fork ---- */

static atomic_bool over;

struct caller {
    attn_context *context;
    const struct sdpa_case *c;
    attn_tensor out;
    pthread_t thread;
    attn_status status;
};

static void *call_on(void *arg) {
    struct caller *caller = arg;
    const struct sdpa_case *c = caller->c;
    while (!over && caller->status == ATTN_OK)
        caller->status = attn_sdpa(caller->context, &c->q, &c->k, &c->v, &caller->out, NULL);
    return NULL;
}

/* The exit status says what went wrong; SIGALRM is a lock that nobody gives back. */
static void run_in_child(attn_context *context, const struct sdpa_case *c, attn_tensor out, attn_tensor want) {
    alarm(30);
    if (get_threads() != 2)
        _exit(2);
    if (attn_sdpa(context, &c->q, &c->k, &c->v, &out, NULL) != ATTN_OK)
        _exit(3);
    if (memcmp(out.data, want.data, element_count(out) * sizeof(float)) != 0)
        _exit(4);
    _exit(get_threads() == 2 ? 0 : 5);
}

static int fork_once(attn_context *context, const struct sdpa_case *c, attn_tensor out, attn_tensor want) {
    int status = -1;
    const pid_t child = fork();
    if (child == 0)
        run_in_child(context, c, out, want);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void fork_beside_calls(void **state) {
    (void)state;
    enum { CALLERS = 3 };
    struct caller callers[CALLERS];
    if (UNDER_TSAN || !get_threads)
        skip();
    seed(13);
    set_threads(2);
    const struct sdpa_case c = some_case();
    const struct sdpa_result want = run_sdpa(new_context_of(1, 0), &c);
    attn_context *context = new_context_of(2, 0);
    const attn_tensor out = new_tensor(BHTD, 1, 4, 130, 32);
    for (size_t i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.context = new_context_of(1 + i % 2, 0), .c = &c};
        callers[i].out = new_tensor(BHTD, 1, 4, 130, 32);
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call_on, &callers[i]), 0);
    }
    size_t faults[256] = {0}, bad = 0;
    for (size_t i = 0; i < forks; i++)
        faults[fork_once(context, &c, out, want.out)]++;
    over = true;
    for (size_t i = 0; i < CALLERS; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_ok(callers[i].context, callers[i].status);
        assert_bits(callers[i].out, want.out);
    }
    for (size_t i = 1; i < COUNT(faults); i++) {
        bad += faults[i];
        if (faults[i] > 0)
            print_message("%zu of %zu children ended with %zu\n", faults[i], forks, i);
    }
    assert_int_equal(bad, 0);
    assert_int_equal(get_threads(), 2);
}

static void fork_in_callback(void *data, const attn_score_tile *tile) {
    (void)tile;
    const pid_t child = fork();
    if (child == 0)
        _exit(0);
    *(atomic_int *)data |= child < 0 || waitpid(child, NULL, 0) != child;
}

static void a_callback_may_fork(void **state) {
    (void)state;
    atomic_int failed = 0;
    seed(14);
    struct sdpa_case c = some_case();
    c.params.score = fork_in_callback;
    c.params.score_data = &failed;
    for (size_t threads = 1; threads <= 2; threads++) {
        (void)run_sdpa(new_context_of(threads, 0), &c);
    }
    assert_int_equal(failed, 0);
}

/* ---- the application's own setting ---- */

static void set_in_callback(void *data, const attn_score_tile *tile) {
    (void)tile;
    set_threads(*(const int *)data);
}

static void a_setting_made_meanwhile_counts(void **state) {
    (void)state;
    int wanted = 3;
    if (!get_threads)
        skip();
    seed(15);
    struct sdpa_case c = some_case();
    c.params.score = set_in_callback;
    c.params.score_data = &wanted;
    set_threads(2);
    const struct sdpa_result got = run_sdpa(new_context_of(1, 0), &c);
    assert_int_equal(get_threads(), 3);
    wanted = 1;
    set_threads(1);
    const struct sdpa_result want = run_sdpa(new_context_of(1, 0), &c);
    assert_same_result(&got, &want);
    assert_int_equal(get_threads(), 1);
}

int main(int argc, char **argv) {
    if (argc > 1)
        forks = strtoul(argv[1], NULL, 10);
    *(void **)&get_threads = dlsym(RTLD_DEFAULT, "openblas_get_num_threads");
    *(void **)&set_threads = dlsym(RTLD_DEFAULT, "openblas_set_num_threads");
    const struct CMUnitTest tests[] = {TEST(fork_beside_calls), TEST(a_callback_may_fork),
                                       TEST(a_setting_made_meanwhile_counts)};
    return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
