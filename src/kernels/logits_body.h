/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernels of the cross-entropy, over the vector operations and functions of body.h, which includes this. */

static float exp_sum(size_t n, const float *x, float max) {
    const V m = v_set(max);
    V a = v_set(0.0F), b = a;
    size_t j = 0;
    for (; j + 2 * VL <= n; j += 2 * VL) {
        a = v_add(a, v_exp(v_sub(v_load(x + j), m)));
        b = v_add(b, v_exp(v_sub(v_load(x + j + VL), m)));
    }
    for (; j < n; j += VL)
        a = v_add(a, v_exp(v_sub(load_up_to(x + j, n - j, v_set(-INFINITY)), m)));
    return sum_of(v_add(a, b));
}

static double careful_total(size_t n, const float *x) {
    double total = 0;
    for (size_t j = 0; j < n; j++)
        total += x[j] == -INFINITY ? 0 : (double)x[j];
    return total;
}

static void add_unmasked_piece(size_t n, const float *x, attni_logits *to) {
    const V zero_vector = v_set(0.0F), one = v_set(1.0F), masked = v_set(-INFINITY);
    V a = zero_vector, count = zero_vector;
    for (size_t j = 0; j < n; j += VL) {
        const V v = load_up_to(x + j, n - j, masked);
        a = v_add(a, v_where_equal(v, -INFINITY, v, zero_vector));
        count = v_add(count, v_where_equal(v, -INFINITY, one, zero_vector));
    }
    const float total = sum_of(a);
    to->total += isfinite(total) ? (double)total : careful_total(n, x);
    to->unmasked += (double)sum_of(count);
}

static void add_unmasked(size_t n, const float *x, attni_logits *to) {
    enum { PIECE = 32 * VL };
    for (size_t j = 0; j < n; j += PIECE)
        add_unmasked_piece(n - j < PIECE ? n - j : PIECE, x + j, to);
}

/* In pieces that stay in the L1, so that a row is read from memory once; the pieces are summed in double. */
static attni_logits logits(size_t n, const float *x, bool unmasked) {
    enum { PIECE = 1024 };
    attni_logits all = {.max = -INFINITY};
    for (size_t j = 0; j < n; j += PIECE) {
        const size_t some = n - j < PIECE ? n - j : PIECE;
        const float max = largest(row_max(some, x + j));
        if (max > all.max) {
            all.sum *= exp((double)all.max - (double)max);
            all.max = max;
        }
        all.sum += (double)exp_sum(some, x + j, origin(all.max));
        if (unmasked)
            add_unmasked(some, x + j, &all);
    }
    return all;
}

static void logits_back(size_t n, const float *x, float max, float factor, float less, float *y) {
    const V m = v_set(max), f = v_set(factor), l = v_set(-less), none = v_set(-INFINITY), zero_vector = v_set(0.0F);
    for (size_t j = 0; j < n; j += VL) {
        const V v = load_up_to(x + j, n - j, none);
        store_up_to(y + j, n - j, v_fma(v_exp(v_sub(v, m)), f, v_where_equal(v, -INFINITY, l, zero_vector)));
    }
}
