/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernels of a layer's pointwise parts, over the vector operations and functions of body.h, which includes this. */

/* −|x|, at least `least`, which spares 0 · ∞. Where x is NaN the other factor is too. */
static inline V negative(V x, float least) { return v_max(v_set(least), v_sub(v_set(0.0F), v_abs(x))); }

/* e^n / (1 + e^n), n ≤ 0. */
static inline V v_sigmoid(V n) {
    const V e = v_exp(n);
    return v_div(e, v_add(e, v_set(1.0F)));
}

/* The same for any x. */
static inline V v_logistic(V x) {
    const V zero = v_set(0.0F), less = v_sigmoid(v_sub(zero, v_abs(x)));
    return v_where_equal(v_max(zero, x), 0.0F, v_sub(v_set(1.0F), less), less);
}

static void sigmoid_row(size_t n, float *s) {
    const V zero = v_set(0.0F);
    for (size_t j = 0; j < n; j += VL)
        store_up_to(s + j, n - j, v_logistic(load_up_to(s + j, n - j, zero)));
}

static void sigmoid_step(size_t rows, size_t columns, float *s, size_t lds, const attni_range *range, attni_row *state,
                         float *o, size_t width) {
    (void)o;
    (void)width;
    for (size_t r = 0; r < rows; r++) {
        const attni_range v = range_of(range, r, columns);
        sigmoid_row(v.end - v.begin, s + r * lds + v.begin);
        state[r] = (attni_row){.sum = 1, .max = 0};
    }
    if (range)
        mask_rows(rows, columns, s, lds, range);
}

/* Φ(n), n ≤ 0: e^(−n²/2) · R(1 / (1 − n/3.75)). The polynomial R is fitted to erfcx for the least relative error
 * (1.5e-8 for n ≥ −15) by reweighted least squares. */
static inline V v_normal_tail(V n) {
    const V u = v_div(v_set(3.75F), v_sub(v_set(3.75F), n));
    V p = v_set(0x1.effdb2p-6F);
    p = v_fma(p, u, v_set(-0x1.1b9f08p-3F));
    p = v_fma(p, u, v_set(0x1.9cf6e0p-3F));
    p = v_fma(p, u, v_set(-0x1.99b180p-4F));
    p = v_fma(p, u, v_set(0x1.04b668p-3F));
    p = v_fma(p, u, v_set(0x1.086adap-4F));
    p = v_fma(p, u, v_set(0x1.a310b8p-4F));
    p = v_fma(p, u, v_set(0x1.b2492cp-4F));
    p = v_fma(p, u, v_set(0x1.b3d0d2p-4F));
    return v_mul(v_mul(p, u), v_exp(v_mul(n, v_mul(n, v_set(-0.5F)))));
}

/* x·c(x) with c(−x) = 1 − c(x), from n = −|x| and c(n): max(x, 0) + n · c(n). */
static inline V gated(V x, V n, V c) { return v_fma(n, c, v_max(v_set(0.0F), x)); }

static inline V v_gelu(V x) {
    const V n = negative(x, -15.0F); /* Φ(−15) is 0 in floats */
    return gated(x, n, v_normal_tail(n));
}

static inline V v_gelu_tanh(V x) {
    const V n = negative(x, -1e12F); /* whose cube is finite */
    const V z =
        v_mul(n, v_fma(v_mul(n, n), v_set(0.0713548163F), v_set(1.59576912F))); /* 2·√(2/π)·0.044715, 2·√(2/π) */
    return gated(x, n, v_sigmoid(z));
}

static inline V v_swish(V x, V beta) {
    const V n = negative(x, -1e12F);
    return gated(x, n, v_sigmoid(v_mul(n, beta)));
}

static inline V v_relu_squared(V x) {
    const V p = v_max(v_set(0.0F), x);
    return v_mul(p, p);
}

/* e^m − 1 − m for −½ ≤ m ≤ 0, by its series. */
static inline V v_exp_rest(V m) {
    static const float factor[] = {0x1p-1F,         0x1.555556p-3F,  0x1.555556p-5F, 0x1.111112p-7F,
                                   0x1.6c16c2p-10F, 0x1.a01a02p-13F, 0x1.a01a02p-16F}; /* 1/2! … 1/8! */
    V p = v_set(factor[6]);
    for (int i = 5; i >= 0; i--)
        p = v_fma(p, m, v_set(factor[i]));
    return v_mul(v_mul(m, m), p);
}

/* The negative part is m + r, m being its first half, where e^x − 1 would cancel. */
static inline V v_xielu(V x, const attni_activation *a) {
    const V zero = v_set(0.0F), beta = v_set(a->beta), alpha = v_set(a->alpha_n);
    const V p = v_max(zero, x), n = v_sub(zero, v_max(zero, v_sub(zero, x)));
    const V m = v_max(v_set(-0.5F), n), r = v_sub(n, m), rest = v_exp_rest(m);
    const V exp_m = v_add(v_set(1.0F), v_add(m, rest));
    const V curved = v_fma(exp_m, v_sub(v_exp(r), v_set(1.0F)), rest);
    const V negative_part = v_fma(alpha, curved, v_fma(beta, m, v_mul(v_sub(beta, alpha), r)));
    return v_fma(p, v_fma(v_set(a->alpha_p), p, beta), negative_part);
}

static inline __attribute__((always_inline)) V v_activate(attn_activation kind, const attni_activation *a, V x) {
    switch (kind) {
    case ATTN_GELU:
        return v_gelu(x);
    case ATTN_GELU_TANH:
        return v_gelu_tanh(x);
    case ATTN_RELU:
        return v_max(v_set(0.0F), x);
    case ATTN_GELU_SIGMOID:
    case ATTN_SILU:
        return v_swish(x, v_set(a->beta));
    case ATTN_RELU_SQUARED:
        return v_relu_squared(x);
    case ATTN_XIELU:
        return v_xielu(x, a);
    case ATTN_SIGMOID:
        return v_logistic(x);
    default:
        return x;
    }
}

static inline __attribute__((always_inline)) void
activate_row(attn_activation kind, const attni_activation *a, size_t n, const float *x, const float *factor, float *y) {
    const V zero_vector = v_set(0.0F);
    for (size_t j = 0; j < n; j += VL) {
        const V v = v_activate(kind, a, load_up_to(x + j, n - j, zero_vector));
        store_up_to(y + j, n - j, factor ? v_mul(v, load_up_to(factor + j, n - j, zero_vector)) : v);
    }
}

static inline __attribute__((always_inline)) void activate_rows(attn_activation kind, const attni_activation *a,
                                                                size_t rows, size_t columns, const float *x,
                                                                ptrdiff_t ldx, const float *factor, ptrdiff_t ldf,
                                                                float *y, ptrdiff_t ldy) {
    const attni_activation numbers = *a; /* which y does not change */
    for (size_t r = 0; r < rows; r++, x += ldx, y += ldy, factor = factor ? factor + ldf : NULL)
        activate_row(kind, &numbers, columns, x, factor, y);
}

/* A constant in each case, so that each is a loop of its own. */
#define EACH_ACTIVATION(X)                                                                                             \
    X(ATTN_GELU)                                                                                                       \
    X(ATTN_GELU_TANH)                                                                                                  \
    X(ATTN_GELU_SIGMOID)                                                                                               \
    X(ATTN_RELU)                                                                                                       \
    X(ATTN_SILU)                                                                                                       \
    X(ATTN_IDENTITY)                                                                                                   \
    X(ATTN_RELU_SQUARED)                                                                                               \
    X(ATTN_XIELU)                                                                                                      \
    X(ATTN_SIGMOID)

static void activate_plain(const attni_activation *a, size_t rows, size_t columns, const float *x, ptrdiff_t ldx,
                           const float *factor, ptrdiff_t ldf, float *y, ptrdiff_t ldy) {
#define CASE(kind)                                                                                                     \
    case kind:                                                                                                         \
        activate_rows(kind, a, rows, columns, x, ldx, factor, ldf, y, ldy);                                            \
        break;
    switch (a->kind) { EACH_ACTIVATION(CASE) }
#undef CASE
}

/* y = min(x, most); NaN stays. */
static void limit_above(size_t n, const float *x, float most, float *y) {
    const V zero = v_set(0.0F), least = v_set(-most);
    for (size_t j = 0; j < n; j += VL)
        store_up_to(y + j, n - j, v_sub(zero, v_max(least, v_sub(zero, load_up_to(x + j, n - j, zero)))));
}

/* y = offset + x between −most and most; NaN stays. */
static void limit_and_shift(size_t n, const float *x, float most, float offset, float *y) {
    const V zero = v_set(0.0F), least = v_set(-most), o = v_set(offset);
    for (size_t j = 0; j < n; j += VL) {
        const V below = v_max(least, v_sub(zero, v_max(least, load_up_to(x + j, n - j, zero))));
        store_up_to(y + j, n - j, v_sub(o, below));
    }
}

/* Pieces of rows, limited where the caller's numbers stay as they are. */
static void activate_clamped(const attni_activation *a, size_t n, const float *x, const float *factor, float *y) {
    enum { PIECE = 256 };
    float limited[PIECE], shifted[PIECE];
    for (size_t j = 0; j < n; j += PIECE) {
        const size_t some = n - j < PIECE ? n - j : PIECE;
        limit_above(some, x + j, a->limit, limited);
        if (factor)
            limit_and_shift(some, factor + j, a->limit, a->offset, shifted);
        activate_plain(a, 1, some, limited, 0, factor ? shifted : NULL, 0, y + j, 0);
    }
}

static void activate(const attni_activation *a, size_t rows, size_t columns, const float *x, ptrdiff_t ldx,
                     const float *factor, ptrdiff_t ldf, float *y, ptrdiff_t ldy) {
    for (size_t r = 0; a->clips && r < rows; r++)
        limit_and_shift(columns, x + (ptrdiff_t)r * ldx, a->limit, 0.0F, y + (ptrdiff_t)r * ldy);
    if (!a->clips && !a->clamped)
        activate_plain(a, rows, columns, x, ldx, factor, ldf, y, ldy);
    for (size_t r = 0; a->clamped && r < rows; r++, x += ldx, y += ldy, factor = factor ? factor + ldf : NULL)
        activate_clamped(a, columns, x, factor, y);
}

/* Moments, in pieces that are summed in double. */
static attni_moments piece_moments(size_t n, const float *x, float around) {
    const V o = v_set(around);
    V a = v_set(0.0F), b = a, a2 = a, b2 = a;
    size_t j = 0;
    for (; j + 2 * VL <= n; j += 2 * VL) {
        const V d = v_sub(v_load(x + j), o), e = v_sub(v_load(x + j + VL), o);
        a = v_add(a, d);
        b = v_add(b, e);
        a2 = v_fma(d, d, a2);
        b2 = v_fma(e, e, b2);
    }
    for (; j < n; j += VL) {
        const V d = v_sub(load_up_to(x + j, n - j, o), o);
        a = v_add(a, d);
        a2 = v_fma(d, d, a2);
    }
    return (attni_moments){(double)sum_of(v_add(a, b)), (double)sum_of(v_add(a2, b2))};
}

static attni_moments careful_moments(size_t n, const float *x, float around) {
    attni_moments m = {0, 0};
    for (size_t j = 0; j < n; j++) {
        const double d = (double)x[j] - (double)around;
        m.first += d;
        m.second += d * d;
    }
    return m;
}

/* A lane adds no more than 32 numbers before the sum goes on in double. Where squares are too large for a float, all is
 * done once more in double. */
static attni_moments row_moments(size_t n, const float *x, float around) {
    enum { PIECE = 64 * VL };
    attni_moments m = {0, 0};
    for (size_t j = 0; j < n; j += PIECE) {
        const attni_moments piece = piece_moments(n - j < PIECE ? n - j : PIECE, x + j, around);
        m.first += piece.first;
        m.second += piece.second;
    }
    return isfinite(m.second) ? m : careful_moments(n, x, around);
}

/* The mean in two parts is as good as a double. */
typedef struct centre_vectors {
    V high, low, factor;
} centre_vectors;

static inline centre_vectors vectors_of(const attni_centre *c) {
    const float high = (float)c->mean;
    return (centre_vectors){v_set(high), v_set((float)(c->mean - (double)high)), v_set((float)c->factor)};
}

static inline V v_normed(const centre_vectors *c, V x) { return v_mul(v_sub(v_sub(x, c->high), c->low), c->factor); }

/* y = normed(x) · weight + bias. */
static void norm_row(size_t n, const float *x, const attni_centre *centre, const float *weight, const float *bias,
                     float *y) {
    const centre_vectors c = vectors_of(centre);
    const V zero_vector = v_set(0.0F);
    for (size_t j = 0; j < n; j += VL) {
        V v = v_normed(&c, load_up_to(x + j, n - j, zero_vector));
        if (weight)
            v = v_mul(v, load_up_to(weight + j, n - j, zero_vector));
        if (bias)
            v = v_add(v, load_up_to(bias + j, n - j, zero_vector));
        store_up_to(y + j, n - j, v);
    }
}

/* Squares below the range of a float are summed in double where they are all that counts. */
static attni_moments norm_moments(attn_norm_kind kind, size_t n, const float *x, float around) {
    const attni_moments m = row_moments(n, x, around);
    return kind == ATTN_L2_NORM && m.second < 0x1p-80 ? careful_moments(n, x, around) : m;
}

static attni_centre centre_of(const attni_norm *norm, size_t n, const float *x) {
    attni_moments m = norm_moments(norm->kind, n, x, 0.0F);
    float around = 0;
    if (norm->kind == ATTN_LAYER_NORM) {
        around = (float)(m.first / (double)n);
        m = row_moments(n, x, around);
    }
    return attni_centre_of(norm, n, &m, around);
}

static void shift(size_t n, const float *x, const attni_centre *c, const float *weight, float *y) {
    norm_row(n, x, c, weight, NULL, y);
}

static void norm_rows(const attni_norm *norm, size_t rows, size_t width, const float *x, ptrdiff_t ldx, float *y,
                      ptrdiff_t ldy) {
    if (width == 0) /* x and y may be NULL */
        return;
    for (size_t r = 0; r < rows; r++, x += ldx, y += ldy) {
        const attni_centre c = centre_of(norm, width, x);
        norm_row(width, x, &c, norm->weight, norm->bias, y);
        if (norm->mean)
            norm->mean[r] = (float)c.mean;
        if (norm->inverse_deviation)
            norm->inverse_deviation[r] = (float)c.factor;
    }
}
