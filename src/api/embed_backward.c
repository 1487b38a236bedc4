/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/backward.h"

#include "api/parts.h"
#include "block/embed.h"

/* The arguments of a call; gradients is a copy. */
typedef struct arguments {
    const attn_tensor *d_out;
    attn_embed_gradients gradients;
    attni_embed embed;
    attni_norm norm;
} arguments;

/* What belongs to something that the call does not have. */
static attn_status check_fields(attn_context *context, const arguments *a) {
    const attn_embed_params *p = &a->embed.params;
    const attn_embed_gradients *g = &a->gradients;
    const struct {
        bool set, belongs;
        const char *field, *to;
    } fields[] = {{g->d_token_table, !p->vectors, "d_token_table", "ids"},
                  {g->d_vectors, p->vectors, "d_vectors", "vectors"},
                  {g->d_position_table, p->positions == ATTN_POSITIONS_TABLE, "d_position_table", "position_table"},
                  {g->d_type_table, p->type_table, "d_type_table", "type_table"},
                  {g->d_norm_weight, p->norm, "d_norm_weight", "norm"},
                  {g->d_norm_bias, p->norm, "d_norm_bias", "norm"}};
    for (size_t n = 0; n < sizeof fields / sizeof *fields; n++)
        if (fields[n].set && !fields[n].belongs)
            return attni_fail(context, ATTN_ERROR_VALUE, "gradients.%s is set, but there is no params.%s",
                              fields[n].field, fields[n].to);
    return ATTN_OK;
}

static attn_status check_vectors(attn_context *context, const arguments *a, bool data) {
    const attn_tensor *const x = a->embed.params.vectors, *const dx = a->gradients.d_vectors;
    if (!x)
        return ATTN_OK;
    ATTNI_TRY(attni_check_like(context, "params.vectors", x, "d_out", a->d_out, ATTNI_F32_ONLY, false,
                               data && a->embed.norm));
    return dx ? attni_check_map(context, "d_out", a->d_out, "gradients.d_vectors", dx, data) : ATTN_OK;
}

static attn_tensor table_of(const float *data, size_t count, size_t M) {
    return attn_tensor_btm(data, ATTN_F32, 1, count, M);
}

/* An id is as large as two floats. */
static void add_ids(attni_extras *extras, const char *name, const int64_t *ids, const attni_embed *e) {
    attni_add_array(extras, name, ids, 2 * e->B * e->T);
}

static attn_status check_overlaps(attn_context *context, const arguments *a) {
    const attni_embed *e = &a->embed;
    const attn_embed_params *p = &e->params;
    const attn_embed_gradients *g = &a->gradients;
    const attn_tensor none = table_of(NULL, 0, 0), tokens = table_of(p->token_table, p->token_count, e->M),
                      positions = table_of(p->position_table, p->position_count, e->M),
                      types = table_of(p->type_table, p->type_count, e->M), weight = table_of(a->norm.weight, 1, e->M),
                      bias = table_of(a->norm.bias, 1, e->M);
    const attn_tensor *const dx = g->d_vectors ? g->d_vectors : &none;
    const bool in_place = g->d_vectors && attni_same_view(g->d_vectors, a->d_out) && !g->accumulate;
    attni_extras extras = {0};
    add_ids(&extras, "params.ids", p->ids, e);
    add_ids(&extras, "params.position_ids", p->position_ids, e);
    add_ids(&extras, "params.type_ids", p->type_ids, e);
    attni_add_output(&extras, "gradients.d_token_table", table_of(g->d_token_table, p->token_count, e->M));
    attni_add_output(&extras, "gradients.d_position_table", table_of(g->d_position_table, p->position_count, e->M));
    attni_add_output(&extras, "gradients.d_type_table", table_of(g->d_type_table, p->type_count, e->M));
    attni_add_output(&extras, "gradients.d_norm_weight", table_of(g->d_norm_weight, 1, e->M));
    attni_add_output(&extras, "gradients.d_norm_bias", table_of(g->d_norm_bias, 1, e->M));
    if (!in_place)
        attni_add_output(&extras, "gradients.d_vectors", *dx);
    return attni_check_outputs(context, &extras, NULL, 7,
                               (const char *const[]){"d_out", "params.vectors", "params.token_table",
                                                     "params.position_table", "params.type_table", "params.norm.weight",
                                                     "params.norm.bias"},
                               (const attn_tensor *const[]){a->d_out, p->vectors ? p->vectors : &none, &tokens,
                                                            &positions, &types, &weight, &bias});
}

/* Tables fit in memory, also where no token looks at them, and so does what is kept of the tokens. */
static attn_status check_sizes(attn_context *context, const arguments *a) {
    const attni_embed *e = &a->embed;
    const attn_embed_params *p = &e->params;
    const size_t M = e->M + 64;
    size_t n;
    ATTNI_TRY(
        attni_check_product(context, "params.token_count", a->gradients.d_token_table ? p->token_count : 0, M, &n));
    ATTNI_TRY(attni_check_product(context, "d_out", e->B, e->T, &n));
    ATTNI_TRY(attni_check_product(context, "d_out", n, M, &n));
    return attni_check_product(context, "d_out.size[3]", M, 512, &n);
}

static attn_status check(attn_context *context, arguments *a, const attn_embed_params *params,
                         const attn_embed_gradients *gradients, bool data) {
    ATTNI_TRY(attni_check_pointer(context, "params", params));
    ATTNI_TRY(attni_check_pointer(context, "gradients", gradients));
    ATTNI_TRY(attni_check_params(context, "gradients", gradients, sizeof a->gradients, &a->gradients));
    ATTNI_TRY(attni_check_tensor(context, "d_out", a->d_out, false, data));
    ATTNI_TRY(attni_check_size(context, "d_out", a->d_out, 1, "1", 1));
    attn_tensor sizes = *a->d_out;
    sizes.data = NULL; /* no output */
    ATTNI_TRY(attni_check_embed(context, params, &sizes, &a->embed, &a->norm));
    ATTNI_TRY(check_fields(context, a));
    ATTNI_TRY(check_vectors(context, a, data));
    ATTNI_TRY(check_sizes(context, a));
    return data ? check_overlaps(context, a) : ATTN_OK;
}

static attni_embed_back back_of(const arguments *a) {
    const attn_embed_gradients *g = &a->gradients;
    return (attni_embed_back){.embed = &a->embed,
                              .d_out = attni_view_of(a->d_out),
                              .d_vectors = g->d_vectors ? attni_view_of(g->d_vectors) : (attni_view){0},
                              .d_tokens = g->d_token_table,
                              .d_positions = g->d_position_table,
                              .d_types = g->d_type_table,
                              .d_weight = g->d_norm_weight,
                              .d_bias = g->d_norm_bias,
                              .accumulate = g->accumulate != 0};
}

attn_status attn_embed_backward(attn_context *context, const attn_embed_params *params, const attn_tensor *d_out,
                                const attn_embed_gradients *gradients) {
    arguments a = {.d_out = d_out};
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check(context, &a, params, gradients, true));
    if (a.embed.M == 0)
        return ATTN_OK;
    const attni_embed_back back = back_of(&a);
    ATTNI_TRY(attni_scratch_reserve(context, attni_embed_backward_scratch(&back)));
    attni_embed_backward(context, &back, context->scratch);
    return ATTN_OK;
}

attn_status attn_embed_backward_scratch_size(attn_context *context, const attn_embed_params *params,
                                             const attn_tensor *d_out, const attn_embed_gradients *gradients,
                                             size_t *bytes) {
    arguments a = {.d_out = d_out};
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "bytes", bytes));
    ATTNI_TRY(check(context, &a, params, gradients, false));
    const attni_embed_back back = back_of(&a);
    *bytes = attni_embed_backward_scratch(&back);
    return ATTN_OK;
}
