/* SPDX-License-Identifier: BSD-3-Clause */
#include "api/check.h"

#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "context/sizes.h"

/* Nothing was inserted, removed or widened in what older programs have; structs without a struct_size never change. */
#define STAYS(type, last, bytes)                                                                                       \
    _Static_assert(sizeof(void *) != 8 || ATTNI_FIRST_END(type, last) == (bytes), #type " differs from 0.1.0's");
ATTNI_FIRST_RELEASE(STAYS)
STAYS(attn_allocator, data, 24)
STAYS(attn_tensor, stride, 80)
STAYS(attn_window, right, 16)
STAYS(attn_top_keys, probabilities, 24)

/* Further fields than this were never planned: such a size is garbage. */
enum { TAIL = 4096 };

static size_t given_size(const void *params) {
    size_t given;
    memcpy(&given, params, sizeof given);
    return given;
}

attn_status attni_check_struct(attn_context *context, const char *name, const void *params, size_t first_size,
                               size_t size, void *copy) {
    memset(copy, 0, size);
    if (!params)
        return ATTN_OK;
    const size_t given = given_size(params);
    if (given < first_size || given > size + TAIL || given % sizeof given != 0)
        return attni_fail(context, ATTN_ERROR_STRUCT, "%s.struct_size is %zu, expected %zu: use ATTN_INIT first", name,
                          given, size);
    for (size_t i = size; i < given; i++)
        if (((const unsigned char *)params)[i])
            return attni_fail(context, ATTN_ERROR_STRUCT,
                              "%s.struct_size is %zu, and byte %zu, of an option that this version of libattn does "
                              "not know, is not zero",
                              name, given, i);
    memcpy(copy, params, given < size ? given : size);
    return ATTN_OK;
}

void attni_give(void *info, const void *known, size_t size) {
    const size_t given = given_size(info), start = sizeof given;
    memcpy((char *)info + start, (const char *)known + start, (given < size ? given : size) - start);
}

attn_status attni_check_pointer(attn_context *context, const char *name, const void *pointer) {
    return pointer ? ATTN_OK : attni_fail(context, ATTN_ERROR_NULL, "%s is NULL", name);
}

attn_status attni_check_product(attn_context *context, const char *name, size_t a, size_t b, size_t *product) {
    if (__builtin_mul_overflow(a, b, product) || *product > PTRDIFF_MAX / sizeof(float))
        return attni_fail(context, ATTN_ERROR_OVERFLOW, "%s: %zu times %zu floats do not fit in memory", name, a, b);
    return ATTN_OK;
}

attn_status attni_check_int(attn_context *context, const char *name, size_t size) {
    if (size <= INT_MAX - 64) /* room to round up to whole vectors */
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_OVERFLOW, "%s is %zu, expected up to %d", name, size, INT_MAX - 64);
}

static size_t magnitude(ptrdiff_t stride) { return stride < 0 ? (size_t)0 - (size_t)stride : (size_t)stride; }

bool attni_is_empty(const attn_tensor *t) {
    return t->size[0] == 0 || t->size[1] == 0 || t->size[2] == 0 || t->size[3] == 0;
}

/* Sizes of 0 count as 1, so that loops over the other dimensions are bounded too. */
static attn_status check_sizes(attn_context *context, const char *name, const attn_tensor *t) {
    size_t elements = 1, reach = 0;
    for (int i = 0; i < 4; i++) {
        const size_t size = t->size[i] ? t->size[i] : 1;
        size_t span;
        ATTNI_TRY(attni_check_product(context, name, elements, size, &elements));
        if (__builtin_mul_overflow(magnitude(t->stride[i]), size - 1, &span) ||
            __builtin_add_overflow(reach, span, &reach) || reach > PTRDIFF_MAX / sizeof(float))
            return attni_fail(context, ATTN_ERROR_OVERFLOW,
                              "%s: stride[%d] is %td and size[%d] is %zu, which overflows", name, i, t->stride[i], i,
                              t->size[i]);
    }
    return ATTN_OK;
}

/* Axes that move, the one of the smallest stride first. */
static int moving_axes(const attn_tensor *t, int axes[4]) {
    int count = 0;
    for (int i = 0; i < 4; i++) {
        if (t->size[i] <= 1)
            continue;
        int at = count++;
        for (; at > 0 && magnitude(t->stride[axes[at - 1]]) > magnitude(t->stride[i]); at--)
            axes[at] = axes[at - 1];
        axes[at] = i;
    }
    return count;
}

/* No two elements at one place: each axis steps over all that the axes of smaller stride reach. */
static attn_status check_unique(attn_context *context, const char *name, const attn_tensor *t) {
    int axes[4];
    const int count = attni_is_empty(t) ? 0 : moving_axes(t, axes);
    size_t reach = 0;
    for (int i = 0; i < count; i++) {
        const size_t stride = magnitude(t->stride[axes[i]]);
        if (stride <= reach)
            return attni_fail(context, ATTN_ERROR_STRIDE,
                              "%s: stride[%d] is %td, but an output needs more than %zu there, so that no two elements "
                              "share a place",
                              name, axes[i], t->stride[axes[i]], reach);
        reach += stride * (t->size[axes[i]] - 1);
    }
    return ATTN_OK;
}

static attn_status check_type(attn_context *context, const char *name, attn_dtype dtype, unsigned types) {
    if (dtype >= ATTN_F32 && dtype <= ATTN_BOOL && types >> dtype & 1U)
        return ATTN_OK;
    const char *expected = types == ATTNI_F32_ONLY ? "ATTN_F32 (0)"
                           : types == ATTNI_BOOLS  ? "ATTN_BOOL (3)"
                           : types == ATTNI_FLOATS ? "ATTN_F32 (0), ATTN_F16 (1) or ATTN_BF16 (2)"
                                                   : "an attn_dtype of 0 to 3";
    return attni_fail(context, ATTN_ERROR_DTYPE, "%s.dtype is %d, expected %s", name, (int)dtype, expected);
}

attn_status attni_check_typed(attn_context *context, const char *name, const attn_tensor *t, unsigned types,
                              bool output, bool data) {
    ATTNI_TRY(attni_check_pointer(context, name, t));
    ATTNI_TRY(check_type(context, name, t->dtype, types));
    ATTNI_TRY(check_sizes(context, name, t));
    if (t->stride[3] != 1 && t->size[3] > 1)
        return attni_fail(context, ATTN_ERROR_STRIDE, "%s.stride[3] is %td, expected 1", name, t->stride[3]);
    if (output)
        ATTNI_TRY(check_unique(context, name, t));
    if (data && !t->data && !attni_is_empty(t))
        return attni_fail(context, ATTN_ERROR_NULL, "%s.data is NULL", name);
    return ATTN_OK;
}

attn_status attni_check_tensor(attn_context *context, const char *name, const attn_tensor *t, bool output, bool data) {
    return attni_check_typed(context, name, t, ATTNI_F32_ONLY, output, data);
}

attn_status attni_check_size(attn_context *context, const char *name, const attn_tensor *t, int axis,
                             const char *letter, size_t expected) {
    if (t->size[axis] == expected)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_SHAPE, "%s.size[%d] is %zu, expected %s = %zu", name, axis, t->size[axis],
                      letter, expected);
}

attn_status attni_check_axis(attn_context *context, const char *name, const attn_tensor *t, int axis,
                             const char *letter, size_t expected) {
    if (t->size[axis] == 1 || t->size[axis] == expected)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_SHAPE, "%s.size[%d] is %zu, expected %s = %zu, or 1", name, axis,
                      t->size[axis], letter, expected);
}

/* The bytes from `low` up to, not including, `high` that a tensor touches. */
typedef struct extent {
    uintptr_t low, high;
} extent;

static extent extent_of(const attn_tensor *t) {
    const size_t size = attni_size_of(t->dtype);
    extent e = {(uintptr_t)t->data, (uintptr_t)t->data + size};
    for (int i = 0; i < 4; i++) {
        const size_t span = t->size[i] > 1 ? magnitude(t->stride[i]) * (t->size[i] - 1) * size : 0;
        if (t->stride[i] < 0)
            e.low -= span;
        else
            e.high += span;
    }
    return e;
}

/* Columns of one buffer with rows of `pitch` elements: true where a tensor is [T, width] rows of it and stays in them.
 */
static bool columns_of(const attn_tensor *t, ptrdiff_t pitch, extent *columns) {
    attn_tensor row = *t;
    row.size[0] = row.size[2] = 1;
    *columns = extent_of(&row);
    const bool batches = t->size[0] <= 1 || t->stride[0] % pitch == 0;
    return batches && t->stride[2] == pitch;
}

/* Parts of one packed buffer interleave without meeting: Q, K and V in [B,T,3,H,D]. */
static bool interleave(const attn_tensor *a, const attn_tensor *b) {
    const ptrdiff_t pitch = a->stride[2];
    const uintptr_t bytes = (uintptr_t)pitch * attni_size_of(a->dtype);
    extent x, y;
    if (pitch <= 0 || attni_size_of(a->dtype) != attni_size_of(b->dtype) || !columns_of(a, pitch, &x) ||
        !columns_of(b, pitch, &y))
        return false;
    const uintptr_t base = x.low < y.low ? x.low : y.low;
    const uintptr_t x_at = (x.low - base) % bytes, y_at = (y.low - base) % bytes;
    const uintptr_t x_end = x_at + (x.high - x.low), y_end = y_at + (y.high - y.low);
    return x_at < y_at ? x_end <= y_at && y_end <= x_at + bytes : y_end <= x_at && x_end <= y_at + bytes;
}

attn_tensor attni_rows_tensor(const float *data, size_t rows, size_t columns, size_t ld) {
    attn_tensor t = attn_tensor_btm(data, ATTN_F32, 1, rows, columns);
    t.stride[2] = (ptrdiff_t)ld;
    return t;
}

attn_status attni_check_ld(attn_context *context, const char *name, size_t ld, size_t rows, size_t columns) {
    size_t floats;
    if (ld >= columns)
        return attni_check_product(context, name, ld, attni_max(1, rows), &floats);
    return attni_fail(context, ATTN_ERROR_SHAPE, "%s is %zu, expected at least columns = %zu", name, ld, columns);
}

attn_status attni_check_like(attn_context *context, const char *name, const attn_tensor *t, const char *like,
                             const attn_tensor *x, unsigned types, bool output, bool data) {
    ATTNI_TRY(attni_check_typed(context, name, t, types, output, data));
    for (int axis = 0; axis < 4; axis++)
        if (t->size[axis] != x->size[axis])
            return attni_fail(context, ATTN_ERROR_SHAPE, "%s.size[%d] is %zu, expected that of %s, %zu", name, axis,
                              t->size[axis], like, x->size[axis]);
    return ATTN_OK;
}

attn_status attni_check_disjoint(attn_context *context, const char *output_name, const attn_tensor *output,
                                 const char *name, const attn_tensor *t) {
    if (!output->data || !t->data || attni_is_empty(output) || attni_is_empty(t))
        return ATTN_OK;
    const extent x = extent_of(output), y = extent_of(t);
    if (x.high <= y.low || y.high <= x.low || interleave(output, t))
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_ALIAS, "%s overlaps %s: an output needs memory of its own", output_name,
                      name);
}

attni_view attni_view_of(const attn_tensor *t) {
    if (attni_is_empty(t))
        return (attni_view){.data = t->data, .dtype = t->dtype};
    return (attni_view){t->data, t->dtype, t->stride[0], t->stride[1], t->stride[2]};
}
