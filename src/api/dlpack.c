/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/dlpack.h"

#include <string.h>

#include "api/check.h"

/* DLPack's types that views have; the first of a dtype is the one that a view becomes. */
static const struct {
    uint8_t code, bits;
    attn_dtype dtype;
} types[] = {{2, 32, ATTN_F32}, {2, 16, ATTN_F16}, {4, 16, ATTN_BF16}, {6, 8, ATTN_BOOL}, {1, 8, ATTN_BOOL}};
enum { TYPES = sizeof types / sizeof *types, AXES = 4 };

/* Dimension of a view that a letter names; −1: none. */
static int dimension_of(char letter) {
    static const char *const letters[AXES] = {"B", "HG", "T", "DEM"};
    for (int i = 0; i < AXES; i++)
        if (letter && strchr(letters[i], letter))
            return i;
    return -1;
}

/* place[n] is the dimension of axis n. */
static attn_status check_axes(attn_context *context, const char *axes, int place[AXES], int *count) {
    unsigned named = 0;
    ATTNI_TRY(attni_check_pointer(context, "axes", axes));
    for (*count = 0; axes[*count]; ++*count) {
        const int dimension = dimension_of(axes[*count]);
        if (dimension < 0 || named >> dimension & 1U)
            return attni_fail(
                context, ATTN_ERROR_VALUE,
                "axes is \"%.8s\": character %d, expected B, H (or G), T and D (or E, M) each once at most", axes,
                *count);
        named |= 1U << dimension;
        place[*count] = dimension;
    }
    return ATTN_OK;
}

static attn_status check_source(attn_context *context, const DLTensor *source, int count) {
    ATTNI_TRY(attni_check_pointer(context, "source", source));
    if (source->device.device_type != kDLCPU)
        return attni_fail(context, ATTN_ERROR_VALUE, "source.device.device_type is %d, expected kDLCPU (1)",
                          (int)source->device.device_type);
    if (source->ndim != count)
        return attni_fail(context, ATTN_ERROR_SHAPE, "source.ndim is %d, but axes names %d", (int)source->ndim, count);
    return count ? attni_check_pointer(context, "source.shape", source->shape) : ATTN_OK;
}

static attn_status find_type(attn_context *context, const DLDataType *type, attn_dtype *dtype) {
    for (int i = 0; i < TYPES; i++)
        if (types[i].code == type->code && types[i].bits == type->bits && type->lanes == 1) {
            *dtype = types[i].dtype;
            return ATTN_OK;
        }
    return attni_fail(context, ATTN_ERROR_DTYPE,
                      "source.dtype is code %d of %d bits in %d lanes, expected float (2) of 32 or 16, bfloat (4) of "
                      "16, bool (6) or unsigned (1) of 8, in one",
                      type->code, type->bits, type->lanes);
}

static attn_status take_sizes(attn_context *context, const DLTensor *source, const int *place, attn_tensor *view) {
    ptrdiff_t dense = 1;
    for (int n = source->ndim - 1; n >= 0; n--) {
        const int64_t size = source->shape[n];
        if (size < 0)
            return attni_fail(context, ATTN_ERROR_SHAPE, "source.shape[%d] is %lld", n, (long long)size);
        view->size[place[n]] = (size_t)size;
        view->stride[place[n]] = source->strides ? (ptrdiff_t)source->strides[n] : dense;
        if (!source->strides && size && __builtin_mul_overflow(dense, size, &dense))
            return attni_fail(context, ATTN_ERROR_OVERFLOW, "source.shape[%d] is %lld: its dense strides overflow", n,
                              (long long)size);
    }
    return ATTN_OK;
}

static attn_status take_data(attn_context *context, const DLTensor *source, attn_tensor *view) {
    const size_t element = attni_size_of(view->dtype);
    if (!source->data && !attni_is_empty(view))
        return attni_fail(context, ATTN_ERROR_NULL, "source.data is NULL");
    if (source->data && source->byte_offset > UINTPTR_MAX - (uintptr_t)source->data)
        return attni_fail(context, ATTN_ERROR_OVERFLOW, "source.byte_offset is %llu: beyond all memory",
                          (unsigned long long)source->byte_offset);
    if (source->data)
        view->data = (char *)source->data + source->byte_offset;
    if ((uintptr_t)view->data % element)
        return attni_fail(context, ATTN_ERROR_VALUE,
                          "source.data + source.byte_offset (%llu) is no multiple of %zu, the size of an element",
                          (unsigned long long)source->byte_offset, element);
    return ATTN_OK;
}

attn_status attn_tensor_from_dlpack(attn_context *context, const char *axes, const DLTensor *source,
                                    attn_tensor *tensor) {
    attn_tensor view = {.size = {1, 1, 1, 1}};
    int place[AXES], count;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check_axes(context, axes, place, &count));
    ATTNI_TRY(check_source(context, source, count));
    ATTNI_TRY(attni_check_pointer(context, "tensor", tensor));
    ATTNI_TRY(find_type(context, &source->dtype, &view.dtype));
    ATTNI_TRY(take_sizes(context, source, place, &view));
    ATTNI_TRY(take_data(context, source, &view));
    *tensor = view;
    return ATTN_OK;
}

static attn_status check_view(attn_context *context, const char *axes, const int *place, int count,
                              const attn_tensor *source) {
    bool named[AXES] = {false};
    for (int n = 0; n < count; n++)
        named[place[n]] = true;
    for (int i = 0; i < AXES; i++) {
        if (!named[i] && source->size[i] != 1)
            return attni_fail(context, ATTN_ERROR_SHAPE, "source.size[%d] is %zu, but axes, \"%s\", does not name it",
                              i, source->size[i], axes);
        if (source->size[i] > INT64_MAX)
            return attni_fail(context, ATTN_ERROR_OVERFLOW, "source.size[%d] is %zu", i, source->size[i]);
    }
    return ATTN_OK;
}

static attn_status type_of(attn_context *context, attn_dtype dtype, DLDataType *type) {
    for (int i = 0; i < TYPES; i++)
        if (types[i].dtype == dtype) {
            *type = (DLDataType){types[i].code, types[i].bits, 1};
            return ATTN_OK;
        }
    return attni_fail(context, ATTN_ERROR_DTYPE, "source.dtype is %d, expected an attn_dtype of 0 to 3", (int)dtype);
}

attn_status attn_tensor_to_dlpack(attn_context *context, const char *axes, const attn_tensor *source, int64_t *shape,
                                  int64_t *strides, DLTensor *tensor) {
    DLDataType type;
    int place[AXES], count;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check_axes(context, axes, place, &count));
    ATTNI_TRY(attni_check_pointer(context, "source", source));
    ATTNI_TRY(attni_check_pointer(context, "shape", shape));
    ATTNI_TRY(attni_check_pointer(context, "strides", strides));
    ATTNI_TRY(attni_check_pointer(context, "tensor", tensor));
    ATTNI_TRY(type_of(context, source->dtype, &type));
    ATTNI_TRY(check_view(context, axes, place, count, source));
    for (int n = 0; n < count; n++) {
        shape[n] = (int64_t)source->size[place[n]];
        strides[n] = source->stride[place[n]];
    }
    *tensor = (DLTensor){source->data, {kDLCPU, 0}, count, type, shape, strides, 0};
    return ATTN_OK;
}
