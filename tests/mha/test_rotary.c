/* SPDX-License-Identifier: BSD-3-Clause */
/* Rotary embedding: the tables and rows of the caller's; and bad input, of attention with it and QK-norm too. */
#include <float.h>
#include <math.h>

#include "support/fault.h"
#include "support/turns.h"

/* ---- tables ---- */

/* The frequency of pair d, each formula as its source writes it. */
static double frequency(const attn_rotary_tables_params *p, size_t positions, size_t width, size_t d) {
    const double pi = acos(-1), dim = (double)width, L = (double)p->original_positions, s = p->factor;
    const double base = p->base > 0 ? p->base : 10000, plain = 1 / pow(base, 2 * (double)d / dim);
    if (p->scaling == ATTN_ROTARY_LINEAR)
        return plain / s;
    if (p->scaling == ATTN_ROTARY_NTK)
        return 1 / pow(base * pow(s, dim / (dim - 2)), 2 * (double)d / dim);
    if (p->scaling == ATTN_ROTARY_DYNAMIC)
        return 1 / pow(base * pow(s * fmax((double)positions, L) / L - (s - 1), dim / (dim - 2)), 2 * (double)d / dim);
    if (p->scaling == ATTN_ROTARY_LONGROPE)
        return 1 / (p->pair_factors[d] * pow(base, 2 * (double)d / dim));
    if (p->scaling == ATTN_ROTARY_PROPORTIONAL) {
        const double part = p->partial_rotary_factor > 0 ? p->partial_rotary_factor : 1;
        return (double)d < floor(part * dim / 2) ? plain / (s > 0 ? s : 1) : 0;
    }
    if (p->scaling == ATTN_ROTARY_YARN) {
        const double fast = p->beta_fast > 0 ? p->beta_fast : 32, slow = p->beta_slow > 0 ? p->beta_slow : 1;
        double low = dim * log(L / (fast * 2 * pi)) / (2 * log(base));
        double high = dim * log(L / (slow * 2 * pi)) / (2 * log(base));
        low = p->no_truncate ? low : floor(low);
        high = p->no_truncate ? high : ceil(high);
        low = low < 0 ? 0 : low;
        high = high > dim - 1 ? dim - 1 : high;
        high += low == high ? 0.001 : 0;
        const double ramp = fmin(1, fmax(0, ((double)d - low) / (high - low)));
        return plain / s * ramp + plain * (1 - ramp);
    }
    if (p->scaling == ATTN_ROTARY_LLAMA3) {
        const double low = p->low_turns > 0 ? p->low_turns : 1, high = p->high_turns > 0 ? p->high_turns : 4;
        const double wavelength = 2 * pi / plain;
        if (wavelength < L / high)
            return plain;
        if (wavelength > L / low)
            return plain / s;
        const double smooth = (L / wavelength - low) / (high - low);
        return (1 - smooth) * plain / s + smooth * plain;
    }
    return plain;
}

static double mscale(double s, double m) { return s <= 1 ? 1 : 0.1 * m * log(s) + 1; }

static double magnitude(const attn_rotary_tables_params *p) {
    if (p->scaling != ATTN_ROTARY_YARN && p->scaling != ATTN_ROTARY_LONGROPE)
        return 1;
    if (p->attention_factor > 0)
        return p->attention_factor;
    if (p->scaling == ATTN_ROTARY_LONGROPE)
        return p->factor <= 1 ? 1 : sqrt(1 + log(p->factor) / log((double)p->original_positions));
    return p->mscale > 0 ? mscale(p->factor, p->mscale) / mscale(p->factor, p->mscale_all_dim) : mscale(p->factor, 1);
}

static void check_tables(attn_context *context, const attn_rotary_tables_params *p, size_t positions, size_t width) {
    const attn_tensor c = new_tensor(BHTD, 1, 1, positions, width / 2),
                      s = new_tensor(BHTD, 1, 1, positions, width / 2);
    double *cosines = new_doubles(element_count(c)), *sines = new_doubles(element_count(c));
    const double size = magnitude(p);
    name_case("tables %d, %zu positions of %zu", (int)p->scaling, positions, width);
    for (size_t n = 0; n < positions; n++)
        for (size_t d = 0; d < width / 2; d++) {
            const double angle = (double)n * frequency(p, positions, width, d);
            cosines[n * (width / 2) + d] = size * cos(angle);
            sines[n * (width / 2) + d] = size * sin(angle);
        }
    assert_ok(context, attn_rotary_tables(context, positions, width, p, c.data, s.data));
    const tolerance rounded_once = {(double)FLT_EPSILON, 0};
    assert_near(c, cosines, rounded_once);
    assert_near(s, sines, rounded_once);
    end_case();
}

/* What a scaling may have, by bits of `given`. */
static attn_rotary_tables_params tables_of(int scaling, unsigned given) {
    static const double pair_factors[64] = {1, 1.5, 7, 0.25, 64, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
                                            3, 3,   3, 3,    3,  3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
                                            2, 2,   2, 2,    2,  2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
    const bool yarn = scaling == ATTN_ROTARY_YARN, llama = scaling == ATTN_ROTARY_LLAMA3;
    const bool longrope = scaling == ATTN_ROTARY_LONGROPE;
    attn_rotary_tables_params p;
    ATTN_INIT(&p);
    p.scaling = (attn_rotary_scaling)scaling;
    p.factor = scaling ? given & 4 ? 0.5 : 4 : 0;
    p.original_positions = yarn || llama || longrope || scaling == ATTN_ROTARY_DYNAMIC ? 1024 : 0;
    p.pair_factors = longrope ? pair_factors : NULL;
    if (given & 1) {
        p.base = 500000;
        p.beta_fast = yarn ? 16 : 0, p.beta_slow = yarn ? 2 : 0;
        p.attention_factor = (yarn || longrope) && given & 4 ? 1.25 : 0;
        p.low_turns = llama ? 2 : 0, p.high_turns = llama ? 8 : 0;
        p.partial_rotary_factor = scaling == ATTN_ROTARY_PROPORTIONAL ? 0.3 : 0;
    }
    if (given & 2 && yarn)
        p.no_truncate = 1, p.mscale = 0.707, p.mscale_all_dim = 1;
    return p;
}

static void tables(void **state) {
    (void)state;
    static const size_t widths[] = {2, 4, 64, 96, 128}, lengths[] = {0, 1, 40, 1500};
    attn_context *context = new_context_of(1, 0);
    for (int scaling = ATTN_ROTARY_PLAIN; scaling <= ATTN_ROTARY_PROPORTIONAL; scaling++)
        for (unsigned given = 0; given < 8; given++)
            for (size_t w = scaling == ATTN_ROTARY_NTK || scaling == ATTN_ROTARY_DYNAMIC; w < COUNT(widths); w++)
                for (size_t l = 0; l < COUNT(lengths); l++) {
                    const attn_rotary_tables_params p = tables_of(scaling, given);
                    const bool shrinks = given & 4 && (scaling == ATTN_ROTARY_NTK || scaling == ATTN_ROTARY_DYNAMIC);
                    if (!shrinks) /* the base stays above 1 */
                        check_tables(context, &p, lengths[l], widths[w]);
                }
}

/* GPT-OSS's pair 12, as Hugging Face computes it. */
static void gpt_oss(void **state) {
    (void)state;
    enum { WIDTH = 64, PAIR = 12 };
    attn_context *context = new_context_of(1, 0);
    attn_rotary_tables_params p = {.struct_size = sizeof p,
                                   .base = 150000,
                                   .scaling = ATTN_ROTARY_YARN,
                                   .factor = 32,
                                   .original_positions = 4096,
                                   .attention_factor = 1};
    float cosines[2 * WIDTH / 2], sines[2 * WIDTH / 2];
    assert_ok(context, attn_rotary_tables(context, 2, WIDTH, &p, cosines, sines));
    assert_true(fabs(asin((double)sines[WIDTH / 2 + PAIR]) - 0.0070157) < 1e-7);
    p.no_truncate = 1;
    assert_ok(context, attn_rotary_tables(context, 2, WIDTH, &p, cosines, sines));
    assert_true(fabs(asin((double)sines[WIDTH / 2 + PAIR]) - 0.0067949595) < 1e-9);
}

/* ---- rows of the caller's ---- */

/* A few roundings of numbers of the rows' size. */
static const tolerance OF_ROW = {12 * (double)FLT_EPSILON, 0};

static void check_rotate(attn_context *context, attn_rotary_kind kind, size_t D, size_t width) {
    const attn_dtype type = (attn_dtype)random_below(3), out_type = (attn_dtype)random_below(3);
    const attn_tensor x = new_normal_of(type, (enum layout)random_below(OUTPUT_LAYOUTS), 2, 3, 37, D);
    const attn_tensor out = new_tensor_of(out_type, (enum layout)random_below(OUTPUT_LAYOUTS), 2, 3, 37, D);
    const size_t pairs = (width ? width : D) / 2;
    attn_rotary rotary = rotary_of(context, kind, width, D, 100);
    int32_t axis[500];
    rotary.offset = random_below(D - 2 * pairs + 1);
    rotary.axes = random_below(2) ? random_below(2) : 2;
    rotary.pair_axis = rotary.axes > 1 ? axis : NULL;
    for (size_t d = 0; d < pairs; d++)
        axis[d] = (int32_t)random_below(2);
    const int64_t *positions = random_below(2) ? random_positions((size_t)2 * 2 * 37, 100) : NULL;
    double *want = new_doubles(element_count(x));
    name_case("rotate %d D=%zu width=%zu types %d %d with %s", (int)kind, D, width, (int)type, (int)out_type,
              describe(context).isa);
    for (size_t n = 0; n < 2 * 3 * 37; n++) {
        const size_t b = n / (3 * 37), t = n % 37;
        const struct place at = {positions ? positions + b * 37 + t : NULL, 2 * 37, t};
        turn_row(x, b, n / 37 % 3, t, NULL, NULL, &rotary, &at, want + n * D);
    }
    assert_ok(context, attn_rotate(context, &x, &out, &rotary, positions));
    assert_near(out, want, OF_ROW);
    assert_gaps_untouched(out);
    assert_ok(context, attn_rotate(context, &x, &x, &rotary, positions));
    assert_gaps_untouched(x);
    if (type == out_type)
        assert_bits(x, out);
    end_case();
}

static void rows(void **state) {
    (void)state;
    static const size_t widths[][2] = {{2, 0},   {64, 0},  {64, 32}, {65, 64}, {33, 6},
                                       {80, 34}, {128, 0}, {7, 2},   {96, 96}, {1000, 998}};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    for (size_t i = 0; i < n; i++) {
        seed(1);
        for (size_t w = 0; w < COUNT(widths); w++)
            for (int k = 0; k < 8; k += (int)every())
                check_rotate(contexts[i], (attn_rotary_kind)(k % 2), widths[w][0], widths[w][1]);
    }
}

/* ---- faults ---- */

enum { FB = 2, FH = 4, FG = 2, FT = 6, FD = 8 };

typedef struct call {
    attn_context *context;
    attn_tensor q, k, v, out;
    attn_sdpa_params params;
    struct turns turns;
    int64_t query_positions[2 * FB * FT], key_positions[2 * FB * FT], offsets[FB], lengths[FB];
    int32_t axis[FD / 2];
} call;

/* Two, which is right too. */
static void use_axes(call *c) {
    c->turns.rotary.axes = 2;
    c->turns.rotary.pair_axis = c->axis;
}

#define FAULTS(X)                                                                                                      \
    X(rotary_struct, ATTN_ERROR_STRUCT, "rotary", c->turns.rotary.struct_size = 0)                                     \
    X(kind, ATTN_ERROR_VALUE, "kind", c->turns.rotary.kind = (attn_rotary_kind)2)                                      \
    X(width_odd, ATTN_ERROR_SHAPE, "width", c->turns.rotary.width = 3)                                                 \
    X(width_large, ATTN_ERROR_SHAPE, "width", c->turns.rotary.width = FD + 2)                                          \
    X(width_negative, ATTN_ERROR_SHAPE, "width", c->turns.rotary.width = (size_t)-2)                                   \
    X(no_cos, ATTN_ERROR_NULL, "cos", c->turns.rotary.cos = NULL)                                                      \
    X(no_sin, ATTN_ERROR_NULL, "sin", c->turns.rotary.sin = NULL)                                                      \
    X(table_huge, ATTN_ERROR_OVERFLOW, "params.rotary.positions", c->turns.rotary.positions = SIZE_MAX)                \
    X(table_empty, ATTN_ERROR_VALUE, "query_positions", c->turns.rotary.positions = 0)                                 \
    X(query_position_negative, ATTN_ERROR_VALUE, "query_positions", c->query_positions[7] = -1)                        \
    X(query_position_beyond, ATTN_ERROR_VALUE, "query_positions", c->query_positions[0] = FT)                          \
    X(key_position_negative, ATTN_ERROR_VALUE, "key_positions", c->key_positions[11] = INT64_MIN)                      \
    X(key_position_beyond, ATTN_ERROR_VALUE, "key_positions", c->key_positions[3] = INT64_MAX)                         \
    X(keys_beyond, ATTN_ERROR_VALUE, "key_positions", c->turns.rotary.key_positions = NULL;                            \
      c->turns.rotary.positions = FT - 1)                                                                              \
    X(offset_negative, ATTN_ERROR_VALUE, "query_positions", c->turns.rotary.query_positions = NULL;                    \
      c->offsets[1] = -1)                                                                                              \
    X(offset_beyond, ATTN_ERROR_VALUE, "query_positions", c->turns.rotary.query_positions = NULL;                      \
      c->offsets[0] = INT64_MAX)                                                                                       \
    X(fewer_keys, ATTN_ERROR_VALUE, "query_positions", c->turns.rotary.query_positions = NULL;                         \
      c->params.causal = ATTN_CAUSAL_NONE; c->params.causal_offset = NULL; c->lengths[1] = FT - 1;                     \
      c->params.key_lengths = c->lengths)                                                                              \
    X(out_in_table, ATTN_ERROR_ALIAS, "cos", c->turns.rotary.cos = c->out.data)                                        \
    X(norm_struct, ATTN_ERROR_STRUCT, "qk_norm", c->turns.norm.struct_size = 1)                                        \
    X(norm_kind, ATTN_ERROR_VALUE, "kind", c->turns.norm.kind = (attn_norm_kind)3)                                     \
    X(norm_eps, ATTN_ERROR_VALUE, "eps", c->turns.norm.eps = -1)                                                       \
    X(norm_nan, ATTN_ERROR_VALUE, "eps", c->turns.norm.eps = NAN)                                                      \
    X(offset_large, ATTN_ERROR_SHAPE, "offset", c->turns.rotary.width = 2; c->turns.rotary.offset = FD - 1)            \
    X(no_axis, ATTN_ERROR_NULL, "pair_axis", c->turns.rotary.axes = 2)                                                 \
    X(axis_alone, ATTN_ERROR_VALUE, "pair_axis", c->turns.rotary.pair_axis = c->axis)                                  \
    X(axis_beyond, ATTN_ERROR_VALUE, "pair_axis[3]", use_axes(c); c->axis[3] = 2)                                      \
    X(axis_negative, ATTN_ERROR_VALUE, "pair_axis[0]", use_axes(c); c->axis[0] = -1)                                   \
    X(axes_huge, ATTN_ERROR_OVERFLOW, "axes", use_axes(c); c->turns.rotary.axes = SIZE_MAX / 2)                        \
    X(second_axis, ATTN_ERROR_VALUE, "key_positions", use_axes(c); c->key_positions[FB * FT] = FT)                     \
    X(narrow_values, ATTN_ERROR_SHAPE, "rotate_values", c->turns.rotary.rotate_values = 1;                             \
      c->v = new_normal(BHTD, FB, FG, FT, FD - 1); c->out = new_tensor(BHTD, FB, FH, FT, FD - 1))                      \
    X(v_weight_alone, ATTN_ERROR_VALUE, "v_weight", c->turns.norm.v_weight = c->out.data)                              \
    X(out_in_v_weights, ATTN_ERROR_ALIAS, "v_weight", c->turns.norm.norm_values = 1;                                   \
      c->turns.norm.v_weight = c->out.data)                                                                            \
    X(out_in_weights, ATTN_ERROR_ALIAS, "k_weight", c->turns.norm.k_weight = c->out.data)

DEFINE_FAULTS(faults, FAULTS);

static void make_valid(attn_context *context, call *c) {
    *c = (call){.context = context, .lengths = {FT, FT}};
    c->q = new_normal(BHTD, FB, FH, FT, FD);
    c->k = new_normal(BHTD, FB, FG, FT, FD);
    c->v = new_normal(BHTD, FB, FG, FT, FD);
    c->out = new_tensor(BHTD, FB, FH, FT, FD);
    ATTN_INIT(&c->params);
    ATTN_INIT(&c->turns.norm);
    c->turns.rotary = rotary_of(context, ATTN_ROTARY_HALF, 0, FD, FT);
    c->turns.rotary.query_positions = c->query_positions;
    c->turns.rotary.key_positions = c->key_positions;
    c->params.rotary = &c->turns.rotary;
    c->params.qk_norm = &c->turns.norm;
    c->params.causal = ATTN_CAUSAL_OFFSET;
    c->params.causal_offset = c->offsets;
}

static void every_fault(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    call c;
    make_valid(context, &c);
    assert_ok(context, attn_sdpa(context, &c.q, &c.k, &c.v, &c.out, &c.params));
    for (size_t i = 0; i < COUNT(faults); i++) {
        make_valid(context, &c);
        faults[i].spoil(&c);
        name_case("%s", faults[i].name);
        assert_status(context, attn_sdpa(context, &c.q, &c.k, &c.v, &c.out, &c.params), faults[i].status);
        assert_mentions(attn_context_last_error(context), faults[i].field);
        assert_untouched(c.out);
        end_case();
    }
}

static void table_faults(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    attn_rotary_tables_params p;
    float *to = new_floats(64);
    ATTN_INIT(&p);
    assert_status(context, attn_rotary_tables(context, 4, 7, NULL, to, to + 32), ATTN_ERROR_SHAPE);
    assert_status(context, attn_rotary_tables(context, 4, 8, NULL, NULL, to), ATTN_ERROR_NULL);
    assert_status(context, attn_rotary_tables(context, 4, 8, NULL, to, to + 8), ATTN_ERROR_ALIAS);
    assert_status(context, attn_rotary_tables(context, SIZE_MAX, 8, NULL, to, to), ATTN_ERROR_OVERFLOW);
    p.factor = 2;
    assert_status(context, attn_rotary_tables(context, 4, 8, &p, to, to + 32), ATTN_ERROR_VALUE);
    p.scaling = ATTN_ROTARY_YARN; /* without original_positions */
    assert_status(context, attn_rotary_tables(context, 4, 8, &p, to, to + 32), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "original_positions");
    p.scaling = ATTN_ROTARY_NTK;
    assert_status(context, attn_rotary_tables(context, 4, 2, &p, to, to + 32), ATTN_ERROR_SHAPE);
    p.factor = NAN;
    assert_status(context, attn_rotary_tables(context, 4, 8, &p, to, to + 32), ATTN_ERROR_VALUE);
    p.factor = 2, p.base = 1;
    assert_status(context, attn_rotary_tables(context, 4, 8, &p, to, to + 32), ATTN_ERROR_VALUE);
    p.base = 0, p.scaling = ATTN_ROTARY_YARN, p.original_positions = 4;
    p.beta_slow = INFINITY;
    assert_status(context, attn_rotary_tables(context, 4, 8, &p, to, to + 32), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "beta_slow");
    p.beta_slow = 0, p.beta_fast = NAN;
    assert_status(context, attn_rotary_tables(context, 4, 8, &p, to, to + 32), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "beta_fast");
    p.beta_fast = 0, p.high_turns = 0.5, p.scaling = ATTN_ROTARY_LLAMA3;
    assert_status(context, attn_rotary_tables(context, 4, 8, &p, to, to + 32), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "low_turns");
    assert_status(context, attn_rotary_tables(context, 4, 8, NULL, to, NULL), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "sin");
    assert_int_equal(attn_rotary_tables(NULL, 4, 8, NULL, to, to + 32), ATTN_ERROR_NULL);
    p.struct_size = 1;
    assert_status(context, attn_rotary_tables(context, 4, 8, &p, to, to + 32), ATTN_ERROR_STRUCT);
    ATTN_INIT(&p);
    p.scaling = (attn_rotary_scaling)8;
    p.base = 0;
    assert_status(context, attn_rotary_tables(context, 4, 8, &p, to, to + 32), ATTN_ERROR_VALUE);
    const double factors[] = {1, 2, 3, 0};
    const struct {
        attn_rotary_tables_params p;
        const char *field;
    } wrong[] = {{{.scaling = ATTN_ROTARY_LONGROPE, .factor = 2, .original_positions = 9}, "pair_factors"},
                 {{.scaling = ATTN_ROTARY_LONGROPE, .factor = 2, .original_positions = 9, .pair_factors = factors},
                  "params.pair_factors[3]"},
                 {{.scaling = ATTN_ROTARY_LONGROPE, .factor = 2, .original_positions = 1, .pair_factors = factors},
                  "pair_factors"},
                 {{.scaling = ATTN_ROTARY_LINEAR, .factor = 2, .pair_factors = factors}, "pair_factors"},
                 {{.scaling = ATTN_ROTARY_LLAMA3, .factor = 2, .original_positions = 9, .beta_fast = 9}, "beta_fast"},
                 {{.scaling = ATTN_ROTARY_DYNAMIC, .factor = 2, .original_positions = 9, .beta_slow = 1}, "beta_slow"},
                 {{.scaling = ATTN_ROTARY_YARN, .factor = 2, .original_positions = 9, .low_turns = 1}, "low_turns"},
                 {{.scaling = ATTN_ROTARY_NTK, .factor = 2, .high_turns = NAN}, "high_turns"},
                 {{.scaling = ATTN_ROTARY_LLAMA3, .factor = 2, .original_positions = 9, .attention_factor = 1},
                  "attention_factor"},
                 {{.scaling = ATTN_ROTARY_LINEAR, .factor = 2, .original_positions = 9}, "original_positions"},
                 {{.attention_factor = 1}, "attention_factor"},
                 {{.no_truncate = 1}, "no_truncate"},
                 {{.mscale = 1}, "mscale"},
                 {{.scaling = ATTN_ROTARY_YARN, .factor = 2, .original_positions = 9, .mscale = 1}, "mscale_all_dim"},
                 {{.scaling = ATTN_ROTARY_YARN, .factor = 2, .original_positions = 9, .mscale_all_dim = 1}, "mscale"},
                 {{.partial_rotary_factor = 0.5}, "partial_rotary_factor"},
                 {{.scaling = ATTN_ROTARY_PROPORTIONAL, .partial_rotary_factor = 1.5}, "partial_rotary_factor"},
                 {{.scaling = ATTN_ROTARY_PROPORTIONAL, .partial_rotary_factor = -1}, "partial_rotary_factor"}};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        p = wrong[i].p;
        p.struct_size = sizeof p;
        assert_int_not_equal(attn_rotary_tables(context, 4, 8, &p, to, to + 32), ATTN_OK);
        assert_mentions(attn_context_last_error(context), wrong[i].field);
    }
    assert_untouched(attn_tensor_bhtd(to, ATTN_F32, 1, 1, 1, 64));
}

/* attn_rotate over [FB,FH,FT,FD], and how each argument can be wrong. */
#define ROTATE_FAULTS(X)                                                                                               \
    X(r_struct, ATTN_ERROR_STRUCT, "rotary", c->turns.rotary.struct_size = 0)                                          \
    X(r_kind, ATTN_ERROR_VALUE, "kind", c->turns.rotary.kind = (attn_rotary_kind)-1)                                   \
    X(r_width, ATTN_ERROR_SHAPE, "width", c->turns.rotary.width = FD + 2)                                              \
    X(r_cos, ATTN_ERROR_NULL, "cos", c->turns.rotary.cos = NULL)                                                       \
    X(r_sin, ATTN_ERROR_NULL, "sin", c->turns.rotary.sin = NULL)                                                       \
    X(r_table, ATTN_ERROR_VALUE, "positions", c->turns.rotary.positions = 0)                                           \
    X(r_negative, ATTN_ERROR_VALUE, "positions", c->query_positions[FT] = -1)                                          \
    X(r_beyond, ATTN_ERROR_VALUE, "positions", c->query_positions[0] = FT)                                             \
    X(r_x_data, ATTN_ERROR_NULL, "x", c->q.data = NULL)                                                                \
    X(r_x_dtype, ATTN_ERROR_DTYPE, "x", c->q.dtype = ATTN_BOOL)                                                        \
    X(r_huge, ATTN_ERROR_OVERFLOW, "x.size[3]", c->q.size[0] = c->q.size[1] = c->q.size[2] = 1;                        \
      c->q.size[3] = (size_t)1 << 31; c->out = c->q)                                                                   \
    X(r_x_stride, ATTN_ERROR_STRIDE, "x", c->q.stride[3] = 2)                                                          \
    X(r_out_dtype, ATTN_ERROR_DTYPE, "out", c->out.dtype = (attn_dtype)77)                                             \
    X(r_out_tokens, ATTN_ERROR_SHAPE, "out", c->out.size[2] = FT - 1)                                                  \
    X(r_out_shared, ATTN_ERROR_STRIDE, "out", c->out.stride[1] = 0)                                                    \
    X(r_out_in_x, ATTN_ERROR_ALIAS, "out", c->q.data = (float *)c->out.data + 1)                                       \
    X(r_out_in_cos, ATTN_ERROR_ALIAS, "out", c->turns.rotary.cos = c->out.data)                                        \
    X(r_out_in_sin, ATTN_ERROR_ALIAS, "out", c->turns.rotary.sin = c->out.data)

DEFINE_FAULTS(rotate_faults, ROTATE_FAULTS);

static attn_status rotate(attn_context *context, const call *c) {
    return attn_rotate(context, &c->q, &c->out, &c->turns.rotary, c->query_positions);
}

static void faults_of_rotate(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    call c;
    make_valid(context, &c);
    assert_ok(context, rotate(context, &c));
    make_valid(context, &c);
    assert_status(context, attn_rotate(context, NULL, &c.out, &c.turns.rotary, NULL), ATTN_ERROR_NULL);
    assert_status(context, attn_rotate(context, &c.q, NULL, &c.turns.rotary, NULL), ATTN_ERROR_NULL);
    assert_status(context, attn_rotate(context, &c.q, &c.out, NULL, NULL), ATTN_ERROR_NULL);
    assert_int_equal(attn_rotate(NULL, &c.q, &c.out, &c.turns.rotary, NULL), ATTN_ERROR_NULL);
    for (size_t i = 0; i < COUNT(rotate_faults); i++) {
        make_valid(context, &c);
        const attn_tensor out = c.out;
        rotate_faults[i].spoil(&c);
        name_case("%s", rotate_faults[i].name);
        assert_status(context, rotate(context, &c), rotate_faults[i].status);
        assert_mentions(attn_context_last_error(context), rotate_faults[i].field);
        assert_untouched(out);
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(tables),      TEST(gpt_oss),          TEST(rows),
                                       TEST(every_fault), TEST(faults_of_rotate), TEST(table_faults)};
    return cmocka_run_group_tests_name("rotary", tests, NULL, NULL);
}
