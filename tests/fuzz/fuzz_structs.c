/* SPDX-License-Identifier: BSD-3-Clause */
/* Every exported function that can fail, but those of backward.h, with any parameter structs and views. */
#include "structs.h"

static attn_status call_describe(void) { return attn_context_describe(any_context(), MAYBE(&w.info.known)); }
static attn_status call_reserve(void) { return attn_context_reserve(any_context(), w.n[0]); }
static attn_status call_preset(void) {
    without_context();
    return attn_sdpa_preset((attn_preset)w.choice, (int)w.n[0], MAYBE(&w.sdpa.known));
}

static attn_status call_context(void) {
    attn_context *made = context;
    without_context();
    const attn_status status = attn_context_create(MAYBE(&w.options.known), &made);
    assert_true((status == ATTN_OK) == (made != NULL));
    attn_context_destroy(made);
    return status;
}

static attn_status call_sdpa(void) {
    return attn_sdpa(any_context(), MAYBE(&w.q.known), MAYBE(&w.k.known), MAYBE(&w.v.known), MAYBE(&w.out.known),
                     MAYBE(&w.sdpa.known));
}

static attn_status call_sdpa_size(void) {
    size_t bytes = FILLER, *to = MAYBE(&bytes);
    const attn_status status =
        attn_sdpa_scratch_size(any_context(), &w.q.known, &w.k.known, &w.v.known, &w.out.known, &w.sdpa.known, to);
    assert_true(status == ATTN_OK || bytes == FILLER);
    return status;
}

static attn_status call_merge(void) {
    return attn_merge(any_context(), MAYBE(&w.out.known), take_output(), MAYBE(&w.x.known), take_input());
}

static attn_status call_dropout_mask(void) {
    w.out.known.dtype = take_below(in, 4) ? ATTN_BOOL : w.out.known.dtype;
    return attn_dropout_mask(any_context(), w.number, 5, MAYBE(&w.out.known));
}

static attn_status call_copy(void) { return attn_tensor_copy(any_context(), MAYBE(&w.x.known), MAYBE(&w.out.known)); }

static attn_status call_split(void) {
    const size_t *n = w.n;
    attn_context *any = any_context();
    const float *from = take_input();
    return take_below(in, 2) ? attn_split_heads(any, n[0], n[1], n[2] % 4, n[3] % 4, from, take_output())
                             : attn_concat_heads(any, n[0], n[1] % 4, n[2], n[3] % 4, from, take_output());
}

static attn_status call_softmax(void) {
    attn_context *any = any_context();
    const float *from = take_input();
    float *to = take_output();
    return attn_softmax(any, w.n[2], w.n[3], from, w.n[4], to, w.n[5], take_output());
}

static attn_status call_norm(void) {
    return attn_norm(any_context(), MAYBE(&w.x.known), MAYBE(&w.out.known), MAYBE(&w.norm.known));
}

static attn_status call_activate(void) {
    return attn_activate(any_context(), (attn_activation)w.choice, MAYBE(&w.x.known), MAYBE(&w.out.known));
}

static attn_status call_glu(void) {
    return attn_glu(any_context(), (attn_activation)w.choice, MAYBE(&w.activation.known), MAYBE(&w.x.known),
                    MAYBE(&w.y.known), MAYBE(&w.out.known));
}

static attn_status call_tables(void) {
    float *cosines = take_output();
    return attn_rotary_tables(any_context(), w.n[2], w.n[0], MAYBE(&w.tables.known), cosines, take_output());
}

static attn_status call_rotate(void) {
    return attn_rotate(any_context(), MAYBE(&w.x.known), MAYBE(&w.out.known), MAYBE(&w.rotary.known), take_input());
}

static attn_status call_embed(void) { return attn_embed(any_context(), MAYBE(&w.embed.known), MAYBE(&w.out.known)); }

static attn_status call_patchify(void) {
    return attn_patchify(any_context(), MAYBE(&w.x.known), w.n[1], w.n[0], MAYBE(&w.out.known));
}

static attn_status call_quantize(void) {
    int8_t *to = take_output();
    attn_context *any = any_context();
    const float *from = take_input();
    return attn_quantize_weight(any, (attn_weight_order)w.choice, w.n[2], w.n[3], from, to, take_output());
}

static attn_status call_quantize_int4(void) {
    uint8_t *to = take_output();
    attn_context *any = any_context();
    const float *from = take_input();
    return attn_quantize_weight_int4(any, (attn_weight_order)w.choice, w.n[2], w.n[3], from, to, take_output());
}

/* What is made is there if, and only if, the call says so. */
#define CALL_CREATE(type, object)                                                                                      \
    static attn_status call_##object(void) {                                                                           \
        attn_##type *made = object;                                                                                    \
        const attn_status status = attn_##type##_create(any_context(), MAYBE(&w.object.known), &made);                 \
        assert_true((status == ATTN_OK) == (made != NULL));                                                            \
        attn_##type##_destroy(made);                                                                                   \
        return status;                                                                                                 \
    }
CALL_CREATE(linear, linear)
CALL_CREATE(mha, mha)
CALL_CREATE(block, block)
CALL_CREATE(cache_pool, pool)
CALL_CREATE(cache, cache)

/* What was made before becomes another, or stays. */
#define CALL_UPDATE(object)                                                                                            \
    static attn_status update_##object(void) {                                                                         \
        return attn_##object##_update(any_context(), MAYBE(object), MAYBE(&w.object.known));                           \
    }
CALL_UPDATE(linear)
CALL_UPDATE(mha)
CALL_UPDATE(block)

static attn_status call_bucket_table(void) {
    attn_context *any = any_context();
    const float *from = take_input();
    return attn_bucket_table(any, w.n[0], w.n[2], w.n[3], (int)w.n[1], from, take_output());
}

static const char *take_axes(void) {
    static const char *const axes[] = {"BHTD", "BTHD", "TBM", "TM", "M", "", "BHHD", "nonsense", NULL};
    return take_pick(in, axes);
}

static attn_status call_from_dlpack(void) {
    attn_context *any = any_context();
    const char *axes = take_axes();
    return attn_tensor_from_dlpack(any, axes, MAYBE(&w.dl.known), take_output());
}

static attn_status call_to_dlpack(void) {
    attn_context *any = any_context();
    const char *axes = take_axes();
    int64_t *shape = take_output(), *strides = take_output();
    return attn_tensor_to_dlpack(any, axes, MAYBE(&w.x.known), shape, strides, take_output());
}

static attn_status call_linear_forward(void) {
    size_t bytes;
    attn_context *any = any_context();
    return take_below(in, 2) ? attn_linear_forward(any, MAYBE(linear), MAYBE(&w.x.known), MAYBE(&w.out.known))
                             : attn_linear_scratch_size(any, MAYBE(linear), &w.x.known, &w.out.known, MAYBE(&bytes));
}

static attn_status call_mha_forward(void) {
    size_t bytes;
    attn_context *any = any_context();
    const attn_tensor *key = take_below(in, 2) ? &w.y.known : NULL;
    return take_below(in, 2) ? attn_mha_forward(any, MAYBE(mha), MAYBE(&w.x.known), key, NULL, MAYBE(&w.out.known),
                                                MAYBE(&w.sdpa.known))
                             : attn_mha_scratch_size(any, MAYBE(mha), &w.x.known, key, NULL, &w.out.known,
                                                     &w.sdpa.known, MAYBE(&bytes));
}

static attn_status call_mha_attend(void) {
    size_t bytes;
    attn_context *any = any_context();
    const attn_tensor *value = take_below(in, 2) ? &w.x.known : NULL;
    switch (take_below(in, 3)) {
    case 0:
        return attn_mha_attend_scratch_size(any, MAYBE(mha), &w.x.known, &w.out.known, &w.layer_inputs.known,
                                            MAYBE(&bytes));
    case 1:
        return attn_mha_append(any, MAYBE(mha), MAYBE(&w.y.known), value, MAYBE(cache), MAYBE(&w.append.known));
    default:
        return attn_mha_attend(any, MAYBE(mha), MAYBE(&w.x.known), MAYBE(&w.out.known), MAYBE(&w.layer_inputs.known));
    }
}

static attn_status call_block_forward(void) {
    size_t bytes;
    attn_context *any = any_context();
    switch (take_below(in, 3)) {
    case 0:
        return attn_block_scratch_size(any, MAYBE(block), &w.x.known, &w.out.known, &w.inputs.known, MAYBE(&bytes));
    case 1:
        return attn_block_encode(any, MAYBE(block), MAYBE(&w.y.known), MAYBE(cache), MAYBE(&w.append.known));
    default:
        return attn_block_forward(any, MAYBE(block), MAYBE(&w.x.known), MAYBE(&w.out.known), MAYBE(&w.inputs.known));
    }
}

static attn_status call_pool_describe(void) {
    return attn_cache_pool_describe(any_context(), MAYBE(pool), MAYBE(&w.pool_info.known));
}

static attn_status call_append(void) {
    return attn_cache_append(any_context(), MAYBE(cache), MAYBE(&w.k.known), MAYBE(&w.v.known), MAYBE(&w.append.known));
}

static attn_status call_attend(void) {
    size_t bytes;
    attn_context *any = any_context();
    return take_below(in, 2)
               ? attn_cache_attend(any, MAYBE(cache), MAYBE(&w.q.known), MAYBE(&w.out.known), MAYBE(&w.sdpa.known))
               : attn_cache_scratch_size(any, MAYBE(cache), &w.q.known, &w.out.known, &w.sdpa.known, MAYBE(&bytes));
}

static attn_status call_sequences(void) {
    attn_context *any = any_context();
    switch (take_below(in, 8)) {
    case 0:
        return attn_cache_reset(any, MAYBE(cache));
    case 2:
        return attn_cache_shift(any, MAYBE(cache), w.n[5], w.n[6], w.n[7], MAYBE(&w.rotary.known));
    case 1: {
        const int64_t from[] = {(int64_t)w.n[6], (int64_t)w.n[7], 0, 1};
        return attn_cache_reorder(any, MAYBE(cache), MAYBE(from));
    }
    case 3:
        return attn_cache_fork(any, MAYBE(cache), w.n[6], w.n[7]);
    default:
        return attn_cache_truncate(any, MAYBE(cache), w.n[6], w.n[7]);
    }
}

static const struct call calls[] = {{call_describe, INFO},
                                    {call_reserve, SIZES},
                                    {call_preset, SDPA | SIZES},
                                    {call_context, OPTIONS},
                                    {call_sdpa, ATTENTION | QKV},
                                    {call_sdpa, ATTENTION},
                                    {call_sdpa_size, ATTENTION | QKV},
                                    {call_merge, ROWS},
                                    {call_dropout_mask, ROWS | SIZES},
                                    {call_copy, ROWS},
                                    {call_split, SIZES},
                                    {call_softmax, SIZES},
                                    {call_norm, NORM | ROWS},
                                    {call_activate, SIZES | ROWS},
                                    {call_glu, ACTIVATION | SIZES | ROWS},
                                    {call_tables, TABLES | SIZES},
                                    {call_rotate, ROTARY | ROWS},
                                    {call_embed, EMBED | NORM | ROWS},
                                    {call_patchify, ROWS | SIZES},
                                    {call_quantize, SIZES},
                                    {call_quantize_int4, SIZES},
                                    {call_bucket_table, SIZES},
                                    {call_from_dlpack, DLPACK},
                                    {call_to_dlpack, ROWS},
                                    {update_linear, LINEAR},
                                    {update_mha, MHA},
                                    {update_block, BLOCK | MHA | FEED | NORM | ACTIVATION},
                                    {call_linear, LINEAR},
                                    {call_linear_forward, ROWS},
                                    {call_mha, MHA},
                                    {call_mha_forward, ATTENTION | ROWS},
                                    {call_block, BLOCK | MHA | FEED | NORM | ACTIVATION},
                                    {call_block_forward, INPUTS | ATTENTION | ROWS | APPEND},
                                    {call_block_forward, INPUTS | ROWS},
                                    {call_mha_attend, INPUTS | ATTENTION | ROWS | APPEND},
                                    {call_pool, POOL},
                                    {call_pool_describe, POOL_INFO},
                                    {call_cache, CACHE},
                                    {call_append, APPEND | ROTARY | QK_NORM | QKV},
                                    {call_attend, ATTENTION | QKV},
                                    {call_sequences, SIZES}};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    make_calls(data, size, calls, COUNT(calls));
    return 0;
}
