/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of docs/accuracy.md: errors of libattn against double precision, on inputs from N(0,1), by its public
 * functions alone. Prints it, and returns 1 where an error is larger than `most` says, about twice what was measured.
 *     accuracy [BLAS] */
#include <attn/attn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { H = 2, TQ = 64, TK = 1024, D = 64, Q = H * TQ * D, K = H * TK * D, M = 768, ROWS = 64 };

static int failed;
static attn_context *contexts[ATTN_PRECISION_INT8 + 1];
static const char *const types[] = {"f32", "f16", "bf16", "", "int8", "int4"};

static void check(attn_context *context, attn_status status) {
    if (status != ATTN_OK)
        exit(fprintf(stderr, "accuracy: %s\n", attn_context_last_error(context)) > 0 ? 2 : 1);
}

static void *room(size_t bytes) {
    void *p = calloc(1, bytes);
    if (p == NULL)
        exit(2);
    return p;
}

/* Box and Muller's normal numbers, of a generator by Marsaglia. */
static float *normal(size_t n) {
    static uint64_t state = 88172645463325252U;
    float *x = room(n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        double u[2];
        for (int j = 0; j < 2; j++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            u[j] = ((double)(state >> 12) + 0.5) / 4503599627370496.0;
        }
        x[i] = (float)(sqrt(-2 * log(u[0])) * cos(6.283185307179586 * u[1]));
    }
    return x;
}

/* A line of the table: the root mean square of the errors, and the largest, over the root mean square of results. */
static void tell(const char *what, const char *type, double most, const float *got, const double *want, size_t n) {
    double errors = 0, results = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        const double error = fabs(got[i] - want[i]);
        errors += error * error;
        results += want[i] * want[i];
        largest = error <= largest ? largest : error; /* NaN, too */
    }
    const double root = sqrt(errors / results);
    printf("| %s | %s | %.1e | %.1e |\n", what, type, root, largest / sqrt(results / (double)n));
    if (!(root <= most))
        failed = fprintf(stderr, "accuracy: %s, %s: more than %.1e\n", what, type, most) > 0;
}

static attn_tensor view(const void *x, attn_dtype dtype, size_t T) { return attn_tensor_bhtd(x, dtype, 1, H, T, D); }

/* x [H,T,D] in another type, and as f32 what that holds. */
static void *narrow(const float *x, attn_dtype dtype, size_t T, float *held) {
    void *y = room(sizeof(float) * H * T * D);
    const attn_tensor from = view(x, ATTN_F32, T), to = view(y, dtype, T), back = view(held, ATTN_F32, T);
    check(contexts[0], attn_tensor_copy(contexts[0], &from, &to));
    check(contexts[0], attn_tensor_copy(contexts[0], &to, &back));
    return y;
}

/* ---- attention ---- */

static float *q, *k, *v, *d_out;
static double want[Q], d_q[Q], d_k[K], d_v[K];

static double dot(const float *a, const float *b) {
    double sum = 0;
    for (int d = 0; d < D; d++)
        sum += (double)a[d] * b[d];
    return sum;
}

/* The probabilities of a row over the keys of its head. */
static void weigh(const float *row, const float *keys, double *p) {
    double sum = 0;
    for (int j = 0; j < TK; j++)
        sum += p[j] = exp(dot(row, keys + j * D) / sqrt(D)); /* scores of N(0,1) are small */
    for (int j = 0; j < TK; j++)
        p[j] /= sum;
}

static void attend_exactly(const float *queries, const float *keys, const float *values) {
    static double p[TK];
    for (int i = 0; i < H * TQ; i++) {
        const int head = i / TQ * TK * D;
        weigh(queries + i * D, keys + head, p);
        for (int d = 0; d < D; d++) {
            want[i * D + d] = 0;
            for (int j = 0; j < TK; j++)
                want[i * D + d] += p[j] * values[head + j * D + d];
        }
    }
}

/* After attend_exactly of the same. */
static void go_back_exactly(void) {
    static double p[TK];
    for (int i = 0; i < H * TQ; i++) {
        const int head = i / TQ * TK * D;
        double mean = 0;
        weigh(q + i * D, k + head, p);
        for (int d = 0; d < D; d++)
            mean += want[i * D + d] * d_out[i * D + d];
        for (int j = 0; j < TK; j++) {
            const double ds = p[j] * (dot(d_out + i * D, v + head + j * D) - mean) / sqrt(D);
            for (int d = 0; d < D; d++) {
                d_v[head + j * D + d] += p[j] * d_out[i * D + d];
                d_q[i * D + d] += ds * k[head + j * D + d];
                d_k[head + j * D + d] += ds * q[i * D + d];
            }
        }
    }
}

/* The reference is of the numbers as they are stored. */
static void tensors(attn_dtype dtype, double most) {
    static float held[3][K], y[Q];
    void *stored[4] = {narrow(q, dtype, TQ, held[0]), narrow(k, dtype, TK, held[1]), narrow(v, dtype, TK, held[2]),
                       room(sizeof y)};
    const attn_tensor queries = view(stored[0], dtype, TQ), keys = view(stored[1], dtype, TK);
    const attn_tensor values = view(stored[2], dtype, TK), out = view(stored[3], dtype, TQ);
    const attn_tensor got = view(y, ATTN_F32, TQ);
    check(contexts[0], attn_sdpa(contexts[0], &queries, &keys, &values, &out, NULL));
    check(contexts[0], attn_tensor_copy(contexts[0], &out, &got));
    attend_exactly(held[0], held[1], held[2]);
    tell("attention, tensors as stored", types[dtype], most, y, want, Q);
    for (int i = 0; i < 4; i++)
        free(stored[i]);
}

/* Here and below it is of the numbers before they are stored, attend_exactly(q, k, v). */
static void cache(attn_dtype dtype, double most) {
    static float y[Q];
    attn_cache *c;
    const attn_cache_params params = {sizeof params, .batch = 1,      .capacity = TK,
                                      .kv_heads = H, .head_width = D, .dtype = dtype};
    const attn_tensor queries = view(q, ATTN_F32, TQ), keys = view(k, ATTN_F32, TK), values = view(v, ATTN_F32, TK);
    const attn_tensor out = view(y, ATTN_F32, TQ);
    check(contexts[0], attn_cache_create(contexts[0], &params, &c));
    check(contexts[0], attn_cache_append(contexts[0], c, &keys, &values, NULL));
    check(contexts[0], attn_cache_attend(contexts[0], c, &queries, &out, NULL));
    tell("attention, cache", types[dtype], most, y, want, Q);
    attn_cache_destroy(c);
}

static void precise(double most) {
    static float y[Q];
    const attn_tensor queries = view(q, ATTN_F32, TQ), keys = view(k, ATTN_F32, TK), values = view(v, ATTN_F32, TK);
    const attn_tensor out = view(y, ATTN_F32, TQ);
    attn_context *const context = contexts[ATTN_PRECISION_BF16];
    check(context, attn_sdpa(context, &queries, &keys, &values, &out, NULL));
    tell("attention, precision BF16", "f32", most, y, want, Q);
}

static void gradients(double most) {
    static float y[Q], lse[H * TQ], dq[Q], dk[K], dv[K];
    const attn_tensor queries = view(q, ATTN_F32, TQ), keys = view(k, ATTN_F32, TK), values = view(v, ATTN_F32, TK);
    const attn_tensor out = view(y, ATTN_F32, TQ), given = view(d_out, ATTN_F32, TQ);
    const attn_tensor of_q = view(dq, ATTN_F32, TQ), of_k = view(dk, ATTN_F32, TK), of_v = view(dv, ATTN_F32, TK);
    const attn_sdpa_params params = {.struct_size = sizeof params, .lse = lse};
    const attn_sdpa_gradients wanted = {.struct_size = sizeof wanted, .dq = &of_q, .dk = &of_k, .dv = &of_v};
    check(contexts[0], attn_sdpa(contexts[0], &queries, &keys, &values, &out, &params));
    check(contexts[0], attn_sdpa_backward(contexts[0], &queries, &keys, &values, &out, &given, &params, &wanted));
    go_back_exactly();
    tell("gradient of q", "f32", most, dq, d_q, Q);
    tell("gradient of k", "f32", most, dk, d_k, K);
    tell("gradient of v", "f32", most, dv, d_v, K);
}

/* ---- linear maps ---- */

/* The weights w [M,M] in another type, with their scales. */
static void *packed(const float *w, attn_dtype dtype, float *scales) {
    void *made = room(sizeof(float) * M * M);
    const attn_tensor from = attn_tensor_btm(w, ATTN_F32, 1, M, M), to = attn_tensor_btm(made, dtype, 1, M, M);
    attn_context *const c = contexts[0];
    check(c, dtype == ATTN_INT8   ? attn_quantize_weight(c, ATTN_OUT_IN, M, M, w, made, scales)
             : dtype == ATTN_INT4 ? attn_quantize_weight_int4(c, ATTN_OUT_IN, M, M, w, made, scales)
                                  : attn_tensor_copy(c, &from, &to));
    return made;
}

static void linear(const char *what, attn_precision precision, attn_dtype dtype, double most, const float *x,
                   const float *w, const double *exact) {
    static float y[ROWS * M], scales[M * M / 16];
    attn_linear *map;
    attn_context *const context = contexts[precision];
    void *const weight = packed(w, dtype, scales);
    const attn_linear_params params = {sizeof params,         .in_width = M,
                                       .out_width = M,        .weight = weight,
                                       .weight_dtype = dtype, .weight_scale = dtype >= ATTN_INT8 ? scales : NULL};
    const attn_tensor in = attn_tensor_btm(x, ATTN_F32, 1, ROWS, M), out = attn_tensor_btm(y, ATTN_F32, 1, ROWS, M);
    check(context, attn_linear_create(context, &params, &map));
    check(context, attn_linear_forward(context, map, &in, &out));
    tell(what, types[dtype], most, y, exact, (size_t)ROWS * M);
    attn_linear_destroy(map);
    free(weight);
}

static void linear_maps(void) {
    static double exact[ROWS * M];
    float *x = normal((size_t)ROWS * M), *w = normal((size_t)M * M);
    for (int i = 0; i < ROWS * M; i++)
        for (int n = 0; n < M; n++)
            exact[i] += (double)x[i / M * M + n] * w[i % M * M + n];
    linear("linear map, weights", ATTN_PRECISION_F32, ATTN_F32, 1e-6, x, w, exact);
    linear("linear map, weights", ATTN_PRECISION_F32, ATTN_F16, 5e-4, x, w, exact);
    linear("linear map, weights", ATTN_PRECISION_F32, ATTN_BF16, 4e-3, x, w, exact);
    linear("linear map, weights", ATTN_PRECISION_F32, ATTN_INT8, 0.016, x, w, exact);
    linear("linear map, weights", ATTN_PRECISION_F32, ATTN_INT4, 0.15, x, w, exact);
    linear("linear map, precision BF16, weights", ATTN_PRECISION_BF16, ATTN_F32, 5e-3, x, w, exact);
    linear("linear map, precision INT8, weights", ATTN_PRECISION_INT8, ATTN_INT8, 0.022, x, w, exact);
    linear("linear map, precision INT8, weights", ATTN_PRECISION_INT8, ATTN_INT4, 0.16, x, w, exact);
    free(x), free(w);
}

int main(int count, char **arguments) {
    for (int i = 0; i <= ATTN_PRECISION_INT8; i++) {
        const attn_context_options options = {
            .struct_size = sizeof options, .blas = count > 1 ? arguments[1] : NULL, .precision = (attn_precision)i};
        check(NULL, attn_context_create(&options, &contexts[i]));
    }
    q = normal(Q), k = normal(K), v = normal(K), d_out = normal(Q);
    puts("| what | type | error | largest |\n|---|---|---|---|");
    tensors(ATTN_F32, 1e-6), tensors(ATTN_F16, 5e-4), tensors(ATTN_BF16, 4e-3);
    attend_exactly(q, k, v);
    cache(ATTN_F32, 1e-6), cache(ATTN_F16, 6e-4), cache(ATTN_BF16, 5e-3), cache(ATTN_INT8, 0.017);
    cache(ATTN_INT4, 0.2);
    precise(6e-3);
    gradients(1e-6);
    linear_maps();
    free(q), free(k), free(v), free(d_out);
    for (int i = 0; i <= ATTN_PRECISION_INT8; i++)
        attn_context_destroy(contexts[i]);
    return failed;
}
