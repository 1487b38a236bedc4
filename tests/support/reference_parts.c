/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/reference_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/support.h"

static double or_default(float x, double otherwise) { return x != 0 ? (double)x : otherwise; }

static double swish(double x, double beta) { return x == -INFINITY ? 0 : x / (1 + exp(-beta * x)); }

static double xielu(double x, const attn_activation_params *p) {
    const double beta = or_default(p->beta, 0.5);
    if (x > 0)
        return or_default(p->alpha_p, (double)0.8F) * x * x + beta * x;
    const double alpha = or_default(p->alpha_n, (double)0.8F);
    return alpha * expm1(x) + (beta - alpha) * x;
}

double reference_activation(attn_activation kind, const attn_activation_params *p, double x) {
    static const attn_activation_params defaults;
    p = p ? p : &defaults;
    x = p->limit > 0 && x > (double)p->limit ? (double)p->limit : x;
    switch (kind) {
    case ATTN_GELU:
        return x == -INFINITY ? 0 : x * erfc(-x / sqrt(2)) / 2;
    case ATTN_GELU_TANH: /* (1 + tanh(z)) / 2 = 1 / (1 + exp(−2z)), which does not cancel */
        return x == -INFINITY ? 0 : x / (1 + exp(-2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    case ATTN_GELU_SIGMOID:
        return swish(x, 1.702);
    case ATTN_RELU:
        return x < 0 ? 0 : x;
    case ATTN_SILU:
        return swish(x, or_default(p->beta, 1));
    case ATTN_RELU_SQUARED:
        return x < 0 ? 0 : x * x;
    case ATTN_XIELU:
        return xielu(x, p);
    case ATTN_SIGMOID:
        return 1 / (1 + exp(-x));
    default:
        return x;
    }
}

double reference_up(const attn_activation_params *p, double up) {
    if (p && p->limit > 0 && !isnan(up))
        up = fmin(fmax(up, -(double)p->limit), (double)p->limit);
    return p ? up + (double)p->up_offset : up;
}

/* x·c(x), c(−x) = 1 − c(x): c + x·c'. */
static double gated_slope(double x, double c, double times) { return isinf(x) ? (x > 0 ? 1 : 0) : c + times; }

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static double swish_slope(double x, double beta) {
    const double c = sigmoid(beta * x);
    return gated_slope(x, c, c * sigmoid(-beta * x) * beta * x);
}

static double gelu_tanh_slope(double x) {
    const double a = 2 * sqrt(2 / acos(-1)), z = a * (x + 0.044715 * x * x * x), c = sigmoid(z), less = sigmoid(-z);
    return gated_slope(x, c, c * less == 0 ? 0 : c * less * a * (x + 3 * 0.044715 * x * x * x));
}

static double xielu_slope(double x, const attn_activation_params *p) {
    const double beta = or_default(p->beta, 0.5), alpha = (double)0.8F;
    return x > 0 ? 2 * or_default(p->alpha_p, alpha) * x + beta : or_default(p->alpha_n, alpha) * expm1(x) + beta;
}

double reference_slope(attn_activation kind, const attn_activation_params *p, double x) {
    static const attn_activation_params defaults;
    p = p ? p : &defaults;
    if (isnan(x) && kind != ATTN_IDENTITY)
        return x;
    if (p->limit > 0 && !(x <= (double)p->limit))
        return 0;
    switch (kind) {
    case ATTN_GELU:
        return gated_slope(x, erfc(-x / sqrt(2)) / 2, x * exp(-x * x / 2) / sqrt(2 * acos(-1)));
    case ATTN_GELU_TANH:
        return gelu_tanh_slope(x);
    case ATTN_GELU_SIGMOID:
        return swish_slope(x, 1.702);
    case ATTN_RELU:
        return x > 0;
    case ATTN_SILU:
        return swish_slope(x, or_default(p->beta, 1));
    case ATTN_RELU_SQUARED:
        return 2 * fmax(x, 0);
    case ATTN_XIELU:
        return xielu_slope(x, p);
    case ATTN_SIGMOID:
        return sigmoid(x) * sigmoid(-x);
    default:
        return 1;
    }
}

double reference_up_slope(const attn_activation_params *p, double up) {
    return p->limit > 0 && !(fabs(up) <= (double)p->limit) ? 0 : 1;
}

static double eps_of(const attn_norm_params *p) {
    const float otherwise = p->kind == ATTN_L2_NORM ? 1e-12F : 1e-5F;
    return (double)(p->eps > 0 ? p->eps : otherwise);
}

/* What is taken away from a row, and what it is multiplied by; whether that depends on the row. */
struct centre {
    double mean, factor;
    bool constant;
};

static struct centre centre_of(const attn_norm_params *p, size_t n, const double *x) {
    const double eps = eps_of(p), count = (double)n;
    double mean = 0, square = 0;
    for (size_t i = 0; i < n && p->kind == ATTN_LAYER_NORM; i++)
        mean += x[i] / count;
    for (size_t i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean);
    if (p->kind == ATTN_L2_NORM)
        return (struct centre){mean, 1 / fmax(sqrt(square), eps), sqrt(square) <= eps};
    return (struct centre){mean, 1 / sqrt(square / count + eps), false};
}

static double weight_of(const attn_norm_params *p, size_t i) { return p->weight ? (double)p->weight[i] : 1; }

void reference_norm(const attn_norm_params *p, size_t n, const double *x, double *y) {
    const struct centre c = centre_of(p, n, x);
    for (size_t i = 0; i < n; i++)
        y[i] = (x[i] - c.mean) * c.factor * weight_of(p, i) + (p->bias ? (double)p->bias[i] : 0);
}

double reference_norm_backward(const attn_norm_params *p, size_t n, const double *x, const double *d_out, double *dx,
                               double *d_weight, double *d_bias) {
    const struct centre c = centre_of(p, n, x);
    double alone = 0, times = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        const double y = (x[i] - c.mean) * c.factor, g = d_out[i] * weight_of(p, i);
        alone += p->kind == ATTN_LAYER_NORM ? g / (double)n : 0;
        times += c.constant ? 0 : p->kind == ATTN_L2_NORM ? g * y : g * y / (double)n;
        d_weight[i] += d_out[i] * y;
        d_bias[i] += d_out[i];
    }
    for (size_t i = 0; i < n; i++) {
        const double y = (x[i] - c.mean) * c.factor, g = d_out[i] * weight_of(p, i);
        dx[i] = c.factor * (g - alone - y * times);
        const double parts = c.factor * (fabs(g) + fabs(alone) + fabs(y * times));
        size = parts > size ? parts : size; /* no fmax, at which gcc 12 for Arm breaks down */
    }
    return size;
}

double reference_cross_entropy(size_t n, const double *x, size_t target, double smoothing, double *gradient) {
    double max = -INFINITY, sum = 0, unmasked = 0, spread = 0;
    for (size_t j = 0; j < n; j++) {
        max = fmax(max, x[j]);
        unmasked += x[j] != -INFINITY;
    }
    for (size_t j = 0; j < n; j++)
        sum += x[j] == -INFINITY ? 0 : exp(x[j] - max);
    const double log_sum = sum == 0 ? -INFINITY : log(sum); /* beside max, which may be large */
    for (size_t j = 0; j < n; j++) {
        const bool there = x[j] != -INFINITY;
        const double wanted = (j == target ? 1 - smoothing : 0) + (there ? smoothing / unmasked : 0);
        gradient[j] = unmasked == 0 ? 0 : (there ? exp(x[j] - max) / sum : 0 * log_sum) - wanted;
        spread += there ? smoothing / unmasked * (max - x[j] + log_sum) : 0;
    }
    if (unmasked == 0)
        return INFINITY;
    return smoothing < 1 ? spread + (1 - smoothing) * (max - x[target] + log_sum) : spread;
}
