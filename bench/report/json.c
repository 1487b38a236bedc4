/* SPDX-License-Identifier: BSD-3-Clause */
#include "report/json.h"

#include <attn/attn.h>

#include "base/text.h"
#include "machine/peak.h"

#ifdef NDEBUG
#define BUILD_TYPE "release"
#else
#define BUILD_TYPE "debug"
#endif

static void put_string(FILE *file, const char *key, const char *text) {
    fprintf(file, "\"%s\": \"", key);
    text_json(file, text);
    fputs("\"", file);
}

static void put_backends(const sweep *s, FILE *file) {
    for (size_t b = 0; b < s->backends.count; b++) {
        char about[200];
        const backend *item = &s->backends.item[b];
        backend_describe(item, about, sizeof about);
        fprintf(file, "%s\n      {", b > 0 ? "," : "");
        put_string(file, "name", item->label);
        fputs(", ", file);
        put_string(file, b < s->backends.running ? "description" : "refused",
                   b < s->backends.running ? about : item->child.reason);
        fputs(", ", file);
        put_string(file, "choice", item->choice);
        fputs(", ", file);
        put_string(file, "path", item->path);
        fputc('}', file);
    }
}

static void put_peaks(const sweep *s, FILE *file) {
    for (size_t i = 0; i < s->count; i++) {
        const peak_type type = case_roof(&s->cases[i]);
        if (sweep_first_roof(s, i))
            fprintf(file,
                    "%s\n      {\"name\": \"%s\", \"isa\": \"%s\", \"threads\": %zu, \"GFLOPS\": %.6g, "
                    "\"read_GBps\": %.6g}",
                    i > 0 ? "," : "", peak_names[type], peak_isa(type), s->cases[i].threads, s->peaks[i],
                    s->bandwidths[i]);
    }
}

static void put_caches(const machine *m, FILE *file) {
    fputs("    \"caches\": [", file);
    for (size_t i = 0; i < m->cache_count; i++)
        fprintf(file, "%s\n      {\"type\": \"%s\", \"level\": %zu, \"size\": %zu, \"num_sharing\": %zu}",
                i > 0 ? "," : "", m->caches[i].type, m->caches[i].level, m->caches[i].bytes, m->caches[i].sharing);
    fputs("],\n", file);
}

/* What Google Benchmark tells of the machine. */
static void put_machine(const machine *m, FILE *file) {
    put_string(file, "date", m->date);
    fputs(",\n    ", file);
    put_string(file, "host_name", m->host);
    fputs(",\n    \"executable\": \"attn-bench\",\n", file);
    fprintf(file, "    \"num_cpus\": %zu,\n    \"mhz_per_cpu\": %.0f,\n", m->cpus, m->mhz);
    put_caches(m, file);
    fputs("    \"load_avg\": [", file);
    if (m->load >= 0)
        fprintf(file, "%.2f", m->load);
    fprintf(file, "],\n    \"library_version\": \"%s\",\n    \"library_build_type\": \"%s\",\n", attn_version(),
            BUILD_TYPE);
    fputs("    \"json_schema_version\": 1,\n    ", file);
    put_string(file, "cpu_model", m->cpu);
}

static void put_context(const sweep *s, FILE *file) {
    char note[600];
    fputs("  \"context\": {\n    ", file);
    put_machine(&s->machine, file);
    fputs(",\n    ", file);
    put_string(file, "command_line", s->options->command_line);
    fputs(",\n    ", file);
    fputs("\"peaks\": [", file);
    put_peaks(s, file);
    fputs("],\n    ", file);
    backends_note(&s->backends, note, sizeof note);
    put_string(file, "note", note);
    sweep_noise(s, note, sizeof note);
    fputs(",\n    ", file);
    put_string(file, "noise", note);
    fputs(",\n    ", file);
    put_string(file, "default_backend", s->backends.choice);
    fputs(",\n    \"backends\": [", file);
    put_backends(s, file);
    fputs("\n    ]\n  },\n", file);
}

/* What all the entries of a case on a backend begin with. */
static void begin_entry(const sweep *s, FILE *file, size_t index, size_t b, const char *suffix) {
    char name[200];
    case_name(&s->cases[index], name, sizeof name);
    fputs("    {\n      \"name\": \"", file);
    text_json(file, name);
    fputs("/blas:", file);
    text_json(file, s->backends.item[b].label);
    fprintf(file, "%s%s\",\n      \"family_index\": %zu,\n      \"per_family_instance_index\": %zu,\n",
            *suffix != '\0' ? "_" : "", suffix, index, b);
    fputs("      \"run_name\": \"", file);
    text_json(file, name);
    fputs("/blas:", file);
    text_json(file, s->backends.item[b].label);
    fprintf(file, "\",\n      \"repetitions\": %zu,\n      \"threads\": %zu,\n", sweep_cell(s, index, b)->count,
            s->cases[index].threads);
}

static void put_times(const sweep *s, FILE *file, size_t index, double seconds, double cpu) {
    const bench_case *c = &s->cases[index];
    const double speed = case_flops(c) / seconds / 1e9;
    fprintf(file, "      \"real_time\": %.9g,\n      \"cpu_time\": %.9g,\n", seconds * 1e6, cpu * 1e6);
    fputs("      \"time_unit\": \"us\",\n", file);
    fprintf(file, "      \"GFLOPS\": %.6g,\n      \"GBps\": %.6g,\n      \"peak_share\": %.6g,\n", speed,
            case_bytes(c) / seconds / 1e9, speed / s->peaks[index]);
    fprintf(file, "      \"peak_GFLOPS\": %.6g,\n      \"peak_fell\": %d", s->case_peaks[index], sweep_fell(s, index));
}

static void put_sample(const sweep *s, FILE *file, size_t index, size_t b, size_t n) {
    const sample *it = &sweep_cell(s, index, b)->samples[n];
    begin_entry(s, file, index, b, "");
    fprintf(file, "      \"run_type\": \"iteration\",\n      \"repetition_index\": %zu,\n      \"iterations\": %zu,\n",
            n, it->runs);
    put_times(s, file, index, it->seconds, it->cpu);
    fputs("\n    }", file);
}

static void begin_aggregate(const sweep *s, FILE *file, size_t index, size_t b, const char *name, const char *unit) {
    begin_entry(s, file, index, b, name);
    fprintf(file,
            "      \"run_type\": \"aggregate\",\n      \"aggregate_name\": \"%s\",\n      \"aggregate_unit\": \"%s\",\n"
            "      \"iterations\": %zu,\n",
            name, unit, sweep_cell(s, index, b)->count);
}

static void put_centre(const sweep *s, FILE *file, size_t index, size_t b, const char *name, double time, double cpu) {
    const double first = sweep_gflops(s, index, 0);
    fputs(",\n", file);
    begin_aggregate(s, file, index, b, name, "time");
    put_times(s, file, index, time, cpu);
    if (first > 0)
        fprintf(file, ",\n      \"ratio\": %.6g", case_flops(&s->cases[index]) / time / 1e9 / first);
    fputs("\n    }", file);
}

static void put_spread(const sweep *s, FILE *file, size_t index, size_t b, const char *name, const char *unit,
                       double time, double cpu) {
    fputs(",\n", file);
    begin_aggregate(s, file, index, b, name, unit);
    fprintf(file, "      \"real_time\": %.9g,\n      \"cpu_time\": %.9g,\n      \"time_unit\": \"us\"\n    }", time,
            cpu);
}

static double over(double a, double b) { return b > 0 ? a / b : 0; }

static void put_cell(const sweep *s, FILE *file, size_t index, size_t b) {
    const cell *c = sweep_cell(s, index, b);
    for (size_t n = 0; n < c->count; n++) {
        fputs(n > 0 ? ",\n" : "", file);
        put_sample(s, file, index, b, n);
    }
    put_centre(s, file, index, b, "mean", c->seconds.mean, c->cpu.mean);
    put_centre(s, file, index, b, "median", c->seconds.median, c->cpu.median);
    put_spread(s, file, index, b, "stddev", "time", c->seconds.stddev * 1e6, c->cpu.stddev * 1e6);
    put_spread(s, file, index, b, "cv", "percentage", over(c->seconds.stddev, c->seconds.mean),
               over(c->cpu.stddev, c->cpu.mean));
    put_spread(s, file, index, b, "iqr", "time", (c->seconds.high - c->seconds.low) * 1e6,
               (c->cpu.high - c->cpu.low) * 1e6);
}

/* A case that could not be timed, or gave a wrong answer, as Google Benchmark tells of one. */
static void put_error(const sweep *s, FILE *file, size_t index, size_t b) {
    char room[200];
    begin_entry(s, file, index, b, "");
    fputs("      \"run_type\": \"iteration\",\n      \"repetition_index\": 0,\n      \"error_occurred\": true,\n      ",
          file);
    put_string(file, "error_message", cell_trouble(sweep_cell(s, index, b), room, sizeof room));
    fputs(",\n      \"iterations\": 0,\n      \"real_time\": 0,\n      \"cpu_time\": 0,\n      \"time_unit\": \"us\"\n"
          "    }",
          file);
}

void json_write(const sweep *s, FILE *file) {
    const size_t n = s->backends.running;
    fputs("{\n", file);
    put_context(s, file);
    fputs("  \"benchmarks\": [\n", file);
    for (size_t i = 0; i < s->count * n; i++) {
        fputs(i > 0 ? ",\n" : "", file);
        if (s->cells[i].state == CELL_MEASURED)
            put_cell(s, file, i / n, i % n);
        else
            put_error(s, file, i / n, i % n);
    }
    fputs("\n  ]\n}\n", file);
}
