/* SPDX-License-Identifier: BSD-3-Clause */
/* What the door in knows of panels, for tensors (pack.c) and for pages (pages.c). */
#ifndef ATTNI_PACK_H
#define ATTNI_PACK_H

#include "context/sizes.h"
#include "sdpa/engine.h"

/* Rows of the values in memory: the smallest sum may begin at any block. */
static inline size_t attni_value_rows(const attni_engine *e, const attni_key_group *group) {
    return attni_round_up(group->count, e->cut.least_keys);
}

static inline size_t attni_panel_width(const attni_engine *e) { return attni_min(e->cut.tile.columns, e->cut.o_width); }

/* Columns of the panel that begins at column c which the caller has; the rest of it, up to o_width, is zeros. */
static inline size_t attni_real_columns(const attni_engine *e, size_t c) {
    return attni_min(attni_panel_width(e), e->call->E - c);
}

/* Points a group at its page. */
void attni_open_page(const attni_engine *e, attni_key_group *group);

#endif
