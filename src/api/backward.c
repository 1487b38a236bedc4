/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/backward.h"

#include "api/gradients.h"
#include "context/sizes.h"

/* The arguments of a call; params and gradients are copies. */
typedef struct arguments {
    const attn_tensor *q, *k, *v, *out, *d_out;
    attn_sdpa_params params;
    attn_sdpa_gradients gradients;
} arguments;

/* The gradient of an input, or NULL. */
static attn_status check_gradient(attn_context *context, const char *name, const attn_tensor *d, const char *of,
                                  const attn_tensor *x, unsigned types, bool data) {
    return d ? attni_check_like(context, name, d, of, x, types, true, data) : ATTN_OK;
}

attn_status attni_check_sdpa_gradients(attn_context *context, const attn_sdpa_params *p, const attni_sdpa *call,
                                       const attn_sdpa_gradients *g, bool data) {
    const struct {
        bool set, belongs;
        const char *field, *to;
    } fields[] = {{g->d_lse, p->lse, "d_lse", "lse"},
                  {g->d_bias, p->bias, "d_bias", "bias"},
                  {g->d_sinks, p->sinks, "d_sinks", "sinks"},
                  {g->d_alibi_slopes, p->alibi, "d_alibi_slopes", "alibi"},
                  {g->d_relative_bias, p->relative_bias, "d_relative_bias", "relative_bias"},
                  {g->score_backward, p->score, "score_backward", "score"},
                  {g->d_q_norm_weight, p->qk_norm, "d_q_norm_weight", "qk_norm"},
                  {g->d_k_norm_weight, p->qk_norm, "d_k_norm_weight", "qk_norm"},
                  {g->d_v_norm_weight, call->v_turn.normed, "d_v_norm_weight", "qk_norm.norm_values"},
                  {g->d_head_scales, p->head_scales, "d_head_scales", "head_scales"}};
    for (size_t n = 0; n < sizeof fields / sizeof *fields; n++)
        if (fields[n].set && !fields[n].belongs)
            return attni_fail(context, ATTN_ERROR_VALUE, "gradients.%s is set, but there is no params.%s",
                              fields[n].field, fields[n].to);
    if (p->score && !g->score_backward)
        return attni_fail(context, ATTN_ERROR_NULL, "gradients.score_backward is NULL, but params.score is set");
    return check_gradient(context, "gradients.d_bias", g->d_bias, "params.bias", p->bias, ATTNI_F32_ONLY, data);
}

static attn_status check_lse(attn_context *context, const attn_sdpa_params *p, const attn_tensor *out) {
    if (!p->lse && !p->sigmoid && out->size[0] && out->size[1] && out->size[2])
        return attni_fail(context, ATTN_ERROR_NULL, "params.lse is NULL, expected what attn_sdpa wrote there");
    return ATTN_OK;
}

static attn_status check_tensors(attn_context *context, const arguments *a, bool data) {
    const attn_sdpa_gradients *g = &a->gradients;
    ATTNI_TRY(attni_check_like(context, "d_out", a->d_out, "out", a->out, ATTNI_FLOATS, false, data));
    ATTNI_TRY(check_gradient(context, "gradients.dq", g->dq, "q", a->q, ATTNI_FLOATS, data));
    ATTNI_TRY(check_gradient(context, "gradients.dk", g->dk, "k", a->k, ATTNI_FLOATS, data));
    return check_gradient(context, "gradients.dv", g->dv, "v", a->v, ATTNI_FLOATS, data);
}

/* The log-sum-exps that the forward pass wrote are read now, and so is what it was told about them. */
static void read_lse(const float *d_lse, attni_extras *extras) {
    const attn_tensor lse = extras->outputs[0];
    if (!extras->output_names[0])
        return;
    extras->output_names[0] = NULL;
    attni_add_array(extras, "params.lse", lse.data, lse.size[0] * lse.size[1] * lse.size[2]);
    attni_add_array(extras, "gradients.d_lse", d_lse, lse.size[0] * lse.size[1] * lse.size[2]);
}

static void add_tensor(attni_extras *extras, const char *name, const attn_tensor *t) {
    if (t)
        attni_add_output(extras, name, *t);
}

static attn_status check_overlaps(attn_context *context, const arguments *a, const attni_sdpa *call,
                                  attni_extras *extras) {
    const attn_sdpa_gradients *g = &a->gradients;
    read_lse(g->d_lse, extras);
    add_tensor(extras, "gradients.dq", g->dq);
    add_tensor(extras, "gradients.dk", g->dk);
    add_tensor(extras, "gradients.dv", g->dv);
    add_tensor(extras, "gradients.d_bias", g->d_bias);
    attni_add_floats(extras, "gradients.d_sinks", g->d_sinks, call->H);
    attni_add_floats(extras, "gradients.d_alibi_slopes", g->d_alibi_slopes, call->H);
    attni_add_floats(extras, "gradients.d_relative_bias", g->d_relative_bias, call->H * call->relative.width);
    attni_add_floats(extras, "gradients.d_q_norm_weight", g->d_q_norm_weight,
                     attni_count_weights(&call->q_turn, call->H, call->D));
    attni_add_floats(extras, "gradients.d_k_norm_weight", g->d_k_norm_weight,
                     attni_count_weights(&call->k_turn, call->G, call->D));
    attni_add_floats(extras, "gradients.d_v_norm_weight", g->d_v_norm_weight,
                     attni_count_weights(&call->v_turn, call->G, call->E));
    attni_add_floats(extras, "gradients.d_head_scales", g->d_head_scales, call->H);
    return attni_check_outputs(context, extras, NULL, 5, (const char *const[]){"q", "k", "v", "out", "d_out"},
                               (const attn_tensor *const[]){a->q, a->k, a->v, a->out, a->d_out});
}

static attni_view view_of(const attn_tensor *t, const attni_sdpa *call) {
    attni_view view = t ? attni_view_of(t) : (attni_view){0};
    if (call->query_starts)
        view.stride_b = 0;
    return view;
}

/* Strides of what is broadcast are 0, as those of the bias. */
static attni_view bias_view(const attn_tensor *t) {
    attni_view view = t && !attni_is_empty(t) ? attni_view_of(t) : (attni_view){0};
    if (t) {
        view.stride_b = t->size[0] == 1 ? 0 : view.stride_b;
        view.stride_h = t->size[1] == 1 ? 0 : view.stride_h;
        view.stride_t = t->size[2] == 1 ? 0 : view.stride_t;
    }
    return view;
}

attni_gradients attni_shared_gradients(const attn_sdpa_gradients *g) {
    return (attni_gradients){.d_bias = bias_view(g->d_bias),
                             .d_sinks = g->d_sinks,
                             .d_slopes = g->d_alibi_slopes,
                             .d_table = g->d_relative_bias,
                             .d_q_weight = g->d_q_norm_weight,
                             .d_k_weight = g->d_k_norm_weight,
                             .d_v_weight = g->d_v_norm_weight,
                             .d_head_factors = g->d_head_scales,
                             .accumulate = g->accumulate != 0,
                             .score = g->score_backward};
}

static attni_gradients gradients_of(const arguments *a, const attni_sdpa *call) {
    const attn_sdpa_gradients *g = &a->gradients;
    attni_gradients to = attni_shared_gradients(g);
    to.d_out = view_of(a->d_out, call);
    to.d_lse = call->lse;
    to.dq = view_of(g->dq, call);
    to.dk = view_of(g->dk, call);
    to.dv = view_of(g->dv, call);
    to.d_lse.data = (void *)(uintptr_t)g->d_lse; /* only read */
    return to;
}

/* What is kept of each row of queries and of keys. */
static attn_status check_scratch(attn_context *context, const attni_sdpa *call) {
    size_t rows, floats;
    ATTNI_TRY(attni_check_product(context, "out", attni_max(call->B, call->ragged_tokens + call->ragged_keys),
                                  attni_max(1, call->H), &rows));
    ATTNI_TRY(attni_check_product(context, "out", rows, attni_max(call->Tq, call->Tk) + 1, &rows));
    return attni_check_product(context, "out", rows, 8 * (call->D + call->E + 64), &floats);
}

static attn_status check(attn_context *context, arguments *a, const attn_sdpa_params *params,
                         const attn_sdpa_gradients *gradients, bool data, attni_sdpa *call, attni_gradients *to) {
    attni_extras extras;
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof a->params, &a->params));
    ATTNI_TRY(attni_check_pointer(context, "gradients", gradients));
    ATTNI_TRY(attni_check_params(context, "gradients", gradients, sizeof a->gradients, &a->gradients));
    a->params.weights = NULL; /* outputs that are not looked at */
    a->params.key_mass = a->params.entropy = a->params.largest_scores = NULL;
    a->params.top_keys = NULL;
    ATTNI_TRY(attni_check_sdpa(context, a->q, a->k, a->v, a->out, &a->params, data, call, &extras));
    ATTNI_TRY(attni_check_sdpa_gradients(context, &a->params, call, &a->gradients, data));
    ATTNI_TRY(check_lse(context, &a->params, a->out));
    ATTNI_TRY(check_tensors(context, a, data));
    ATTNI_TRY(check_scratch(context, call));
    *to = gradients_of(a, call);
    return data ? check_overlaps(context, a, call, &extras) : ATTN_OK;
}

attn_status attn_sdpa_backward(attn_context *context, const attn_tensor *q, const attn_tensor *k, const attn_tensor *v,
                               const attn_tensor *out, const attn_tensor *d_out, const attn_sdpa_params *params,
                               const attn_sdpa_gradients *gradients) {
    arguments a = {.q = q, .k = k, .v = v, .out = out, .d_out = d_out};
    attni_sdpa call;
    attni_gradients to;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check(context, &a, params, gradients, true, &call, &to));
    ATTNI_TRY(attni_scratch_reserve(context, attni_backward_scratch(context, &call, &to)));
    attni_backward_run(context, &call, &to, context->scratch);
    return ATTN_OK;
}

attn_status attn_sdpa_backward_scratch_size(attn_context *context, const attn_tensor *q, const attn_tensor *k,
                                            const attn_tensor *v, const attn_tensor *out, const attn_tensor *d_out,
                                            const attn_sdpa_params *params, const attn_sdpa_gradients *gradients,
                                            size_t *bytes) {
    arguments a = {.q = q, .k = k, .v = v, .out = out, .d_out = d_out};
    attni_sdpa call;
    attni_gradients to;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "bytes", bytes));
    ATTNI_TRY(check(context, &a, params, gradients, false, &call, &to));
    *bytes = attni_backward_scratch(context, &call, &to);
    return ATTN_OK;
}
