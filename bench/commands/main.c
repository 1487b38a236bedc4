/* SPDX-License-Identifier: BSD-3-Clause */
/* attn-bench: which BLAS, how fast, for which shapes of attention. */
#include <attn/attn.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "commands/describe.h"
#include "commands/diff.h"
#include "commands/explain.h"
#include "commands/measure.h"
#include "work/worker.h"

#define EXIT_USAGE 2

static int run(const options *o, const char *self) {
    if (o->help)
        options_print_help(o, stdout);
    if (o->version)
        printf("attn-bench %s\n", attn_version());
    if (o->help || o->version)
        return EXIT_SUCCESS;
    signal(SIGPIPE, SIG_IGN); /* a write to a worker that has died fails instead */
    switch (o->command) {
    case MACHINE:
        return describe_run(o, self);
    case EXPLAIN:
        return explain_run(o);
    case DIFF:
        return diff_run(o->files[0], o->files[1]);
    default:
        return measure_run(o, self);
    }
}

int main(int argc, char **argv) {
    options o;
    if (argc == 4 && strcmp(argv[1], WORKER_OPTION) == 0)
        return worker_main(argv[2], strcmp(argv[3], "1") == 0);
    if (options_parse(&o, argc, argv) != OPTIONS_OK)
        return EXIT_USAGE;
    int status = run(&o, argv[0]);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "attn-bench: the output could not be written: %s\n", strerror(errno));
    return EXIT_FAILURE;
}
