/* SPDX-License-Identifier: BSD-3-Clause */
#include "api/gradients.h"
#include "api/parts.h"
#include "context/sizes.h"

/* -- what is kept -- */

static size_t kept_floats(const attn_mha *mha, size_t B, size_t Tq, size_t Tk) {
    const attni_mha_call call = {.mha = mha, .B = B, .Tq = Tq, .Tk = Tk, .keeps = true};
    return attni_mha_lay_kept(&call).end;
}

attn_status attni_check_kept(attn_context *context, const void *kept, size_t bytes, size_t floats) {
    ATTNI_TRY(attni_check_pointer(context, "kept", kept));
    if (bytes < floats * sizeof(float))
        return attni_fail(context, ATTN_ERROR_SHAPE, "kept_bytes is %zu, expected at least %zu", bytes,
                          floats * sizeof(float));
    return ATTN_OK;
}

attn_status attn_mha_kept_size(attn_context *context, const attn_mha *mha, size_t batch, size_t query_tokens,
                               size_t key_tokens, size_t *bytes) {
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "mha", mha));
    ATTNI_TRY(attni_check_pointer(context, "bytes", bytes));
    ATTNI_TRY(attni_check_projected(context, "query_tokens", "key_tokens", mha, batch, query_tokens, key_tokens, 2));
    *bytes = kept_floats(mha, batch, query_tokens, key_tokens) * sizeof(float);
    return ATTN_OK;
}

attn_status attn_mha_forward_keep(attn_context *context, const attn_mha *mha, const attn_tensor *query,
                                  const attn_tensor *key, const attn_tensor *value, const attn_tensor *out,
                                  const attn_sdpa_params *params, void *kept, size_t kept_bytes) {
    const attni_layer_tensors t = attni_complete(query, key, value, out);
    attni_mha_call call;
    attni_extras extras;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_mha(context, mha, &t, params, true, &call, &extras));
    const size_t floats = kept_floats(mha, call.B, call.Tq, call.Tk);
    ATTNI_TRY(attni_check_kept(context, kept, kept_bytes, floats));
    call.keeps = true;
    call.kept = kept;
    attni_add_floats(&extras, "kept", kept, floats);
    ATTNI_TRY(attni_check_outputs(context, &extras, out, 3, (const char *const[]){"query", t.key_name, t.value_name},
                                  (const attn_tensor *const[]){t.query, t.key, t.value}));
    ATTNI_TRY(attni_scratch_reserve(context, attni_mha_scratch(context, &call)));
    return floats == 0 ? ATTN_OK : attni_mha_run(context, &call, context->scratch);
}

/* -- gradients -- */

#define NAMES(field)                                                                                                   \
    { "gradients." field, "gradients.self_attention." field, "gradients.cross_attention." field }

/* Where the gradient of a parameter goes, if the layer has it. */
typedef struct field {
    const char *const names[ATTNI_PLACES];
    float *data;
    size_t floats;
    bool belongs;
} field;

static attn_status add_fields(attn_context *context, attni_place place, const field *fields, size_t count,
                              attni_written *written) {
    for (const field *f = fields; f < fields + count; f++) {
        if (f->data && !f->belongs)
            return attni_fail(context, ATTN_ERROR_VALUE, "%s is set, but the layer has no such parameter",
                              f->names[place]);
        attni_write_floats(written, f->names[place], f->data, f->floats);
    }
    return ATTN_OK;
}

/* Features of the matrix that a map's are among, as many as it has in runs. */
static size_t features_of(const attn_mha *m, attni_role role, size_t out) {
    const attni_origin *from = &m->origins[role];
    return from->run ? out / from->run * from->pitch : out;
}

static attn_status add_parameters(attn_context *context, attni_place place, const attn_mha *m,
                                  const attn_mha_gradients *g, attni_written *written) {
    const bool fused = m->fused, gated = m->gate.out && !m->gate_in_q, latent = m->L > 0, plain = !fused && !latent;
    const size_t in = m->q.out + m->k.out + m->v.out, q = fused ? 0 : features_of(m, ATTNI_W_Q, m->q.out);
    const field fields[] = {
        {NAMES("d_in_weight"), g->d_in_weight, in * m->M, fused},
        {NAMES("d_in_bias"), g->d_in_bias, in, fused},
        {NAMES("d_q_weight"), g->d_q_weight, q * m->q.in, !fused},
        {NAMES("d_q_bias"), g->d_q_bias, q, !fused},
        {NAMES("d_k_weight"), g->d_k_weight, m->k.out * m->k.in, plain},
        {NAMES("d_k_bias"), g->d_k_bias, m->k.out, plain},
        {NAMES("d_v_weight"), g->d_v_weight, m->v.out * m->v.in, plain},
        {NAMES("d_v_bias"), g->d_v_bias, m->v.out, plain},
        {NAMES("d_out_weight"), g->d_out_weight, m->out.out * m->out.in, true},
        {NAMES("d_out_bias"), g->d_out_bias, m->out.out, true},
        {NAMES("d_gate_weight"), g->d_gate_weight, m->gate.out * m->gate.in, gated},
        {NAMES("d_gate_bias"), g->d_gate_bias, m->gate.out, gated},
        {NAMES("d_extra_key"), g->d_extra_key, m->G * m->D, m->extra_key},
        {NAMES("d_extra_value"), g->d_extra_value, m->G * m->E, m->extra_key},
        {NAMES("d_q_down_weight"), g->d_q_down_weight, m->q_down.out * m->M, m->q_down.out},
        {NAMES("d_q_down_bias"), g->d_q_down_bias, m->q_down.out, m->q_down.out},
        {NAMES("d_kv_down_weight"), g->d_kv_down_weight, m->k.out * m->k.in, latent},
        {NAMES("d_kv_down_bias"), g->d_kv_down_bias, m->k.out, latent},
        {NAMES("d_kv_up_weight"), g->d_kv_up_weight, m->H * (m->D - m->R + m->E) * m->L, latent},
    };
    return add_fields(context, place, fields, sizeof fields / sizeof *fields, written);
}

#define NORM_NAMES(field)                                                                                              \
    {                                                                                                                  \
        {"gradients." field, "gradients." field "->d_weight", "gradients." field "->d_bias"},                          \
            {"gradients.self_attention." field, "gradients.self_attention." field "->d_weight",                        \
             "gradients.self_attention." field "->d_bias"},                                                            \
            {"gradients.cross_attention." field, "gradients.cross_attention." field "->d_weight",                      \
             "gradients.cross_attention." field "->d_bias"},                                                           \
    }

static attn_status add_norms(attn_context *context, attni_place place, const attn_mha_gradients *g, attni_mha_back *b,
                             attni_written *written) {
    static const char *const names[ATTNI_NORMS][ATTNI_PLACES][3] = {NORM_NAMES("out_norm"), NORM_NAMES("q_latent_norm"),
                                                                    NORM_NAMES("kv_latent_norm")};
    const attn_mha *m = b->call.mha;
    const attn_norm_gradients *const given[ATTNI_NORMS] = {g->out_norm, g->q_latent_norm, g->kv_latent_norm};
    for (attni_norm_of i = 0; i < ATTNI_NORMS; i++)
        ATTNI_TRY(attni_check_norm_sums(context, names[i][place], given[i], m->norms[i].there, attni_norm_width(m, i),
                                        written, &b->norms[i]));
    return ATTN_OK;
}

static void set_parameters(const attn_mha *m, const attn_mha_gradients *g, attni_mha_back *b) {
    float *const weights[] = {g->d_q_weight, m->L ? g->d_kv_down_weight : g->d_k_weight, g->d_v_weight};
    float *const biases[] = {g->d_q_bias, m->L ? g->d_kv_down_bias : g->d_k_bias, g->d_v_bias};
    for (size_t i = ATTNI_W_Q; i <= ATTNI_W_V; i++) {
        b->weights[i] = m->fused ? g->d_in_weight : weights[i];
        b->biases[i] = m->fused ? g->d_in_bias : biases[i];
    }
    b->weights[ATTNI_W_OUT] = g->d_out_weight;
    b->biases[ATTNI_W_OUT] = g->d_out_bias;
    b->weights[ATTNI_W_GATE] = m->gate_in_q ? g->d_q_weight : g->d_gate_weight;
    b->biases[ATTNI_W_GATE] = m->gate_in_q ? g->d_q_bias : g->d_gate_bias;
    b->weights[ATTNI_W_Q_DOWN] = g->d_q_down_weight;
    b->biases[ATTNI_W_Q_DOWN] = g->d_q_down_bias;
    b->kv_up = g->d_kv_up_weight;
    b->attention.d_extra_key = g->d_extra_key;
    b->attention.d_extra_value = g->d_extra_value;
}

/* Those of what attention shares. */
static attn_status add_attention(attn_context *context, attni_place place, const attn_sdpa_params *params,
                                 const attn_mha_gradients *gradients, bool data, attni_mha_back *b,
                                 attni_written *written) {
    static const char *const within[ATTNI_PLACES] = NAMES("attention");
    static const char *const names[][ATTNI_PLACES] = {
        NAMES("attention->d_bias"),          NAMES("attention->d_sinks"),         NAMES("attention->d_alibi_slopes"),
        NAMES("attention->d_relative_bias"), NAMES("attention->d_q_norm_weight"), NAMES("attention->d_k_norm_weight"),
        NAMES("attention->d_v_norm_weight"), NAMES("attention->d_head_scales")};
    const attni_sdpa *call = &b->call.attention;
    const attn_mha *m = b->call.mha;
    attn_sdpa_gradients g;
    ATTNI_TRY(attni_check_params(context, within[place], gradients->attention, sizeof g, &g));
    if (g.dq || g.dk || g.dv || g.d_lse || g.accumulate)
        return attni_fail(context, ATTN_ERROR_VALUE, "%s->%s is set, expected 0 in a layer", within[place],
                          g.dq      ? "dq"
                          : g.dk    ? "dk"
                          : g.dv    ? "dv"
                          : g.d_lse ? "d_lse"
                                    : "accumulate");
    ATTNI_TRY(attni_within(context, within[place], attni_check_sdpa_gradients(context, params, call, &g, data)));
    attni_write_tensor(written, names[0][place], g.d_bias);
    attni_write_floats(written, names[1][place], g.d_sinks, m->H);
    attni_write_floats(written, names[2][place], g.d_alibi_slopes, m->H);
    attni_write_floats(written, names[3][place], g.d_relative_bias, m->H * call->relative.width);
    attni_write_floats(written, names[4][place], g.d_q_norm_weight, attni_count_weights(&call->q_turn, m->H, m->D));
    attni_write_floats(written, names[5][place], g.d_k_norm_weight, attni_count_weights(&call->k_turn, m->G, m->D));
    attni_write_floats(written, names[6][place], g.d_v_norm_weight, attni_count_weights(&call->v_turn, m->G, m->E));
    attni_write_floats(written, names[7][place], g.d_head_scales, m->H);
    g.accumulate = gradients->accumulate;
    b->attention = attni_shared_gradients(&g);
    return ATTN_OK;
}

attn_status attni_check_layer_gradients(attn_context *context, attni_place place, const attn_sdpa_params *params,
                                        const attn_mha_gradients *g, bool data, attni_mha_back *b,
                                        attni_written *written) {
    ATTNI_TRY(add_parameters(context, place, b->call.mha, g, written));
    ATTNI_TRY(add_norms(context, place, g, b, written));
    ATTNI_TRY(add_attention(context, place, params, g, data, b, written));
    set_parameters(b->call.mha, g, b);
    b->accumulate = g->accumulate != 0;
    return ATTN_OK;
}

/* -- attn_mha_backward -- */

attn_sdpa_params attni_without_outputs(const attn_sdpa_params *params) {
    attn_sdpa_params p = *params;
    p.lse = NULL;
    p.weights = NULL;
    p.key_mass = p.entropy = p.largest_scores = NULL;
    p.top_keys = NULL;
    return p;
}

attn_status attni_check_input_gradient(attn_context *context, const char *name, const attn_tensor *d, bool given,
                                       const attn_tensor *of, bool data, attni_view *view, attni_written *written) {
    if (!d)
        return ATTN_OK;
    if (!given)
        return attni_fail(context, ATTN_ERROR_VALUE, "%s is set, but the call has no such input", name);
    ATTNI_TRY(attni_check_like(context, name, d, "the input", of, ATTNI_FLOATS, true, data));
    *view = attni_view_of(d);
    attni_write_tensor(written, name, d);
    return ATTN_OK;
}

typedef struct arguments {
    const attn_mha *mha;
    attni_layer_tensors t;
    const attn_sdpa_params *params;
    const void *kept;
    const attn_mha_gradients *gradients;
} arguments;

static attn_status check_gradients(attn_context *context, const arguments *a, const attn_sdpa_params *p,
                                   const attn_mha_gradients *g, bool data, attni_mha_back *b, attni_written *written) {
    const attni_layer_tensors *t = &a->t;
    ATTNI_TRY(attni_check_input_gradient(context, "gradients.d_query", g->d_query, true, t->query, data, &b->d_query,
                                         written));
    ATTNI_TRY(
        attni_check_input_gradient(context, "gradients.d_key", g->d_key, !t->self, t->key, data, &b->d_key, written));
    ATTNI_TRY(attni_check_input_gradient(context, "gradients.d_value", g->d_value, !t->same_value, t->value, data,
                                         &b->d_value, written));
    return attni_check_layer_gradients(context, ATTNI_ALONE, p, g, data, b, written);
}

static attn_status check(attn_context *context, const arguments *a, bool data, attni_mha_back *b) {
    const attni_layer_tensors *t = &a->t;
    attn_sdpa_params p;
    attn_mha_gradients g;
    attni_extras extras;
    attni_written written = {0};
    ATTNI_TRY(attni_check_params(context, "params", a->params, sizeof p, &p));
    p = attni_without_outputs(&p);
    p.struct_size = sizeof p;
    ATTNI_TRY(attni_check_mha(context, a->mha, t, &p, data, &b->call, &extras));
    ATTNI_TRY(attni_check_pointer(context, "gradients", a->gradients));
    ATTNI_TRY(attni_check_params(context, "gradients", a->gradients, sizeof g, &g));
    b->d_out = b->call.out;
    b->self = t->self;
    b->same_value = t->same_value;
    b->add_query = b->add_key = b->add_value = g.accumulate != 0;
    b->call.kept = (float *)(uintptr_t)a->kept; /* only read */
    ATTNI_TRY(check_gradients(context, a, &p, &g, data, b, &written));
    if (a->kept)
        attni_add_array(&extras, "kept", a->kept, kept_floats(a->mha, b->call.B, b->call.Tq, b->call.Tk));
    if (!data)
        return ATTN_OK;
    return attni_check_written(context, &written, &extras, 4,
                               (const char *const[]){"query", t->key_name, t->value_name, "d_out"},
                               (const attn_tensor *const[]){t->query, t->key, t->value, t->out});
}

static arguments arguments_of(const attn_mha *mha, const attn_tensor *query, const attn_tensor *key,
                              const attn_tensor *value, const attn_tensor *d_out, const attn_sdpa_params *params,
                              const void *kept, const attn_mha_gradients *gradients) {
    arguments a = {mha, attni_complete(query, key, value, d_out), params, kept, gradients};
    a.t.out_name = "d_out";
    a.t.reads_out = true;
    return a;
}

attn_status attn_mha_backward(attn_context *context, const attn_mha *mha, const attn_tensor *query,
                              const attn_tensor *key, const attn_tensor *value, const attn_tensor *d_out,
                              const attn_sdpa_params *params, const void *kept, const attn_mha_gradients *gradients) {
    const arguments a = arguments_of(mha, query, key, value, d_out, params, kept, gradients);
    attni_mha_back back = {0};
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check(context, &a, true, &back));
    ATTNI_TRY(attni_scratch_reserve(context, attni_mha_back_scratch(context, &back)));
    attni_mha_back_run(context, &back, context->scratch);
    return ATTN_OK;
}

attn_status attn_mha_backward_scratch_size(attn_context *context, const attn_mha *mha, const attn_tensor *query,
                                           const attn_tensor *key, const attn_tensor *value, const attn_tensor *d_out,
                                           const attn_sdpa_params *params, const void *kept,
                                           const attn_mha_gradients *gradients, size_t *bytes) {
    const arguments a = arguments_of(mha, query, key, value, d_out, params, kept, gradients);
    attni_mha_back back = {0};
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "bytes", bytes));
    ATTNI_TRY(check(context, &a, false, &back));
    *bytes = attni_mha_back_scratch(context, &back);
    return ATTN_OK;
}
