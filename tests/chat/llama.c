/* SPDX-License-Identifier: BSD-3-Clause */
#include "llama.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "quants.h"
#include "tiny.h"

enum { M = TINY_WIDTH, H = TINY_HEADS, G = TINY_KV_HEADS, D = M / H, F = TINY_HIDDEN };

static double *zeros(size_t count) {
    double *made = calloc(count, sizeof *made);
    if (made == NULL)
        abort();
    return made;
}

/* A tensor of the file, as floats. */
static float *weights(const gguf *g, size_t layer, const char *part) {
    char name[64];
    if (layer == SIZE_MAX)
        snprintf(name, sizeof name, "%s.weight", part);
    else
        snprintf(name, sizeof name, "blk.%zu.%s.weight", layer, part);
    const gguf_tensor *t = gguf_find(g, name);
    const size_t rows = t == NULL ? 0 : t->rank == 1 ? 1 : t->size[1];
    float *to = t == NULL ? NULL : malloc(rows * t->size[0] * sizeof *to);
    if (to == NULL)
        abort();
    quant_rows(t, 0, rows, to);
    return to;
}

/* y [tokens, out] = x [tokens, in] · Wᵀ */
static double *multiply(const double *x, size_t tokens, size_t in, float *w, size_t out) {
    double *y = zeros(tokens * out);
    for (size_t t = 0; t < tokens; t++)
        for (size_t o = 0; o < out; o++)
            for (size_t i = 0; i < in; i++)
                y[t * out + o] += x[t * in + i] * (double)w[o * in + i];
    free(w);
    return y;
}

static double *norm(const double *x, size_t tokens, float *w) {
    double *y = zeros(tokens * M);
    for (size_t t = 0; t < tokens; t++) {
        double sum = 0;
        for (size_t i = 0; i < M; i++)
            sum += x[t * M + i] * x[t * M + i];
        for (size_t i = 0; i < M; i++)
            y[t * M + i] = x[t * M + i] / sqrt(sum / M + 1e-5) * (double)w[i];
    }
    free(w);
    return y;
}

/* Neighbours are pairs. */
static void rotate(double *x, size_t tokens, size_t heads) {
    for (size_t t = 0; t < tokens; t++)
        for (size_t h = 0; h < heads; h++)
            for (size_t d = 0; d < D; d += 2) {
                double *pair = x + (t * heads + h) * D + d;
                const double a = pair[0], b = pair[1], angle = (double)t * pow(10000, -(double)d / D);
                pair[0] = a * cos(angle) - b * sin(angle);
                pair[1] = b * cos(angle) + a * sin(angle);
            }
}

/* The output of one head for token t, to [D]. */
static void attend(const double *q, const double *k, const double *v, size_t t, size_t h, double *to) {
    const size_t g = h / (H / G);
    double *p = zeros(t + 1), largest = -INFINITY, sum = 0;
    for (size_t j = 0; j <= t; j++) {
        for (size_t d = 0; d < D; d++)
            p[j] += q[(t * H + h) * D + d] * k[(j * G + g) * D + d] / sqrt(D);
        largest = fmax(largest, p[j]);
    }
    for (size_t j = 0; j <= t; j++)
        sum += p[j] = exp(p[j] - largest);
    for (size_t j = 0; j <= t; j++)
        for (size_t d = 0; d < D; d++)
            to[d] += p[j] / sum * v[(j * G + g) * D + d];
    free(p);
}

static void add(double *x, double *y, size_t count) {
    for (size_t i = 0; i < count; i++)
        x[i] += y[i];
    free(y);
}

static void attention(const gguf *g, size_t layer, double *x, size_t tokens) {
    double *n = norm(x, tokens, weights(g, layer, "attn_norm")), *heads = zeros(tokens * M);
    double *q = multiply(n, tokens, M, weights(g, layer, "attn_q"), M);
    double *k = multiply(n, tokens, M, weights(g, layer, "attn_k"), G * D);
    double *v = multiply(n, tokens, M, weights(g, layer, "attn_v"), G * D);
    rotate(q, tokens, H);
    rotate(k, tokens, G);
    for (size_t t = 0; t < tokens; t++)
        for (size_t h = 0; h < H; h++)
            attend(q, k, v, t, h, heads + (t * H + h) * D);
    add(x, multiply(heads, tokens, M, weights(g, layer, "attn_output"), M), tokens * M);
    free(n);
    free(heads);
    free(q);
    free(k);
    free(v);
}

static void feed(const gguf *g, size_t layer, double *x, size_t tokens) {
    double *n = norm(x, tokens, weights(g, layer, "ffn_norm"));
    double *gate = multiply(n, tokens, M, weights(g, layer, "ffn_gate"), F);
    double *up = multiply(n, tokens, M, weights(g, layer, "ffn_up"), F);
    for (size_t i = 0; i < tokens * F; i++)
        up[i] *= gate[i] / (1 + exp(-gate[i]));
    add(x, multiply(up, tokens, F, weights(g, layer, "ffn_down"), M), tokens * M);
    free(n);
    free(gate);
    free(up);
}

double *llama_logits(const gguf *g, const int64_t *ids, size_t tokens, size_t vocabulary) {
    float *table = weights(g, SIZE_MAX, "token_embd");
    double *x = zeros(tokens * M);
    for (size_t i = 0; i < tokens * M; i++)
        x[i] = (double)table[(size_t)ids[i / M] * M + i % M];
    for (size_t layer = 0; layer < TINY_LAYERS; layer++) {
        attention(g, layer, x, tokens);
        feed(g, layer, x, tokens);
    }
    double *n = norm(x, tokens, weights(g, SIZE_MAX, "output_norm"));
    double *logits = multiply(n, tokens, M, table, vocabulary);
    free(x);
    free(n);
    return logits;
}
