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

/* A row of scores that gets biases out of a table; or of gradients, whose sums go where the biases came from. */
typedef struct biased_row {
    const attni_engine *e;
    const attni_area *a;
    const float *table;
    double *sums; /* or NULL */
    float *s;
    ptrdiff_t p;
} biased_row;

/* Columns [from, to) have one number of the table. */
static void same(const biased_row *r, size_t from, size_t to, size_t number) {
    for (size_t j = from; r->sums && j < to; j++)
        r->sums[number] += (double)r->s[j];
    if (!r->sums && from < to)
        add_same(to - from, r->s + from, r->table[number]);
}

/* Each has its own, from `number` on. */
static void each(const biased_row *r, size_t from, size_t to, size_t number) {
    for (size_t j = from; r->sums && j < to; j++)
        r->sums[number + j - from] += (double)r->s[j];
    if (!r->sums && to > from)
        r->e->kernels->add_bias(to - from, r->s + from, ATTN_F32, r->table + number);
}

/* Columns of an area before key `end`. */
static size_t columns_before(const attni_area *a, ptrdiff_t end) {
    return end <= (ptrdiff_t)a->key ? 0 : attni_min((size_t)end - a->key, a->keys);
}

/* Keys nearer to p than the reach have numbers of their own. */
static void by_distance(const biased_row *r) {
    const attni_area *a = r->a;
    const ptrdiff_t reach = r->e->call->relative.reach;
    const size_t near = columns_before(a, attni_add(r->p, -reach)), far = columns_before(a, attni_add(r->p, reach));
    same(r, 0, near, 0);
    if (far > near)
        each(r, near, far, (size_t)(reach + (ptrdiff_t)(a->key + near) - r->p));
    same(r, far, a->keys, 2 * (size_t)reach);
}

/* Keys of the window's row y, from column x on, seen from place q of it. */
static size_t run_of(const attni_relative *r, size_t q, size_t y, size_t x) {
    const size_t up = r->rows - 1 + y - q / r->columns, across = r->columns - 1 + x - q % r->columns;
    return up * (2 * r->columns - 1) + across;
}

static void by_place(const biased_row *row) {
    const attni_area *a = row->a;
    const attni_relative *r = &row->e->call->relative;
    const size_t places = r->rows * r->columns, prefix = (size_t)r->prefix, first = columns_before(a, r->prefix);
    const size_t last = columns_before(a, r->prefix + (ptrdiff_t)places), special = r->width - 3;
    const bool leads = row->p < r->prefix;
    if (row->p < 0 || row->p >= r->prefix + (ptrdiff_t)places)
        return;
    same(row, 0, first, leads ? special + 2 : special + 1); /* without a prefix there are no such columns */
    if (leads)
        same(row, first, last, special);
    for (size_t j = first, n; j < last && !leads; j += n) {
        const size_t place = a->key + j - prefix, x = place % r->columns;
        n = attni_min(r->columns - x, last - j);
        each(row, j, j + n, run_of(r, (size_t)row->p - prefix, place / r->columns, x));
    }
}

static void go_over(const attni_engine *e, const attni_area *a, double *sums) {
    const attni_relative *relative = &e->call->relative;
    const ptrdiff_t first = attni_add(attni_first_position(e->call, a->b), (ptrdiff_t)a->i);
    for (size_t r = 0; r < a->rows; r++) {
        const biased_row row = {e,
                                a,
                                relative->table + a->h * relative->width,
                                sums ? sums + a->h * relative->width : NULL,
                                a->s + r * a->lds,
                                attni_add(first, (ptrdiff_t)r)};
        if (relative->rows)
            by_place(&row);
        else
            by_distance(&row);
    }
}

void attni_add_relative(const attni_engine *e, const attni_area *a) { go_over(e, a, NULL); }

void attni_add_relative_back(const attni_engine *e, const attni_area *a) {
    if (e->table)
        go_over(e, a, e->table);
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
