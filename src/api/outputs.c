/* SPDX-License-Identifier: BSD-3-Clause */
/* What a call of attention writes besides, and that no output shares memory with what is read. */
#include "api/check.h"
#include "context/sizes.h"

void attni_add_input(attni_extras *extras, const char *name, attn_tensor tensor) {
    size_t n = 0;
    while (extras->input_names[n])
        n++;
    extras->input_names[n] = name;
    extras->inputs[n] = tensor;
}

void attni_add_array(attni_extras *extras, const char *name, const void *data, size_t floats) {
    if (data)
        attni_add_input(extras, name, attn_tensor_bhtd(data, ATTN_F32, 1, 1, 1, floats));
}

void attni_add_output(attni_extras *extras, const char *name, attn_tensor tensor) {
    size_t n = 0;
    while (extras->output_names[n])
        n++;
    extras->output_names[n] = name;
    extras->outputs[n] = tensor;
}

void attni_add_floats(attni_extras *extras, const char *name, float *data, size_t n) {
    if (data)
        attni_add_output(extras, name, attn_tensor_bhtd(data, ATTN_F32, 1, 1, 1, n));
}

static attn_status check_weights(attn_context *context, const attn_sdpa_params *p, bool data, attni_sdpa *call,
                                 attni_extras *extras) {
    const attn_tensor *w = p->weights;
    if ((int)p->weights_stage < ATTN_STAGE_PROBABILITIES || (int)p->weights_stage > ATTN_STAGE_BIASED)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.weights_stage is %d, expected an attn_stage of 0 to 3",
                          (int)p->weights_stage);
    if (!w)
        return ATTN_OK;
    ATTNI_TRY(attni_check_typed(context, "params.weights", w, ATTNI_FLOATS, true, data));
    ATTNI_TRY(attni_check_size(context, "params.weights", w, 0, "B", call->B));
    ATTNI_TRY(attni_check_axis(context, "params.weights", w, 1, "H", call->H));
    ATTNI_TRY(attni_check_size(context, "params.weights", w, 2, "Tq", call->Tq));
    ATTNI_TRY(attni_check_size(context, "params.weights", w, 3, "Tk", call->Tk));
    call->inspection.weights_wanted = true;
    call->inspection.averaged = w->size[1] == 1 && call->H != 1;
    call->inspection.weights = attni_view_of(w);
    call->inspection.stage = p->weights_stage;
    attni_add_output(extras, "params.weights", *w);
    return ATTN_OK;
}

/* A dense array [B,H,T,n] of an output; elements of 8 bytes count as two. */
static attn_status check_array(attn_context *context, const char *name, void *data, const attni_sdpa *call, size_t T,
                               size_t n, attni_extras *extras) {
    const attn_tensor tensor = attn_tensor_bhtd(data, ATTN_F32, call->B, call->H, T, n);
    size_t product;
    if (!data)
        return ATTN_OK;
    ATTNI_TRY(attni_check_product(context, name, call->B, call->H, &product));
    ATTNI_TRY(attni_check_product(context, name, product, T, &product));
    ATTNI_TRY(attni_check_product(context, name, product, n, &product));
    ATTNI_TRY(attni_check_tensor(context, name, &tensor, true, true));
    attni_add_output(extras, name, tensor);
    return ATTN_OK;
}

/* More than the threads keep of a head, and for each of the most probable keys of its rows. */
static size_t floats_of_head(const attn_context *context) { return 4096 * context->threads; }

static attn_status check_top_keys(attn_context *context, const attn_top_keys *top, attni_sdpa *call,
                                  attni_extras *extras) {
    size_t product;
    if (!top || top->k == 0)
        return ATTN_OK;
    ATTNI_TRY(attni_check_product(context, "params.top_keys->k", call->H, floats_of_head(context), &product));
    ATTNI_TRY(attni_check_product(context, "params.top_keys->k", top->k, product, &product));
    ATTNI_TRY(attni_check_pointer(context, "params.top_keys->keys", top->keys));
    ATTNI_TRY(check_array(context, "params.top_keys->keys", top->keys, call, call->Tq, 2 * top->k, extras));
    ATTNI_TRY(
        check_array(context, "params.top_keys->probabilities", top->probabilities, call, call->Tq, top->k, extras));
    call->inspection.top = *top;
    return ATTN_OK;
}

/* Of a ragged batch: [H, tokens of all sequences]. */
static attni_view lse_view(const attn_sdpa_params *p, size_t tokens, const attni_sdpa *call) {
    const ptrdiff_t T = (ptrdiff_t)tokens, H = (ptrdiff_t)call->H;
    return (attni_view){p->lse, ATTN_F32, call->query_starts ? 0 : H * T, T, 1};
}

/* What is kept for each row; and, where scores are looked at again, for the rows of a tile in all heads. */
static attn_status check_scratch(attn_context *context, const attni_sdpa *call) {
    enum { FLOATS_OF_ROW = 16 };
    size_t floats;
    if (!attni_sdpa_writes(call))
        return ATTN_OK;
    ATTNI_TRY(attni_check_product(context, "out", call->B, call->H, &floats));
    ATTNI_TRY(attni_check_product(context, "out", floats, call->Tq, &floats));
    ATTNI_TRY(attni_check_product(context, "out", floats, FLOATS_OF_ROW, &floats));
    return attni_inspects(call) ? attni_check_product(context, "out", call->H, floats_of_head(context), &floats)
                                : ATTN_OK;
}

attn_status attni_check_extra_outputs(attn_context *context, const attn_sdpa_params *p, bool data, attni_sdpa *call,
                                      attni_extras *extras) {
    const size_t tokens = call->query_starts ? call->ragged_tokens : call->Tq;
    const attn_tensor lse = attn_tensor_bhtd(p->lse, ATTN_F32, call->query_starts ? 1 : call->B, call->H, tokens, 1);
    if (p->lse) {
        ATTNI_TRY(attni_check_tensor(context, "params.lse", &lse, true, true));
        attni_add_output(extras, "params.lse", lse);
    }
    call->lse = lse_view(p, tokens, call);
    ATTNI_TRY(check_weights(context, p, data, call, extras));
    ATTNI_TRY(check_array(context, "params.key_mass", p->key_mass, call, call->Tk, 1, extras));
    ATTNI_TRY(check_array(context, "params.entropy", p->entropy, call, call->Tq, 1, extras));
    call->inspection.key_mass = p->key_mass;
    call->inspection.entropy = p->entropy;
    ATTNI_TRY(check_array(context, "params.largest_scores", p->largest_scores, call, 1, 1, extras));
    call->inspection.largest = p->largest_scores;
    ATTNI_TRY(check_top_keys(context, p->top_keys, call, extras));
    return check_scratch(context, call);
}

/* One output against all that is read. */
static attn_status check_output(attn_context *context, const attni_extras *extras, const char *name,
                                const attn_tensor *output, size_t count, const char *const names[],
                                const attn_tensor *const inputs[]) {
    for (size_t i = 0; i < count; i++)
        ATTNI_TRY(attni_check_disjoint(context, name, output, names[i], inputs[i]));
    for (size_t i = 0; i < ATTNI_EXTRA_INPUTS && extras->input_names[i]; i++)
        ATTNI_TRY(attni_check_disjoint(context, name, output, extras->input_names[i], &extras->inputs[i]));
    return ATTN_OK;
}

attn_status attni_check_outputs(attn_context *context, const attni_extras *extras, const attn_tensor *out, size_t count,
                                const char *const names[], const attn_tensor *const inputs[]) {
    if (out)
        ATTNI_TRY(check_output(context, extras, "out", out, count, names, inputs));
    for (size_t n = 0; n < ATTNI_EXTRA_OUTPUTS && extras->output_names[n]; n++) {
        const char *name = extras->output_names[n];
        ATTNI_TRY(check_output(context, extras, name, &extras->outputs[n], count, names, inputs));
        if (out)
            ATTNI_TRY(attni_check_disjoint(context, name, &extras->outputs[n], "out", out));
        for (size_t i = 0; i < n; i++)
            ATTNI_TRY(
                attni_check_disjoint(context, extras->output_names[i], &extras->outputs[i], name, &extras->outputs[n]));
    }
    return ATTN_OK;
}

void attni_write_tensor(attni_written *written, const char *name, const attn_tensor *tensor) {
    if (!tensor)
        return;
    written->names[written->count] = name;
    written->tensors[written->count++] = *tensor;
}

void attni_write_floats(attni_written *written, const char *name, float *data, size_t n) {
    const attn_tensor tensor = attn_tensor_bhtd(data, ATTN_F32, 1, 1, 1, n);
    attni_write_tensor(written, name, data ? &tensor : NULL);
}

attn_status attni_check_written(attn_context *context, const attni_written *written, const attni_extras *extras,
                                size_t count, const char *const names[], const attn_tensor *const inputs[]) {
    for (size_t n = 0; n < written->count; n++) {
        ATTNI_TRY(check_output(context, extras, written->names[n], &written->tensors[n], count, names, inputs));
        for (size_t i = 0; i < n; i++)
            ATTNI_TRY(attni_check_disjoint(context, written->names[i], &written->tensors[i], written->names[n],
                                           &written->tensors[n]));
    }
    return ATTN_OK;
}
