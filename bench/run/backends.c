/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/backends.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/text.h"
#include "run/discover.h"

#define BACKENDS_MAX 64

/* A list that is being made. */
typedef struct wishes {
    backends *set;
    size_t count;
} wishes;

static bool add(void *data, const char *label, const char *blas) {
    wishes *w = data;
    if (w->count == BACKENDS_MAX)
        return false;
    backend *b = &w->set->item[w->count++];
    text_print(b->label, sizeof b->label, "%s", label);
    text_print(b->blas, sizeof b->blas, "%s", blas);
    return true;
}

backend backend_named(const char *wish) {
    char path[256];
    backend b = {0};
    const char *slash = strrchr(wish, '/');
    const char *colon = slash == NULL ? NULL : strchr(slash, ':');
    const size_t length = colon != NULL ? (size_t)(colon - wish) : strlen(wish);
    text_print(path, sizeof path, "%.*s", (int)length, wish);
    const char *last = strrchr(path, '/');
    const char *short_name = last != NULL && last[1] != '\0' ? last + 1 : path;
    text_print(b.label, sizeof b.label, "%s", colon != NULL && colon[1] != '\0' ? colon + 1 : short_name);
    text_print(b.blas, sizeof b.blas, "%s", discover_named(path));
    return b;
}

/* Each core as the first backend, which is an OpenBLAS or will be refused. */
static void add_cores(wishes *w, const name_list *cores) {
    for (size_t i = 0; i < cores->count && w->count > 0; i++) {
        char label[64];
        text_print(label, sizeof label, "%.30s@%.30s", w->set->item[0].label, cores->item[i]);
        if (add(w, label, w->set->item[0].blas))
            w->set->item[w->count - 1].core = cores->item[i];
    }
}

/* Takes the next field of the worker's first line; "" where there is none. */
static void take_field(char **rest, char *to, size_t size) {
    const char *field = text_next(rest, '\t');
    text_print(to, size, "%s", field == NULL ? "" : field);
}

static void read_about(backend *b, char *line) {
    text_next(&line, '\t');
    take_field(&line, b->library, sizeof b->library);
    take_field(&line, b->version, sizeof b->version);
    take_field(&line, b->kernels, sizeof b->kernels);
    take_field(&line, b->threading, sizeof b->threading);
    take_field(&line, b->path, sizeof b->path);
    take_field(&line, b->isa, sizeof b->isa);
    take_field(&line, b->choice, sizeof b->choice);
}

/* OpenBLAS falls back in silence to what it has. */
static bool has_core(backend *b) {
    if (b->core == NULL || (strcmp(b->library, "openblas") == 0 && strcasecmp(b->core, b->kernels) == 0))
        return true;
    text_print(b->child.reason, sizeof b->child.reason, "has no kernels for %s here: it chose %s", b->core,
               *b->kernels != '\0' ? b->kernels : "its own");
    return false;
}

static bool start_backend(backend *b, const options *o, const char *self) {
    char line[700];
    const child_wish wish = {.blas = b->blas, .core = b->core, .pin = !o->no_pin};
    if (!child_start(&b->child, self, &wish) || !child_read(&b->child, o->timeout, line, sizeof line))
        return false;
    read_about(b, line);
    return has_core(b);
}

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Stops a backend that turned out to be the library of one that already runs, which a user did not ask for. */
static bool is_new(const backends *set, backend *b) {
    for (size_t i = 0; i < set->running; i++) {
        if (b->core != NULL || !same_file(set->item[i].path, b->path))
            continue;
        child_stop(&b->child);
        text_print(b->child.reason, sizeof b->child.reason, "is the same library as %s", set->item[i].label);
        return false;
    }
    return true;
}

/* Moves the backend at `index` up behind those that run. */
static void promote(backends *set, size_t index) {
    backend moved = set->item[index];
    memmove(&set->item[set->running + 1], &set->item[set->running], (index - set->running) * sizeof *set->item);
    set->item[set->running++] = moved;
}

/* A worker that names no backend tells, and ends. */
static void find_choice(backends *set, const options *o, const char *self) {
    backend nobody = {0};
    const bool runs = start_backend(&nobody, o, self);
    text_print(set->choice, sizeof set->choice, "%s", runs ? nobody.choice : nobody.child.reason);
    child_stop(&nobody.child);
}

bool backends_start(backends *set, const options *o, const char *self) {
    *set = (backends){.item = calloc(BACKENDS_MAX, sizeof *set->item)};
    wishes w = {.set = set};
    if (set->item == NULL)
        return false;
    find_choice(set, o, self);
    for (size_t i = 0; i < o->blas.count; i++)
        set->item[w.count++] = backend_named(o->blas.item[i]);
    if (o->blas.count == 0)
        discover(add, &w);
    add_cores(&w, &o->cores);
    set->count = w.count;
    for (size_t i = 0; i < w.count; i++) {
        backend *b = &set->item[i];
        if (!start_backend(b, o, self))
            child_stop(&b->child);
        else if (o->blas.count > 0 || is_new(set, b))
            promote(set, i);
    }
    return true;
}

void backends_stop(backends *set) {
    for (size_t i = 0; i < set->running; i++)
        child_stop(&set->item[i].child);
    free(set->item);
    *set = (backends){0};
}

void backend_describe(const backend *b, char *to, size_t size) {
    text_print(to, size, "%s%s%s%s%s%s%s%s", b->library, *b->version != '\0' ? " " : "", b->version,
               *b->kernels != '\0' ? ", " : "", b->kernels, *b->kernels != '\0' ? " kernels" : "",
               *b->threading != '\0' ? ", " : "", b->threading);
}

static void print_backend(const backend *b, FILE *file) {
    fprintf(file, "  %-18s %s\n", b->label, b->choice);
    if (*b->path != '\0')
        fprintf(file, "  %-18s %s%s%s\n", "", b->threading, *b->threading != '\0' ? ", " : "", b->path);
}

void backends_print(const backends *set, FILE *file) {
    char about[400];
    fprintf(file, "default:   %s\n", set->choice);
    if (set->running > 0)
        fputs("backends:\n", file);
    for (size_t i = 0; i < set->running; i++)
        print_backend(&set->item[i], file);
    if (set->running < set->count)
        fputs("not run:\n", file);
    for (size_t i = set->running; i < set->count; i++)
        fprintf(file, "  %-18s %s\n", set->item[i].label, set->item[i].child.reason);
    backends_note(set, about, sizeof about);
    if (*about != '\0')
        fprintf(file, "note: %s\n", about);
}

void backends_note(const backends *set, char *to, size_t size) {
    const char *forced = getenv("OPENBLAS_CORETYPE");
    *to = '\0';
    for (size_t i = 0; forced != NULL && *forced != '\0' && i < set->running; i++)
        if (strcmp(set->item[i].library, "openblas") == 0 && set->item[i].core == NULL && *to == '\0')
            text_print(to, size,
                       "OpenBLAS runs %s kernels because OPENBLAS_CORETYPE is set (to %s); "
                       "unset it to let OpenBLAS choose for this CPU",
                       *set->item[i].kernels != '\0' ? set->item[i].kernels : forced, forced);
}
