/* SPDX-License-Identifier: BSD-3-Clause */
#include "safetensors.h"

#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "half.h"

/* As in the reference implementation. */
#define HEADER_MAX 100000000

#define RANK_MAX 8

typedef struct tensor {
    const char *name, *dtype; /* in the header */
    size_t rank, shape[RANK_MAX];
    size_t begin, end; /* from the start of the data */
    float *converted;  /* or NULL */
} tensor;

struct safetensors {
    mapping file;
    json_t *header;
    const unsigned char *data;
    size_t data_size;
    tensor *tensors; /* in the order of their data */
    size_t count;
};

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8}, {"I64", 8}, {"I32", 4},  {"I16", 2},     {"I8", 1},
    {"U64", 8}, {"U32", 4}, {"U16", 2},  {"U8", 1},  {"C64", 8}, {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1},
};

/* 0: not known here. */
static size_t dtype_size(const char *name) {
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, name) == 0)
            return dtypes[i].size;
    return 0;
}

static bool read_size(const json_t *value, size_t *size) {
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *size = (size_t)json_integer_value(value);
    return true;
}

static bool read_shape(tensor *t, const json_t *shape, example_error *e) {
    if (!json_is_array(shape) || json_array_size(shape) > RANK_MAX)
        return example_fail(e, "tensor '%s': shape must be a list of at most %d sizes", t->name, RANK_MAX);
    t->rank = json_array_size(shape);
    for (size_t i = 0; i < t->rank; i++)
        if (!read_size(json_array_get(shape, i), &t->shape[i]))
            return example_fail(e, "tensor '%s': shape[%zu] is no size", t->name, i);
    return true;
}

/* Bytes that its shape and type ask for; false: more than can be counted. */
static bool wanted_bytes(const tensor *t, size_t *bytes) {
    *bytes = dtype_size(t->dtype);
    for (size_t i = 0; i < t->rank; i++)
        if (__builtin_mul_overflow(*bytes, t->shape[i], bytes))
            return false;
    return true;
}

static bool read_place(const safetensors *s, tensor *t, const json_t *offsets, example_error *e) {
    size_t bytes;
    if (json_array_size(offsets) != 2 || !read_size(json_array_get(offsets, 0), &t->begin) ||
        !read_size(json_array_get(offsets, 1), &t->end))
        return example_fail(e, "tensor '%s': data_offsets must be two sizes", t->name);
    if (t->begin > t->end || t->end > s->data_size)
        return example_fail(e, "tensor '%s': data_offsets [%zu, %zu] do not lie in the %zu bytes of data", t->name,
                            t->begin, t->end, s->data_size);
    if (dtype_size(t->dtype) > 0 && (!wanted_bytes(t, &bytes) || bytes != t->end - t->begin))
        return example_fail(e, "tensor '%s': data_offsets span %zu bytes, which its shape and dtype do not", t->name,
                            t->end - t->begin);
    return true;
}

static bool read_tensor(const safetensors *s, tensor *t, const char *name, const json_t *about, example_error *e) {
    t->name = name;
    t->dtype = json_string_value(json_object_get(about, "dtype"));
    if (t->dtype == NULL)
        return example_fail(e, "tensor '%s': it has no dtype", name);
    return read_shape(t, json_object_get(about, "shape"), e) &&
           read_place(s, t, json_object_get(about, "data_offsets"), e);
}

static int by_place(const void *a, const void *b) {
    const tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* Tensors must cover the data: neither overlap nor leave a hole for something hidden. */
static bool check_cover(const safetensors *s, example_error *e) {
    size_t end = 0;
    for (size_t i = 0; i < s->count; i++) {
        const tensor *t = &s->tensors[i];
        if (t->begin != end)
            return example_fail(e, "tensor '%s': its data start at %zu, those before it end at %zu: %s", t->name,
                                t->begin, end, t->begin < end ? "they overlap" : "there is a hole");
        end = t->end;
    }
    return end == s->data_size || example_fail(e, "the data have %zu bytes, its tensors %zu", s->data_size, end);
}

static bool read_tensors(safetensors *s, example_error *e) {
    const char *name;
    json_t *about;
    s->tensors = calloc(json_object_size(s->header) + 1, sizeof *s->tensors);
    if (s->tensors == NULL)
        return example_fail_memory(e);
    json_object_foreach(s->header, name, about) {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        if (!read_tensor(s, &s->tensors[s->count++], name, about, e))
            return false;
    }
    qsort(s->tensors, s->count, sizeof *s->tensors, by_place);
    return check_cover(s, e);
}

static bool read_header(safetensors *s, example_error *e) {
    uint64_t size = 0;
    json_error_t why;
    if (s->file.size < 8)
        return example_fail(e, "the file has %zu bytes, fewer than the 8 that every safetensors file starts with",
                            s->file.size);
    for (size_t i = 8; i-- > 0;)
        size = size << 8 | s->file.data[i];
    if (size > HEADER_MAX || size > s->file.size - 8)
        return example_fail(e, "a header of %llu bytes does not fit the file of %zu bytes (limit %d)",
                            (unsigned long long)size, s->file.size, HEADER_MAX);
    s->header = json_loadb((const char *)s->file.data + 8, (size_t)size, JSON_REJECT_DUPLICATES, &why);
    if (s->header == NULL)
        return example_fail(e, "the header is no JSON: %s", why.text);
    if (!json_is_object(s->header))
        return example_fail(e, "the header is no JSON object");
    s->data = s->file.data + 8 + size;
    s->data_size = s->file.size - 8 - (size_t)size;
    return true;
}

safetensors *safetensors_open(const char *path, example_error *e) {
    example_error why = {""};
    safetensors *s = calloc(1, sizeof *s);
    if (s == NULL) {
        example_fail_memory(e);
        return NULL;
    }
    if (!mapping_open(&s->file, path, e)) {
        safetensors_close(s);
        return NULL;
    }
    if (!read_header(s, &why) || !read_tensors(s, &why)) {
        example_fail(e, "%s: %s", path, why.text);
        safetensors_close(s);
        return NULL;
    }
    return s;
}

void safetensors_close(safetensors *s) {
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->count; i++)
        free(s->tensors[i].converted);
    free(s->tensors);
    json_decref(s->header);
    mapping_close(&s->file);
    free(s);
}

static tensor *find(const safetensors *s, const char *name) {
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->tensors[i].name, name) == 0)
            return &s->tensors[i];
    return NULL;
}

bool safetensors_has(const safetensors *s, const char *name) { return find(s, name) != NULL; }

static bool check_shape(const tensor *t, size_t rows, size_t columns, example_error *e) {
    bool same = rows == 0 ? t->rank == 1 && t->shape[0] == columns
                          : t->rank == 2 && t->shape[0] == rows && t->shape[1] == columns;
    if (same)
        return true;
    if (rows == 0)
        return example_fail(e, "tensor '%s': its shape must be [%zu]", t->name, columns);
    return example_fail(e, "tensor '%s': its shape must be [%zu, %zu]", t->name, rows, columns);
}

static const float *convert(const safetensors *s, tensor *t, size_t count, example_error *e) {
    const unsigned char *from = s->data + t->begin;
    float *to = malloc(count * sizeof *to + 1);
    if (to == NULL)
        example_fail_memory(e);
    else if (strcmp(t->dtype, "F32") == 0)
        memcpy(to, from, count * sizeof *to);
    else if (strcmp(t->dtype, "F16") == 0)
        half_f16(from, count, to);
    else
        half_bf16(from, count, to);
    t->converted = to;
    return to;
}

static bool check_dtype(const tensor *t, example_error *e) {
    return strcmp(t->dtype, "F32") == 0 || strcmp(t->dtype, "F16") == 0 || strcmp(t->dtype, "BF16") == 0 ||
           example_fail(e, "tensor '%s': dtype is %s, expected F32, F16 or BF16", t->name, t->dtype);
}

static const float *floats(const safetensors *s, tensor *t, size_t count, example_error *e) {
    const unsigned char *from = s->data + t->begin;
    if (t->converted != NULL)
        return t->converted;
    if (strcmp(t->dtype, "F32") == 0 && (uintptr_t)from % _Alignof(float) == 0)
        return (const float *)(const void *)from;
    return convert(s, t, count, e);
}

const float *safetensors_floats(safetensors *s, const char *name, size_t rows, size_t columns, example_error *e) {
    tensor *t = find(s, name);
    if (t == NULL) {
        example_fail(e, "there is no tensor '%s'", name);
        return NULL;
    }
    if (!check_shape(t, rows, columns, e) || !check_dtype(t, e))
        return NULL;
    const size_t count = (t->end - t->begin) / dtype_size(t->dtype);
    const float *value = floats(s, t, count, e);
    for (size_t i = 0; value != NULL && i < count; i++) {
        if (!isfinite(value[i])) {
            example_fail(e, "tensor '%s': element %zu is not finite", name, i);
            return NULL;
        }
    }
    return value;
}
