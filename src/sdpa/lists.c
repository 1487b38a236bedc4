/* SPDX-License-Identifier: BSD-3-Clause */
/* Lists of the blocks of keys that queries see: the line of the score program that skips all others. */
#include <math.h>

#include "context/sizes.h"
#include "sdpa/lines.h"

bool attni_is_listed(const attni_sdpa *call) { return call->lists.keys > 0; }

static const int64_t *list_of(const attni_sdpa *call, const attni_area *a, size_t row) {
    const attni_lists *l = &call->lists;
    return l->blocks + a->b * l->stride_b + a->h / l->heads_of_list * l->stride_h +
           (a->i + row) / l->queries * l->count;
}

/* How many entries of a list come before block n. */
static size_t entries_before(const int64_t *list, size_t count, size_t n) {
    size_t low = 0, high = count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (list[middle] >= 0 && (size_t)list[middle] < n)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The next columns of an area that a row's list tells of in one way, from column j on: *seen, and where they end. */
static size_t next_end(const attni_lists *l, const attni_area *a, const int64_t *list, size_t *entry, size_t j,
                       bool *seen) {
    const size_t block = (a->key + j) / l->keys;
    const bool more = *entry < l->count && list[*entry] >= 0;
    *seen = more && (size_t)list[*entry] == block;
    if (!more)
        return a->keys;
    const size_t next = *seen ? block + 1 : (size_t)list[*entry];
    *entry += *seen;
    return next > (a->key + a->keys) / l->keys ? a->keys : attni_min(a->keys, next * l->keys - a->key);
}

void attni_apply_lists(const attni_engine *e, const attni_area *a) {
    const attni_lists *l = &e->call->lists;
    for (size_t r = 0; r < a->rows; r++) {
        const int64_t *list = list_of(e->call, a, r);
        size_t entry = entries_before(list, l->count, a->key / l->keys);
        for (size_t j = 0, end; j < a->keys; j = end) {
            bool seen;
            end = next_end(l, a, list, &entry, j, &seen);
            for (size_t n = j; n < end && !seen; n++)
                a->s[r * a->lds + n] = -INFINITY;
        }
    }
}

unsigned attni_lists_seen(const attni_engine *e, const attni_area *a) {
    const attni_lists *l = &e->call->lists;
    unsigned all = 0;
    for (size_t r = 0; r < a->rows; r = ((a->i + r) / l->queries + 1) * l->queries - a->i) {
        const int64_t *list = list_of(e->call, a, r);
        size_t entry = entries_before(list, l->count, a->key / l->keys);
        for (size_t j = 0; j < a->keys;) {
            bool seen;
            j = next_end(l, a, list, &entry, j, &seen);
            all |= seen ? ATTNI_SEEN_TRUE : ATTNI_SEEN_FALSE;
        }
    }
    return all;
}
