/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/linear.h"

#include <math.h>

#include "api/parts.h"
#include "mha/matrix.h"

static attn_status check_weight(attn_context *context, const attn_linear_params *params, attni_weight *weight) {
    attn_linear_params p;
    ATTNI_TRY(attni_check_pointer(context, "params", params));
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof p, &p));
    ATTNI_TRY(attni_check_order(context, "params.order", p.order));
    ATTNI_TRY(attni_check_weight_dtype(context, "params.weight_dtype", p.weight_dtype, "params.order", p.order));
    ATTNI_TRY(attni_check_pointer(context, "params.weight", p.weight));
    *weight = (attni_weight){.data = p.weight,
                             .type = p.weight_dtype,
                             .scale = p.weight_scale,
                             .bias = p.bias,
                             .out = p.out_width,
                             .in = p.in_width};
    ATTNI_TRY(attni_check_weight(context, "params.in_width", "params.out_width", p.order, weight));
    return attni_check_scale(context, "params.weight_scale", p.weight_scale, p.weight, p.weight_dtype, p.out_width,
                             p.in_width);
}

attn_status attn_linear_create(attn_context *context, const attn_linear_params *params, attn_linear **linear) {
    attni_weight weight;
    if (linear)
        *linear = NULL;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "linear", linear));
    ATTNI_TRY(check_weight(context, params, &weight));
    *linear = attni_linear_new(context, &weight);
    return *linear ? ATTN_OK : attni_fail(context, ATTN_ERROR_MEMORY, "linear: no memory for the packed weights");
}

attn_status attn_linear_update(attn_context *context, attn_linear *linear, const attn_linear_params *params) {
    attni_weight w;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "linear", linear));
    ATTNI_TRY(check_weight(context, params, &w));
    ATTNI_TRY(attni_check_fits(context, "params", attni_linear_misfit(context, &w, &linear->map)));
    attni_linear_repack(context, &w, &linear->map);
    return ATTN_OK;
}

void attn_linear_destroy(attn_linear *linear) {
    if (linear)
        attni_linear_delete(linear);
}

static attn_status check(attn_context *context, const attn_linear *linear, const attn_tensor *x, const attn_tensor *out,
                         bool data) {
    size_t rows, floats;
    ATTNI_TRY(attni_check_pointer(context, "linear", linear));
    ATTNI_TRY(attni_check_typed(context, "x", x, ATTNI_FLOATS, false, data));
    ATTNI_TRY(attni_check_typed(context, "out", out, ATTNI_FLOATS, true, data));
    ATTNI_TRY(attni_check_size(context, "x", x, 1, "1", 1));
    ATTNI_TRY(attni_check_size(context, "x", x, 3, "in_width", linear->map.in));
    ATTNI_TRY(attni_check_size(context, "out", out, 0, "B", x->size[0]));
    ATTNI_TRY(attni_check_size(context, "out", out, 1, "1", 1));
    ATTNI_TRY(attni_check_size(context, "out", out, 2, "T", x->size[2]));
    ATTNI_TRY(attni_check_size(context, "out", out, 3, "out_width", linear->map.out));
    ATTNI_TRY(attni_check_product(context, "x", x->size[0], x->size[2], &rows));
    ATTNI_TRY(attni_check_product(context, "x", rows + 16, linear->map.in + linear->map.out, &floats));
    return data ? attni_check_disjoint(context, "out", out, "x", x) : ATTN_OK;
}

/* Floats of scratch: for a copy of x, and from there for one of the output and for what the product makes of x. */
typedef struct layout {
    size_t out, product, end;
} layout;

static layout lay(const attn_context *context, const attn_linear *linear, const attn_tensor *x,
                  const attn_tensor *out) {
    const attni_view from = attni_view_of(x), to = attni_view_of(out);
    const size_t B = x->size[0], T = x->size[2];
    size_t used = 0;
    layout at;
    attni_reserve(&used, attni_matrix_floats(&from, B, T, linear->map.in));
    at.out = attni_reserve(&used, attni_matrix_floats(&to, B, T, linear->map.out));
    at.product = attni_reserve(&used, attni_product_floats(context, &linear->map, x->dtype, B * T));
    at.end = used;
    return at;
}

static void run(attn_context *context, const attni_linear *map, const attn_tensor *x, const attn_tensor *out,
                const layout *at, float *scratch) {
    const size_t B = x->size[0], T = x->size[2];
    const attni_view from = attni_view_of(x), to = attni_view_of(out);
    float *out_room = at->end ? scratch + at->out : NULL;
    const attni_product product = {.linear = map,
                                   .x = attni_matrix_read(context, &from, B, T, map->in, scratch),
                                   .y = attni_matrix_of(&to, B, T, map->out, out_room),
                                   .type = x->dtype,
                                   .room = at->end ? scratch + at->product : NULL};
    attni_project(context, &product, 1);
    attni_matrix_write(context, &to, B, T, map->out, out_room);
}

attn_status attn_linear_forward(attn_context *context, const attn_linear *linear, const attn_tensor *x,
                                const attn_tensor *out) {
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check(context, linear, x, out, true));
    if (attni_is_empty(out))
        return ATTN_OK;
    const layout at = lay(context, linear, x, out);
    ATTNI_TRY(attni_scratch_reserve(context, at.end * sizeof(float)));
    run(context, &linear->map, x, out, &at, context->scratch);
    return ATTN_OK;
}

attn_status attn_linear_scratch_size(attn_context *context, const attn_linear *linear, const attn_tensor *x,
                                     const attn_tensor *out, size_t *bytes) {
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "bytes", bytes));
    ATTNI_TRY(check(context, linear, x, out, false));
    *bytes = lay(context, linear, x, out).end * sizeof(float);
    return ATTN_OK;
}

/* -- attn_quantize_weight -- */

static attn_status check_finite(attn_context *context, const attni_weight *w, attn_weight_order order) {
    const size_t rows = order == ATTN_IN_OUT ? w->in : w->out, columns = order == ATTN_IN_OUT ? w->out : w->in;
    const float *x = w->data;
    if (context->kernels->all_finite(rows, columns, ATTN_F32, x, (ptrdiff_t)columns))
        return ATTN_OK;
    size_t i = 0;
    while (isfinite(x[i]))
        i++;
    return attni_fail(context, ATTN_ERROR_VALUE, "weight[%zu,%zu] is %g, expected a finite number", i / columns,
                      i % columns, (double)x[i]);
}

/* What is made of a weight: integers of so many bytes in all, and so many scales. */
static attn_status check_apart(attn_context *context, const attni_weight *w, const void *out, size_t size,
                               const float *scales, size_t count) {
    const attn_tensor weight = attn_tensor_btm(w->data, ATTN_F32, 1, 1, w->out * w->in);
    const attn_tensor bytes = attn_tensor_btm(out, ATTN_INT8, 1, 1, size);
    const attn_tensor factors = attn_tensor_btm(scales, ATTN_F32, 1, 1, count);
    ATTNI_TRY(attni_check_disjoint(context, "out", &bytes, "weight", &weight));
    ATTNI_TRY(attni_check_disjoint(context, "scales", &factors, "weight", &weight));
    return attni_check_disjoint(context, "scales", &factors, "out", &bytes);
}

/* A weight, f32, that is to become one of a type. */
static attn_status check_source(attn_context *context, attn_dtype type, attn_weight_order order, attni_weight *w,
                                const void *out, const float *scales) {
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_order(context, "order", order));
    ATTNI_TRY(attni_check_pointer(context, "weight", w->data));
    ATTNI_TRY(attni_check_pointer(context, "out", out));
    ATTNI_TRY(attni_check_pointer(context, "scales", scales));
    ATTNI_TRY(attni_check_weight(context, "in_width", "out_width", order, w));
    ATTNI_TRY(check_apart(context, w, out, attni_weight_bytes(type, w->out, w->in), scales,
                          attni_count_scales(type, w->out, w->in)));
    return check_finite(context, w, order);
}

attn_status attn_quantize_weight(attn_context *context, attn_weight_order order, size_t out_width, size_t in_width,
                                 const float *weight, int8_t *out, float *scales) {
    attni_weight w = {.data = weight, .out = out_width, .in = in_width};
    ATTNI_TRY(check_source(context, ATTN_INT8, order, &w, out, scales));
    ATTNI_TRY(attni_scratch_reserve(context, attni_quantize_floats(&w) * sizeof(float)));
    attni_quantize(context->kernels, &w, out, scales, context->scratch);
    return ATTN_OK;
}

attn_status attn_quantize_weight_int4(attn_context *context, attn_weight_order order, size_t out_width, size_t in_width,
                                      const float *weight, uint8_t *out, float *scales) {
    attni_weight w = {.data = weight, .out = out_width, .in = in_width};
    ATTNI_TRY(check_source(context, ATTN_INT4, order, &w, out, scales));
    attni_quantize_groups(context->kernels, &w, out, scales);
    return ATTN_OK;
}
