/* SPDX-License-Identifier: BSD-3-Clause */
#include "block/embed.h"

#include <math.h>

#include "context/sizes.h"
#include "mha/rows.h"

static void add(size_t n, const float *x, float *y) {
    for (size_t j = 0; j < n; j++)
        y[j] += x[j];
}

static void begin(const attni_embed *e, size_t b, size_t t, float *y) {
    const attn_embed_params *p = &e->params;
    const float *vector = p->vectors ? attni_at(&e->vectors, b, 0, t) : NULL;
    const float *x = vector ? vector : p->token_table + (size_t)p->ids[b * e->T + t] * e->M;
    for (size_t j = 0; j < e->M; j++)
        y[j] = p->scale * x[j];
}

static size_t position_of(const attni_embed *e, size_t b, size_t t) {
    const attn_embed_params *p = &e->params;
    return p->position_ids ? (size_t)p->position_ids[b * e->T + t] : p->first_position + t;
}

/* Angles are computed in double: positions may be large. */
static void add_sinusoid(const attni_embed *e, size_t position, float *y) {
    const attn_positions kind = e->params.positions;
    const size_t M = e->M, half = kind == ATTN_POSITIONS_FAIRSEQ ? M / 2 : attni_ceil_div(M, 2);
    const double steps = kind == ATTN_POSITIONS_FAIRSEQ ? (double)half - 1 : (double)M / 2;
    const bool apart = kind != ATTN_POSITIONS_SINUSOIDAL;
    for (size_t i = 0; i < half; i++) {
        const double angle = (double)position * (i ? pow(10000, -(double)i / steps) : 1);
        const size_t sine = apart ? i : 2 * i, cosine = apart ? half + i : 2 * i + 1;
        y[sine] += (float)sin(angle);
        if (cosine < M)
            y[cosine] += (float)cos(angle);
    }
}

static void add_position(const attni_embed *e, size_t position, float *y) {
    if (e->params.positions == ATTN_POSITIONS_TABLE)
        add(e->M, e->params.position_table + position * e->M, y);
    else if (e->params.positions != ATTN_POSITIONS_NONE)
        add_sinusoid(e, position, y);
}

typedef struct job {
    const attni_kernels *kernels;
    const attni_embed *embed;
} job;

static void embed_token(const job *j, size_t b, size_t t) {
    const attni_embed *e = j->embed;
    const attn_embed_params *p = &e->params;
    float *y = attni_at(&e->out, b, 0, t);
    begin(e, b, t, y);
    add_position(e, position_of(e, b, t), y);
    if (p->type_table)
        add(e->M, p->type_table + (p->type_ids ? (size_t)p->type_ids[b * e->T + t] : 0) * e->M, y);
    if (e->norm)
        j->kernels->norm(e->norm, 1, e->M, y, 0, y, 0);
}

static void embed_rows(void *arg, size_t begin_row, size_t end_row) {
    const job *j = arg;
    for (size_t r = begin_row; r < end_row; r++)
        embed_token(j, r / j->embed->T, r % j->embed->T);
}

void attni_embed_run(attn_context *context, const attni_embed *embed) {
    const bool sinusoidal = embed->params.positions >= ATTN_POSITIONS_SINUSOIDAL;
    job j = {context->kernels, embed};
    attni_share_rows(context, embed->B * embed->T, embed->M, sinusoidal ? 500 : 16, embed_rows, &j);
}

typedef struct patch_job {
    const attni_kernels *kernels;
    const attni_patches *patches;
} patch_job;

static void cut_patch(const patch_job *j, size_t b, size_t patch) {
    const attni_patches *p = j->patches;
    const size_t row = patch / p->patches_x * p->height, column = patch % p->patches_x * p->width;
    const size_t size = p->height * p->width;
    float *y = attni_at(&p->out, b, 0, patch);
    for (size_t c = 0; c < p->C; c++) {
        const float *x = attni_at(&p->image, b, c, row);
        j->kernels->copy(p->height, p->width, ATTN_F32, x + column, p->image.stride_t, ATTN_F32, y + c * size,
                         (ptrdiff_t)p->width);
    }
}

static void cut_patches(void *arg, size_t begin_row, size_t end_row) {
    const patch_job *j = arg;
    const size_t per_image = j->patches->patches_y * j->patches->patches_x;
    for (size_t r = begin_row; r < end_row; r++)
        cut_patch(j, r / per_image, r % per_image);
}

void attni_patchify(attn_context *context, const attni_patches *p) {
    patch_job j = {context->kernels, p};
    attni_share_rows(context, p->B * p->patches_y * p->patches_x, p->C * p->height * p->width, 16, cut_patches, &j);
}
