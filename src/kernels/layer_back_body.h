/* SPDX-License-Identifier: BSD-3-Clause */
/* The gradients of a layer's pointwise parts, over the functions of layer_body.h. */

/* The derivative of x·c(x) with c(−x) = 1 − c(x), from the one at n = −|x|: their sum is 1. */
static inline V gated_slope(V x, V at_n) {
    const V zero = v_set(0.0F);
    return v_where_equal(v_max(zero, x), 0.0F, v_sub(v_set(1.0F), at_n), at_n);
}

/* Φ(n) + n·φ(n). */
static inline V v_gelu_slope(V x) {
    const V n = negative(x, -15.0F);
    const V density = v_mul(v_set(0.398942280F), v_exp(v_mul(n, v_mul(n, v_set(-0.5F)))));
    return gated_slope(x, v_fma(n, density, v_normal_tail(n)));
}

/* c + n·c'(n), c' = c · (1 − c) · z'(n); `steep` is n·z'(n). */
static inline V sigmoid_slope(V x, V c, V steep) {
    return gated_slope(x, v_fma(v_mul(steep, c), v_sub(v_set(1.0F), c), c));
}

static inline V v_gelu_tanh_slope(V x) {
    const V n = negative(x, -1e12F), square = v_mul(n, n);
    const V z = v_mul(n, v_fma(square, v_set(0.0713548163F), v_set(1.59576912F)));
    return sigmoid_slope(x, v_sigmoid(z), v_mul(n, v_fma(square, v_set(0.214064449F), v_set(1.59576912F))));
}

static inline V v_swish_slope(V x, V beta) {
    const V z = v_mul(negative(x, -1e12F), beta);
    return sigmoid_slope(x, v_sigmoid(z), v_max(v_set(-200.0F), z)); /* spares 0 · ∞ */
}

/* 1 for x > 0, else 0; NaN for NaN. */
static inline V v_relu_slope(V x) {
    const V zero = v_set(0.0F), one = v_set(1.0F);
    const V above = v_sub(zero, v_max(v_set(-1.0F), v_sub(zero, v_max(one, x))));
    return v_where_equal(v_max(zero, x), 0.0F, above, zero);
}

static inline V v_xielu_slope(V x, const attni_activation *a) {
    const V zero = v_set(0.0F), p = v_max(zero, x), n = v_sub(zero, v_max(zero, v_sub(zero, x)));
    const V curved = v_fma(v_set(a->alpha_n), v_sub(v_exp(n), v_set(1.0F)), v_set(a->beta));
    return v_fma(v_set(2 * a->alpha_p), p, curved);
}

static inline V v_logistic_slope(V x) {
    const V less = v_sigmoid(v_sub(v_set(0.0F), v_abs(x)));
    return v_mul(less, v_sub(v_set(1.0F), less));
}

static inline __attribute__((always_inline)) V v_slope(attn_activation kind, const attni_activation *a, V x) {
    switch (kind) {
    case ATTN_GELU:
        return v_gelu_slope(x);
    case ATTN_GELU_TANH:
        return v_gelu_tanh_slope(x);
    case ATTN_RELU:
        return v_relu_slope(x);
    case ATTN_GELU_SIGMOID:
    case ATTN_SILU:
        return v_swish_slope(x, v_set(a->beta));
    case ATTN_RELU_SQUARED:
        return v_mul(v_set(2.0F), v_max(v_set(0.0F), x));
    case ATTN_XIELU:
        return v_xielu_slope(x, a);
    case ATTN_SIGMOID:
        return v_logistic_slope(x);
    default:
        return v_set(1.0F);
    }
}

/* Of y = activation(x) · factor: dx from gradients of y, d_factor from `g_factor`, the same but where a limit was. */
typedef struct pointwise {
    const float *x, *factor, *g, *g_factor; /* factor may be NULL: 1 */
    float *dx, *d_factor;                   /* or NULL */
} pointwise;

static inline __attribute__((always_inline)) void activate_back_row(attn_activation kind, const attni_activation *a,
                                                                    size_t n, const pointwise *p) {
    const V zero_vector = v_set(0.0F);
    for (size_t j = 0; j < n; j += VL) {
        const V x = load_up_to(p->x + j, n - j, zero_vector), g = load_up_to(p->g + j, n - j, zero_vector);
        const V of_factor = load_up_to(p->g_factor + j, n - j, zero_vector), slope = v_slope(kind, a, x);
        const V by = p->factor ? v_mul(slope, load_up_to(p->factor + j, n - j, zero_vector)) : slope;
        if (p->dx)
            store_up_to(p->dx + j, n - j, v_mul(g, by));
        if (p->d_factor)
            store_up_to(p->d_factor + j, n - j, v_mul(of_factor, v_activate(kind, a, x)));
    }
}

static void activate_back_plain(const attni_activation *activation, size_t n, const pointwise *to) {
    const attni_activation numbers = *activation, *const a = &numbers; /* which no output changes */
    const pointwise p = *to;
#define CASE(kind)                                                                                                     \
    case kind:                                                                                                         \
        activate_back_row(kind, a, n, &p);                                                                             \
        break;
    switch (a->kind) { EACH_ACTIVATION(CASE) }
#undef CASE
}

/* y = g where x ≤ most, else 0; with `sides` also where x < −most. NaN counts as beyond, */
static void keep_within(size_t n, const float *x, float most, bool sides, const float *g, float *y) {
    const V limit = v_set(most), zero_vector = v_set(0.0F);
    for (size_t j = 0; j < n; j += VL) {
        const V from = load_up_to(x + j, n - j, zero_vector), size = sides ? v_abs(from) : from;
        store_up_to(y + j, n - j,
                    v_where_equal(v_max(limit, size), most, zero_vector, load_up_to(g + j, n - j, zero_vector)));
    }
}

/* but is what the limited numbers are made of, too. */
static void activate_back_clamped(const attni_activation *a, size_t n, const pointwise *all) {
    enum { PIECE = 256 };
    const bool bounded = a->limit < INFINITY;
    float limited[PIECE], shifted[PIECE], within[PIECE], factor_within[PIECE];
    for (size_t j = 0; j < n; j += PIECE) {
        const size_t some = n - j < PIECE ? n - j : PIECE;
        const float *const g = all->g + j;
        const pointwise piece = {.x = limited,
                                 .factor = all->factor ? shifted : NULL,
                                 .g = bounded ? within : g,
                                 .g_factor = bounded && all->factor ? factor_within : g,
                                 .dx = all->dx ? all->dx + j : NULL,
                                 .d_factor = all->d_factor ? all->d_factor + j : NULL};
        limit_above(some, all->x + j, a->limit, limited);
        if (all->factor)
            limit_and_shift(some, all->factor + j, a->limit, a->offset, shifted);
        if (bounded)
            keep_within(some, all->x + j, a->limit, false, g, within);
        if (bounded && all->factor)
            keep_within(some, all->factor + j, a->limit, true, g, factor_within);
        activate_back_plain(a, some, &piece);
    }
}

static void activate_back(const attni_activation *a, size_t n, const float *x, const float *factor, const float *g,
                          float *dx, float *d_factor) {
    const pointwise p = {x, factor, g, g, dx, d_factor};
    if (a->clamped)
        activate_back_clamped(a, n, &p);
    else
        activate_back_plain(a, n, &p);
}

/* -- norms -- */

enum { NORM_ROWS = 4, NORM_PIECE = 256 }; /* rows that are summed in floats before it goes on in double; columns */

/* A row on its way back: dx = factor · (g · weight − alone − normed(x) · times). */
typedef struct norm_row_back {
    const float *x, *g;
    float *dx;
    centre_vectors centre;
    V alone, times;
} norm_row_back;

typedef struct norm_sums {
    double alone, times; /* Σ g · weight and Σ g · weight · normed(x) */
} norm_sums;

static norm_sums careful_sums(size_t n, const attni_centre *c, const float *weight, const norm_row_back *row) {
    norm_sums sums = {0, 0};
    for (size_t j = 0; j < n; j++) {
        const double g = (double)row->g[j] * (weight ? (double)weight[j] : 1);
        sums.alone += g;
        sums.times += g * ((double)row->x[j] - c->mean) * c->factor;
    }
    return sums;
}

/* The sums of up to four rows side by side, in pieces that are summed in double. */
static inline __attribute__((always_inline)) void sum_norm_rows(size_t rows, size_t n, const float *weight,
                                                                const norm_row_back *row, norm_sums *sums) {
    enum { PIECE = 64 * VL };
    const V zero_vector = v_set(0.0F), one = v_set(1.0F);
    for (size_t begin = 0, end; begin < n; begin = end) {
        V alone[NORM_ROWS] = {zero_vector, zero_vector, zero_vector, zero_vector};
        V times[NORM_ROWS] = {zero_vector, zero_vector, zero_vector, zero_vector};
        float of_alone[NORM_ROWS], of_times[NORM_ROWS];
        end = n - begin < PIECE ? n : begin + PIECE;
        for (size_t j = begin; j < end; j += VL) {
            const V w = weight ? load_up_to(weight + j, end - j, zero_vector) : one;
#pragma GCC unroll 4
            for (size_t r = 0; r < rows; r++) {
                const V g = v_mul(w, load_up_to(row[r].g + j, end - j, zero_vector));
                alone[r] = v_add(alone[r], g);
                times[r] = v_fma(g, v_normed(&row[r].centre, load_up_to(row[r].x + j, end - j, zero_vector)), times[r]);
            }
        }
        v_sum_4(alone, of_alone);
        v_sum_4(times, of_times);
        for (size_t r = 0; r < rows; r++) {
            sums[r].alone += (double)of_alone[r];
            sums[r].times += (double)of_times[r];
        }
    }
}

/* What is taken off each element, from sums over rows of n; a length below eps is a constant. */
static void set_shares(const attni_norm *norm, size_t n, const attni_centre *c, const norm_sums *sums,
                       norm_row_back *row) {
    const bool length = norm->kind == ATTN_L2_NORM, constant = length && c->factor >= 1 / (double)norm->eps;
    const double alone = norm->kind == ATTN_LAYER_NORM ? sums->alone / (double)n : 0;
    const double times = constant ? sums->times * 0 : length ? sums->times : sums->times / (double)n;
    row->alone = v_set((float)alone);
    row->times = v_set((float)times);
}

/* Columns of up to four rows, `n` of them from `at` on: dx, and the sums over the rows of g · normed(x) and of g. */
static inline __attribute__((always_inline)) void norm_back_piece(size_t rows, size_t at, size_t n, const float *weight,
                                                                  bool add, const norm_row_back *row, float *d_weight,
                                                                  float *d_bias) {
    const V zero_vector = v_set(0.0F), one = v_set(1.0F);
    for (size_t j = 0; j < n; j += VL) {
        const V w = weight ? load_up_to(weight + at + j, n - j, zero_vector) : one;
        V of_weight = zero_vector, of_bias = zero_vector;
#pragma GCC unroll 4
        for (size_t r = 0; r < rows; r++) {
            const V g = load_up_to(row[r].g + at + j, n - j, zero_vector);
            const V y = v_normed(&row[r].centre, load_up_to(row[r].x + at + j, n - j, zero_vector));
            of_weight = v_fma(g, y, of_weight);
            of_bias = v_add(of_bias, g);
            if (row[r].dx) {
                const V less = v_fma(y, row[r].times, row[r].alone);
                const V dx = v_mul(row[r].centre.factor, v_sub(v_mul(g, w), less));
                float *const to = row[r].dx + at + j;
                store_up_to(to, n - j, add ? v_add(dx, load_up_to(to, n - j, zero_vector)) : dx);
            }
        }
        v_store(d_weight + j, of_weight);
        v_store(d_bias + j, of_bias);
    }
}

static void add_doubles(size_t n, const float *x, double *sum) {
    for (size_t j = 0; sum && j < n; j++)
        sum[j] += (double)x[j];
}

static inline __attribute__((always_inline)) void norm_back_4(const attni_norm *norm, size_t rows, size_t width,
                                                              const attni_norm_back *to, norm_row_back *row) {
    float d_weight[NORM_PIECE], d_bias[NORM_PIECE];
    norm_sums sums[NORM_ROWS] = {{0, 0}};
    attni_centre centre[NORM_ROWS];
    for (size_t r = 0; r < rows; r++) {
        centre[r] = centre_of(norm, width, row[r].x);
        row[r].centre = vectors_of(&centre[r]);
    }
    if (to->dx)
        sum_norm_rows(rows, width, norm->weight, row, sums);
    for (size_t r = 0; r < rows; r++) {
        if (!isfinite(sums[r].alone) || !isfinite(sums[r].times))
            sums[r] = careful_sums(width, &centre[r], norm->weight, &row[r]);
        set_shares(norm, width, &centre[r], &sums[r], &row[r]);
    }
    for (size_t j = 0; j < width; j += NORM_PIECE) {
        const size_t n = width - j < NORM_PIECE ? width - j : NORM_PIECE;
        norm_back_piece(rows, j, n, norm->weight, to->add, row, d_weight, d_bias);
        add_doubles(n, d_weight, to->d_weight ? to->d_weight + j : NULL);
        add_doubles(n, d_bias, to->d_bias ? to->d_bias + j : NULL);
    }
}

static void norm_back(const attni_norm *norm, size_t rows, size_t width, const attni_norm_back *to) {
    for (size_t begin = 0; begin < rows; begin += NORM_ROWS) {
        const size_t some = rows - begin < NORM_ROWS ? rows - begin : NORM_ROWS;
        norm_row_back row[NORM_ROWS];
        for (size_t r = 0; r < some; r++) {
            const ptrdiff_t at = (ptrdiff_t)(begin + r);
            row[r].x = to->x + at * to->ldx;
            row[r].g = to->g + at * to->ldg;
            row[r].dx = to->dx ? to->dx + at * to->lddx : NULL;
        }
        if (some == NORM_ROWS)
            norm_back_4(norm, NORM_ROWS, width, to, row);
        else
            norm_back_4(norm, some, width, to, row);
    }
}
