/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/norm.h"

#include "api/parts.h"
#include "mha/rows.h"

static attni_rows rows_of(const attn_tensor *x, const attn_tensor *out) {
    return (attni_rows){.B = x->size[0],
                        .H = x->size[1],
                        .T = x->size[2],
                        .width = x->size[3],
                        .x = attni_view_of(x),
                        .y = attni_view_of(out)};
}

/* An output [B,H,T] of a norm, whose rows are B·H·T: not what is read or written besides. */
static attn_status check_of_rows(attn_context *context, const char *name, const float *of_rows, const attn_tensor *x,
                                 const attn_tensor *out, const attn_norm_params *p) {
    const attn_tensor rows = attn_tensor_bhtd(of_rows, ATTN_F32, x->size[0], x->size[1], x->size[2], 1);
    const attn_tensor weight = attn_tensor_btm(p->weight, ATTN_F32, 1, 1, x->size[3]);
    const attn_tensor bias = attn_tensor_btm(p->bias, ATTN_F32, 1, 1, x->size[3]);
    if (!of_rows)
        return ATTN_OK;
    ATTNI_TRY(attni_check_tensor(context, name, &rows, true, true));
    ATTNI_TRY(attni_check_disjoint(context, name, &rows, "x", x));
    ATTNI_TRY(attni_check_disjoint(context, name, &rows, "out", out));
    ATTNI_TRY(attni_check_disjoint(context, name, &rows, "params.weight", &weight));
    return attni_check_disjoint(context, name, &rows, "params.bias", &bias);
}

static attn_status check_norm(attn_context *context, const attn_tensor *x, const attn_tensor *out,
                              const attn_norm_params *params, attni_norm *norm) {
    attn_norm_params p;
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof p, &p));
    ATTNI_TRY(check_of_rows(context, "params.mean", p.mean, x, out, &p));
    ATTNI_TRY(check_of_rows(context, "params.inverse_deviation", p.inverse_deviation, x, out, &p));
    if (p.mean && p.inverse_deviation) {
        const attn_tensor mean = attn_tensor_bhtd(p.mean, ATTN_F32, x->size[0], x->size[1], x->size[2], 1);
        attn_tensor other = mean;
        other.data = p.inverse_deviation;
        ATTNI_TRY(attni_check_disjoint(context, "params.mean", &mean, "params.inverse_deviation", &other));
    }
    float *const mean = p.mean, *const inverse_deviation = p.inverse_deviation;
    p.struct_size = sizeof p;
    p.mean = p.inverse_deviation = NULL;
    ATTNI_TRY(attni_check_norm(context, "params", &p, norm));
    norm->mean = mean;
    norm->inverse_deviation = inverse_deviation;
    return ATTN_OK;
}

attn_status attn_norm(attn_context *context, const attn_tensor *x, const attn_tensor *out,
                      const attn_norm_params *params) {
    attni_norm norm;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_map(context, "x", x, "out", out, true));
    ATTNI_TRY(check_norm(context, x, out, params, &norm));
    if (attni_is_empty(out))
        return ATTN_OK;
    const attni_rows rows = rows_of(x, out);
    attni_norm_rows(context, &norm, &rows);
    return ATTN_OK;
}

attn_status attn_activate(attn_context *context, attn_activation activation, const attn_tensor *x,
                          const attn_tensor *out) {
    attni_activation resolved;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_activation(context, "activation", activation, "params", NULL, false, &resolved));
    ATTNI_TRY(attni_check_map(context, "x", x, "out", out, true));
    if (attni_is_empty(out))
        return ATTN_OK;
    const attni_rows rows = rows_of(x, out);
    attni_activate_rows(context, &resolved, &rows);
    return ATTN_OK;
}

attn_status attn_glu(attn_context *context, attn_activation activation, const attn_activation_params *params,
                     const attn_tensor *gate, const attn_tensor *up, const attn_tensor *out) {
    attni_activation resolved;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_activation(context, "activation", activation, "params", params, up, &resolved));
    ATTNI_TRY(attni_check_map(context, "gate", gate, "out", out, true));
    if (up)
        ATTNI_TRY(attni_check_map(context, "up", up, "out", out, true));
    if (attni_is_empty(out))
        return ATTN_OK;
    attni_rows rows = rows_of(gate, out);
    if (up)
        rows.factor = attni_view_of(up);
    attni_activate_rows(context, &resolved, &rows);
    return ATTN_OK;
}
