/* SPDX-License-Identifier: BSD-3-Clause */
/* Biases that go by where a key is from a query: each row's are a few runs of a table, or of one number. */
#include <math.h>

#include "context/sizes.h"
#include "sdpa/lines.h"

bool attni_is_relative(const attni_sdpa *call) { return call->relative.table; }

static void add_same(size_t n, float *s, float bias) {
    for (size_t j = 0; j < n; j++)
        s[j] += bias;
}

/* Columns of an area before key `end`. */
static size_t columns_before(const attni_area *a, ptrdiff_t end) {
    return end <= (ptrdiff_t)a->key ? 0 : attni_min((size_t)end - a->key, a->keys);
}

/* Keys nearer to p than the reach have numbers of their own. */
static void add_by_distance(const attni_engine *e, const attni_area *a, const float *table, ptrdiff_t p, float *s) {
    const ptrdiff_t reach = e->call->relative.reach;
    const size_t near = columns_before(a, attni_add(p, -reach)), far = columns_before(a, attni_add(p, reach));
    add_same(near, s, table[0]);
    if (far > near)
        e->kernels->add_bias(far - near, s + near, ATTN_F32, table + (reach + (ptrdiff_t)(a->key + near) - p));
    add_same(a->keys - far, s + far, table[2 * reach]);
}

/* Keys of the window's row y, from column x on, seen from place q of it. */
static const float *run_of(const attni_relative *r, const float *table, size_t q, size_t y, size_t x) {
    const size_t up = r->rows - 1 + y - q / r->columns, across = r->columns - 1 + x - q % r->columns;
    return table + up * (2 * r->columns - 1) + across;
}

static void add_by_place(const attni_engine *e, const attni_area *a, const float *table, ptrdiff_t p, float *s) {
    const attni_relative *r = &e->call->relative;
    const size_t places = r->rows * r->columns, prefix = (size_t)r->prefix, first = columns_before(a, r->prefix);
    const size_t last = columns_before(a, r->prefix + (ptrdiff_t)places), row = r->width - 3;
    const bool leads = p < r->prefix;
    if (p < 0 || p >= r->prefix + (ptrdiff_t)places)
        return;
    add_same(first, s, prefix ? table[leads ? row + 2 : row + 1] : 0);
    if (leads)
        add_same(last - first, s + first, table[row]);
    for (size_t j = first, n; j < last && !leads; j += n) {
        const size_t place = a->key + j - prefix, x = place % r->columns;
        n = attni_min(r->columns - x, last - j);
        e->kernels->add_bias(n, s + j, ATTN_F32, run_of(r, table, (size_t)p - prefix, place / r->columns, x));
    }
}

void attni_add_relative(const attni_engine *e, const attni_area *a) {
    const attni_relative *relative = &e->call->relative;
    const float *table = relative->table + a->h * relative->width;
    const ptrdiff_t first = attni_add(attni_first_position(e->call, a->b), (ptrdiff_t)a->i);
    for (size_t r = 0; r < a->rows; r++) {
        const ptrdiff_t p = attni_add(first, (ptrdiff_t)r);
        if (relative->rows)
            add_by_place(e, a, table, p, a->s + r * a->lds);
        else
            add_by_distance(e, a, table, p, a->s + r * a->lds);
    }
}

/* The bucket of a distance of which only one direction counts. Exact multiples must not be lost to rounding. */
static size_t bucket_of(size_t distance, size_t buckets, size_t max_distance) {
    const size_t exact = buckets / 2;
    if (distance < exact)
        return distance;
    const double share = log((double)distance / (double)exact) / log((double)max_distance / (double)exact);
    return attni_min(buckets - 1, exact + (size_t)(share * (double)(buckets - exact) + 1e-9));
}

void attni_bucket_table_run(size_t H, size_t buckets, size_t max_distance, bool bidirectional, const float *weights,
                            float *table) {
    const size_t one_way = bidirectional ? buckets / 2 : buckets;
    for (size_t h = 0; h < H; h++)
        for (size_t n = 0; n <= 2 * max_distance; n++) {
            const bool later = n > max_distance;
            const size_t distance = later ? n - max_distance : max_distance - n;
            const size_t bucket = bucket_of(later && !bidirectional ? 0 : distance, one_way, max_distance);
            table[h * (2 * max_distance + 1) + n] =
                weights[(later && bidirectional ? one_way + bucket : bucket) * H + h];
        }
}
