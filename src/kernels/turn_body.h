/* SPDX-License-Identifier: BSD-3-Clause */
/* Rotary embedding of one row, over the vector operations of body.h, which includes this. */

static inline void turn(V *a, V *b, V c, V s) {
    const V x = *a, y = *b;
    *a = v_fma(x, c, v_mul(v_sub(v_set(0.0F), y), s));
    *b = v_fma(y, c, v_mul(x, s));
}

static void rotate_halves(size_t pairs, size_t half, float *x, const float *cosines, const float *sines) {
    const V zero = v_set(0.0F);
    for (size_t d = 0; d < pairs; d += VL) {
        const size_t n = pairs - d;
        V a = load_up_to(x + d, n, zero), b = load_up_to(x + half + d, n, zero);
        turn(&a, &b, load_up_to(cosines + d, n, zero), load_up_to(sines + d, n, zero));
        store_up_to(x + d, n, a);
        store_up_to(x + half + d, n, b);
    }
}

static inline void rotate_2_vectors(float *x, V c, V s) {
    V a = v_load(x), b = v_load(x + VL), even, odd;
    v_split(a, b, &even, &odd);
    turn(&even, &odd, c, s);
    v_join(even, odd, &a, &b);
    v_store(x, a);
    v_store(x + VL, b);
}

static void rotate_interleaved(size_t pairs, float *x, const float *cosines, const float *sines) {
    size_t d = 0;
    for (; d + VL <= pairs; d += VL)
        rotate_2_vectors(x + 2 * d, v_load(cosines + d), v_load(sines + d));
    if (d < pairs) {
        const size_t n = pairs - d;
        float rest[2 * VL] = {0};
        memcpy(rest, x + 2 * d, 2 * n * sizeof *x);
        rotate_2_vectors(rest, v_load_n(cosines + d, n, v_set(0.0F)), v_load_n(sines + d, n, v_set(0.0F)));
        memcpy(x + 2 * d, rest, 2 * n * sizeof *x);
    }
}

static void rotate(attn_rotary_kind kind, size_t pairs, size_t half, float *x, const float *cosines,
                   const float *sines) {
    if (kind == ATTN_ROTARY_HALF)
        rotate_halves(pairs, half, x, cosines, sines);
    else
        rotate_interleaved(pairs, x, cosines, sines);
}
