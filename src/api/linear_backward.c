/* SPDX-License-Identifier: BSD-3-Clause */
#include "api/parts.h"
#include "attn/backward.h"
#include "mha/matrix.h"

typedef struct arguments {
    const attn_linear *linear;
    const attn_tensor *x, *d_out;
    attn_linear_gradients gradients;
} arguments;

/* [B,1,T,width]; B and T are those of x. */
static attn_status check_rows(attn_context *context, const char *name, const attn_tensor *t, const attn_tensor *x,
                              const char *letter, size_t width, bool output, bool data) {
    ATTNI_TRY(attni_check_typed(context, name, t, ATTNI_FLOATS, output, data));
    ATTNI_TRY(attni_check_size(context, name, t, 0, "B", x->size[0]));
    ATTNI_TRY(attni_check_size(context, name, t, 1, "1", 1));
    ATTNI_TRY(attni_check_size(context, name, t, 2, "T", x->size[2]));
    return attni_check_size(context, name, t, 3, letter, width);
}

static attn_status check_overlaps(attn_context *context, const arguments *a) {
    const attn_linear_gradients *g = &a->gradients;
    const attni_linear *map = &a->linear->map;
    attni_extras extras = {0};
    if (g->dx)
        attni_add_output(&extras, "gradients.dx", *g->dx);
    attni_add_floats(&extras, "gradients.d_weight", g->d_weight, map->out * map->in);
    attni_add_floats(&extras, "gradients.d_bias", g->d_bias, map->out);
    return attni_check_outputs(context, &extras, NULL, 2, (const char *const[]){"x", "d_out"},
                               (const attn_tensor *const[]){a->x, a->d_out});
}

static attn_status check(attn_context *context, arguments *a, const attn_linear_gradients *gradients, bool data) {
    size_t rows, floats;
    ATTNI_TRY(attni_check_pointer(context, "linear", a->linear));
    ATTNI_TRY(attni_check_pointer(context, "gradients", gradients));
    ATTNI_TRY(attni_check_params(context, "gradients", gradients, sizeof a->gradients, &a->gradients));
    const attni_linear *map = &a->linear->map;
    ATTNI_TRY(attni_check_typed(context, "x", a->x, ATTNI_FLOATS, false, data));
    ATTNI_TRY(check_rows(context, "x", a->x, a->x, "in_width", map->in, false, data));
    ATTNI_TRY(attni_check_pointer(context, "d_out", a->d_out));
    ATTNI_TRY(check_rows(context, "d_out", a->d_out, a->x, "out_width", map->out, false, data));
    if (a->gradients.dx)
        ATTNI_TRY(check_rows(context, "gradients.dx", a->gradients.dx, a->x, "in_width", map->in, true, data));
    ATTNI_TRY(attni_check_product(context, "x", a->x->size[0], a->x->size[2], &rows));
    ATTNI_TRY(attni_check_product(context, "x", rows + 1024, 4 * (map->in + map->out + 16), &floats));
    return data ? check_overlaps(context, a) : ATTN_OK;
}

/* Floats of scratch: for copies of what is no matrix, and from `rest` on for the work. */
typedef struct layout {
    size_t d_out, dx, rest, end;
} layout;

static layout lay(const attn_context *context, const arguments *a) {
    const attni_linear *map = &a->linear->map;
    const attni_view x = attni_view_of(a->x), d_out = attni_view_of(a->d_out);
    const size_t B = a->x->size[0], T = a->x->size[2];
    size_t used = 0;
    layout at = {0};
    attni_reserve(&used, attni_matrix_floats(&x, B, T, map->in));
    at.d_out = attni_reserve(&used, attni_matrix_floats(&d_out, B, T, map->out));
    at.dx = used;
    if (a->gradients.dx) {
        const attni_view dx = attni_view_of(a->gradients.dx);
        attni_reserve(&used, attni_matrix_floats(&dx, B, T, map->in));
    }
    at.rest = attni_reserve(&used, attni_linear_back_floats(context, map));
    at.end = used;
    return at;
}

static void run(attn_context *context, const arguments *a, const layout *at, float *scratch) {
    const attni_linear *map = &a->linear->map;
    const attn_linear_gradients *g = &a->gradients;
    const attni_view x = attni_view_of(a->x), d_out = attni_view_of(a->d_out),
                     dx = g->dx ? attni_view_of(g->dx) : (attni_view){0};
    const size_t B = a->x->size[0], T = a->x->size[2];
    attni_linear_back back = {.linear = map,
                              .x = attni_matrix_read(context, &x, B, T, map->in, scratch),
                              .dy = attni_matrix_read(context, &d_out, B, T, map->out, scratch + at->d_out),
                              .d_weight = g->d_weight,
                              .d_bias = g->d_bias,
                              .accumulate = g->accumulate != 0};
    if (g->dx)
        back.dx = g->accumulate ? attni_matrix_read(context, &dx, B, T, map->in, scratch + at->dx)
                                : attni_matrix_of(&dx, B, T, map->in, scratch + at->dx);
    back.residual = g->accumulate ? &back.dx : NULL;
    attni_linear_back_run(context, &back, scratch + at->rest);
    if (g->dx)
        attni_matrix_write(context, &dx, B, T, map->in, scratch + at->dx);
}

attn_status attn_linear_backward(attn_context *context, const attn_linear *linear, const attn_tensor *x,
                                 const attn_tensor *d_out, const attn_linear_gradients *gradients) {
    arguments a = {.linear = linear, .x = x, .d_out = d_out};
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check(context, &a, gradients, true));
    const layout at = lay(context, &a);
    ATTNI_TRY(attni_scratch_reserve(context, at.end * sizeof(float)));
    run(context, &a, &at, context->scratch);
    return ATTN_OK;
}

attn_status attn_linear_backward_scratch_size(attn_context *context, const attn_linear *linear, const attn_tensor *x,
                                              const attn_tensor *d_out, const attn_linear_gradients *gradients,
                                              size_t *bytes) {
    arguments a = {.linear = linear, .x = x, .d_out = d_out};
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "bytes", bytes));
    ATTNI_TRY(check(context, &a, gradients, false));
    *bytes = lay(context, &a).end * sizeof(float);
    return ATTN_OK;
}
