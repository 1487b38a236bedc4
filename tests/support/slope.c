/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/slope.h"

#include <math.h>
#include <string.h>

#include "support/reference.h"

/* The direction moves each parameter by a multiple of the grid. */
enum { ELEMENTS = 2 };
static const double STEP = 0x1p-7, DIRECTION = 0x1p-3, GRID = 0x1p-10;

static float *writable(const float *x) { return (float *)(uintptr_t)x; }

float *add_slope(slopes *s, const char *name, const float *of, size_t n) {
    if (!of || n == 0)
        return NULL;
    float *gradient = new_floats(n);
    for (size_t i = 0; i < n; i++)
        writable(of)[i] = (float)(rint((double)of[i] / GRID) * GRID);
    assert_true(s->count < MOST_SLOPES);
    s->all[s->count++] = (slope){name, of, gradient, n};
    return gradient;
}

attn_tensor add_slopes_of(slopes *s, const char *name, attn_tensor x) {
    attn_tensor d = x;
    d.data = add_slope(s, name, x.data, element_count(x));
    return d;
}

static void move(const slope *s, const double *signs, double step) {
    for (size_t i = 0; i < s->n; i++)
        writable(s->of)[i] += (float)(signs[i] * step);
}

static double difference(const slope *s, const double *signs, double step, loss_fn loss, const void *arg) {
    const void *part = begin_part();
    move(s, signs, step);
    const double above = loss(arg);
    move(s, signs, -2 * step);
    const double below = loss(arg);
    move(s, signs, step);
    end_part(part);
    return (above - below) / (2 * step);
}

/* Of two steps, so that what is left out is of the fourth order. */
static double slope_along(const slope *s, const double *signs, loss_fn loss, const void *arg) {
    const double one = difference(s, signs, STEP, loss, arg), two = difference(s, signs, 2 * STEP, loss, arg);
    return (4 * one - two) / 3;
}

static bool is_near(const char *name, size_t i, double got, double want, double bound) {
    const bool near = fabs(got - want) <= bound * (1 + fabs(want));
    if (!near)
        print_message("%s[%zu] is %.9g, expected %.9g, off by %.3g\n", name, i, got, want, got - want);
    return near;
}

static bool is_near_along(const slope *s, const double *signs, size_t name, loss_fn loss, const void *arg,
                          double bound) {
    double got = 0;
    for (size_t i = 0; i < s->n; i++)
        got += signs[i] * (double)s->gradient[i];
    return is_near(s->name, name, got, slope_along(s, signs, loss, arg), bound);
}

/* How many of them are not near. */
static size_t count_misses(const slope *s, loss_fn loss, const void *arg, double bound) {
    double *signs = new_doubles(s->n);
    size_t misses = 0;
    memset(signs, 0, s->n * sizeof *signs);
    for (size_t n = 0; n < ELEMENTS && s->n; n++) {
        const size_t i = random_below(s->n);
        signs[i] = 1;
        misses += !is_near_along(s, signs, i, loss, arg, bound);
        signs[i] = 0;
    }
    for (size_t i = 0; i < s->n; i++)
        signs[i] = random_below(2) ? DIRECTION : -DIRECTION;
    return misses + !is_near_along(s, signs, s->n, loss, arg, bound * fmax(1, DIRECTION * sqrt((double)s->n)));
}

void check_slopes(const slopes *s, loss_fn loss, const void *arg, double bound, bool has_corners) {
    size_t misses = 0;
    for (size_t i = 0; i < s->count; i++)
        misses += count_misses(&s->all[i], loss, arg, bound);
    assert_true(misses <= (has_corners ? s->count * (ELEMENTS + 1) / 3 : 0));
}

static attn_tensor flat(const slope *s) { return attn_tensor_btm(s->gradient, ATTN_F32, 1, 1, s->n); }

void copy_slopes(const slopes *s, attn_tensor copies[MOST_SLOPES]) {
    for (size_t i = 0; i < s->count; i++)
        copies[i] = new_copy(flat(&s->all[i]));
}

void assert_same_slopes(const slopes *s, const attn_tensor copies[MOST_SLOPES]) {
    for (size_t i = 0; i < s->count; i++)
        assert_bits(flat(&s->all[i]), copies[i]);
}

void assert_twice_slopes(const slopes *s, const attn_tensor copies[MOST_SLOPES]) {
    for (size_t i = 0; i < s->count; i++) {
        double *twice = doubles_of(copies[i]);
        for (size_t n = 0; n < s->all[i].n; n++)
            twice[n] *= 2;
        assert_near(flat(&s->all[i]), twice, promised(2));
    }
}
