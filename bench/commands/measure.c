/* SPDX-License-Identifier: BSD-3-Clause */
#include "commands/measure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "commands/terminal.h"
#include "report/csv.h"
#include "report/html.h"
#include "report/json.h"
#include "report/svg.h"
#include "report/table.h"
#include "run/sweep.h"

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

/* Every file that will be written. */
static bool can_write_all(const options *o) {
    return can_write("--json", o->json) && can_write("--csv", o->csv) && can_write("--svg", o->svg) &&
           can_write("--html", o->html);
}

int measure_run(const options *o, const char *self) { return can_write_all(o) ? run_sweep(o, self) : EXIT_FAILURE; }
