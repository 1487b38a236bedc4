/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs a fuzzer without libFuzzer, in a process of its own, so that it can be told which input ended it.
 *   fuzz_… FILE...             inputs in files
 *   fuzz_… --seeds FIRST COUNT inputs made of seeds FIRST, FIRST + 1, …; fewer where tests are to be short */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"

enum { MOST = 1 << 22, SEED_BYTES = 384, SECONDS = 120 };

static size_t bytes_of_seed(uint64_t number, uint8_t *bytes) {
    seed(number);
    for (size_t i = 0; i < SEED_BYTES; i++)
        bytes[i] = (uint8_t)random_below(256);
    return SEED_BYTES;
}

static size_t bytes_of_file(const char *path, uint8_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(2);
    }
    const size_t size = fread(bytes, 1, MOST, file);
    fclose(file);
    return size;
}

struct job {
    bool seeds;
    uint64_t first;
    size_t count;
    char **files;
};

/* One input after the other; *done tells how many there were. */
static void run(const struct job *job, volatile size_t *done) {
    static uint8_t bytes[MOST];
    for (size_t i = 0; i < job->count; i++) {
        const size_t size = job->seeds ? bytes_of_seed(job->first + i, bytes) : bytes_of_file(job->files[i], bytes);
        uint8_t *exact = malloc(size + !size); /* so that reading beyond is seen */
        if (!exact)
            exit(2);
        memcpy(exact, bytes, size);
        alarm(SECONDS);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
        *done = i + 1;
        if (isatty(STDERR_FILENO) && *done % 256 == 0)
            fprintf(stderr, "\r%zu of %zu", *done, job->count);
    }
}

static bool read_job(int argc, char **argv, struct job *job) {
    *job = (struct job){.seeds = argc == 4 && strcmp(argv[1], "--seeds") == 0};
    if (!job->seeds) {
        job->files = argv + 1;
        job->count = (size_t)argc - 1;
        return argc > 1 && argv[1][0] != '-';
    }
    job->first = strtoull(argv[2], NULL, 10);
    job->count = strtoull(argv[3], NULL, 10) / every();
    return true;
}

/* How the process ended is what waitpid told. */
static int report(const char *program, const struct job *job, size_t done, int ended) {
    const bool passed = WIFEXITED(ended) && WEXITSTATUS(ended) == 0;
    if (passed || done == job->count)
        fprintf(stderr, "\r%s: %zu inputs%s\n", program, done, passed ? "" : ", but the process failed at its end");
    else if (job->seeds)
        fprintf(stderr, "\n%s: failed. Again: %s --seeds %llu 1\n", program, program,
                (unsigned long long)job->first + done);
    else
        fprintf(stderr, "\n%s: failed on %s\n", program, job->files[done]);
    return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv) {
    struct job job;
    int ended = 0;
    if (!read_job(argc, argv, &job)) {
        fprintf(stderr, "usage: %s FILE... | --seeds FIRST COUNT\n", argv[0]);
        return 2;
    }
    volatile size_t *done = mmap(NULL, sizeof *done, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const pid_t child = done == MAP_FAILED ? -1 : fork();
    if (child == 0) {
        run(&job, done);
        exit(EXIT_SUCCESS);
    }
    if (child < 0 || waitpid(child, &ended, 0) != child) {
        perror(argv[0]);
        return 2;
    }
    return report(argv[0], &job, *done, ended);
}
