/* SPDX-License-Identifier: BSD-3-Clause */
/* Products with a matrix that is stored as f16, bf16 or int8, which no sgemm can read, widened in registers: few rows
 * go at the pace of memory, and a copy in f32 for sgemm would cost as much as storing f32. */

/* Sums that the registers hold at once: up to so many rows of up to so many vectors. */
enum { NARROW_ROWS = 6, NARROW_VECTORS = VL == 1 ? 2 : 4 };

/* AVX2 has 16 registers, where the others have 32. */
static inline __attribute__((always_inline)) size_t narrow_vectors(size_t rows) {
    return VL == 8 && rows > 2 ? 2 : NARROW_VECTORS;
}

/* a [rows, depth] · b [depth, columns], b's rows `step` bytes apart. */
typedef struct narrow {
    size_t depth;
    const float *a;
    size_t lda;
    const char *b;
    size_t step;
} narrow;

static inline __attribute__((always_inline)) V load_stored(attn_dtype type, const char *p) {
    const void *x = p;
    return type == ATTN_F16 ? v_load_f16(x) : type == ATTN_BF16 ? v_load_bf16(x) : v_load_int8(x);
}

/* sum [R, N] of R rows and N vectors. R, N and the type are constants wherever this is inlined. AHEAD is about where
 * the next keys of the stream begin. */
static inline __attribute__((always_inline)) void narrow_sums(size_t R, size_t N, attn_dtype type, const narrow *x,
                                                              V sum[NARROW_ROWS][NARROW_VECTORS]) {
    enum { AHEAD = 32768, LINE = 64 };
    const size_t vector = VL * attni_size_of(type);
#pragma GCC unroll 6
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
        for (size_t j = 0; j < N; j++)
            sum[r][j] = v_set(0.0F);
    for (size_t k = 0; k < x->depth; k++) {
        const char *b = x->b + k * x->step;
        V v[NARROW_VECTORS];
#pragma GCC unroll 4
        for (size_t j = 0; j < N; j++)
            v[j] = load_stored(type, b + j * vector);
#pragma GCC unroll 4
        for (size_t at = 0; at < N * vector; at += LINE)
            fetch(b, at + AHEAD);
#pragma GCC unroll 6
        for (size_t r = 0; r < R; r++) {
            const V a = v_set(x->a[r * x->lda + k]);
#pragma GCC unroll 4
            for (size_t j = 0; j < N; j++)
                sum[r][j] = v_mul_add(a, v[j], sum[r][j]);
        }
    }
}

/* Where a product goes: c = factor · scale[column] · sum (+ c). */
typedef struct narrow_target {
    float factor;
    const float *scale; /* or NULL: 1 */
    bool add;
    float *c;
    size_t ldc;
} narrow_target;

/* The product of R rows and N vectors of columns from `column` on, of which `columns` are there. */
static inline __attribute__((always_inline)) void narrow_tile(size_t R, size_t N, attn_dtype type, const narrow *x,
                                                              const narrow_target *to, size_t column, size_t columns) {
    const V zero = v_set(0.0F), factor = v_set(to->factor);
    V sum[NARROW_ROWS][NARROW_VECTORS];
    narrow at = *x;
    at.b += column * attni_size_of(type);
    narrow_sums(R, N, type, &at, sum);
#pragma GCC unroll 4
    for (size_t j = 0; j < N; j++) {
        const size_t n = columns - j * VL;
        const V f = to->scale ? v_mul(load_up_to(to->scale + column + j * VL, n, zero), factor) : factor;
        float *c = to->c + column + j * VL;
#pragma GCC unroll 6
        for (size_t r = 0; r < R; r++, c += to->ldc)
            store_up_to(c, n, v_fma(sum[r][j], f, to->add ? load_up_to(c, n, zero) : zero));
    }
}

/* R rows of the product. */
static inline __attribute__((always_inline)) void narrow_rows(size_t R, size_t columns, attn_dtype type,
                                                              const narrow *x, const narrow_target *to) {
    const size_t N = narrow_vectors(R), wide = N * VL;
    size_t j = 0;
    for (; j + wide <= columns; j += wide)
        narrow_tile(R, N, type, x, to, j, wide);
    for (; j < columns; j += VL)
        narrow_tile(R, 1, type, x, to, j, columns - j);
}

/* Up to NARROW_ROWS rows. */
static inline __attribute__((always_inline)) void narrow_some(size_t rows, size_t columns, attn_dtype type,
                                                              const narrow *x, const narrow_target *to) {
    switch (rows) {
    case 1:
        narrow_rows(1, columns, type, x, to);
        break;
    case 2:
        narrow_rows(2, columns, type, x, to);
        break;
    case 3:
        narrow_rows(3, columns, type, x, to);
        break;
    case 4:
        narrow_rows(4, columns, type, x, to);
        break;
    case 5:
        narrow_rows(5, columns, type, x, to);
        break;
    default:
        narrow_rows(NARROW_ROWS, columns, type, x, to);
        break;
    }
}

static void narrow_f16(size_t rows, size_t columns, const narrow *x, const narrow_target *to) {
    narrow_some(rows, columns, ATTN_F16, x, to);
}
static void narrow_bf16(size_t rows, size_t columns, const narrow *x, const narrow_target *to) {
    narrow_some(rows, columns, ATTN_BF16, x, to);
}
static void narrow_int8(size_t rows, size_t columns, const narrow *x, const narrow_target *to) {
    narrow_some(rows, columns, ATTN_INT8, x, to);
}

static void multiply_narrow(size_t rows, size_t columns, size_t depth, float factor, const float *a, size_t lda,
                            attn_dtype type, const void *b, size_t ldb, const float *scale, bool add, float *c,
                            size_t ldc) {
    narrow x = {depth, a, lda, b, ldb * attni_size_of(type)};
    narrow_target to = {factor, scale, add, c, ldc};
    const size_t passes = (rows + NARROW_ROWS - 1) / NARROW_ROWS;
    for (size_t pass = 0; pass < passes; pass++) {
        const size_t some = (rows - 1 - pass) / passes + 1; /* as even as can be */
        (type == ATTN_F16 ? narrow_f16 : type == ATTN_BF16 ? narrow_bf16 : narrow_int8)(some, columns, &x, &to);
        x.a += some * lda;
        to.c += some * ldc;
    }
}
