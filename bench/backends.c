/* SPDX-License-Identifier: BSD-3-Clause */
#include "backends.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "text.h"

/* What is tried when the user does not say. "linked" is first: it is what the others are compared with. */
static const char *const candidates[] = {"linked", "openblas-pthread", "openblas-openmp", "blis", "mkl", "reference"};

static name_list names_to_try(const options *o) {
    name_list names = o->blas;
    const char *wish = getenv("ATTN_BLAS");
    if (names.count > 0)
        return names;
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++)
        names.item[names.count++] = candidates[i];
    if (wish != NULL && strchr(wish, '/') != NULL)
        names.item[names.count++] = wish;
    return names;
}

/* Takes the next field of the worker's first line; "" where there is none. */
static void take_field(char **rest, char *to, size_t size) {
    const char *field = text_next(rest, '\t');
    text_print(to, size, "%s", field == NULL ? "" : field);
}

static void read_about(backend *b, char *line) {
    text_next(&line, '\t');
    take_field(&line, b->blas, sizeof b->blas);
    take_field(&line, b->version, sizeof b->version);
    take_field(&line, b->core, sizeof b->core);
    take_field(&line, b->threading, sizeof b->threading);
    take_field(&line, b->path, sizeof b->path);
    take_field(&line, b->isa, sizeof b->isa);
}

static bool start_backend(backend *b, const options *o, const char *self, const char *name) {
    char line[600];
    const char *slash = strrchr(name, '/');
    b->name = name;
    b->label = slash != NULL && slash[1] != '\0' ? slash + 1 : name;
    if (!child_start(&b->child, self, name) || !child_read(&b->child, o->timeout, line, sizeof line))
        return false;
    read_about(b, line);
    return true;
}

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Stops a backend that turned out to be the library of one that already runs, which a user did not ask for. */
static bool is_new(const backends *set, backend *b) {
    for (size_t i = 0; i < set->running; i++) {
        if (!same_file(set->item[i].path, b->path))
            continue;
        child_stop(&b->child);
        text_print(b->child.reason, sizeof b->child.reason, "is the same library as %s", set->item[i].name);
        return false;
    }
    return true;
}

/* Puts the last backend behind those that run, and moves up those that do not. */
static void promote(backends *set) {
    backend last = set->item[set->count - 1];
    memmove(&set->item[set->running + 1], &set->item[set->running],
            (set->count - 1 - set->running) * sizeof *set->item);
    set->item[set->running++] = last;
}

bool backends_start(backends *set, const options *o, const char *self) {
    const name_list names = names_to_try(o);
    *set = (backends){.item = calloc(names.count, sizeof *set->item)};
    for (size_t i = 0; set->item != NULL && i < names.count; i++) {
        backend *b = &set->item[set->count++];
        if (!start_backend(b, o, self, names.item[i]))
            child_stop(&b->child);
        else if (o->blas.count > 0 || is_new(set, b))
            promote(set);
    }
    return set->item != NULL;
}

void backends_stop(backends *set) {
    for (size_t i = 0; i < set->running; i++)
        child_stop(&set->item[i].child);
    free(set->item);
    *set = (backends){0};
}

void backend_describe(const backend *b, char *to, size_t size) {
    text_print(to, size, "%s%s%s%s%s%s%s%s", b->blas, *b->version != '\0' ? " " : "", b->version,
               *b->core != '\0' ? ", " : "", b->core, *b->core != '\0' ? " kernels" : "",
               *b->threading != '\0' ? ", " : "", b->threading);
}

void backends_print(const backends *set, FILE *file) {
    char about[400];
    if (set->running > 0)
        fputs("backends:\n", file);
    for (size_t i = 0; i < set->running; i++) {
        backend_describe(&set->item[i], about, sizeof about);
        fprintf(file, "  %-18s %s%s%s\n", set->item[i].label, about,
                *set->item[i].path != '\0' ? "\n                     " : "", set->item[i].path);
    }
    if (set->running < set->count)
        fputs("not run:\n", file);
    for (size_t i = set->running; i < set->count; i++)
        fprintf(file, "  %-18s %s\n", set->item[i].name, set->item[i].child.reason);
    backends_note(set, about, sizeof about);
    if (*about != '\0')
        fprintf(file, "note: %s\n", about);
}

void backends_note(const backends *set, char *to, size_t size) {
    const char *forced = getenv("OPENBLAS_CORETYPE");
    *to = '\0';
    for (size_t i = 0; forced != NULL && *forced != '\0' && i < set->running; i++)
        if (strcmp(set->item[i].blas, "openblas") == 0 && *to == '\0')
            text_print(to, size,
                       "OpenBLAS runs %s kernels because OPENBLAS_CORETYPE is set (to %s); "
                       "unset it to let OpenBLAS choose for this CPU",
                       *set->item[i].core != '\0' ? set->item[i].core : forced, forced);
}
