/* SPDX-License-Identifier: BSD-3-Clause */
/* How many threads there are: CPU masks and cgroups, given by a fake system, and limits under which none can start. */
#define _GNU_SOURCE /* sched_getaffinity */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "context/context.h"
#include "support/sdpa_case.h"

/* ---- CPUs ---- */

static size_t cpus, mask_bytes; /* of the machine, and the shortest mask that its kernel takes */

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set) {
    (void)pid;
    if (size < mask_bytes || size * 8 < cpus) {
        errno = EINVAL;
        return -1;
    }
    memset(set, 0, size);
    for (size_t i = 0; i < cpus; i++)
        CPU_SET_S(i, size, set);
    return 0;
}

static char root[] = "/tmp/attn-threads-XXXXXX";

static void write_file(const char *path, const char *text) {
    char full[512];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *slash = full; (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        assert_true(mkdir(full, 0755) == 0 || errno == EEXIST);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int begin_machine(void **state) {
    (void)state;
    char command[sizeof root + 16];
    snprintf(command, sizeof command, "rm -rf %s", root);
    cpus = 64;
    mask_bytes = 8;
    return system(command);
}

static void counts_the_mask(void **state) {
    (void)state;
    const size_t counts[] = {1, 3, 1024, 1025, 4096, 8192};
    for (size_t i = 0; i < COUNT(counts); i++) {
        cpus = counts[i];
        assert_int_equal(attni_count_cpus(root), cpus);
    }
    cpus = 192;
    mask_bytes = 256;
    assert_int_equal(attni_count_cpus(root), 192);
    cpus = 100000; /* of which no kernel tells */
    assert_int_equal(attni_count_cpus(root), 1);
}

static void most_threads_by_default(void **state) {
    (void)state;
    cpus = 8192;
    assert_true(describe(new_context(NULL)).threads <= 4096);
}

static void quota_of_version_2(void **state) {
    (void)state;
    write_file("/proc/self/cgroup", "0::/a/b/c\n");
    assert_int_equal(attni_count_cpus(root), 64);
    write_file("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
    assert_int_equal(attni_count_cpus(root), 64);
    write_file("/sys/fs/cgroup/a/b/c/cpu.max", "1050000 100000\n");
    assert_int_equal(attni_count_cpus(root), 11);
    write_file("/sys/fs/cgroup/a/cpu.max", "150000 100000\n");
    assert_int_equal(attni_count_cpus(root), 2);
    write_file("/sys/fs/cgroup/cpu.max", "1000 100000\n");
    assert_int_equal(attni_count_cpus(root), 1);
    write_file("/sys/fs/cgroup/cpu.max", "9000000 100000\n");
    write_file("/sys/fs/cgroup/a/cpu.max", "9000000 100000\n");
    assert_int_equal(attni_count_cpus(root), 11);
    cpus = 4;
    assert_int_equal(attni_count_cpus(root), 4);
}

/* In a container, the path may be the host's. */
static void quota_of_version_1(void **state) {
    (void)state;
    write_file("/proc/self/cgroup", "5:cpuset:/set\n4:cpuacct,cpu:/docker/1\n1:name=systemd:/docker/1\nnonsense\n");
    write_file("/sys/fs/cgroup/cpu/set/cpu.cfs_quota_us", "100000\n"); /* of a group that is not ours */
    write_file("/sys/fs/cgroup/cpu/set/cpu.cfs_period_us", "100000\n");
    write_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    write_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(attni_count_cpus(root), 64);
    write_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "250000\n");
    assert_int_equal(attni_count_cpus(root), 3);
    write_file("/sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us", "100000\n");
    write_file("/sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us", "50000\n");
    assert_int_equal(attni_count_cpus(root), 2);
}

static void quota_of_both_versions(void **state) {
    (void)state;
    write_file("/proc/self/cgroup", "1:memory:/\n0::/x\n");
    write_file("/sys/fs/cgroup/unified/x/cpu.max", "200000 100000\n");
    assert_int_equal(attni_count_cpus(root), 2);
}

/* ---- threads that cannot start ---- */

/* The type of the resource depends on the C library. */
#define set_limit(resource, limit)                                                                                     \
    do {                                                                                                               \
        const struct rlimit l = {(rlim_t)(limit), (rlim_t)(limit)};                                                    \
        if (setrlimit(resource, &l) != 0)                                                                              \
            _exit(3);                                                                                                  \
    } while (0)

static void no_processes(void) {
    if (getuid() == 0 && setuid(65534) != 0) /* root has no such limit */
        _exit(3);
    set_limit(RLIMIT_NPROC, 1);
}

/* Room for three stacks more, and a little, unless threads have small ones whatever the limit is, as musl's. */
#ifdef __GLIBC__
enum { MOST_STACKS = 5 };
#else
enum { MOST_STACKS = 40 };
#endif
static void little_address_space(void) {
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%zu", &pages) != 1) /* NOLINT(cert-err34-c) */
        _exit(3);
    fclose(file);
    set_limit(RLIMIT_STACK, (size_t)8 << 20);
    set_limit(RLIMIT_AS, pages * (size_t)sysconf(_SC_PAGESIZE) + ((size_t)28 << 20));
}

/* Without OpenBLAS, which looks for ever for memory that there is not. */
static attn_context *new_context_with_threads(size_t threads) {
    attn_context_options options;
    ATTN_INIT(&options);
    options.threads = threads;
    options.sgemm = plain_sgemm;
    return new_context(&options);
}

/* In a child: 0 if the context comes to between `least` and `most` threads and gives the right bits. */
static int run_limited(void (*limit)(void), size_t least, size_t most) {
    const struct sdpa_case c = sdpa_case_of(2, 8, 8, 256, 256, 32, 32);
    const struct sdpa_result want = run_sdpa(new_context_with_threads(1), &c);
    attn_context *context = new_context_with_threads(40);
    const attn_tensor out = new_tensor(BHTD, 2, 8, 256, 32);
    int status = -1;
    assert_ok(context, attn_context_reserve(context, (size_t)64 << 20));
    const pid_t child = fork();
    if (child == 0) {
        alarm(30);
        limit();
        bool ok = attn_sdpa(context, &c.q, &c.k, &c.v, &out, &c.params) == ATTN_OK;
        ok = ok && attn_sdpa(context, &c.q, &c.k, &c.v, &out, &c.params) == ATTN_OK;
        attn_context_info info;
        ATTN_INIT(&info);
        ok = ok && attn_context_describe(context, &info) == ATTN_OK && info.threads >= least && info.threads <= most;
        ok = ok && memcmp(out.data, want.out.data, element_count(out) * sizeof(float)) == 0;
        attn_context_destroy(context);
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void fewer_threads_where_none_start(void **state) {
    (void)state;
    if (UNDER_TSAN || UNDER_ASAN)
        skip();
    seed(12);
    assert_int_equal(run_limited(no_processes, 1, 1), 0);
    assert_int_equal(run_limited(little_address_space, 2, MOST_STACKS), 0);
}

int main(void) {
    if (!mkdtemp(root))
        return 1;
#define ON_MACHINE(test) cmocka_unit_test_setup_teardown(test, begin_machine, end_test)
    const struct CMUnitTest tests[] = {ON_MACHINE(counts_the_mask),        ON_MACHINE(most_threads_by_default),
                                       ON_MACHINE(quota_of_version_2),     ON_MACHINE(quota_of_version_1),
                                       ON_MACHINE(quota_of_both_versions), TEST(fewer_threads_where_none_start)};
    const int failures = cmocka_run_group_tests_name("threads", tests, NULL, NULL);
    begin_machine(NULL);
    return failures;
}
