/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernels of gradients, over the vector operations and functions of body.h, which includes this. */

static void probabilities_row(size_t n, float *s, float lse) {
    const V l = v_set(origin(lse)), none = v_set(-INFINITY), zero_vector = v_set(0.0F);
    for (size_t j = 0; j < n; j += VL) {
        const V x = load_up_to(s + j, n - j, none);
        store_up_to(s + j, n - j, v_where_equal(x, -INFINITY, v_exp_rounded(v_sub(x, l)), zero_vector));
    }
}

static void probabilities(size_t rows, size_t columns, float *s, size_t lds, const attni_range *range,
                          const float *lse) {
    for (size_t r = 0; r < rows; r++) {
        const attni_range v = range_of(range, r, columns);
        probabilities_row(v.end - v.begin, s + r * lds + v.begin, lse[r]);
    }
    if (range)
        mask_rows(rows, columns, s, lds, range);
}

static void softmax_back(size_t rows, size_t columns, const float *p, const float *kept, float *g, size_t ld,
                         const float *delta) {
    const V zero_vector = v_set(0.0F);
    for (size_t r = 0; r < rows; r++, p += ld, kept += ld, g += ld) {
        const V less = v_set(-delta[r]);
        for (size_t j = 0; j < columns; j += VL) {
            const size_t n = columns - j;
            const V x = load_up_to(p + j, n, zero_vector), y = load_up_to(kept + j, n, zero_vector);
            const V d = v_fma(y, load_up_to(g + j, n, zero_vector), v_mul(x, less));
            store_up_to(g + j, n, v_where_equal(x, 0.0F, d, zero_vector));
        }
    }
}

static void sigmoid_back(size_t rows, size_t columns, const float *p, const float *kept, float *g, size_t ld,
                         const float *delta) {
    const V zero_vector = v_set(0.0F), one = v_set(1.0F);
    (void)delta;
    for (size_t r = 0; r < rows; r++, p += ld, kept += ld, g += ld)
        for (size_t j = 0; j < columns; j += VL) {
            const size_t n = columns - j;
            const V x = load_up_to(p + j, n, zero_vector), y = load_up_to(kept + j, n, zero_vector);
            const V d = v_mul(v_mul(y, v_sub(one, x)), load_up_to(g + j, n, zero_vector));
            store_up_to(g + j, n, v_where_equal(x, 0.0F, d, zero_vector));
        }
}

/* Scores that are masked may be NaN. */
static void cap_back(size_t n, const float *capped, float most, float *g) {
    const V inverse = v_set(-1 / most), one = v_set(1.0F), zero_vector = v_set(0.0F);
    for (size_t j = 0; j < n; j += VL) {
        const V x = v_mul(inverse, load_up_to(capped + j, n - j, zero_vector)),
                d = load_up_to(g + j, n - j, zero_vector);
        const V slope = v_fma(v_sub(zero_vector, x), x, one);
        store_up_to(g + j, n - j, v_where_equal(d, 0.0F, v_mul(slope, d), zero_vector));
    }
}

/* In pieces that are summed in double. */
static double dot(size_t n, const float *x, const float *y) {
    enum { PIECE = 64 * VL };
    const V zero_vector = v_set(0.0F);
    double sum = 0;
    for (size_t begin = 0; begin < n; begin += PIECE) {
        const size_t end = n - begin < PIECE ? n : begin + PIECE;
        V a = zero_vector;
        for (size_t j = begin; j < end; j += VL)
            a = v_fma(load_up_to(x + j, end - j, zero_vector), load_up_to(y + j, end - j, zero_vector), a);
        sum += (double)sum_of(a);
    }
    return sum;
}
