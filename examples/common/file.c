/* SPDX-License-Identifier: BSD-3-Clause */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool map(mapping *m, int descriptor, const char *path, example_error *e) {
    struct stat about;
    if (fstat(descriptor, &about) != 0)
        return example_fail(e, "%s: %s", path, strerror(errno));
    if (!S_ISREG(about.st_mode))
        return example_fail(e, "%s: not a regular file", path);
    if (about.st_size == 0)
        return example_fail(e, "%s: the file is empty", path);
    void *data = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (data == MAP_FAILED)
        return example_fail(e, "%s: %s", path, strerror(errno));
    *m = (mapping){.data = data, .size = (size_t)about.st_size};
    return true;
}

bool mapping_open(mapping *m, const char *path, example_error *e) {
    *m = (mapping){0};
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return example_fail(e, "%s: %s", path, strerror(errno));
    bool good = map(m, descriptor, path, e);
    close(descriptor);
    return good;
}

void mapping_close(mapping *m) {
    if (m->data != NULL)
        munmap((void *)(uintptr_t)m->data, m->size);
    *m = (mapping){0};
}

bool reserve(void *array, size_t *capacity, size_t count, size_t size, example_error *e) {
    if (count <= *capacity)
        return true;
    size_t wanted = count > SIZE_MAX / 2 ? count : count + count / 2 + 16;
    void *grown = wanted > SIZE_MAX / size ? NULL : realloc(*(void **)array, wanted * size);
    if (grown == NULL)
        return example_fail_memory(e);
    *(void **)array = grown;
    *capacity = wanted;
    return true;
}

static bool read_all(FILE *file, const char *path, char **text, size_t *size, example_error *e) {
    size_t capacity = 0, got;
    do {
        if (!reserve(text, &capacity, *size + 65536, 1, e))
            return false;
        got = fread(*text + *size, 1, capacity - *size, file);
        *size += got;
    } while (got > 0);
    return !ferror(file) || example_fail(e, "%s: %s", path, strerror(errno));
}

static bool cut(lines *l, size_t size, example_error *e) {
    size_t capacity = 0;
    const char *end = l->text + size;
    for (const char *at = l->text; at < end; l->count++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const char *next = stop == NULL ? end : stop + 1;
        size_t length = (size_t)((stop == NULL ? end : stop) - at);
        if (!reserve((void *)&l->line, &capacity, l->count + 1, sizeof *l->line, e))
            return false;
        if (length > 0 && at[length - 1] == '\r')
            length--;
        l->line[l->count] = (slice){at, length};
        at = next;
    }
    return true;
}

bool lines_read(lines *l, const char *path, example_error *e) {
    size_t size = 0;
    bool standard = strcmp(path, "-") == 0;
    *l = (lines){0};
    FILE *file = standard ? stdin : fopen(path, "rb");
    if (file == NULL)
        return example_fail(e, "%s: %s", path, strerror(errno));
    bool good = read_all(file, path, &l->text, &size, e) && cut(l, size, e);
    if (!standard)
        fclose(file);
    if (!good)
        lines_free(l);
    return good;
}

void lines_free(lines *l) {
    free(l->text);
    free(l->line);
    *l = (lines){0};
}

char *path_join(const char *folder, const char *name) {
    char *path;
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

bool path_exists(const char *path) { return access(path, F_OK) == 0; }

bool file_write(const char *path, void (*write)(const void *data, FILE *file), const void *data, example_error *e) {
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        return example_fail(e, "%s: %s", path, strerror(errno));
    write(data, file);
    bool failed = ferror(file) != 0;
    if (fclose(file) != 0 || failed)
        return example_fail(e, "%s: %s", path, strerror(errno));
    return true;
}
