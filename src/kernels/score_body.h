/* SPDX-License-Identifier: BSD-3-Clause */
/* The lines of the score program, on one row of a tile; included by body.h. */

/* tanh x = (e^2x − 1) / (e^2x + 1). With 2x·log2 e = n + r, e^2x − 1 = 2^n·(2^r − 1) + (2^n − 1), and 2^r − 1 has no
 * constant term: nothing cancels where x is small. Beyond ±20 it is ±1 in f32. */
static inline V v_tanh(V x) {
    const V below = v_sub(v_set(0.0F), v_max(v_set(-20.0F), v_sub(v_set(0.0F), x)));
    const V y = v_mul(v_max(v_set(-20.0F), below), v_set(0x1.715476p+1F)), r = v_fraction(y);
    const V power = v_scale(v_set(1.0F), y);
    const V less_one = v_fma(power, v_mul(exp2_slope(r), r), v_sub(power, v_set(1.0F)));
    return v_div(less_one, v_add(less_one, v_set(2.0F)));
}

static void cap(size_t n, float *s, float most) {
    const V c = v_set(most), inverse = v_set(1 / most), zero = v_set(0.0F);
    for (size_t j = 0; j < n; j += VL)
        store_up_to(s + j, n - j, v_mul(c, v_tanh(v_mul(inverse, load_up_to(s + j, n - j, zero)))));
}

static inline __attribute__((always_inline)) void add_bias_from(attn_dtype type, size_t n, float *s, const char *bias) {
    const size_t size = attni_size_of(type);
    const V zero = v_set(0.0F);
    for (size_t j = 0; j < n; j += VL) {
        const V b = load_from(type, bias + j * size, n - j, zero);
        store_up_to(s + j, n - j, v_where_equal(b, -INFINITY, v_add(load_up_to(s + j, n - j, zero), b), b));
    }
}

static void add_bias(size_t n, float *s, attn_dtype type, const void *bias) {
    if (type == ATTN_F32)
        add_bias_from(ATTN_F32, n, s, bias);
    else if (type == ATTN_F16)
        add_bias_from(ATTN_F16, n, s, bias);
    else
        add_bias_from(ATTN_BF16, n, s, bias);
}

static void add_slope(size_t n, float *s, float slope, float distance) {
    const V a = v_set(-slope), step = v_set(VL), zero = v_set(0.0F);
    V d = v_add(v_set(distance), v_iota());
    for (size_t j = 0; j < n; j += VL, d = v_add(d, step))
        store_up_to(s + j, n - j, v_fma(v_abs(d), a, load_up_to(s + j, n - j, zero)));
}

static void mask(size_t n, float *s, const uint8_t *m, bool keep) {
    const V masked = v_set(-INFINITY);
    size_t j = 0;
    for (; j + VL <= n; j += VL) {
        const V x = v_load(s + j);
        v_store(s + j, v_where_bytes(m + j, keep ? x : masked, keep ? masked : x));
    }
    for (; j < n; j++)
        if ((m[j] != 0) != keep)
            s[j] = -INFINITY;
}

static unsigned seen(size_t rows, size_t n, const uint8_t *m, ptrdiff_t ldm) {
    unsigned any_true = 0, any_false = 0;
    for (size_t r = 0; r < rows && !(any_true && any_false); r++, m += ldm)
        for (size_t j = 0; j < n; j++) {
            any_true |= m[j];
            any_false |= m[j] == 0;
        }
    return (any_false ? ATTNI_SEEN_FALSE : 0U) | (any_true ? ATTNI_SEEN_TRUE : 0U);
}

/* Philox4x32-10 for LANES counters that follow each other, side by side: so many that compilers keep the loop and make
 * vectors of it. */
enum { LANES = 64 };
static inline void philox(uint64_t seed, uint32_t first, const uint32_t place[3], uint32_t word[4][LANES]) {
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (uint32_t n = 0; n < LANES; n++) {
        word[0][n] = first + n;
        word[1][n] = place[0];
        word[2][n] = place[1];
        word[3][n] = place[2];
    }
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9U, k1 += 0xBB67AE85U)
        for (int n = 0; n < LANES; n++) {
            const uint64_t a = (uint64_t)word[0][n] * 0xD2511F53U, b = (uint64_t)word[2][n] * 0xCD9E8D57U;
            word[0][n] = (uint32_t)(b >> 32) ^ word[1][n] ^ k0;
            word[2][n] = (uint32_t)(a >> 32) ^ word[3][n] ^ k1;
            word[1][n] = (uint32_t)b;
            word[3][n] = (uint32_t)a;
        }
}

static void dropout(const attni_dropout *d, const uint32_t place[3], size_t first, size_t n, const float *p, float *y) {
    const uint32_t threshold = (uint32_t)d->threshold;
    for (size_t j = 0; j < n; j += 4 * LANES) {
        const size_t count = n - j < 4 * LANES ? n - j : 4 * LANES;
        uint32_t word[4][LANES];
        philox(d->seed, (uint32_t)((first + j) / 4), place, word);
        for (size_t i = 0; i < count; i++)
            y[j + i] = word[i % 4][i / 4] < threshold ? 0.0F : p[j + i] * d->scale;
    }
}

/* p·ln p is p·(s − max − ln sum); adds Σ p and Σ p·(s − max) of a row. */
static void entropy(size_t n, const float *s, const float *p, float max, double *mass, double *moment) {
    const V m = v_set(origin(max)), zero = v_set(0.0F);
    V a = zero, b = zero;
    for (size_t j = 0; j < n; j += VL) {
        const V q = load_up_to(p + j, n - j, zero);
        const V x = v_sub(load_up_to(s + j, n - j, zero), m);
        a = v_add(a, q);
        b = v_add(b, v_where_equal(q, 0.0F, v_mul(q, x), zero));
    }
    *mass += (double)sum_of(a);
    *moment += (double)sum_of(b);
}
