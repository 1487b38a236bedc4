/* SPDX-License-Identifier: BSD-3-Clause */
#include "bert.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { M = TINY_WIDTH, H = TINY_HEADS, D = M / H, F = TINY_HIDDEN, T_MAX = TINY_POSITIONS };

static const float *weights(const tiny_model *m, int layer, const char *name) {
    char full[128];
    if (layer < 0)
        snprintf(full, sizeof full, "embeddings.%s", name);
    else
        snprintf(full, sizeof full, "encoder.layer.%d.%s", layer, name);
    return tiny_find(m, full)->data;
}

/* y [out] = W x + b */
static void linear(const tiny_model *m, int layer, const char *name, const double *x, size_t in, size_t out,
                   double *y) {
    char part[96];
    snprintf(part, sizeof part, "%s.weight", name);
    const float *w = weights(m, layer, part);
    snprintf(part, sizeof part, "%s.bias", name);
    const float *b = weights(m, layer, part);
    for (size_t i = 0; i < out; i++) {
        y[i] = (double)b[i];
        for (size_t j = 0; j < in; j++)
            y[i] += (double)w[i * in + j] * x[j];
    }
}

/* x = norm(x + y) */
static void add_norm(const tiny_model *m, int layer, const char *name, const double *y, double *x) {
    char part[96];
    double mean = 0, variance = 0;
    snprintf(part, sizeof part, "%s.weight", name);
    const float *w = weights(m, layer, part);
    snprintf(part, sizeof part, "%s.bias", name);
    const float *b = weights(m, layer, part);
    for (size_t j = 0; j < M; j++)
        mean += (x[j] += y[j]) / M;
    for (size_t j = 0; j < M; j++)
        variance += (x[j] - mean) * (x[j] - mean) / M;
    for (size_t j = 0; j < M; j++)
        x[j] = (x[j] - mean) / sqrt(variance + 1e-12) * (double)w[j] + (double)b[j];
}

static void embed(const tiny_model *m, size_t id, size_t position, double *x) {
    double rest[M];
    for (size_t j = 0; j < M; j++) {
        x[j] = (double)weights(m, -1, "word_embeddings.weight")[id * M + j];
        rest[j] = (double)weights(m, -1, "position_embeddings.weight")[position * M + j] +
                  (double)weights(m, -1, "token_type_embeddings.weight")[j];
    }
    add_norm(m, -1, "LayerNorm", rest, x);
}

/* p [T] = softmax of q·k/√D of one head. */
static void attend(const double *q, double k[T_MAX][M], size_t head, size_t T, double *p) {
    double sum = 0;
    for (size_t j = 0; j < T; j++) {
        p[j] = 0;
        for (size_t d = head * D; d < (head + 1) * D; d++)
            p[j] += q[d] * k[j][d] / sqrt(D);
        sum += p[j] = exp(p[j]); /* of scores far below 700 */
    }
    for (size_t j = 0; j < T; j++)
        p[j] /= sum;
}

static void run_layer(const tiny_model *m, int layer, size_t T, double *x, double *attention) {
    static double q[T_MAX][M], k[T_MAX][M], v[T_MAX][M];
    for (size_t i = 0; i < T; i++) {
        linear(m, layer, "attention.self.query", x + i * M, M, M, q[i]);
        linear(m, layer, "attention.self.key", x + i * M, M, M, k[i]);
        linear(m, layer, "attention.self.value", x + i * M, M, M, v[i]);
    }
    for (size_t i = 0; i < T; i++) {
        double joined[M] = {0}, y[M], inner[F];
        for (size_t h = 0; h < H; h++) {
            double *p = attention + (h * T + i) * T;
            attend(q[i], k, h, T, p);
            for (size_t j = 0; j < T; j++)
                for (size_t d = h * D; d < (h + 1) * D; d++)
                    joined[d] += p[j] * v[j][d];
        }
        linear(m, layer, "attention.output.dense", joined, M, M, y);
        add_norm(m, layer, "attention.output.LayerNorm", y, x + i * M);
        linear(m, layer, "intermediate.dense", x + i * M, M, F, inner);
        for (size_t j = 0; j < F; j++)
            inner[j] *= (1 + erf(inner[j] / sqrt(2))) / 2;
        linear(m, layer, "output.dense", inner, F, M, y);
        add_norm(m, layer, "output.LayerNorm", y, x + i * M);
    }
}

void bert_run(const tiny_model *m, const size_t *ids, size_t T, double *hidden, double *attention) {
    for (size_t i = 0; i < T; i++)
        embed(m, ids[i], i, hidden + i * M);
    for (int layer = 0; layer < TINY_LAYERS; layer++) {
        memcpy(hidden + T * M, hidden, T * M * sizeof *hidden);
        hidden += T * M;
        run_layer(m, layer, T, hidden, attention + (size_t)layer * H * T * T);
    }
}

void bert_pool(const double *hidden, size_t T, double *vector) {
    const double *last = hidden + TINY_LAYERS * T * M;
    double square = 0;
    memset(vector, 0, M * sizeof *vector);
    for (size_t i = 0; i < T * M; i++)
        vector[i % M] += last[i];
    for (size_t j = 0; j < M; j++)
        square += vector[j] * vector[j];
    for (size_t j = 0; j < M; j++)
        vector[j] /= sqrt(square);
}
