/* SPDX-License-Identifier: BSD-3-Clause */
/* attn-bench: which BLAS, how fast, for which shapes of attention. */
#include <attn/attn.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bandwidth.h"
#include "csv.h"
#include "diff.h"
#include "explain.h"
#include "html.h"
#include "interrupt.h"
#include "json.h"
#include "options.h"
#include "peak.h"
#include "svg.h"
#include "sweep.h"
#include "table.h"
#include "terminal.h"
#include "worker.h"

#define EXIT_USAGE 2
#define EXIT_INTERRUPTED 130

static bool write_file(const sweep *s, const char *option, const char *path,
                       void (*write)(const sweep *s, FILE *file)) {
    if (path == NULL)
        return true;
    FILE *file = fopen(path, "w");
    if (file != NULL) {
        write(s, file);
        bool failed = ferror(file) != 0;
        if (fclose(file) == 0 && !failed) {
            printf("wrote %s\n", path);
            return true;
        }
    }
    fprintf(stderr, "attn-bench: %s: %s: %s\n", option, path, strerror(errno));
    return false;
}

/* Finds out before the run, not after it, that a file cannot be written. */
static bool can_write(const char *option, const char *path) {
    FILE *file = path == NULL ? NULL : fopen(path, "a");
    if (file != NULL)
        fclose(file);
    if (path == NULL || file != NULL)
        return true;
    fprintf(stderr, "attn-bench: %s: %s: %s\n", option, path, strerror(errno));
    return false;
}

static void write_chart(const sweep *s, FILE *file) {
    const size_list *chart = &s->options->chart;
    svg_write(s, (chart_kind)chart->item[chart->count - 1], file);
}

static int run_sweep(const options *o, const char *self) {
    sweep s;
    bool good = sweep_open(&s, o, self);
    if (!good)
        fputs("attn-bench: out of memory\n", stderr);
    if (good) {
        table_header(&s, stdout);
        fflush(stdout);
        interrupt_watch();
        sweep_run(&s);
        table_print(&s, stdout, terminal_width());
        good = sweep_good(&s);
        good = write_file(&s, "--json", o->json, json_write) && good;
        good = write_file(&s, "--csv", o->csv, csv_write) && good;
        good = write_file(&s, "--svg", o->svg, write_chart) && good;
        good = write_file(&s, "--html", o->html, html_write) && good;
    }
    sweep_close(&s);
    if (interrupt_seen())
        return EXIT_INTERRUPTED;
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void print_roofs(size_t threads) {
    printf("measured:  %zu thread%s: ", threads, threads == 1 ? "" : "s");
    for (int type = 0; type < PEAK_TYPES; type++)
        printf("%s peak %.1f GFLOP/s (%s), ", peak_names[type], peak_measure((peak_type)type, threads, 0.05),
               peak_isa((peak_type)type));
    printf("reading from memory %.1f GB/s\n", bandwidth_measure(threads));
}

static int describe_machine(const options *o, const char *self) {
    backends set;
    const machine m = machine_read();
    machine_print(&m, stdout);
    for (size_t threads = 1; threads <= m.usable; threads = threads < m.usable ? m.usable : threads + 1)
        print_roofs(threads);
    fflush(stdout);
    bool good = backends_start(&set, o, self) && set.running > 0;
    backends_print(&set, stdout);
    backends_stop(&set);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Every file that will be written. */
static bool can_write_all(const options *o) {
    return can_write("--json", o->json) && can_write("--csv", o->csv) && can_write("--svg", o->svg) &&
           can_write("--html", o->html);
}

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
        return describe_machine(o, self);
    case EXPLAIN:
        return explain_run(o);
    case DIFF:
        return diff_run(o->files[0], o->files[1]);
    default:
        return can_write_all(o) ? run_sweep(o, self) : EXIT_FAILURE;
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
