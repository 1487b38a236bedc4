/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables of rotary embeddings. The formulas are those of Hugging Face's modeling_rope_utils; attn/rotary.h names the
 * papers. */
#include <math.h>

#include "context/sizes.h"
#include "sdpa/sdpa.h"

#define TWO_PI 6.28318530717958647692

double attni_rotary_base(size_t positions, size_t width, const attn_rotary_tables_params *p) {
    const double length = (double)attni_max(positions, p->original_positions), D = (double)width;
    double factor = p->factor;
    if (p->scaling == ATTN_ROTARY_DYNAMIC)
        factor = factor * (length / (double)p->original_positions - 1) + 1;
    else if (p->scaling != ATTN_ROTARY_NTK)
        return p->base;
    return p->base * pow(factor, D / (D - 2));
}

/* The pair, not always a whole one, that turns so many times in the original length. */
static double pair_of(double turns, size_t width, const attn_rotary_tables_params *p) {
    return (double)width * log((double)p->original_positions / (turns * TWO_PI)) / (2 * log(p->base));
}

/* How much of a pair's frequency is interpolated. */
static double yarn_ramp(size_t d, size_t width, const attn_rotary_tables_params *p) {
    const double fast = pair_of(p->beta_fast, width, p), slow = pair_of(p->beta_slow, width, p);
    const double low = fmax(p->no_truncate ? fast : floor(fast), 0);
    const double high = fmin(p->no_truncate ? slow : ceil(slow), (double)width - 1);
    const double span = low == high ? 0.001 : high - low;
    return fmin(fmax(((double)d - low) / span, 0), 1);
}

static double llama3_ramp(double frequency, const attn_rotary_tables_params *p) {
    const double turns = (double)p->original_positions * frequency / TWO_PI;
    return 1 - fmin(fmax((turns - p->low_turns) / (p->high_turns - p->low_turns), 0), 1);
}

static double interpolated(double f, double r, const attn_rotary_tables_params *p) {
    return r > 0 ? f * (1 - r) + f / p->factor * r : f;
}

static double frequency_of(size_t d, double base, size_t width, const attn_rotary_tables_params *p) {
    const double f = pow(base, -2 * (double)d / (double)width);
    switch (p->scaling) {
    case ATTN_ROTARY_LINEAR:
        return f / p->factor;
    case ATTN_ROTARY_YARN:
        return interpolated(f, yarn_ramp(d, width, p), p);
    case ATTN_ROTARY_LLAMA3:
        return interpolated(f, llama3_ramp(f, p), p);
    case ATTN_ROTARY_LONGROPE:
        return f / p->pair_factors[d];
    case ATTN_ROTARY_PROPORTIONAL:
        return (double)(d + 1) <= floor(p->partial_rotary_factor * (double)width / 2) ? f / p->factor : 0;
    default:
        return f;
    }
}

void attni_rotary_tables_run(size_t positions, size_t width, const attn_rotary_tables_params *p, float *cosines,
                             float *sines) {
    const size_t pairs = width / 2;
    const double base = attni_rotary_base(positions, width, p);
    const bool grows = p->scaling == ATTN_ROTARY_YARN || p->scaling == ATTN_ROTARY_LONGROPE;
    const double size = grows ? p->attention_factor : 1;
    for (size_t d = 0; d < pairs; d++) {
        const double frequency = frequency_of(d, base, width, p);
        for (size_t n = 0; n < positions; n++) {
            cosines[n * pairs + d] = (float)(size * cos((double)n * frequency));
            sines[n * pairs + d] = (float)(size * sin((double)n * frequency));
        }
    }
}
