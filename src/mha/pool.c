/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages of memory that caches take and give back. */
#include <string.h>

#include "context/sizes.h"
#include "mha/cache.h"
#include "product/product.h"

/* Of a page; the last row of a panel is read as whole vectors. */
static size_t value_elements(const attni_page_form *form, size_t E) {
    if (form->dtype == ATTN_INT4)
        return form->tokens * attni_round_up(E, ATTNI_GROUP);
    return form->tokens * form->panel * form->panels + attni_round_up(form->panel, 16) - form->panel;
}

attni_page_form attni_page_form_for(const attn_context *context, const attn_cache_pool_params *p) {
    const attni_tile tile = attni_tile_for_attention(context, p->head_width, p->value_width, SIZE_MAX, true, true);
    const size_t width = attni_output_width(p->value_width);
    attni_page_form form = {.dtype = p->dtype,
                            .latent = p->latent_width > 0,
                            .width = tile.width,
                            .panel = attni_min(tile.columns, width),
                            .tokens = p->page_size};
    form.panels = attni_ceil_div(width, form.panel);
    form.depth = attni_round_up(p->head_width, attni_together(p->dtype));
    form.values = attni_round_up(attni_page_bytes(p->dtype, form.tokens * form.depth), ATTNI_LINE);
    const size_t panels = attni_page_bytes(p->dtype, value_elements(&form, p->value_width)),
                 scales = form.latent ? 1 : 2;
    form.scales = form.values + (form.latent ? 0 : attni_round_up(panels, ATTNI_LINE));
    form.bytes = form.scales + (p->dtype == ATTN_INT8 ? scales * form.tokens * sizeof(float) : 0);
    return form;
}

attn_cache_pool *attni_pool_new(const attn_context *context, const attn_cache_pool_params *p) {
    const attn_allocator *allocator = &context->allocator;
    const attni_page_form form = attni_page_form_for(context, p);
    attn_cache_pool *pool = attni_allocate(allocator, sizeof *pool);
    uint32_t *numbers = pool ? attni_allocate(allocator, 2 * p->pages * sizeof *numbers) : NULL;
    const size_t bytes = p->pages * p->kv_heads * form.bytes;
    char *memory = numbers ? attni_allocate(allocator, bytes) : NULL;
    if (!memory) {
        attni_release(allocator, numbers);
        attni_release(allocator, pool);
        return NULL;
    }
    memset(memory, 0, bytes);
    *pool = (attn_cache_pool){.allocator = *allocator,
                              .G = p->kv_heads,
                              .D = p->head_width,
                              .E = p->value_width,
                              .form = form,
                              .pages = p->pages,
                              .free = p->pages,
                              .memory = memory,
                              .users = numbers,
                              .stack = numbers + p->pages};
    for (size_t n = 0; n < p->pages; n++) {
        pool->users[n] = 0;
        pool->stack[n] = (uint32_t)(p->pages - 1 - n); /* the first page is on top */
    }
    return pool;
}

void attni_pool_delete(attn_cache_pool *pool) {
    const attn_allocator allocator = pool->allocator;
    attni_release(&allocator, pool->memory);
    attni_release(&allocator, pool->users);
    attni_release(&allocator, pool);
}

uint32_t attni_pool_take(attn_cache_pool *pool) {
    const uint32_t page = pool->stack[--pool->free];
    pool->users[page] = 1;
    return page;
}

void attni_pool_give(attn_cache_pool *pool, uint32_t page) {
    if (--pool->users[page] == 0)
        pool->stack[pool->free++] = page;
}
