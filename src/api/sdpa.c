/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/sdpa.h"

#include "api/check.h"

static attn_status check_tensors(attn_context *context, const attn_tensor *q, const attn_tensor *k,
                                 const attn_tensor *v, const attn_tensor *out, bool data) {
    ATTNI_TRY(attni_check_tensor(context, "q", q, false, data));
    ATTNI_TRY(attni_check_tensor(context, "k", k, false, data));
    ATTNI_TRY(attni_check_tensor(context, "v", v, false, data));
    ATTNI_TRY(attni_check_tensor(context, "out", out, true, data));
    ATTNI_TRY(attni_check_int(context, "q.size[3]", q->size[3]));
    return attni_check_int(context, "v.size[3]", v->size[3]);
}

static attn_status check_heads(attn_context *context, size_t H, size_t G) {
    if (G ? H % G == 0 : H == 0)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_SHAPE, "q.size[1] is H = %zu, which k.size[1], G = %zu, does not divide", H,
                      G);
}

static attn_status check_shapes(attn_context *context, const attn_tensor *q, const attn_tensor *k, const attn_tensor *v,
                                const attn_tensor *out) {
    ATTNI_TRY(attni_check_size(context, "k", k, 0, "B", q->size[0]));
    ATTNI_TRY(attni_check_size(context, "v", v, 0, "B", q->size[0]));
    ATTNI_TRY(attni_check_size(context, "out", out, 0, "B", q->size[0]));
    ATTNI_TRY(check_heads(context, q->size[1], k->size[1]));
    ATTNI_TRY(attni_check_size(context, "v", v, 1, "G", k->size[1]));
    ATTNI_TRY(attni_check_size(context, "out", out, 1, "H", q->size[1]));
    ATTNI_TRY(attni_check_size(context, "v", v, 2, "Tk", k->size[2]));
    ATTNI_TRY(attni_check_size(context, "out", out, 2, "Tq", q->size[2]));
    ATTNI_TRY(attni_check_size(context, "k", k, 3, "D", q->size[3]));
    return attni_check_size(context, "out", out, 3, "E", v->size[3]);
}

static attn_status check(attn_context *context, const attn_tensor *q, const attn_tensor *k, const attn_tensor *v,
                         const attn_tensor *out, const attn_sdpa_params *params, bool data, attni_sdpa *call) {
    attni_extra_outputs extra;
    ATTNI_TRY(check_tensors(context, q, k, v, out, data));
    ATTNI_TRY(check_shapes(context, q, k, v, out));
    *call = (attni_sdpa){.B = q->size[0],
                         .H = q->size[1],
                         .G = k->size[1],
                         .Tq = q->size[2],
                         .Tk = k->size[2],
                         .D = q->size[3],
                         .E = v->size[3],
                         .q = attni_view_of(q),
                         .k = attni_view_of(k),
                         .v = attni_view_of(v),
                         .out = attni_view_of(out)};
    ATTNI_TRY(attni_check_attention(context, params, data, call, &extra));
    if (!data)
        return ATTN_OK;
    return attni_check_outputs(context, &extra, out, 3, (const char *const[]){"q", "k", "v"},
                               (const attn_tensor *const[]){q, k, v});
}

attn_status attn_sdpa(attn_context *context, const attn_tensor *q, const attn_tensor *k, const attn_tensor *v,
                      const attn_tensor *out, const attn_sdpa_params *params) {
    attni_sdpa call;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check(context, q, k, v, out, params, true, &call));
    ATTNI_TRY(attni_scratch_reserve(context, attni_sdpa_scratch(context, &call)));
    attni_sdpa_run(context, &call, context->scratch);
    return ATTN_OK;
}

attn_status attn_sdpa_scratch_size(attn_context *context, const attn_tensor *q, const attn_tensor *k,
                                   const attn_tensor *v, const attn_tensor *out, const attn_sdpa_params *params,
                                   size_t *bytes) {
    attni_sdpa call;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "bytes", bytes));
    ATTNI_TRY(check(context, q, k, v, out, params, false, &call));
    *bytes = attni_sdpa_scratch(context, &call);
    return ATTN_OK;
}
