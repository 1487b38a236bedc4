/* SPDX-License-Identifier: BSD-3-Clause */
/* The functions of backward.h with any parameter structs and views. */
#include "structs.h"

enum { KEPT = OUTPUT_PLACE };

/* The call, or the question for its scratch, which is not answered where it fails. */
#define CALL_OR_SIZE(name, ...)                                                                                        \
    do {                                                                                                               \
        attn_context *any = any_context();                                                                             \
        if (take_below(in, 2))                                                                                         \
            return name(any, __VA_ARGS__);                                                                             \
        size_t bytes = FILLER, *to = MAYBE(&bytes);                                                                    \
        const attn_status status = name##_scratch_size(any, __VA_ARGS__, to);                                          \
        assert_true(status == ATTN_OK || bytes == FILLER);                                                             \
        return status;                                                                                                 \
    } while (0)

/* What the forward pass wrote: any numbers. */
static void give_results(void) {
    if (take_below(in, 8)) {
        w.out.known.data = w.y.known.data;
        w.sdpa.known.lse = (float *)take_input();
    }
}

static attn_status call_sdpa(void) {
    give_results();
    CALL_OR_SIZE(attn_sdpa_backward, MAYBE(&w.q.known), MAYBE(&w.k.known), MAYBE(&w.v.known), MAYBE(&w.out.known),
                 MAYBE(&w.x.known), MAYBE(&w.sdpa.known), MAYBE(&w.d_sdpa.known));
}

static attn_status call_linear(void) {
    CALL_OR_SIZE(attn_linear_backward, MAYBE(linear), MAYBE(&w.x.known), MAYBE(&w.y.known), MAYBE(&w.d_linear.known));
}

static attn_status call_norm(void) {
    CALL_OR_SIZE(attn_norm_backward, MAYBE(&w.x.known), MAYBE(&w.y.known), MAYBE(&w.norm.known),
                 MAYBE(&w.d_norm.known));
}

static attn_status call_embed(void) {
    CALL_OR_SIZE(attn_embed_backward, MAYBE(&w.embed.known), MAYBE(&w.y.known), MAYBE(&w.d_embed.known));
}

static attn_status call_mha(void) {
    const attn_tensor *key = take_below(in, 2) ? &w.y.known : NULL, *value = take_below(in, 4) ? NULL : &w.x.known;
    const void *kept = take_below(in, 2) ? take_input() : NULL;
    CALL_OR_SIZE(attn_mha_backward, MAYBE(mha), MAYBE(&w.x.known), key, value, MAYBE(&w.y.known), MAYBE(&w.sdpa.known),
                 kept, MAYBE(&w.d_mha.known));
}

static attn_status call_block(void) {
    const void *kept = take_below(in, 2) ? take_input() : NULL;
    CALL_OR_SIZE(attn_block_backward, MAYBE(block), MAYBE(&w.x.known), MAYBE(&w.y.known), MAYBE(&w.inputs.known), kept,
                 MAYBE(&w.d_block.known));
}

static attn_status call_activate(void) {
    return attn_activate_backward(any_context(), (attn_activation)w.choice, MAYBE(&w.x.known), MAYBE(&w.y.known),
                                  MAYBE(&w.dq.known));
}

static attn_status call_glu(void) {
    return attn_glu_backward(any_context(), (attn_activation)w.choice, MAYBE(&w.activation.known), MAYBE(&w.x.known),
                             take_below(in, 2) ? &w.y.known : NULL, MAYBE(&w.y.known), MAYBE(&w.dq.known),
                             take_below(in, 2) ? &w.out.known : NULL);
}

static attn_status call_cross_entropy(void) {
    double loss;
    attn_context *any = any_context();
    const float *logits = take_input();
    const int64_t *targets = take_input();
    return attn_cross_entropy(any, w.n[2], w.n[3], logits, w.n[4], targets, MAYBE(&w.entropy.known), MAYBE(&loss));
}

static attn_status call_keep(void) {
    attn_context *any = any_context();
    void *kept = take_output();
    const attn_tensor *key = take_below(in, 2) ? &w.y.known : NULL;
    const size_t bytes = take_below(in, 4) ? KEPT : w.n[0];
    if (take_below(in, 2))
        return attn_mha_forward_keep(any, MAYBE(mha), MAYBE(&w.x.known), key, NULL, MAYBE(&w.out.known),
                                     MAYBE(&w.sdpa.known), kept, bytes);
    return attn_block_forward_keep(any, MAYBE(block), MAYBE(&w.x.known), MAYBE(&w.out.known), MAYBE(&w.inputs.known),
                                   kept, bytes);
}

static attn_status call_kept_size(void) {
    size_t bytes = FILLER, *to = MAYBE(&bytes);
    attn_context *any = any_context();
    const attn_status status = take_below(in, 2) ? attn_mha_kept_size(any, MAYBE(mha), w.n[0], w.n[1], w.n[2], to)
                                                 : attn_block_kept_size(any, MAYBE(block), w.n[0], w.n[1], w.n[2], to);
    assert_true(status == ATTN_OK || bytes == FILLER);
    return status;
}

static const struct call calls[] = {{call_sdpa, ATTENTION | QKV | D_SDPA},
                                    {call_sdpa, ATTENTION},
                                    {call_sdpa, D_SDPA},
                                    {call_linear, ROWS | D_LINEAR},
                                    {call_norm, NORM | ROWS | D_NORM},
                                    {call_embed, EMBED | NORM | ROWS | D_EMBED},
                                    {call_mha, ATTENTION | ROWS | D_MHA | D_SDPA},
                                    {call_mha, D_MHA},
                                    {call_block, INPUTS | ATTENTION | ROWS | D_BLOCK | D_MHA},
                                    {call_block, D_BLOCK | D_MHA | D_NORM},
                                    {call_activate, SIZES | ROWS},
                                    {call_glu, ACTIVATION | SIZES | ROWS},
                                    {call_cross_entropy, SIZES | ENTROPY},
                                    {call_keep, SIZES | ATTENTION | ROWS | INPUTS},
                                    {call_kept_size, SIZES}};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    make_calls(data, size, calls, COUNT(calls));
    return 0;
}
