/* SPDX-License-Identifier: BSD-3-Clause */
/* Sums of f32 rows and panels whose rows lie together: bf16 in pairs, int8 in quads, widened in registers. Each is one
 * sum in the order of the depth, as those of the other types. */

/* Rows of f32 as pairs of bf16. */
static void pair(size_t rows, size_t columns, const float *x, ptrdiff_t ldx, size_t all, uint16_t *y, size_t width) {
    const V zero = v_set(0.0F);
    for (size_t r = 0; r < rows; r += 2, x += 2 * ldx, y += 2 * width)
        for (size_t j = 0; j < all; j += VL) {
            const size_t n = j < columns ? columns - j : 0, m = all - j < VL ? all - j : VL;
            const V first = n ? load_up_to(x + j, n, zero) : zero;
            const V second = n && r + 1 < rows ? load_up_to(x + ldx + j, n, zero) : zero;
            uint16_t part[2 * VL];
            v_store_pair(m < VL ? part : y + 2 * j, first, second);
            if (m < VL)
                memcpy(y + 2 * j, part, 2 * m * sizeof *y);
        }
}

/* The left factor of products of bf16, which these kernels multiply as f32. */
static void round_bf16(size_t rows, size_t depth, const float *x, size_t ldx, float *y, size_t ldy) {
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < depth; j += VL) {
            const V v = v_round_bf16(load_up_to(x + r * ldx + j, depth - j, v_set(0.0F)));
            store_up_to(y + r * ldy + j, depth - j, v);
        }
}

/* Bytes of a pair and of a quad. */
enum { GROUP = 4 };

/* Of vector j of N, number `at` of those that lie together from row k on. */
static inline __attribute__((always_inline)) V load_together(attn_dtype type, const factors *x, size_t N, size_t j,
                                                             size_t k, size_t at) {
    const size_t half = N / 2;
    const char *from = N > 1 && j >= half ? x->high + (j - half) * VL * GROUP : x->low + j * VL * GROUP;
    const void *p = from + k * x->step;
    if (type == ATTN_INT8)
        return v_load_quad(p, (int)at);
    return at ? v_load_second(p) : v_load_first(p);
}

/* sum += a · b for row k + at. Rows are done one after the other: side by side they would not fit the registers. */
static inline __attribute__((always_inline)) void add_row(size_t R, size_t N, attn_dtype type, const factors *x,
                                                          const float *a, size_t k, size_t at,
                                                          V sum[MOST_ROWS][MOST_VECTORS]) {
    V v[MOST_VECTORS];
#pragma GCC unroll 4
    for (size_t j = 0; j < N; j++)
        v[j] = load_together(type, x, N, j, k, at);
#pragma GCC unroll 6
    for (size_t r = 0; r < R; r++) {
        const V f = v_set(a[r * x->lda + k + at]);
#pragma GCC unroll 4
        for (size_t j = 0; j < N; j++)
            sum[r][j] = v_mul_add(f, v[j], sum[r][j]);
#pragma GCC unroll 4
        for (size_t j = 0; j < N; j++)
            v_pin(&sum[r][j]);
    }
}

/* The sums are 0 before. */
static inline __attribute__((always_inline)) void sum_together(size_t R, size_t N, bool ahead, attn_dtype type,
                                                               const factors *of, const float *a,
                                                               V sum[MOST_ROWS][MOST_VECTORS]) {
    const size_t together = attni_together(type);
    const factors x = *of; /* in registers */
    size_t k = 0;
    for (; k + together <= x.depth; k += together) {
        if (ahead)
            fetch_ahead(N, GROUP, &x, k);
#pragma GCC unroll 4
        for (size_t at = 0; at < together; at++)
            add_row(R, N, type, &x, a, k, at, sum);
    }
    for (size_t at = 0; k + at < x.depth; at++)
        add_row(R, N, type, &x, a, k, at, sum);
}
