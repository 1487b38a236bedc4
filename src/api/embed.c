/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/embed.h"

#include <inttypes.h>
#include <math.h>

#include "api/parts.h"
#include "block/embed.h"

/* A dense array of the caller's as a tensor, for the check of overlaps. */
static attn_tensor dense(const void *data, size_t rows, size_t columns) {
    return attn_tensor_btm(data, ATTN_F32, 1, rows, columns);
}

/* An id is as large as two floats. */
static attn_status check_ids(attn_context *context, const char *name, const int64_t *ids, const attni_embed *e,
                             size_t count, const attn_tensor *out) {
    const size_t T = e->T, tokens = attni_is_empty(out) ? 0 : e->B * T;
    const attn_tensor floats = dense(ids, tokens, 2);
    ATTNI_TRY(attni_check_disjoint(context, "out", out, name, &floats));
    for (size_t i = 0; ids && i < tokens; i++)
        if (ids[i] < 0 || (uint64_t)ids[i] >= count)
            return attni_fail(context, ATTN_ERROR_VALUE, "%s[%zu,%zu] is %" PRId64 ", expected 0 to %zu", name, i / T,
                              i % T, ids[i], count - 1);
    return ATTN_OK;
}

static attn_status check_table(attn_context *context, const char *name, const float *table, const char *count_name,
                               size_t count, const attni_embed *e, const attn_tensor *out) {
    size_t floats;
    if (count == 0)
        return attni_fail(context, ATTN_ERROR_SHAPE, "%s is 0, expected at least 1", count_name);
    ATTNI_TRY(attni_check_product(context, count_name, count, e->M ? e->M : 1, &floats));
    const attn_tensor rows = dense(table, count, e->M);
    return attni_check_disjoint(context, "out", out, name, &rows);
}

static attn_status check_tokens(attn_context *context, const attni_embed *e, const attn_tensor *out) {
    const attn_embed_params *p = &e->params;
    if (p->ids && p->vectors)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.ids and params.vectors are set: expected either");
    if (p->vectors || attni_is_empty(out))
        return ATTN_OK;
    ATTNI_TRY(attni_check_pointer(context, "params.ids", p->ids));
    ATTNI_TRY(attni_check_pointer(context, "params.token_table", p->token_table));
    ATTNI_TRY(check_table(context, "params.token_table", p->token_table, "params.token_count", p->token_count, e, out));
    return check_ids(context, "params.ids", p->ids, e, p->token_count, out);
}

static attn_status check_position_table(attn_context *context, const attni_embed *e, const attn_tensor *out) {
    const attn_embed_params *p = &e->params;
    ATTNI_TRY(attni_check_pointer(context, "params.position_table", p->position_table));
    ATTNI_TRY(check_table(context, "params.position_table", p->position_table, "params.position_count",
                          p->position_count, e, out));
    if (p->position_ids || (p->first_position <= p->position_count && e->T <= p->position_count - p->first_position))
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_VALUE,
                      "params.position_count is %zu, too few for %zu tokens from params.first_position = %zu on",
                      p->position_count, e->T, p->first_position);
}

static attn_status check_positions(attn_context *context, const attni_embed *e, const attn_tensor *out) {
    const attn_embed_params *p = &e->params;
    const bool table = p->positions == ATTN_POSITIONS_TABLE;
    if ((int)p->positions < ATTN_POSITIONS_NONE || (int)p->positions > ATTN_POSITIONS_FAIRSEQ)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.positions is %d, expected an attn_positions of 0 to %d",
                          (int)p->positions, (int)ATTN_POSITIONS_FAIRSEQ);
    if (!table && p->position_table)
        return attni_fail(context, ATTN_ERROR_VALUE,
                          "params.position_table is set, but params.positions is not ATTN_POSITIONS_TABLE");
    if (p->positions == ATTN_POSITIONS_NONE && (p->position_ids || p->first_position))
        return attni_fail(context, ATTN_ERROR_VALUE, "params.%s is set, but params.positions is not",
                          p->position_ids ? "position_ids" : "first_position");
    if (p->position_ids && p->first_position)
        return attni_fail(context, ATTN_ERROR_VALUE,
                          "params.position_ids and params.first_position are set: expected either");
    if (p->first_position > (size_t)INT64_MAX - e->T)
        return attni_fail(context, ATTN_ERROR_VALUE,
                          "params.first_position is %zu, too many for %zu tokens: positions are below 2^63",
                          p->first_position, e->T);
    if (table)
        ATTNI_TRY(check_position_table(context, e, out));
    return check_ids(context, "params.position_ids", p->position_ids, e, table ? p->position_count : (size_t)INT64_MAX,
                     out);
}

static attn_status check_types(attn_context *context, const attni_embed *e, const attn_tensor *out) {
    const attn_embed_params *p = &e->params;
    if (!p->type_table && p->type_ids)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.type_ids is set, but params.type_table is not");
    if (!p->type_table)
        return ATTN_OK;
    ATTNI_TRY(check_table(context, "params.type_table", p->type_table, "params.type_count", p->type_count, e, out));
    return check_ids(context, "params.type_ids", p->type_ids, e, p->type_count, out);
}

attn_status attni_check_embed(attn_context *context, const attn_embed_params *params, const attn_tensor *out,
                              attni_embed *e, attni_norm *norm) {
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof e->params, &e->params));
    e->B = out->size[0];
    e->T = out->size[2];
    e->M = out->size[3];
    if (!isfinite(e->params.scale))
        return attni_fail(context, ATTN_ERROR_VALUE, "params.scale is %g, expected a finite number",
                          (double)e->params.scale);
    ATTNI_TRY(check_tokens(context, e, out));
    ATTNI_TRY(check_positions(context, e, out));
    ATTNI_TRY(check_types(context, e, out));
    e->params.scale = e->params.scale != 0 ? e->params.scale : 1;
    if (e->params.vectors)
        e->vectors = attni_view_of(e->params.vectors);
    e->norm = e->params.norm ? norm : NULL;
    return e->norm ? attni_check_norm(context, "params.norm", e->params.norm, norm) : ATTN_OK;
}

attn_status attn_embed(attn_context *context, const attn_embed_params *params, const attn_tensor *out) {
    attni_embed e = {0};
    attni_norm norm;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "params", params));
    ATTNI_TRY(attni_check_tensor(context, "out", out, true, true));
    ATTNI_TRY(attni_check_size(context, "out", out, 1, "1", 1));
    ATTNI_TRY(attni_check_embed(context, params, out, &e, &norm));
    if (e.params.vectors)
        ATTNI_TRY(attni_check_map(context, "params.vectors", e.params.vectors, "out", out, true));
    e.out = attni_view_of(out);
    if (!attni_is_empty(out))
        attni_embed_run(context, &e);
    return ATTN_OK;
}

static attn_status check_patch(attn_context *context, const char *name, size_t size, const attn_tensor *image,
                               int axis) {
    if (size > 0 && image->size[axis] % size == 0)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_SHAPE, "%s is %zu, expected a divisor of image.size[%d], %zu", name, size,
                      axis, image->size[axis]);
}

static attn_status check_patches(attn_context *context, const attn_tensor *image, size_t height, size_t width,
                                 const attn_tensor *out) {
    ATTNI_TRY(attni_check_tensor(context, "image", image, false, true));
    ATTNI_TRY(attni_check_tensor(context, "out", out, true, true));
    ATTNI_TRY(check_patch(context, "height", height, image, 2));
    ATTNI_TRY(check_patch(context, "width", width, image, 3));
    const size_t count = (image->size[2] / height) * (image->size[3] / width);
    size_t elements;
    ATTNI_TRY(attni_check_product(context, "height", height, width, &elements));
    ATTNI_TRY(attni_check_product(context, "image.size[1]", image->size[1], elements, &elements));
    ATTNI_TRY(attni_check_size(context, "out", out, 0, "B", image->size[0]));
    ATTNI_TRY(attni_check_size(context, "out", out, 1, "1", 1));
    ATTNI_TRY(attni_check_size(context, "out", out, 2, "the number of patches", count));
    ATTNI_TRY(attni_check_size(context, "out", out, 3, "C·height·width", elements));
    return attni_check_disjoint(context, "out", out, "image", image);
}

attn_status attn_patchify(attn_context *context, const attn_tensor *image, size_t height, size_t width,
                          const attn_tensor *out) {
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check_patches(context, image, height, width, out));
    if (attni_is_empty(out))
        return ATTN_OK;
    const attni_patches patches = {.B = image->size[0],
                                   .C = image->size[1],
                                   .patches_y = image->size[2] / height,
                                   .patches_x = image->size[3] / width,
                                   .height = height,
                                   .width = width,
                                   .image = attni_view_of(image),
                                   .out = attni_view_of(out)};
    attni_patchify(context, &patches);
    return ATTN_OK;
}
