/* SPDX-License-Identifier: BSD-3-Clause */
/* What is masked, by whatever masks it, is not read into a result: NaN and Inf there change no bit; and where they are
 * live they stay in the rows that see them. */
#include <math.h>

#include "support/variants.h"

static const struct {
    enum option option;
    unsigned level;
} MASKS[] = {{BIAS, BIAS_MINUS_INFINITY},
             {CALLBACK, 2},
             {MASK, 1},
             {MASK, 2},
             {MASK, 3},
             {MASK, 5},
             {KEY_MASK, 1},
             {PAD_MASKS, 1},
             {CAUSAL, ATTN_CAUSAL_TOP_LEFT},
             {CAUSAL, ATTN_CAUSAL_BOTTOM_RIGHT},
             {CAUSAL, ATTN_CAUSAL_OFFSET},
             {WINDOW, 1},
             {WINDOW, 2},
             {WINDOW, 3},
             {WINDOW, 4},
             {KEY_LENGTHS, 1},
             {QUERY_LENGTHS, 1},
             {BLOCK_MAP, 1},
             {BLOCK_MAP, 2},
             {BLOCK_MAP, 3},
             {RAGGED, 1},
             {RAGGED, 2}};

/* More than one tile of queries, a step of decoding over more than one segment, many small heads. */
static const struct shape SHAPES_MASKED[] = {
    {1, 2, 1, 130, 260, 16, 72}, {2, 3, 1, 40, 70, 8, 150}, {1, 4, 2, 2, 2100, 8, 20}, {3, 2, 2, 9, 33, 24, 8}};

enum target { IN_KEY, IN_VALUE, IN_BIAS, TARGETS };

struct poisoned {
    struct sdpa_case c;
    enum target target;
    bool *spoilt; /* of the rows of K and V, or of the elements of the bias */
};

static attn_tensor *target_of(struct poisoned *p, attn_tensor *bias) {
    return p->target == IN_KEY ? &p->c.k : p->target == IN_VALUE ? &p->c.v : bias;
}

/* A few rows of K or V, as a whole or at one element, or elements of the bias. */
static void spoil(struct poisoned *p, float poison) {
    attn_tensor bias = p->c.params.bias ? *p->c.params.bias : p->c.k;
    attn_tensor *t = target_of(p, &bias);
    const size_t width = p->target == IN_BIAS ? 1 : t->size[3], places = element_count(*t) / width;
    *t = new_copy_of(t->dtype, *t);
    p->spoilt = new_bools(places);
    for (size_t r = 0; r < places; r++) {
        const bool minus_infinity = p->target == IN_BIAS && value(bias, r) == -INFINITY;
        p->spoilt[r] = !minus_infinity && random_below(places) < 3;
        for (size_t d = r % 2 ? width / 2 : 0; d < width && p->spoilt[r]; d += r % 2 ? width : 1)
            set_value(*t, r * width + d, (double)poison);
    }
    if (p->target == IN_BIAS)
        p->c.params.bias = new_view(bias);
}

static bool is_spoilt(const struct poisoned *p, const span *s, size_t n, size_t h, size_t i, size_t j) {
    const attn_tensor *k = &p->c.k, *bias = p->c.params.bias;
    const size_t G = k->size[1], g = h / (p->c.q.size[1] / G), b = p->c.params.query_starts ? 0 : n;
    if (p->target != IN_BIAS)
        return p->spoilt[(b * G + g) * k->size[2] + s->k_start + j];
    const size_t *size = bias->size;
    return j < size[3] &&
           p->spoilt[(((size[0] == 1 ? 0 : n) * size[1] + (size[1] == 1 ? 0 : h)) * size[2] + (size[2] == 1 ? 0 : i)) *
                         size[3] +
                     j];
}

/* Does query i see a key that is spoilt? `clean` are the params of the call before. */
static bool sees_poison(const struct poisoned *p, const attn_sdpa_params *clean, const span *s, size_t n, size_t h,
                        size_t i) {
    for (size_t j = 0; j < s->Tk; j++)
        if (is_spoilt(p, s, n, h, i, j) && sees(clean, s, n, h, p->c.q.size[1], i, j))
            return true;
    return false;
}

static attn_tensor row_of(attn_tensor t, size_t b, size_t h, size_t i) {
    attn_tensor row = sequence_of(t, t.size[0] == 1 ? 0 : b);
    row.stride[0] = 0;
    row.data = row.data ? (char *)row.data + ((ptrdiff_t)h * t.stride[1] + (ptrdiff_t)i * t.stride[2]) * 4 : NULL;
    row.size[1] = row.size[2] = 1;
    return row;
}

/* Rows that see no poison have the same bits with it and without. Returns how many these are. */
static size_t assert_blind_rows_equal(const struct poisoned *p, const attn_sdpa_params *params,
                                      const struct sdpa_result *got, const struct sdpa_result *clean) {
    const size_t N = sequences_of(params, p->c.q.size[0]), H = p->c.q.size[1];
    size_t blind = 0;
    for (size_t n = 0; n < N; n++) {
        const span s = span_of(params, n, p->c.q.size[2], p->c.k.size[2]);
        for (size_t h = 0; h < H; h++)
            for (size_t i = 0; i < s.Tq; i++) {
                if (sees_poison(p, params, &s, n, h, i))
                    continue;
                assert_bits(row_of(got->out, n, h, s.q_start + i), row_of(clean->out, n, h, s.q_start + i));
                assert_bits(row_of(got->lse, n, h, s.q_start + i), row_of(clean->lse, n, h, s.q_start + i));
                assert_bits(row_of(got->probabilities, n, h, i), row_of(clean->probabilities, n, h, i));
                assert_bits(row_of(got->entropy, n, h, i), row_of(clean->entropy, n, h, i));
                blind++;
            }
    }
    return blind;
}

static size_t check_poison(attn_context *context, struct levels levels, const struct shape *shape, enum target target) {
    const float poisons[] = {NAN, INFINITY, -INFINITY};
    if (target == IN_BIAS && levels.of[BIAS] == 0)
        levels.of[BIAS] = 1 + (unsigned)random_below(3);
    levels.of[WEIGHTS] = 1;
    static const char *const names[TARGETS] = {
        [IN_KEY] = "poisoned K", [IN_VALUE] = "poisoned V", [IN_BIAS] = "poisoned bias"};
    struct poisoned p = {.c = variant_of(names[target], &levels, shape), .target = target};
    p.c.entropy = true;
    const attn_sdpa_params clean_params = p.c.params;
    const struct sdpa_result clean = run_sdpa(context, &p.c);
    spoil(&p, random_pick(poisons));
    const struct sdpa_result got = run_sdpa(context, &p.c);
    const size_t blind = assert_blind_rows_equal(&p, &clean_params, &got, &clean);
    assert_sdpa_near(&p.c, &got);
    end_case();
    return blind;
}

static void by_one_mask(void **state) {
    (void)state;
    attn_context *contexts[2][ISAS];
    const size_t isas = new_variant_contexts(contexts[0], contexts[1]);
    size_t blind = 0;
    seed(1);
    for (size_t i = 0; i < COUNT(MASKS) * COUNT(SHAPES_MASKED) * TARGETS; i += every()) {
        const size_t m = i / TARGETS / COUNT(SHAPES_MASKED);
        struct levels levels = {{0}};
        levels.of[MASKS[m].option] = MASKS[m].level;
        if (MASKS[m].option == PAD_MASKS)
            levels.of[MASK] = 4;
        blind += check_poison(contexts[i % 2][i % isas], levels, &SHAPES_MASKED[i / TARGETS % COUNT(SHAPES_MASKED)],
                              (enum target)(i % TARGETS));
    }
    assert_true(blind > 10000 / every());
}

/* And a few other options besides. */
static void by_several_masks(void **state) {
    (void)state;
    attn_context *contexts[2][ISAS];
    const size_t isas = new_variant_contexts(contexts[0], contexts[1]);
    seed(2);
    for (size_t i = 0; i < 100; i += every()) {
        struct levels levels = {{0}};
        for (size_t n = 0; n < 3; n++) {
            const size_t m = random_below(COUNT(MASKS));
            levels.of[MASKS[m].option] = MASKS[m].level;
        }
        levels.of[SOFTCAP] = (unsigned)random_below(2);
        levels.of[SINKS] = (unsigned)random_below(2);
        levels.of[INPUT_TYPES] = (unsigned)random_below(4);
        (void)check_poison(contexts[i % 2][i % isas], levels, &SHAPES_MASKED[random_below(COUNT(SHAPES_MASKED))],
                           (enum target)(i % TARGETS));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(by_one_mask), TEST(by_several_masks)};
    return cmocka_run_group_tests_name("masked", tests, NULL, NULL);
}
