/* SPDX-License-Identifier: BSD-3-Clause */
#include "mha/latent.h"

#include <string.h>

#include "context/sizes.h"
#include "kernels/int4.h"
#include "mha/rows.h"

/* -- weights -- */

/* Output features of a head in kv_up. */
static size_t features_of_head(const attn_mha *m) { return m->D - m->R + m->E; }

/* A map of head h. The query's is the transpose of the key's: where the features of that have scales it is `widened`
 * [D − R, L], which has them already. */
static attni_weight weight_of(const attn_mha *m, const attni_weight *up, attni_of_head role, size_t h,
                              const float *widened) {
    const size_t N = m->D - m->R, first = h * features_of_head(m) + (role == ATTNI_VALUE_OF ? N : 0);
    attni_weight w = *up;
    w.data = (const char *)up->data + attni_weight_bytes(up->type, first, up->stride_out);
    w.scale = up->scale ? up->scale + attni_count_scales(up->type, first, up->in) : NULL;
    w.out = role == ATTNI_VALUE_OF ? m->E : N;
    if (role != ATTNI_QUERY_TO)
        return w;
    w = (attni_weight){.data = w.data, .type = w.type, .stride_out = w.stride_in, .stride_in = w.stride_out};
    if (widened)
        w = (attni_weight){.data = widened, .type = ATTN_F32, .stride_out = 1, .stride_in = m->L};
    w.out = m->L;
    w.in = N;
    return w;
}

/* Input i of feature o of a weight with scales. */
static float number_at(const attni_weight *w, size_t o, size_t i) {
    if (w->type == ATTN_INT8)
        return (float)((const int8_t *)w->data)[o * w->stride_out + i * w->stride_in] * w->scale[o];
    const uint8_t two = ((const uint8_t *)w->data)[attni_weight_bytes(ATTN_INT4, o, w->in) + i / 2];
    const float *group = w->scale + attni_count_scales(ATTN_INT4, o, w->in) + i / ATTNI_GROUP * 2;
    return group[0] * (float)(i % 2 ? two >> 4 : two & 15) + group[1];
}

/* The key's map of a head as numbers. */
static void widen(const attn_mha *m, const attni_weight *up, size_t h, float *widened) {
    const attni_weight w = weight_of(m, up, ATTNI_KEY_OF, h, NULL);
    for (size_t o = 0; o < w.out && w.scale; o++) /* as int8 and int4 have */
        for (size_t i = 0; i < w.in; i++)
            widened[o * w.in + i] = number_at(&w, o, i);
}

/* Whatever is widened, it is f32. */
static const float *is_widened(const attni_weight *up) {
    static const float any;
    return up->scale ? &any : NULL;
}

static size_t floats_of(const attn_context *context, const attn_mha *m, const attni_weight *up, attni_of_head role) {
    const attni_weight w = weight_of(m, up, role, 0, is_widened(up));
    return attni_linear_floats(context, &w);
}

size_t attni_latent_bytes(const attn_context *context, const attn_mha *m, const attni_weight *up) {
    size_t floats = 0;
    for (attni_of_head role = ATTNI_KEY_OF; role < ATTNI_OF_HEAD; role++)
        floats += m->H * floats_of(context, m, up, role);
    return floats * sizeof(float) + attni_round_up(ATTNI_OF_HEAD * m->H * sizeof *m->of_heads, ATTNI_LINE);
}

size_t attni_latent_room(const attn_mha *m, const attni_weight *up) {
    return up->scale ? (m->D - m->R) * m->L * sizeof(float) : 0;
}

const char *attni_latent_misfit(const attn_context *context, const attn_mha *m, const attni_weight *up) {
    for (attni_of_head role = ATTNI_KEY_OF; role < ATTNI_OF_HEAD; role++)
        for (size_t h = 0; h < m->H; h++) {
            const attni_weight w = weight_of(m, up, role, h, is_widened(up));
            const char *misfit = attni_linear_misfit(context, &w, &m->of_heads[role * m->H + h]);
            if (misfit)
                return misfit;
        }
    return NULL;
}

/* weight_of, what it needs widened in `room`. */
static attni_weight weight_in(const attn_mha *m, const attni_weight *up, attni_of_head role, size_t h, float *room) {
    if (up->scale && role == ATTNI_QUERY_TO)
        widen(m, up, h, room);
    return weight_of(m, up, role, h, up->scale ? room : NULL);
}

void attni_latent_pack(attn_context *context, attn_mha *m, const attni_weight *up, char *memory, void *room) {
    float *next = (float *)(void *)(memory + attni_round_up(ATTNI_OF_HEAD * m->H * sizeof *m->of_heads, ATTNI_LINE));
    m->of_heads = (attni_linear *)(void *)memory;
    for (attni_of_head role = ATTNI_KEY_OF; role < ATTNI_OF_HEAD; role++)
        for (size_t h = 0; h < m->H; h++) {
            const attni_weight w = weight_in(m, up, role, h, room);
            m->of_heads[role * m->H + h] = attni_linear_pack(context, &w, next);
            next += attni_linear_floats(context, &w);
        }
}

void attni_latent_repack(attn_context *context, attn_mha *m, const attni_weight *up, void *room) {
    for (attni_of_head role = ATTNI_KEY_OF; role < ATTNI_OF_HEAD; role++)
        for (size_t h = 0; h < m->H; h++) {
            const attni_weight w = weight_in(m, up, role, h, room);
            attni_linear_repack(context, &w, &m->of_heads[role * m->H + h]);
        }
}

/* -- products of heads -- */

/* Heads whose products are one job. */
enum { TOGETHER = ATTNI_MOST_PRODUCTS };

size_t attni_latent_floats(const attn_context *context, const attn_mha *m, size_t rows) {
    size_t most = 0;
    for (attni_of_head role = ATTNI_KEY_OF; role < ATTNI_OF_HEAD && m->L; role++)
        most = attni_max(most, attni_product_floats(context, &m->of_heads[role * m->H], ATTN_F32, rows));
    return TOGETHER * most;
}

/* y = x times the map of each head, whose columns of x and y are so far apart. */
static void project_heads(attn_context *context, const attn_mha *m, attni_of_head role, const attni_matrix *x,
                          size_t x_step, const attni_matrix *y, size_t y_step, float *room) {
    const attni_linear *linears = m->of_heads + role * m->H;
    const size_t floats = attni_product_floats(context, linears, ATTN_F32, x->rows);
    for (size_t first = 0; first < m->H; first += TOGETHER) {
        attni_product products[TOGETHER];
        const size_t count = attni_min(TOGETHER, m->H - first);
        for (size_t i = 0; i < count; i++) {
            const size_t h = first + i;
            products[i] = (attni_product){.linear = &linears[h],
                                          .x = {x->data + h * x_step, x->rows, x->ld},
                                          .y = {y->data + h * y_step, y->rows, y->ld},
                                          .room = room + i * floats};
        }
        attni_project(context, products, count);
    }
}

/* Columns [rows, R] of each head, `step` apart; those of `from` may be the same for all. */
typedef struct columns {
    const attn_mha *mha;
    const attni_kernels *kernels;
    const float *from;
    float *to;
    size_t from_ld, from_step, to_ld, to_step;
} columns;

static void copy_rows(void *arg, size_t begin, size_t end) {
    const columns *c = arg;
    for (size_t h = 0; h < c->mha->H; h++)
        c->kernels->copy(end - begin, c->mha->R, ATTN_F32, c->from + begin * c->from_ld + h * c->from_step,
                         (ptrdiff_t)c->from_ld, ATTN_F32, c->to + begin * c->to_ld + h * c->to_step,
                         (ptrdiff_t)c->to_ld);
}

static void share_columns(attn_context *context, size_t rows, attni_row_work work, columns c) {
    attni_share_rows(context, rows, c.mha->H * c.mha->R, 1, work, &c);
}

void attni_latent_expand(attn_context *context, const attn_mha *m, const attni_matrix *latents,
                         const attni_matrix *keys, const attni_matrix *values, float *room) {
    project_heads(context, m, ATTNI_KEY_OF, latents, 0, keys, m->D, room);
    project_heads(context, m, ATTNI_VALUE_OF, latents, 0, values, m->E, room);
    share_columns(
        context, keys->rows, copy_rows,
        (columns){m, context->kernels, latents->data + m->L, keys->data + m->D - m->R, latents->ld, 0, keys->ld, m->D});
}

void attni_latent_absorb(attn_context *context, const attn_mha *m, const attni_matrix *queries, const attni_matrix *y,
                         float *room) {
    project_heads(context, m, ATTNI_QUERY_TO, queries, m->D, y, m->L + m->R, room);
    share_columns(context, y->rows, copy_rows,
                  (columns){m, context->kernels, queries->data + m->D - m->R, y->data + m->L, queries->ld, m->D, y->ld,
                            m->L + m->R});
}

void attni_latent_values(attn_context *context, const attn_mha *m, const attni_matrix *sums, const attni_matrix *o,
                         float *room) {
    project_heads(context, m, ATTNI_VALUE_OF, sums, m->L, o, m->E, room);
}

/* -- the way back -- */

/* Columns of `to` are the sums of all heads'. */
static void sum_rows(void *arg, size_t begin, size_t end) {
    const columns *c = arg;
    for (size_t r = begin; r < end; r++) {
        float *to = c->to + r * c->to_ld;
        memset(to, 0, c->mha->R * sizeof *to);
        for (size_t h = 0; h < c->mha->H; h++)
            c->kernels->mix(c->mha->R, to, 1.0F, c->from + r * c->from_ld + h * c->from_step, 1.0F);
    }
}

/* From gradients [rows, heads·step] of what one map of head h made. */
static void head_back(attn_context *context, const attn_mha *m, const attni_latent_back *b, attni_of_head role,
                      size_t h, const attni_matrix *d, size_t step, float *room) {
    const attni_linear *l = &m->of_heads[role * m->H + h];
    const size_t first = h * features_of_head(m) + (role == ATTNI_VALUE_OF ? m->D - m->R : 0);
    const bool begun = h > 0 || role != ATTNI_KEY_OF;
    const attni_linear_back back = {.linear = l,
                                    .x = b->latents,
                                    .dy = {d->data + h * step, d->rows, d->ld},
                                    .dx = b->d_latents,
                                    .residual = begun ? &b->d_latents : NULL,
                                    .d_weight = b->d_up ? b->d_up + first * l->stride_out : NULL,
                                    .accumulate = b->accumulate};
    attni_linear_back_run(context, &back, room);
}

size_t attni_latent_back_floats(const attn_context *context, const attn_mha *m) {
    return m->L ? attni_max(attni_linear_back_floats(context, &m->of_heads[ATTNI_KEY_OF * m->H]),
                            attni_linear_back_floats(context, &m->of_heads[ATTNI_VALUE_OF * m->H]))
                : 0;
}

void attni_latent_back_run(attn_context *context, const attn_mha *m, const attni_latent_back *b, float *room) {
    for (size_t h = 0; h < m->H; h++)
        head_back(context, m, b, ATTNI_KEY_OF, h, &b->d_keys, m->D, room);
    for (size_t h = 0; h < m->H; h++)
        head_back(context, m, b, ATTNI_VALUE_OF, h, &b->d_values, m->E, room);
    share_columns(context, b->latents.rows, sum_rows,
                  (columns){m, context->kernels, b->d_keys.data + m->D - m->R, b->d_latents.data + m->L, b->d_keys.ld,
                            m->D, b->d_latents.ld, 0});
}
