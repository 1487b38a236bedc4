/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/norm.h"

#include "api/parts.h"
#include "block/rows.h"

static attni_rows rows_of(const attn_tensor *x, const attn_tensor *out) {
    return (attni_rows){x->size[0], x->size[1], x->size[2], x->size[3], attni_view_of(x), attni_view_of(out)};
}

attn_status attn_norm(attn_context *context, const attn_tensor *x, const attn_tensor *out,
                      const attn_norm_params *params) {
    attni_norm norm;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_map(context, "x", x, out, true));
    ATTNI_TRY(attni_check_norm(context, "params", params, &norm));
    if (attni_is_empty(out))
        return ATTN_OK;
    const attni_rows rows = rows_of(x, out);
    attni_norm_rows(context, &norm, &rows);
    return ATTN_OK;
}

attn_status attn_activate(attn_context *context, attn_activation activation, const attn_tensor *x,
                          const attn_tensor *out) {
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_activation(context, "activation", activation));
    ATTNI_TRY(attni_check_map(context, "x", x, out, true));
    if (attni_is_empty(out))
        return ATTN_OK;
    const attni_rows rows = rows_of(x, out);
    attni_activate_rows(context, activation, &rows);
    return ATTN_OK;
}
