/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/sdpa.h"

#include "api/check.h"

static attn_status check_tensors(attn_context *context, const attn_tensor *q, const attn_tensor *k,
                                 const attn_tensor *v, const attn_tensor *out, bool data) {
    ATTNI_TRY(attni_check_typed(context, "q", q, ATTNI_FLOATS, false, data));
    ATTNI_TRY(attni_check_typed(context, "k", k, ATTNI_FLOATS, false, data));
    ATTNI_TRY(attni_check_typed(context, "v", v, ATTNI_FLOATS, false, data));
    ATTNI_TRY(attni_check_typed(context, "out", out, ATTNI_FLOATS, true, data));
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

attn_status attni_check_sdpa(attn_context *context, const attn_tensor *q, const attn_tensor *k, const attn_tensor *v,
                             const attn_tensor *out, const attn_sdpa_params *p, bool data, attni_sdpa *call,
                             attni_extras *extras) {
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
    ATTNI_TRY(attni_check_ragged(context, "q", q, p));
    ATTNI_TRY(attni_check_sequences(context, p, call));
    return attni_check_attention(context, p, data, call, extras);
}

static attn_status check(attn_context *context, const attn_tensor *q, const attn_tensor *k, const attn_tensor *v,
                         const attn_tensor *out, const attn_sdpa_params *params, bool data, attni_sdpa *call) {
    attni_extras extras;
    attn_sdpa_params p;
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof p, &p));
    ATTNI_TRY(attni_check_sdpa(context, q, k, v, out, &p, data, call, &extras));
    if (!data)
        return ATTN_OK;
    return attni_check_outputs(context, &extras, out, 3, (const char *const[]){"q", "k", "v"},
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

attn_status attn_sdpa_preset(attn_preset preset, int is_causal, attn_sdpa_params *params) {
    static const struct {
        attn_causal causal;
        attn_polarity polarity;
        int pad_masks;
    } conventions[] = {
        [ATTN_PRESET_PYTORCH_SDPA] = {ATTN_CAUSAL_TOP_LEFT, ATTN_KEEP, 0},
        [ATTN_PRESET_PYTORCH_MHA] = {ATTN_CAUSAL_TOP_LEFT, ATTN_DROP, 0},
        [ATTN_PRESET_ONNX] = {ATTN_CAUSAL_TOP_LEFT, ATTN_KEEP, 1},
        [ATTN_PRESET_FLASH] = {ATTN_CAUSAL_BOTTOM_RIGHT, ATTN_KEEP, 0},
        [ATTN_PRESET_HF] = {ATTN_CAUSAL_BOTTOM_RIGHT, ATTN_KEEP, 0},
    };
    attn_sdpa_params known;
    ATTNI_TRY(attni_check_pointer(NULL, "params", params));
    ATTNI_TRY(attni_check_params(NULL, "params", params, sizeof known, &known));
    if ((int)preset < 0 || (size_t)preset >= sizeof conventions / sizeof *conventions)
        return attni_fail(NULL, ATTN_ERROR_VALUE, "preset is %d, expected an attn_preset of 0 to 4", (int)preset);
    params->causal = is_causal ? conventions[preset].causal : ATTN_CAUSAL_NONE;
    params->polarity = conventions[preset].polarity;
    params->pad_masks = conventions[preset].pad_masks;
    return ATTN_OK;
}

static attn_status check_merge(attn_context *context, const attn_tensor *out, const float *lse, const attn_tensor *part,
                               const float *part_lse) {
    ATTNI_TRY(attni_check_tensor(context, "out", out, true, true));
    ATTNI_TRY(attni_check_like(context, "part", part, "out", out, ATTNI_F32_ONLY, false, true));
    const attn_tensor sums = attn_tensor_bhtd(lse, ATTN_F32, out->size[0], out->size[1], out->size[2], 1);
    const attn_tensor part_sums = attn_tensor_bhtd(part_lse, ATTN_F32, out->size[0], out->size[1], out->size[2], 1);
    ATTNI_TRY(attni_check_tensor(context, "lse", &sums, true, true));
    ATTNI_TRY(attni_check_tensor(context, "part_lse", &part_sums, false, true));
    ATTNI_TRY(attni_check_disjoint(context, "out", out, "part", part));
    ATTNI_TRY(attni_check_disjoint(context, "out", out, "part_lse", &part_sums));
    ATTNI_TRY(attni_check_disjoint(context, "lse", &sums, "out", out));
    ATTNI_TRY(attni_check_disjoint(context, "lse", &sums, "part", part));
    return attni_check_disjoint(context, "lse", &sums, "part_lse", &part_sums);
}

attn_status attn_merge(attn_context *context, const attn_tensor *out, float *lse, const attn_tensor *part,
                       const float *part_lse) {
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check_merge(context, out, lse, part, part_lse));
    const attni_merge call = {.B = out->size[0],
                              .H = out->size[1],
                              .T = out->size[2],
                              .E = out->size[3],
                              .out = attni_view_of(out),
                              .part = attni_view_of(part),
                              .lse = lse,
                              .part_lse = part_lse};
    attni_merge_run(context, &call);
    return ATTN_OK;
}

attn_status attn_bucket_table(attn_context *context, size_t heads, size_t buckets, size_t max_distance,
                              int bidirectional, const float *weights, float *table) {
    const size_t exact = buckets / (bidirectional ? 4 : 2);
    size_t weight_count, floats;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    if (exact == 0 || (bidirectional && buckets % 2 != 0))
        return attni_fail(context, ATTN_ERROR_SHAPE, "buckets is %zu, expected %s", buckets,
                          bidirectional ? "an even number of 4 or more" : "2 or more");
    if (max_distance <= exact)
        return attni_fail(context, ATTN_ERROR_SHAPE, "max_distance is %zu, expected more than %zu exact buckets",
                          max_distance, exact);
    ATTNI_TRY(attni_check_product(context, "buckets", buckets, heads, &weight_count));
    ATTNI_TRY(attni_check_product(context, "max_distance", max_distance, 4, &floats));
    ATTNI_TRY(attni_check_product(context, "max_distance", 2 * max_distance + 1, heads, &floats));
    if (heads == 0)
        return ATTN_OK;
    ATTNI_TRY(attni_check_pointer(context, "weights", weights));
    ATTNI_TRY(attni_check_pointer(context, "table", table));
    const attn_tensor from = attn_tensor_bhtd(weights, ATTN_F32, 1, 1, 1, weight_count);
    const attn_tensor to = attn_tensor_bhtd(table, ATTN_F32, 1, 1, 1, floats);
    ATTNI_TRY(attni_check_disjoint(context, "table", &to, "weights", &from));
    attni_bucket_table_run(heads, buckets, max_distance, bidirectional != 0, weights, table);
    return ATTN_OK;
}

attn_status attn_dropout_mask(attn_context *context, float dropout, uint64_t seed, const attn_tensor *mask) {
    attni_dropout d;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_dropout(context, "dropout", dropout, seed, &d));
    ATTNI_TRY(attni_check_typed(context, "mask", mask, ATTNI_BOOLS, true, true));
    if (attni_is_empty(mask))
        return ATTN_OK;
    const attni_view view = attni_view_of(mask);
    attni_dropout_mask_run(context, &d, &view, mask->size);
    return ATTN_OK;
}
