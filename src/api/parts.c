/* SPDX-License-Identifier: BSD-3-Clause */
#include "api/parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

attn_status attni_check_norm(attn_context *context, const char *name, const attn_norm_params *params,
                             attni_norm *norm) {
    attn_norm_params p;
    ATTNI_TRY(attni_check_params(context, name, params, sizeof p, &p));
    if ((int)p.kind < ATTN_LAYER_NORM || (int)p.kind > ATTN_L2_NORM)
        return attni_fail(context, ATTN_ERROR_VALUE, "%s.kind is %d, expected an attn_norm_kind of 0 to 2", name,
                          (int)p.kind);
    if (p.mean || p.inverse_deviation)
        return attni_fail(context, ATTN_ERROR_VALUE, "%s.%s is set, but it is an output of attn_norm alone", name,
                          p.mean ? "mean" : "inverse_deviation");
    if (!isfinite(p.eps) || p.eps < 0)
        return attni_fail(context, ATTN_ERROR_VALUE, "%s.eps is %g, expected a finite number that is not negative",
                          name, (double)p.eps);
    const float eps = p.kind == ATTN_L2_NORM ? 1e-12F : 1e-5F;
    *norm = (attni_norm){.kind = p.kind, .eps = p.eps > 0 ? p.eps : eps, .weight = p.weight, .bias = p.bias};
    return ATTN_OK;
}

static attn_status check_numbers(attn_context *context, const char *name, const attn_activation_params *p) {
    const struct {
        const char *field;
        float value;
        bool signed_too;
    } numbers[] = {{"beta", p->beta, false},
                   {"alpha_p", p->alpha_p, true},
                   {"alpha_n", p->alpha_n, true},
                   {"limit", p->limit, false},
                   {"up_offset", p->up_offset, true}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!isfinite(numbers[i].value) || (numbers[i].value < 0 && !numbers[i].signed_too))
            return attni_fail(context, ATTN_ERROR_VALUE, "%s.%s is %g, expected a finite number%s", name,
                              numbers[i].field, (double)numbers[i].value,
                              numbers[i].signed_too ? "" : " that is not negative");
    return ATTN_OK;
}

/* Of the numbers, those that this activation has. */
static attn_status check_kind_has(attn_context *context, const char *name, attn_activation kind,
                                  const attn_activation_params *p) {
    const bool beta = kind == ATTN_SILU || kind == ATTN_XIELU;
    const char *field = p->beta != 0 && !beta                   ? "beta"
                        : p->alpha_p != 0 && kind != ATTN_XIELU ? "alpha_p"
                        : p->alpha_n != 0 && kind != ATTN_XIELU ? "alpha_n"
                                                                : NULL;
    return field ? attni_fail(context, ATTN_ERROR_VALUE, "%s.%s is set, but activation %d has none", name, field,
                              (int)kind)
                 : ATTN_OK;
}

static float beta_of(attn_activation kind, float beta) {
    if (kind == ATTN_GELU_SIGMOID)
        return 1.702F;
    return beta > 0 ? beta : kind == ATTN_XIELU ? 0.5F : 1.0F;
}

attn_status attni_check_activation(attn_context *context, const char *name, attn_activation kind,
                                   const char *params_name, const attn_activation_params *params, bool gated,
                                   attni_activation *activation) {
    attn_activation_params p;
    if ((int)kind < ATTN_GELU || (int)kind > ATTN_SIGMOID)
        return attni_fail(context, ATTN_ERROR_VALUE, "%s is %d, expected an attn_activation of 0 to %d", name,
                          (int)kind, (int)ATTN_SIGMOID);
    ATTNI_TRY(attni_check_params(context, params_name, params, sizeof p, &p));
    ATTNI_TRY(check_numbers(context, params_name, &p));
    ATTNI_TRY(check_kind_has(context, params_name, kind, &p));
    if (p.up_offset != 0 && !gated)
        return attni_fail(context, ATTN_ERROR_VALUE, "%s.up_offset is %g, but nothing gates", params_name,
                          (double)p.up_offset);
    *activation = (attni_activation){.kind = kind,
                                     .beta = beta_of(kind, p.beta),
                                     .alpha_p = p.alpha_p != 0 ? p.alpha_p : 0.8F,
                                     .alpha_n = p.alpha_n != 0 ? p.alpha_n : 0.8F,
                                     .clamped = p.limit > 0 || p.up_offset != 0,
                                     .limit = p.limit > 0 ? p.limit : INFINITY,
                                     .offset = p.up_offset};
    return ATTN_OK;
}

bool attni_same_view(const attn_tensor *x, const attn_tensor *y) {
    return x->data == y->data && memcmp(x->size, y->size, sizeof x->size) == 0 &&
           memcmp(x->stride, y->stride, sizeof x->stride) == 0;
}

attn_status attni_check_map(attn_context *context, const char *x_name, const attn_tensor *x, const char *out_name,
                            const attn_tensor *out, bool data) {
    ATTNI_TRY(attni_check_tensor(context, x_name, x, false, data));
    ATTNI_TRY(attni_check_like(context, out_name, out, x_name, x, ATTNI_F32_ONLY, true, data));
    return data && !attni_same_view(x, out) ? attni_check_disjoint(context, out_name, out, x_name, x) : ATTN_OK;
}

attn_status attni_check_order(attn_context *context, const char *name, attn_weight_order order) {
    if (order == ATTN_OUT_IN || order == ATTN_IN_OUT)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_VALUE, "%s is %d, expected ATTN_OUT_IN (0) or ATTN_IN_OUT (1)", name,
                      (int)order);
}

static attn_status check_width(attn_context *context, const char *name, size_t width) {
    if (width == 0)
        return attni_fail(context, ATTN_ERROR_SHAPE, "%s is 0, expected at least 1", name);
    return attni_check_int(context, name, width);
}

attn_status attni_check_weight(attn_context *context, const char *in_name, const char *out_name,
                               attn_weight_order order, attni_weight *w) {
    size_t floats;
    ATTNI_TRY(check_width(context, in_name, w->in));
    ATTNI_TRY(check_width(context, out_name, w->out));
    ATTNI_TRY(attni_check_product(context, out_name, w->out + 64, w->in + 64, &floats));
    w->stride_out = order == ATTN_IN_OUT ? 1 : w->in;
    w->stride_in = order == ATTN_IN_OUT ? w->out : 1;
    return ATTN_OK;
}

attn_status attni_check_weight_dtype(attn_context *context, const char *name, attn_dtype dtype, const char *order_name,
                                     attn_weight_order order) {
    if (dtype == ATTN_INT4 && order != ATTN_OUT_IN)
        return attni_fail(context, ATTN_ERROR_VALUE, "%s is %d, expected ATTN_OUT_IN (0) as %s is ATTN_INT4 (5)",
                          order_name, (int)order, name);
    if (dtype == ATTN_F32 || dtype == ATTN_F16 || dtype == ATTN_BF16 || dtype == ATTN_INT8 || dtype == ATTN_INT4)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_DTYPE,
                      "%s is %d, expected ATTN_F32 (0), ATTN_F16 (1), ATTN_BF16 (2), ATTN_INT8 (4) or ATTN_INT4 (5)",
                      name, (int)dtype);
}

attn_status attni_check_fits(attn_context *context, const char *name, const char *misfit) {
    return misfit ? attni_fail(context, ATTN_ERROR_VALUE, "%s: %s differs from what was packed", name, misfit)
                  : ATTN_OK;
}

attn_status attni_check_norm_fits(attn_context *context, const char *name, const attni_norm *norm,
                                  const attni_norm *kept) {
    const bool same = norm && kept ? !norm->weight == !kept->weight && !norm->bias == !kept->bias : !norm == !kept;
    return attni_check_fits(context, name, same ? NULL : "whether it is there, and has a weight and a bias,");
}

attn_status attni_check_scale(attn_context *context, const char *name, const float *scale, const void *weight,
                              attn_dtype dtype, size_t out, size_t in) {
    const bool wanted = weight && (dtype == ATTN_INT8 || dtype == ATTN_INT4);
    if (wanted && !scale)
        return attni_fail(context, ATTN_ERROR_NULL, "%s is NULL, but weight_dtype is %s", name,
                          dtype == ATTN_INT8 ? "ATTN_INT8 (4)" : "ATTN_INT4 (5)");
    if (!wanted && scale)
        return attni_fail(context, ATTN_ERROR_VALUE, "%s is set, but %s", name,
                          weight ? "weight_dtype is neither ATTN_INT8 (4) nor ATTN_INT4 (5)" : "its weight is not");
    for (size_t i = 0, n = attni_count_scales(dtype, out, in); i < n && scale; i++)
        if (!isfinite(scale[i]))
            return attni_fail(context, ATTN_ERROR_VALUE, "%s[%zu] is %g, expected a finite number", name, i,
                              (double)scale[i]);
    return ATTN_OK;
}

attn_status attni_within(attn_context *context, const char *name, attn_status status) {
    char message[sizeof context->error];
    if (status == ATTN_OK)
        return ATTN_OK;
    memcpy(message, context->error, sizeof message);
    return attni_fail(context, status, "%s: %s", name, message);
}
