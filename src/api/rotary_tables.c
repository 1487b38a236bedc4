/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables of cosines and sines. */
#include <float.h>
#include <math.h>

#include "api/parts.h"

static attn_status check_number(attn_context *context, const char *name, double *x, double otherwise, double above) {
    *x = *x != 0 ? *x : otherwise;
    if (isfinite(*x) && *x > above)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_VALUE, "params.%s is %g, expected a finite number above %g", name, *x, above);
}

static attn_status check_pair(attn_context *context, const char *low, double *a, double low_default, const char *high,
                              double *b, double high_default) {
    ATTNI_TRY(check_number(context, low, a, low_default, 0));
    ATTNI_TRY(check_number(context, high, b, high_default, 0));
    if (*a < *b)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_VALUE, "params.%s is %g, expected less than params.%s, %g", low, *a, high,
                      *b);
}

/* Whatever base and factor do, each angle is finite, and so is each element as f32. */
static attn_status check_finite(attn_context *context, size_t positions, size_t width,
                                const attn_rotary_tables_params *p) {
    const double base = attni_rotary_base(positions, width, p);
    if (!isfinite(base) || base <= 1)
        return attni_fail(context, ATTN_ERROR_VALUE,
                          "params.factor is %g, which makes the base %g, expected a finite number above 1", p->factor,
                          base);
    if (p->scaling != ATTN_ROTARY_PLAIN && !isfinite((double)positions / p->factor))
        return attni_fail(context, ATTN_ERROR_VALUE, "params.factor is %g, too small: angles are not finite",
                          p->factor);
    if (p->attention_factor > (double)FLT_MAX)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.attention_factor is %g, more than f32 has",
                          p->attention_factor);
    return ATTN_OK;
}

static attn_status check_pair_factors(attn_context *context, size_t width, const attn_rotary_tables_params *p) {
    const bool wanted = p->scaling == ATTN_ROTARY_LONGROPE;
    if (wanted && width)
        ATTNI_TRY(attni_check_pointer(context, "params.pair_factors", p->pair_factors));
    if (!wanted && p->pair_factors)
        return attni_fail(context, ATTN_ERROR_VALUE,
                          "params.pair_factors is set, but params.scaling is not ATTN_ROTARY_LONGROPE");
    for (size_t d = 0; d < width / 2 && wanted; d++)
        if (!isfinite(p->pair_factors[d]) || p->pair_factors[d] < 0x1p-512)
            return attni_fail(context, ATTN_ERROR_VALUE,
                              "params.pair_factors[%zu] is %g, expected a finite number above 0", d,
                              p->pair_factors[d]);
    return ATTN_OK;
}

/* Of the numbers, those that this scaling has. */
static attn_status check_scaling_has(attn_context *context, const attn_rotary_tables_params *p) {
    enum {
        YARN = 1 << ATTN_ROTARY_YARN,
        LLAMA3 = 1 << ATTN_ROTARY_LLAMA3,
        LONGROPE = 1 << ATTN_ROTARY_LONGROPE,
        DYNAMIC = 1 << ATTN_ROTARY_DYNAMIC
    };
    const struct {
        const char *field;
        double value;
        unsigned scalings;
    } numbers[] = {{"factor", p->factor, ~(1U << ATTN_ROTARY_PLAIN)},
                   {"original_positions", (double)p->original_positions, DYNAMIC | YARN | LLAMA3 | LONGROPE},
                   {"beta_fast", p->beta_fast, YARN},
                   {"beta_slow", p->beta_slow, YARN},
                   {"attention_factor", p->attention_factor, YARN | LONGROPE},
                   {"low_turns", p->low_turns, LLAMA3},
                   {"high_turns", p->high_turns, LLAMA3},
                   {"mscale", p->mscale, YARN},
                   {"mscale_all_dim", p->mscale_all_dim, YARN},
                   {"partial_rotary_factor", p->partial_rotary_factor, 1U << ATTN_ROTARY_PROPORTIONAL},
                   {"no_truncate", (double)p->no_truncate, YARN}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].value != 0 && !(numbers[i].scalings >> p->scaling & 1U))
            return attni_fail(context, ATTN_ERROR_VALUE, "params.%s is %g, but params.scaling = %d has none",
                              numbers[i].field, numbers[i].value, (int)p->scaling);
    return ATTN_OK;
}

/* What belongs to one scaling alone. */
static attn_status check_own(attn_context *context, size_t width, attn_rotary_tables_params *p) {
    ATTNI_TRY(check_scaling_has(context, p));
    ATTNI_TRY(check_pair_factors(context, width, p));
    ATTNI_TRY(check_number(context, "partial_rotary_factor", &p->partial_rotary_factor, 1, 0));
    if (p->partial_rotary_factor > 1)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.partial_rotary_factor is %g, expected up to 1",
                          p->partial_rotary_factor);
    if (p->mscale == 0 && p->mscale_all_dim == 0)
        return ATTN_OK;
    ATTNI_TRY(check_number(context, "mscale", &p->mscale, 0, 0));
    return check_number(context, "mscale_all_dim", &p->mscale_all_dim, 0, 0);
}

static double default_attention_factor(const attn_rotary_tables_params *p) {
    const double grown = log(p->factor);
    if (p->factor <= 1)
        return 1;
    if (p->scaling == ATTN_ROTARY_LONGROPE)
        return sqrt(1 + grown / log((double)p->original_positions));
    if (p->mscale > 0)
        return (0.1 * p->mscale * grown + 1) / (0.1 * p->mscale_all_dim * grown + 1);
    return 0.1 * grown + 1;
}

static attn_status check_scaling(attn_context *context, size_t width, attn_rotary_tables_params *p) {
    if ((int)p->scaling < ATTN_ROTARY_PLAIN || (int)p->scaling > ATTN_ROTARY_PROPORTIONAL)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.scaling is %d, expected an attn_rotary_scaling of 0 to 7",
                          (int)p->scaling);
    ATTNI_TRY(check_own(context, width, p));
    if (p->scaling == ATTN_ROTARY_PLAIN)
        return ATTN_OK;
    ATTNI_TRY(check_number(context, "factor", &p->factor, p->scaling == ATTN_ROTARY_PROPORTIONAL, 0));
    if (p->scaling >= ATTN_ROTARY_DYNAMIC && p->scaling <= ATTN_ROTARY_LONGROPE && p->original_positions == 0)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.original_positions is 0, which params.scaling = %d needs",
                          (int)p->scaling);
    if ((p->scaling == ATTN_ROTARY_NTK || p->scaling == ATTN_ROTARY_DYNAMIC) && width < 4)
        return attni_fail(context, ATTN_ERROR_SHAPE, "width is %zu, expected 4 or more with params.scaling = %d", width,
                          (int)p->scaling);
    ATTNI_TRY(check_pair(context, "beta_slow", &p->beta_slow, 1, "beta_fast", &p->beta_fast, 32));
    ATTNI_TRY(check_pair(context, "low_turns", &p->low_turns, 1, "high_turns", &p->high_turns, 4));
    return check_number(context, "attention_factor", &p->attention_factor, default_attention_factor(p), 0);
}

attn_status attn_rotary_tables(attn_context *context, size_t positions, size_t width,
                               const attn_rotary_tables_params *params, float *cos, float *sin) {
    attn_rotary_tables_params p;
    size_t elements;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof p, &p));
    if (width % 2 != 0)
        return attni_fail(context, ATTN_ERROR_SHAPE, "width is %zu, expected an even number", width);
    ATTNI_TRY(attni_check_product(context, "positions", positions, width, &elements));
    ATTNI_TRY(check_number(context, "base", &p.base, 10000, 1));
    ATTNI_TRY(check_scaling(context, width, &p));
    if (elements == 0)
        return ATTN_OK;
    ATTNI_TRY(check_finite(context, positions, width, &p));
    ATTNI_TRY(attni_check_pointer(context, "cos", cos));
    ATTNI_TRY(attni_check_pointer(context, "sin", sin));
    const attn_tensor cosines = attn_tensor_bhtd(cos, ATTN_F32, 1, 1, positions, width / 2);
    const attn_tensor sines = attn_tensor_bhtd(sin, ATTN_F32, 1, 1, positions, width / 2);
    ATTNI_TRY(attni_check_disjoint(context, "cos", &cosines, "sin", &sines));
    attni_rotary_tables_run(positions, width, &p, cos, sin);
    return ATTN_OK;
}
