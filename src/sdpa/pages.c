/* SPDX-License-Identifier: BSD-3-Clause */
/* The door in for keys and values that are in pages of a cache, as blocks and panels already. */
#include <string.h>

#include "context/sizes.h"
#include "kernels/together.h"
#include "sdpa/pack.h"

/* The page that a group is in, of its head: groups divide pages. NULL: it has been forgotten. */
static const char *page_of(const attni_pages *pages, const attni_key_group *group) {
    const size_t page = pages->table[group->b * pages->slots + group->begin / pages->form->tokens];
    return page == ATTNI_NO_PAGE ? NULL : attni_page_at(pages, page, group->g);
}

/* Only inspections come to keys that have been forgotten, which are masked, and whose products are 0. */
static void use_nothing(const attni_engine *e, attni_key_group *group) {
    memset(group->k_room, 0, attni_round_up(group->count, e->cut.tile.width) * e->call->D * sizeof *group->k_room);
    group->dtype = e->form == ATTNI_PLAIN ? ATTN_F32 : ATTN_BF16;
    group->depth = attni_round_up(e->call->D, attni_together(group->dtype));
    group->k = (const char *)group->k_room;
    group->k_floats = group->k_room;
    group->v = (attni_values){0};
}

/* Row d of a block of narrow keys. */
static void widen_row(const attni_engine *e, const attni_key_group *group, const char *block, const float *scale,
                      size_t d, float *row) {
    const size_t W = e->cut.tile.width;
    if (group->dtype == ATTN_F16)
        e->kernels->copy(1, W, ATTN_F16, (const uint16_t *)(const void *)block + d * W, 0, ATTN_F32, row, 0);
    for (size_t n = 0; n < W && group->dtype != ATTN_F16; n++)
        row[n] = attni_number_of(group->dtype, block, W, d, n) * (scale ? scale[n] : 1.0F);
}

/* Narrow keys for a callback. */
static void widen_keys(const attni_engine *e, attni_key_group *group) {
    const size_t W = e->cut.tile.width, D = e->call->D, bytes = W * group->depth * attni_size_of(group->dtype);
    for (size_t j = 0; j < group->count; j += W)
        for (size_t d = 0; d < D; d++)
            widen_row(e, group, group->k + j / W * bytes, group->k_scale ? group->k_scale + j : NULL, d,
                      group->k_room + (j * D + d * W));
    group->k_floats = group->k_room;
}

/* Elements that lie together along the features of K become those that do along the tokens of V. */
static void turn_latent_16(size_t keys, size_t columns, size_t together, const uint16_t *from, size_t W, uint16_t *to,
                           size_t width) {
    for (size_t c = 0; c < columns; c++)
        for (size_t j = 0; j < keys; j++)
            to[(j / together * width + c) * together + j % together] =
                from[(c / together * W + j) * together + c % together];
}

static void turn_latent_32(size_t keys, size_t columns, const float *from, size_t W, float *to, size_t width) {
    for (size_t c = 0; c < columns; c++)
        for (size_t j = 0; j < keys; j++)
            to[j * width + c] = from[c * W + j];
}

static void turn_latent_8(size_t keys, size_t columns, const uint8_t *from, size_t W, uint8_t *to, size_t width) {
    for (size_t c = 0; c < columns; c++)
        for (size_t j = 0; j < keys; j++)
            to[(j / 4 * width + c) * 4 + j % 4] = from[(c / 4 * W + j) * 4 + c % 4];
}

/* Values that are the features of one block of keys from c on, a multiple of what lies together. */
static void turn_block(const attni_engine *e, const attni_key_group *group, const char *block, size_t c, char *to) {
    const size_t W = e->cut.tile.width, width = attni_panel_width(e), columns = attni_real_columns(e, c);
    const char *from = block + c * W * attni_size_of(group->dtype);
    if (group->dtype == ATTN_F32 && columns % 16 == 0)
        e->kernels->transpose(ATTN_F32, columns, W, from, (ptrdiff_t)W, columns, (float *)(void *)to, width);
    else if (group->dtype == ATTN_F32)
        turn_latent_32(W, columns, (const float *)(const void *)from, W, (float *)(void *)to, width);
    else if (group->dtype == ATTN_INT8)
        turn_latent_8(W, columns, (const uint8_t *)from, W, (uint8_t *)to, width);
    else
        turn_latent_16(W, columns, attni_together(group->dtype), (const uint16_t *)(const void *)from, W,
                       (uint16_t *)(void *)to, width);
}

/* Panels of the values that pages with a latent have in their keys. */
static void turn_latent(const attni_engine *e, attni_key_group *group) {
    const size_t W = e->cut.tile.width, width = attni_panel_width(e), rows = attni_round_up(group->count, W);
    const size_t size = attni_size_of(group->dtype);
    char *to = (char *)group->v_copy;
    group->v = (attni_values){to, width * rows, width};
    for (size_t c = 0; c < e->call->E; c += width, to += width * rows * size) {
        if (attni_real_columns(e, c) < width)
            memset(to, 0, width * rows * size);
        for (size_t j = 0; j < rows; j += W)
            turn_block(e, group, group->k + j * group->depth * size, c, to + j * width * size);
    }
    group->v_scale = group->k_scale;
}

/* Keys of int4, from token `at` of a page on, as blocks of f32. */
static void widen_group_keys(const attni_engine *e, const char *page, size_t at, attni_key_group *group) {
    const size_t W = e->cut.tile.width, D = e->call->D, bytes = attni_page_bytes(ATTN_INT4, W * ATTNI_GROUP);
    const char *from = page + attni_page_bytes(ATTN_INT4, at * e->call->pages->form->depth);
    for (size_t j = 0; j < group->count; j += W)
        for (size_t d = 0; d < D; d += ATTNI_GROUP, from += bytes)
            e->kernels->widen_columns(attni_min(ATTNI_GROUP, D - d), W, from, group->k_room + j * D + d * W);
}

/* Where column c of the copy of V begins. */
static float *copied_column(const attni_engine *e, const attni_key_group *group, size_t c) {
    const size_t width = attni_panel_width(e);
    return group->v_copy + c / width * width * attni_value_rows(e, group) + c % width;
}

/* Values of int4 as panels of f32, of which each half of a group lies in one. */
static void widen_group_values(const attni_engine *e, const char *page, size_t at, attni_key_group *group) {
    const size_t width = attni_panel_width(e), rows = attni_value_rows(e, group), tokens = e->call->pages->form->tokens;
    const char *from = page + e->call->pages->form->values + attni_page_bytes(ATTN_INT4, at * ATTNI_GROUP);
    group->v = (attni_values){(const char *)group->v_copy, width * rows, width};
    for (size_t c = 0; c < e->cut.o_width; c += ATTNI_GROUP, from += attni_page_bytes(ATTN_INT4, tokens * ATTNI_GROUP))
        e->kernels->widen_rows(rows, attni_min(ATTNI_GROUP, e->cut.o_width - c), from, copied_column(e, group, c),
                               copied_column(e, group, c + ATTNI_GROUP / 2), width);
}

/* Pages of int4 are as wide as tensors behind the door: who multiplies f32 multiplies them. */
static void widen_page(const attni_engine *e, const char *page, attni_key_group *group) {
    const size_t at = group->begin % e->call->pages->form->tokens;
    group->dtype = ATTN_F32;
    group->depth = e->call->D;
    widen_group_keys(e, page, at, group);
    group->k = (const char *)group->k_room;
    group->k_floats = group->k_room;
    if (e->call->pages->form->latent)
        turn_latent(e, group);
    else
        widen_group_values(e, page, at, group);
    group->finite = ATTNI_FINITE;
}

/* Pages of other types have K and V as they must be, in their own. */
static void use_page(const attni_engine *e, const char *page, attni_key_group *group) {
    const attni_page_form *form = e->call->pages->form;
    const size_t at = group->begin % form->tokens, size = attni_size_of(form->dtype);
    group->dtype = form->dtype;
    group->depth = form->depth;
    group->k = page + at * form->depth * size;
    if (form->dtype == ATTN_INT8) {
        group->k_scale = (const float *)(const void *)(page + form->scales) + at;
        group->v_scale = group->k_scale + form->tokens;
    }
    if (form->latent)
        turn_latent(e, group);
    else
        group->v =
            (attni_values){page + form->values + at * form->panel * size, form->tokens * form->panel, form->panel};
    group->k_floats = (const float *)(const void *)group->k;
    if (e->call->score && form->dtype != ATTN_F32)
        widen_keys(e, group);
}

void attni_open_page(const attni_engine *e, attni_key_group *group) {
    const char *page = page_of(e->call->pages, group);
    if (page && e->call->pages->form->dtype == ATTN_INT4)
        widen_page(e, page, group);
    else if (page)
        use_page(e, page, group);
    else
        use_nothing(e, group);
}
