/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/backward.h"

#include "api/parts.h"
#include "mha/rows.h"

/* Optional outputs of a pointwise gradient, each of which may be any of the inputs, as the same view. */
static attn_status check_gradient(attn_context *context, const char *name, const attn_tensor *t, size_t count,
                                  const char *const names[], const attn_tensor *const inputs[], bool data) {
    for (size_t i = 0; t && i < count; i++)
        if (inputs[i])
            ATTNI_TRY(attni_check_map(context, names[i], inputs[i], name, t, data));
    return ATTN_OK;
}

static attni_view view_of(const attn_tensor *t) { return t ? attni_view_of(t) : (attni_view){0}; }

/* -- norms -- */

/* The arguments of a call; params and gradients are copies. */
typedef struct norm_arguments {
    const attn_tensor *x, *d_out;
    attn_norm_params params;
    attn_norm_gradients gradients;
} norm_arguments;

static attn_tensor row_of(const float *data, size_t M) { return attn_tensor_btm(data, ATTN_F32, 1, 1, M); }

static attn_status check_overlaps(attn_context *context, const norm_arguments *a) {
    const attn_norm_gradients *g = &a->gradients;
    const size_t M = a->x->size[3];
    const attn_tensor weight = row_of(a->params.weight, M), bias = row_of(a->params.bias, M), none = row_of(NULL, M);
    const attn_tensor *const dx = g->dx ? g->dx : &none;
    attni_extras extras = {0};
    attni_add_output(&extras, "gradients.d_weight", row_of(g->d_weight, M));
    attni_add_output(&extras, "gradients.d_bias", row_of(g->d_bias, M));
    ATTNI_TRY(attni_check_disjoint(context, "gradients.dx", dx, "params.weight", &weight));
    ATTNI_TRY(attni_check_disjoint(context, "gradients.dx", dx, "params.bias", &bias));
    for (int i = 0; i < 2 && g->accumulate; i++)
        ATTNI_TRY(attni_check_disjoint(context, "gradients.dx", dx, i ? "d_out" : "x", i ? a->d_out : a->x));
    return attni_check_outputs(context, &extras, NULL, 5,
                               (const char *const[]){"x", "d_out", "gradients.dx", "params.weight", "params.bias"},
                               (const attn_tensor *const[]){a->x, a->d_out, dx, &weight, &bias});
}

static attn_status check_tensors(attn_context *context, const norm_arguments *a, bool data) {
    size_t floats;
    ATTNI_TRY(attni_check_tensor(context, "x", a->x, false, data));
    ATTNI_TRY(attni_check_like(context, "d_out", a->d_out, "x", a->x, ATTNI_F32_ONLY, false, data));
    ATTNI_TRY(attni_check_product(context, "x.size[3]", a->x->size[3], 256, &floats));
    return check_gradient(context, "gradients.dx", a->gradients.dx, 2, (const char *const[]){"x", "d_out"},
                          (const attn_tensor *const[]){a->x, a->d_out}, data);
}

static attni_norm_rows_back rows_of(const norm_arguments *a) {
    const attn_norm_gradients *g = &a->gradients;
    return (attni_norm_rows_back){.B = a->x->size[0],
                                  .H = a->x->size[1],
                                  .T = a->x->size[2],
                                  .width = a->x->size[3],
                                  .x = attni_view_of(a->x),
                                  .d_out = attni_view_of(a->d_out),
                                  .dx = view_of(g->dx),
                                  .d_weight = g->d_weight,
                                  .d_bias = g->d_bias,
                                  .add_dx = g->accumulate != 0,
                                  .add_weights = g->accumulate != 0};
}

static attn_status check_norm(attn_context *context, norm_arguments *a, const attn_norm_params *params,
                              const attn_norm_gradients *gradients, bool data, attni_norm *norm) {
    ATTNI_TRY(attni_check_pointer(context, "gradients", gradients));
    ATTNI_TRY(attni_check_params(context, "gradients", gradients, sizeof a->gradients, &a->gradients));
    ATTNI_TRY(check_tensors(context, a, data));
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof a->params, &a->params));
    a->params.struct_size = sizeof a->params;
    a->params.mean = a->params.inverse_deviation = NULL; /* outputs that are not looked at */
    ATTNI_TRY(attni_check_norm(context, "params", &a->params, norm));
    return data ? check_overlaps(context, a) : ATTN_OK;
}

attn_status attn_norm_backward(attn_context *context, const attn_tensor *x, const attn_tensor *d_out,
                               const attn_norm_params *params, const attn_norm_gradients *gradients) {
    norm_arguments a = {.x = x, .d_out = d_out};
    attni_norm norm;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check_norm(context, &a, params, gradients, true, &norm));
    const attni_norm_rows_back rows = rows_of(&a);
    ATTNI_TRY(attni_scratch_reserve(context, attni_norm_backward_scratch(&rows)));
    attni_norm_backward(context, &norm, &rows, context->scratch);
    return ATTN_OK;
}

attn_status attn_norm_backward_scratch_size(attn_context *context, const attn_tensor *x, const attn_tensor *d_out,
                                            const attn_norm_params *params, const attn_norm_gradients *gradients,
                                            size_t *bytes) {
    norm_arguments a = {.x = x, .d_out = d_out};
    attni_norm norm;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "bytes", bytes));
    ATTNI_TRY(check_norm(context, &a, params, gradients, false, &norm));
    const attni_norm_rows_back rows = rows_of(&a);
    *bytes = attni_norm_backward_scratch(&rows);
    return ATTN_OK;
}

/* -- activations -- */

static void run(attn_context *context, const attni_activation *activation, const attn_tensor *x, const attn_tensor *up,
                const attn_tensor *d_out, const attn_tensor *dx, const attn_tensor *d_up) {
    const attni_activation_rows_back rows = {.B = x->size[0],
                                             .H = x->size[1],
                                             .T = x->size[2],
                                             .width = x->size[3],
                                             .x = attni_view_of(x),
                                             .factor = view_of(up),
                                             .d_out = attni_view_of(d_out),
                                             .dx = view_of(dx),
                                             .d_factor = view_of(d_up)};
    if (!attni_is_empty(x))
        attni_activate_backward(context, activation, &rows);
}

attn_status attn_activate_backward(attn_context *context, attn_activation activation, const attn_tensor *x,
                                   const attn_tensor *d_out, const attn_tensor *dx) {
    attni_activation resolved;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_activation(context, "activation", activation, "params", NULL, false, &resolved));
    ATTNI_TRY(attni_check_map(context, "x", x, "dx", dx, true));
    ATTNI_TRY(attni_check_map(context, "d_out", d_out, "dx", dx, true));
    run(context, &resolved, x, NULL, d_out, dx, NULL);
    return ATTN_OK;
}

static attn_status check_glu(attn_context *context, const attn_tensor *gate, const attn_tensor *up,
                             const attn_tensor *d_out, const attn_tensor *d_gate, const attn_tensor *d_up) {
    const char *const names[] = {"gate", "up", "d_out"};
    const attn_tensor *const inputs[] = {gate, up, d_out};
    ATTNI_TRY(attni_check_tensor(context, "gate", gate, false, true));
    ATTNI_TRY(attni_check_like(context, "d_out", d_out, "gate", gate, ATTNI_F32_ONLY, false, true));
    if (up)
        ATTNI_TRY(attni_check_like(context, "up", up, "gate", gate, ATTNI_F32_ONLY, false, true));
    if (d_up && !up)
        return attni_fail(context, ATTN_ERROR_VALUE, "d_up is set, but up is not");
    ATTNI_TRY(check_gradient(context, "d_gate", d_gate, 3, names, inputs, true));
    ATTNI_TRY(check_gradient(context, "d_up", d_up, 3, names, inputs, true));
    return d_gate && d_up ? attni_check_disjoint(context, "d_gate", d_gate, "d_up", d_up) : ATTN_OK;
}

attn_status attn_glu_backward(attn_context *context, attn_activation activation, const attn_activation_params *params,
                              const attn_tensor *gate, const attn_tensor *up, const attn_tensor *d_out,
                              const attn_tensor *d_gate, const attn_tensor *d_up) {
    attni_activation resolved;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_activation(context, "activation", activation, "params", params, up, &resolved));
    ATTNI_TRY(check_glu(context, gate, up, d_out, d_gate, d_up));
    run(context, &resolved, gate, up, d_out, d_gate, d_up);
    return ATTN_OK;
}

attn_status attni_check_norm_sums(attn_context *context, const char *const names[3], const attn_norm_gradients *given,
                                  bool belongs, size_t width, attni_written *written, attni_norm_sums *sums) {
    attn_norm_gradients g;
    if (given && !belongs)
        return attni_fail(context, ATTN_ERROR_VALUE, "%s is set, but there is no such norm", names[0]);
    ATTNI_TRY(attni_check_params(context, names[0], given, sizeof g, &g));
    if (g.dx || g.accumulate)
        return attni_fail(context, ATTN_ERROR_VALUE, "%s->%s is set, expected 0 here", names[0],
                          g.dx ? "dx" : "accumulate");
    *sums = (attni_norm_sums){g.d_weight, g.d_bias};
    attni_write_floats(written, names[1], g.d_weight, width);
    attni_write_floats(written, names[2], g.d_bias, width);
    return ATTN_OK;
}
