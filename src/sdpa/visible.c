/* SPDX-License-Identifier: BSD-3-Clause */
/* What is visible as one range of keys: causal masks, windows, lengths, and where ALiBi ends. */
#include "context/sizes.h"
#include "sdpa/engine.h"

static ptrdiff_t clamp(ptrdiff_t x, ptrdiff_t low, ptrdiff_t high) { return x < low ? low : x > high ? high : x; }

/* Where query token 0 stands among the keys; token i stands i further. */
ptrdiff_t attni_first_position(const attni_sdpa *call, size_t b) {
    switch (call->alignment) {
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

/* Keys [lower, upper). */
typedef struct bounds {
    ptrdiff_t lower, upper;
} bounds;

/* The block of c keys that holds p; of those before the first key, one that ends there. */
static bounds block_of(ptrdiff_t p, ptrdiff_t c) {
    const ptrdiff_t begin = p < 0 ? -c : p / c * c;
    return (bounds){begin, attni_add(begin, c)};
}

/* The span of sequence b that holds p. */
static bool find_span(const attni_spans *spans, size_t b, ptrdiff_t p, bounds *span) {
    if (!spans->starts)
        return false;
    size_t low = (size_t)spans->starts[b], high = (size_t)spans->starts[b + 1];
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (spans->bounds[2 * middle + 1] <= p)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == (size_t)spans->starts[b + 1] || p < spans->bounds[2 * low])
        return false;
    *span = (bounds){(ptrdiff_t)spans->bounds[2 * low], (ptrdiff_t)spans->bounds[2 * low + 1]};
    return true;
}

static ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

static ptrdiff_t larger(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }

static bounds common(bounds a, bounds b) { return (bounds){larger(a.lower, b.lower), smaller(a.upper, b.upper)}; }

/* The keys that query token i sees. Sums of three begin with those that may be far out on either side. What a rolling
 * cache has forgotten, and what is not in its window, is not seen because of a span. */
static bounds bounds_of(const attni_sdpa *call, size_t b, size_t i) {
    const ptrdiff_t first = attni_first_position(call, b), token = (ptrdiff_t)i, p = attni_add(first, token);
    const bounds window = {call->left == -1 ? PTRDIFF_MIN : attni_add(attni_add(first, -call->left), token),
                           call->right == -1 ? PTRDIFF_MAX
                                             : attni_add(attni_add(attni_add(first, call->right), token), 1)};
    bounds span, keys = window;
    if (call->causal)
        keys.upper =
            smaller(keys.upper, call->causal_block > 1 ? block_of(p, call->causal_block).upper : attni_add(p, 1));
    if (call->chunk)
        keys = common(keys, block_of(p, call->chunk));
    if (find_span(&call->documents, b, p, &span))
        keys = common(keys, span);
    if (find_span(&call->spans, b, p, &span))
        keys = (bounds){smaller(keys.lower, span.lower), larger(keys.upper, span.upper)};
    if (call->forgotten)
        keys.lower = larger(keys.lower, larger(window.lower, (ptrdiff_t)call->forgotten[b]));
    return keys;
}

/* The part of [0, columns) that is visible, seen from key `begin`. */
attni_range attni_within_columns(attni_range visible, size_t begin, size_t columns) {
    const size_t from = visible.begin > begin ? attni_min(visible.begin - begin, columns) : 0;
    const size_t to = visible.end > begin ? attni_min(visible.end - begin, columns) : 0;
    return (attni_range){attni_min(from, to), to};
}

bool attni_is_bounded(const attni_sdpa *call) {
    return call->causal || call->left != -1 || call->right != -1 || call->chunk || call->documents.starts;
}

bool attni_has_hole(const attni_sdpa *call) {
    return call->first_keys && (call->left != -1 || call->chunk || call->documents.starts);
}

size_t attni_hole_end(const attni_sdpa *call, size_t b, size_t i) {
    return (size_t)clamp(bounds_of(call, b, i).lower, 0, (ptrdiff_t)call->Tk);
}

/* Around the visible key that is nearest to the query. */
static void cut_to_reach(ptrdiff_t position, ptrdiff_t reach, ptrdiff_t *begin, ptrdiff_t *end) {
    const ptrdiff_t nearest = clamp(position, *begin, *end - 1);
    *begin = *begin > nearest - reach ? *begin : nearest - reach;
    *end = *end < nearest + reach + 1 ? *end : nearest + reach + 1;
}

attni_range attni_visible(const attni_sdpa *call, size_t b, size_t h, size_t i) {
    const bounds keys = bounds_of(call, b, i);
    ptrdiff_t end = clamp(keys.upper, 0, (ptrdiff_t)call->Tk);
    ptrdiff_t begin = attni_has_hole(call) ? 0 : clamp(keys.lower, 0, end);
    if (call->reach && begin < end)
        cut_to_reach(attni_add(attni_first_position(call, b), (ptrdiff_t)i), (ptrdiff_t)call->reach[b * call->H + h],
                     &begin, &end);
    return (attni_range){(size_t)begin, (size_t)end};
}

/* Every query sees every key, as far as ranges go. */
static bool sees_all(const attni_sdpa *call) { return !attni_is_bounded(call) && !call->reach && !call->forgotten; }

/* From token to token both ends move one way, but at the ends of spans: so many tokens further is the next one of a
 * tile whose ends tell of all. */
static size_t stride_of(const attni_sdpa *call, const attni_query_tile *t) {
    return call->documents.starts || call->spans.starts ? 1 : attni_max(1, t->tokens - 1);
}

attni_range attni_bounds(const attni_sdpa *call, const attni_query_tile *t) {
    attni_range all = {SIZE_MAX, 0};
    if (sees_all(call))
        return (attni_range){0, call->Tk};
    for (size_t h = t->head; h < t->head + (call->reach ? t->heads : 1); h++)
        for (size_t i = 0; i < t->tokens; i += stride_of(call, t)) {
            const attni_range row = attni_visible(call, t->batch, h, t->token + i);
            all.begin = attni_min(all.begin, row.begin);
            all.end = attni_max(all.end, row.end);
        }
    return all;
}

/* The ranges of the rows, seen from key `begin`; NULL if each is [0, columns). */
const attni_range *attni_ranges(const attni_engine *e, const attni_query_tile *t, size_t begin, size_t columns) {
    const attni_sdpa *call = e->call;
    bool whole = true;
    if (sees_all(call) && begin + columns <= call->Tk)
        return NULL;
    for (size_t h = 0; h < (call->reach ? t->heads : 1); h++)
        for (size_t i = 0; i < t->tokens && whole; i += stride_of(call, t)) {
            const attni_range row =
                attni_within_columns(attni_visible(call, t->batch, t->head + h, t->token + i), begin, columns);
            whole = row.begin == 0 && row.end == columns;
        }
    for (size_t h = 0; h < t->heads && !whole; h++)
        for (size_t i = 0; i < t->tokens; i++)
            t->range[h * t->tokens + i] =
                attni_within_columns(attni_visible(call, t->batch, t->head + h, t->token + i), begin, columns);
    return whole ? NULL : t->range;
}
