/* SPDX-License-Identifier: BSD-3-Clause */
/* What is visible as one range of keys: causal masks, windows, lengths, and where ALiBi ends. */
#include "context/sizes.h"
#include "sdpa/engine.h"

static ptrdiff_t clamp(ptrdiff_t x, ptrdiff_t low, ptrdiff_t high) { return x < low ? low : x > high ? high : x; }

/* Where query token 0 stands among the keys; token i stands i further. */
ptrdiff_t attni_first_position(const attni_sdpa *call, size_t b) {
    switch (call->causal) {
    case ATTN_CAUSAL_TOP_LEFT:
        return 0;
    case ATTN_CAUSAL_OFFSET:
        return (ptrdiff_t)call->causal_offset[b];
    case ATTN_CAUSAL_BOTTOM_RIGHT:
    case ATTN_CAUSAL_NONE:
        break;
    }
    return (ptrdiff_t)call->Tk - (ptrdiff_t)call->Tq;
}

/* The part of [0, columns) that is visible, seen from key `begin`. */
attni_range attni_within_columns(attni_range visible, size_t begin, size_t columns) {
    const size_t from = visible.begin > begin ? attni_min(visible.begin - begin, columns) : 0;
    const size_t to = visible.end > begin ? attni_min(visible.end - begin, columns) : 0;
    return (attni_range){attni_min(from, to), to};
}

/* Where the first keys are seen too, what the window's left end masks is not the beginning of a range. */
bool attni_has_hole(const attni_sdpa *call) { return call->first_keys && call->left >= 0; }

/* The first key that the window of query token i reaches, of those that are still there. */
ptrdiff_t attni_first_in_window(const attni_sdpa *call, size_t b, size_t i) {
    const ptrdiff_t gone = call->forgotten ? (ptrdiff_t)call->forgotten[b] : 0;
    const ptrdiff_t first = attni_add(attni_add(attni_first_position(call, b), -call->left), (ptrdiff_t)i);
    return clamp(call->left < 0 || first < gone ? gone : first, 0, (ptrdiff_t)call->Tk);
}

/* Around the visible key that is nearest to the query. */
static void cut_to_reach(ptrdiff_t position, ptrdiff_t reach, ptrdiff_t *begin, ptrdiff_t *end) {
    const ptrdiff_t nearest = clamp(position, *begin, *end - 1);
    *begin = *begin > nearest - reach ? *begin : nearest - reach;
    *end = *end < nearest + reach + 1 ? *end : nearest + reach + 1;
}

attni_range attni_visible(const attni_sdpa *call, size_t b, size_t h, size_t i) {
    const ptrdiff_t Tk = (ptrdiff_t)call->Tk, p = attni_add(attni_first_position(call, b), (ptrdiff_t)i);
    const ptrdiff_t right = call->causal == ATTN_CAUSAL_NONE ? call->right : 0;
    ptrdiff_t end = right < 0 ? Tk : clamp(attni_add(attni_add(p, right), 1), 0, Tk);
    ptrdiff_t begin = attni_has_hole(call) ? 0 : clamp(attni_first_in_window(call, b, i), 0, end);
    if (call->reach && begin < end)
        cut_to_reach(p, (ptrdiff_t)call->reach[b * call->H + h], &begin, &end);
    return (attni_range){(size_t)begin, (size_t)end};
}

/* Every query sees every key, as far as ranges go. */
static bool sees_all(const attni_sdpa *call) {
    return call->causal == ATTN_CAUSAL_NONE && call->left < 0 && call->right < 0 && !call->reach && !call->forgotten;
}

/* Both ends move one way from token to token. */
attni_range attni_bounds(const attni_sdpa *call, const attni_query_tile *t) {
    attni_range all = {SIZE_MAX, 0};
    if (sees_all(call))
        return (attni_range){0, call->Tk};
    for (size_t h = t->head; h < t->head + (call->reach ? t->heads : 1); h++) {
        all.begin = attni_min(all.begin, attni_visible(call, t->batch, h, t->token).begin);
        all.end = attni_max(all.end, attni_visible(call, t->batch, h, t->token + t->tokens - 1).end);
    }
    return all;
}

/* The ranges of the rows, seen from key `begin`; NULL if each is [0, columns). */
const attni_range *attni_ranges(const attni_engine *e, const attni_query_tile *t, size_t begin, size_t columns) {
    const attni_sdpa *call = e->call;
    bool whole = true;
    if (sees_all(call) && begin + columns <= call->Tk)
        return NULL;
    for (size_t h = 0; h < (call->reach ? t->heads : 1) && whole; h++) {
        const attni_range first =
            attni_within_columns(attni_visible(call, t->batch, t->head + h, t->token), begin, columns);
        const attni_range last =
            attni_within_columns(attni_visible(call, t->batch, t->head + h, t->token + t->tokens - 1), begin, columns);
        whole = first.begin == 0 && first.end == columns && last.begin == 0 && last.end == columns;
    }
    for (size_t h = 0; h < t->heads && !whole; h++)
        for (size_t i = 0; i < t->tokens; i++)
            t->range[h * t->tokens + i] =
                attni_within_columns(attni_visible(call, t->batch, t->head + h, t->token + i), begin, columns);
    return whole ? NULL : t->range;
}
