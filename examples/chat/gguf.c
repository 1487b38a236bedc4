/* SPDX-License-Identifier: BSD-3-Clause */
#include "gguf.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "quants.h"

enum { DEFAULT_ALIGNMENT = 32, ALIGNMENT_MAX = 65536, STRING = 8, ARRAY = 9 };

/* Kinds of metadata, by their number in the file: bytes of one, 0 where it tells its own size. */
static const struct {
    const char *name;
    size_t bytes;
} kinds[] = {{"uint8", 1}, {"int8", 1},   {"uint16", 2}, {"int16", 2},  {"uint32", 4}, {"int32", 4},  {"float32", 4},
             {"bool", 1},  {"string", 0}, {"array", 0},  {"uint64", 8}, {"int64", 8},  {"float64", 8}};

enum { KINDS = sizeof kinds / sizeof *kinds };

typedef struct entry {
    slice key;
    uint32_t kind;
    size_t count; /* of an array, whose elements are of this kind; SIZE_MAX: a single value */
    const unsigned char *value;
} entry;

struct gguf {
    mapping file;
    entry *entries; /* by key */
    size_t entry_count;
    gguf_tensor *tensors; /* by name */
    size_t tensor_count;
};

/* What is still to be read. */
typedef struct reader {
    const unsigned char *at, *end;
} reader;

static uint64_t read_le(const unsigned char *from, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = bytes; i-- > 0;)
        value = value << 8 | from[i];
    return value;
}

/* NULL: there are not so many. */
static const unsigned char *take_bytes(reader *r, uint64_t bytes, example_error *e) {
    const unsigned char *at = r->at;
    if (bytes > (size_t)(r->end - r->at)) {
        example_fail(e, "the file ends within %llu bytes that should be there", (unsigned long long)bytes);
        return NULL;
    }
    r->at += bytes;
    return at;
}

static bool take(reader *r, size_t bytes, uint64_t *value, example_error *e) {
    const unsigned char *at = take_bytes(r, bytes, e);
    *value = at == NULL ? 0 : read_le(at, bytes);
    return at != NULL;
}

static bool take_u32(reader *r, uint32_t *value, example_error *e) {
    uint64_t wide;
    const bool good = take(r, 4, &wide, e);
    *value = (uint32_t)wide;
    return good;
}

static bool take_string(reader *r, slice *s, example_error *e) {
    uint64_t size;
    const unsigned char *at = take(r, 8, &size, e) ? take_bytes(r, size, e) : NULL;
    *s = (slice){(const char *)at, (size_t)size};
    return at != NULL;
}

/* A count of things that take at least so many bytes each. */
static bool take_count(reader *r, size_t least, const char *what, size_t *count, example_error *e) {
    uint64_t wide;
    if (!take(r, 8, &wide, e))
        return false;
    if (wide > (size_t)(r->end - r->at) / least)
        return example_fail(e, "%llu %s do not fit the %zu bytes that are left", (unsigned long long)wide, what,
                            (size_t)(r->end - r->at));
    *count = (size_t)wide;
    return true;
}

static bool check_kind(const entry *n, example_error *e) {
    return n->kind < KINDS ||
           example_fail(e, "'%.*s': there is no type %u", (int)n->key.size, n->key.data, (unsigned)n->kind);
}

static bool skip_strings(reader *r, size_t count, example_error *e) {
    slice ignored;
    for (size_t i = 0; i < count; i++)
        if (!take_string(r, &ignored, e))
            return false;
    return true;
}

static bool read_array(reader *r, entry *n, example_error *e) {
    if (!take_u32(r, &n->kind, e) || !check_kind(n, e))
        return false;
    if (n->kind == ARRAY)
        return example_fail(e, "'%.*s': arrays of arrays are not read", (int)n->key.size, n->key.data);
    const size_t bytes = kinds[n->kind].bytes;
    if (!take_count(r, n->kind == STRING ? 8 : bytes, "elements", &n->count, e))
        return false;
    n->value = r->at;
    return n->kind == STRING ? skip_strings(r, n->count, e) : take_bytes(r, n->count * bytes, e) != NULL;
}

static bool read_entry(reader *r, entry *n, example_error *e) {
    n->count = SIZE_MAX;
    if (!take_string(r, &n->key, e) || !take_u32(r, &n->kind, e))
        return false;
    if (n->key.size > 255)
        return example_fail(e, "a key of %zu bytes", n->key.size);
    if (!check_kind(n, e))
        return false;
    if (n->kind == ARRAY)
        return read_array(r, n, e);
    n->value = r->at;
    return n->kind == STRING ? skip_strings(r, 1, e) : take_bytes(r, kinds[n->kind].bytes, e) != NULL;
}

static int compare_slices(slice a, slice b) {
    const int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static int by_key(const void *a, const void *b) {
    return compare_slices(((const entry *)a)->key, ((const entry *)b)->key);
}

static int by_name(const void *a, const void *b) {
    return compare_slices(((const gguf_tensor *)a)->name, ((const gguf_tensor *)b)->name);
}

static int by_place(const void *a, const void *b) {
    const gguf_tensor *x = a, *y = b;
    return x->place != y->place ? (x->place > y->place) - (x->place < y->place)
                                : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static bool read_entries(gguf *g, reader *r, example_error *e) {
    g->entries = calloc(g->entry_count + 1, sizeof *g->entries);
    if (g->entries == NULL)
        return example_fail_memory(e);
    for (size_t i = 0; i < g->entry_count; i++)
        if (!read_entry(r, &g->entries[i], e))
            return false;
    qsort(g->entries, g->entry_count, sizeof *g->entries, by_key);
    for (size_t i = 1; i < g->entry_count; i++)
        if (by_key(&g->entries[i - 1], &g->entries[i]) == 0)
            return example_fail(e, "'%.*s' is there twice", (int)g->entries[i].key.size, g->entries[i].key.data);
    return true;
}

/* Bytes that its sizes and type ask for; 0 where the type is not known. */
static bool count_bytes(gguf_tensor *t, example_error *e) {
    const quant_block *block = quant_find(t->type);
    uint64_t numbers = 1;
    for (size_t i = 0; i < t->rank; i++)
        if (t->size[i] == 0 || __builtin_mul_overflow(numbers, t->size[i], &numbers))
            return example_fail(e, "tensor '%.*s': size %zu is wrong", (int)t->name.size, t->name.data, i);
    if (block == NULL)
        return true;
    if (t->size[0] % block->numbers != 0)
        return example_fail(e, "tensor '%.*s': rows of %zu numbers are no blocks of %zu, as %s has", (int)t->name.size,
                            t->name.data, t->size[0], block->numbers, block->name);
    if (__builtin_mul_overflow(numbers / block->numbers, block->bytes, &t->bytes))
        return example_fail(e, "tensor '%.*s' is too large", (int)t->name.size, t->name.data);
    return true;
}

static bool read_tensor(reader *r, gguf_tensor *t, example_error *e) {
    uint32_t rank;
    uint64_t size;
    if (!take_string(r, &t->name, e) || !take_u32(r, &rank, e))
        return false;
    if (t->name.size > 255)
        return example_fail(e, "a tensor's name of %zu bytes", t->name.size);
    if (rank < 1 || rank > 4)
        return example_fail(e, "tensor '%.*s': %u sizes, expected 1 to 4", (int)t->name.size, t->name.data,
                            (unsigned)rank);
    t->rank = rank;
    for (size_t i = 0; i < rank; i++) {
        if (!take(r, 8, &size, e))
            return false;
        t->size[i] = (size_t)size;
    }
    return take_u32(r, &t->type, e) && take(r, 8, &t->place, e) && count_bytes(t, e);
}

/* Each tensor lies in the `size` bytes of data, and over no other. */
static bool check_places(const gguf *g, size_t size, size_t alignment, example_error *e) {
    uint64_t end = 0;
    for (size_t i = 0; i < g->tensor_count; i++) {
        const gguf_tensor *t = &g->tensors[i];
        const int length = (int)t->name.size;
        if (t->place % alignment != 0)
            return example_fail(e, "tensor '%.*s': its place, %llu, is no multiple of %zu", length, t->name.data,
                                (unsigned long long)t->place, alignment);
        if (t->place > size || t->bytes > size - t->place)
            return example_fail(e, "tensor '%.*s': %llu bytes at %llu do not lie in the %zu bytes of data", length,
                                t->name.data, (unsigned long long)t->bytes, (unsigned long long)t->place, size);
        if (t->place < end)
            return example_fail(e, "tensor '%.*s' overlaps the one before it", length, t->name.data);
        end = t->place + t->bytes;
    }
    return true;
}

static bool read_alignment(const gguf *g, size_t *alignment, example_error *e) {
    *alignment = DEFAULT_ALIGNMENT;
    if (!gguf_has(g, "general.alignment"))
        return true;
    if (!gguf_number(g, "general.alignment", alignment, e))
        return false;
    return (*alignment > 0 && *alignment <= ALIGNMENT_MAX && (*alignment & (*alignment - 1)) == 0) ||
           example_fail(e, "general.alignment: %zu is no power of two up to %d", *alignment, ALIGNMENT_MAX);
}

/* Up to where the data of tensors begins. */
static void skip_padding(const gguf *g, reader *r, size_t alignment) {
    const size_t header = (size_t)(r->at - g->file.data), rest = (size_t)(r->end - r->at);
    const size_t padding = (header + alignment - 1) / alignment * alignment - header;
    r->at += padding < rest ? padding : rest;
}

static bool read_tensors(gguf *g, reader *r, example_error *e) {
    size_t alignment;
    g->tensors = calloc(g->tensor_count + 1, sizeof *g->tensors);
    if (g->tensors == NULL)
        return example_fail_memory(e);
    for (size_t i = 0; i < g->tensor_count; i++)
        if (!read_tensor(r, &g->tensors[i], e))
            return false;
    qsort(g->tensors, g->tensor_count, sizeof *g->tensors, by_place);
    if (!read_alignment(g, &alignment, e))
        return false;
    skip_padding(g, r, alignment);
    if (!check_places(g, (size_t)(r->end - r->at), alignment, e))
        return false;
    qsort(g->tensors, g->tensor_count, sizeof *g->tensors, by_name);
    for (size_t i = 0; i < g->tensor_count; i++) {
        g->tensors[i].data = r->at + g->tensors[i].place;
        if (i > 0 && by_name(&g->tensors[i - 1], &g->tensors[i]) == 0)
            return example_fail(e, "tensor '%.*s' is there twice", (int)g->tensors[i].name.size,
                                g->tensors[i].name.data);
    }
    return true;
}

static bool read_all(gguf *g, example_error *e) {
    reader r = {g->file.data, g->file.data + g->file.size};
    const unsigned char *magic = take_bytes(&r, 4, e);
    uint32_t version;
    if (magic == NULL)
        return false;
    if (memcmp(magic, "GGUF", 4) != 0)
        return example_fail(e, "it is no GGUF file");
    if (!take_u32(&r, &version, e))
        return false;
    if (version != 2 && version != 3)
        return example_fail(e, "version %u of GGUF is not read, 2 and 3 are", (unsigned)version);
    return take_count(&r, 24, "tensors", &g->tensor_count, e) && take_count(&r, 13, "metadata", &g->entry_count, e) &&
           read_entries(g, &r, e) && read_tensors(g, &r, e);
}

gguf *gguf_open(const char *path, example_error *e) {
    example_error why = {""};
    gguf *g = calloc(1, sizeof *g);
    if (g == NULL) {
        example_fail_memory(e);
        return NULL;
    }
    if (!mapping_open(&g->file, path, e)) {
        gguf_close(g);
        return NULL;
    }
    if (!read_all(g, &why)) {
        example_fail(e, "%s: %s", path, why.text);
        gguf_close(g);
        return NULL;
    }
    return g;
}

void gguf_close(gguf *g) {
    if (g == NULL)
        return;
    free(g->entries);
    free(g->tensors);
    mapping_close(&g->file);
    free(g);
}

static const entry *find_entry(const gguf *g, const char *key) {
    const entry wanted = {.key = {key, strlen(key)}};
    return bsearch(&wanted, g->entries, g->entry_count, sizeof *g->entries, by_key);
}

bool gguf_has(const gguf *g, const char *key) { return find_entry(g, key) != NULL; }

/* The entry of this key, a list or not. */
static const entry *need(const gguf *g, const char *key, bool list, example_error *e) {
    const entry *n = find_entry(g, key);
    if (n == NULL)
        example_fail(e, "there is no '%s'", key);
    else if ((n->count != SIZE_MAX) == list)
        return n;
    else
        example_fail(e, "'%s' is %s list", key, list ? "no" : "a");
    return NULL;
}

static bool wrong_kind(const entry *n, const char *expected, example_error *e) {
    return example_fail(e, "'%.*s' is of type %s, expected %s", (int)n->key.size, n->key.data, kinds[n->kind].name,
                        expected);
}

bool gguf_number(const gguf *g, const char *key, size_t *value, example_error *e) {
    const entry *n = need(g, key, false, e);
    if (n == NULL)
        return false;
    const char *name = kinds[n->kind].name;
    if (strstr(name, "int") == NULL)
        return wrong_kind(n, "a whole number", e);
    const size_t bytes = kinds[n->kind].bytes;
    const uint64_t wide = read_le(n->value, bytes);
    if (name[0] == 'i' && wide >> (8 * bytes - 1) != 0)
        return example_fail(e, "'%s' is negative", key);
    *value = (size_t)wide;
    return true;
}

bool gguf_real(const gguf *g, const char *key, double *value, example_error *e) {
    const entry *n = need(g, key, false, e);
    float single;
    if (n == NULL)
        return false;
    if (strcmp(kinds[n->kind].name, "float32") != 0)
        return wrong_kind(n, "float32", e);
    memcpy(&single, n->value, sizeof single);
    *value = (double)single;
    return true;
}

bool gguf_string(const gguf *g, const char *key, slice *value, example_error *e) {
    const entry *n = need(g, key, false, e);
    if (n == NULL)
        return false;
    if (n->kind != STRING)
        return wrong_kind(n, "string", e);
    *value = (slice){(const char *)n->value + 8, (size_t)read_le(n->value, 8)};
    return true;
}

bool gguf_strings(const gguf *g, const char *key, slice **list, size_t *count, example_error *e) {
    const entry *n = need(g, key, true, e);
    if (n == NULL)
        return false;
    if (n->kind != STRING)
        return wrong_kind(n, "strings", e);
    *list = calloc(n->count + 1, sizeof **list);
    if (*list == NULL)
        return example_fail_memory(e);
    *count = n->count;
    reader r = {n->value, g->file.data + g->file.size};
    for (size_t i = 0; i < n->count; i++)
        (void)take_string(&r, &(*list)[i], e); /* which skip_strings has done before */
    return true;
}

bool gguf_integers(const gguf *g, const char *key, const unsigned char **list, size_t *count, example_error *e) {
    const entry *n = need(g, key, true, e);
    if (n == NULL)
        return false;
    if (strcmp(kinds[n->kind].name, "int32") != 0)
        return wrong_kind(n, "int32", e);
    *list = n->value;
    *count = n->count;
    return true;
}

const gguf_tensor *gguf_find(const gguf *g, const char *name) {
    const gguf_tensor wanted = {.name = {name, strlen(name)}};
    return bsearch(&wanted, g->tensors, g->tensor_count, sizeof *g->tensors, by_name);
}

static bool check_shape(const gguf_tensor *t, const char *name, size_t rows, size_t columns, example_error *e) {
    const bool same =
        rows == 0 ? t->rank == 1 && t->size[0] == columns : t->rank == 2 && t->size[0] == columns && t->size[1] == rows;
    if (same)
        return true;
    if (rows == 0)
        return example_fail(e, "tensor '%s': its shape must be [%zu]", name, columns);
    return example_fail(e, "tensor '%s': its shape must be [%zu, %zu]", name, rows, columns);
}

const gguf_tensor *gguf_matrix(const gguf *g, const char *name, size_t rows, size_t columns, example_error *e) {
    const gguf_tensor *t = gguf_find(g, name);
    if (t == NULL)
        example_fail(e, "there is no tensor '%s'", name);
    else if (quant_find(t->type) == NULL)
        example_fail(e, "tensor '%s': type %u is not read", name, (unsigned)t->type);
    else if (check_shape(t, name, rows, columns, e))
        return t;
    return NULL;
}

void gguf_forget(const gguf_tensor *t) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)t->data, end = begin + (size_t)t->bytes;
    const uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
    if (first < last)
        (void)madvise((void *)first, last - first, MADV_DONTNEED);
}
