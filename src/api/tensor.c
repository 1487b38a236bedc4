/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/tensor.h"

#include "api/check.h"

/* A view over data that is const to its owner: only functions that name it as an output write to it. */
static attn_tensor view(const void *data, attn_dtype dtype, const size_t size[4], size_t b, size_t h, size_t t) {
    const attn_tensor tensor = {(void *)(uintptr_t)data,
                                dtype,
                                {size[0], size[1], size[2], size[3]},
                                {(ptrdiff_t)b, (ptrdiff_t)h, (ptrdiff_t)t, 1}};
    return tensor;
}

attn_tensor attn_tensor_bhtd(const void *data, attn_dtype dtype, size_t B, size_t H, size_t T, size_t D) {
    return view(data, dtype, (const size_t[]){B, H, T, D}, H * T * D, T * D, D);
}

attn_tensor attn_tensor_bthd(const void *data, attn_dtype dtype, size_t B, size_t T, size_t H, size_t D) {
    return view(data, dtype, (const size_t[]){B, H, T, D}, T * H * D, D, H * D);
}

attn_tensor attn_tensor_btm(const void *data, attn_dtype dtype, size_t B, size_t T, size_t M) {
    return attn_tensor_bthd(data, dtype, B, T, 1, M);
}

/* `heads` heads from head `first` on, of a packed buffer [B,T,all,D]. */
static attn_tensor packed(const void *data, attn_dtype dtype, const size_t size[4], size_t first, size_t all) {
    const size_t row = all * size[3];
    const char *start = data ? (const char *)data + first * size[3] * attni_size_of(dtype) : NULL;
    return view(start, dtype, size, size[2] * row, size[3], row);
}

attn_tensor attn_tensor_packed_qkv(const void *data, attn_dtype dtype, attn_qkv which, size_t B, size_t T, size_t H,
                                   size_t G, size_t D) {
    const size_t first = which == ATTN_Q ? 0 : which == ATTN_K ? H : H + G;
    return packed(data, dtype, (const size_t[]){B, which == ATTN_Q ? H : G, T, D}, first, H + G + G);
}

attn_tensor attn_tensor_packed_kv(const void *data, attn_dtype dtype, attn_qkv which, size_t B, size_t T, size_t G,
                                  size_t D) {
    return packed(data, dtype, (const size_t[]){B, G, T, D}, which == ATTN_V ? G : 0, G + G);
}

typedef struct copy_job {
    const attni_kernels *kernels;
    attni_view from, to;
    size_t H, T, D;
} copy_job;

static void copy_plane(void *arg, size_t unit, size_t worker) {
    const copy_job *j = arg;
    const size_t b = unit / j->H, h = unit % j->H;
    (void)worker;
    j->kernels->copy(j->T, j->D, j->from.dtype, attni_at(&j->from, b, h, 0), j->from.stride_t, j->to.dtype,
                     attni_at(&j->to, b, h, 0), j->to.stride_t);
}

static attn_status copy(attn_context *context, const char *from_name, const attn_tensor *from, const char *to_name,
                        const attn_tensor *to) {
    enum { FLOPS = 8 }; /* as long as an element takes */
    ATTNI_TRY(attni_check_typed(context, from_name, from, ATTNI_FLOATS | ATTNI_BOOLS, false, true));
    ATTNI_TRY(attni_check_like(context, to_name, to, from_name, from,
                               from->dtype == ATTN_BOOL ? ATTNI_BOOLS : ATTNI_FLOATS, true, true));
    ATTNI_TRY(attni_check_disjoint(context, to_name, to, from_name, from));
    if (attni_is_empty(to))
        return ATTN_OK;
    copy_job job = {context->kernels, attni_view_of(from), attni_view_of(to),
                    from->size[1],    from->size[2],       from->size[3]};
    const size_t planes = from->size[0] * from->size[1], plane = from->size[2] * from->size[3];
    attni_parallel(context, planes, FLOPS * (double)planes * (double)plane, copy_plane, &job);
    return ATTN_OK;
}

attn_status attn_tensor_copy(attn_context *context, const attn_tensor *source, const attn_tensor *destination) {
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    return copy(context, "source", source, "destination", destination);
}

attn_status attn_split_heads(attn_context *context, size_t B, size_t T, size_t H, size_t D, const float *x, float *y) {
    const attn_tensor from = attn_tensor_bthd(x, ATTN_F32, B, T, H, D), to = attn_tensor_bhtd(y, ATTN_F32, B, H, T, D);
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    return copy(context, "x", &from, "y", &to);
}

attn_status attn_concat_heads(attn_context *context, size_t B, size_t T, size_t H, size_t D, const float *x, float *y) {
    const attn_tensor from = attn_tensor_bhtd(x, ATTN_F32, B, H, T, D), to = attn_tensor_bthd(y, ATTN_F32, B, T, H, D);
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    return copy(context, "x", &from, "y", &to);
}
