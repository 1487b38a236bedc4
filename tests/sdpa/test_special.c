/* SPDX-License-Identifier: BSD-3-Clause */
/* Where options of attn_sdpa have a rule of their own: relatives of the softmax, the callback, the most probable keys,
 * memory, presets. */
#include <math.h>
#include <string.h>

#include "support/meter.h"
#include "support/variants.h"

/* With each weight being the number of its bucket: those of more than one distance begin at exact · ratio^(n / others).
 */
static void buckets_of_distances(void **state) {
    (void)state;
    enum { MOST = 320, FAR = 1000, HEADS = 2 };
    static const size_t cases[][3] = {{32, 128, 1}, {32, 128, 0}, {320, 800, 1}, {2, 3, 0}, {4, 1000, 1}, {7, 50, 0}};
    attn_context *context = new_context_of(1, 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        float weights[HEADS * MOST], table[HEADS * (2 * FAR + 1)];
        const size_t far = cases[i][1], width = 2 * far + 1, one_way = cases[i][0] / (1 + cases[i][2]);
        const size_t exact = one_way / 2;
        for (size_t n = 0; n < HEADS * cases[i][0]; n++)
            weights[n] = (float)(n / HEADS) * (n % HEADS ? -1.0F : 1.0F);
        assert_ok(context, attn_bucket_table(context, HEADS, cases[i][0], far, (int)cases[i][2], weights, table));
        for (size_t n = 0; n < width; n++) {
            const bool later = n > far;
            const size_t d = !later ? far - n : cases[i][2] ? n - far : 0;
            size_t bucket = d < exact ? d : exact;
            while (d >= exact && bucket + 1 < one_way &&
                   (double)d >= (double)exact * pow((double)far / (double)exact,
                                                    (double)(bucket + 1 - exact) / (double)(one_way - exact)) -
                                    1e-9)
                bucket++;
            bucket += later && cases[i][2] ? one_way : 0;
            assert_int_equal((int)table[n], (int)bucket);
            assert_int_equal((int)table[width + n], -(int)bucket);
        }
    }
}

/* ---- relatives of the softmax ---- */

/* Which keys queries see, one bit for each, as their own documents tell it. */
static void windows_by_example(void **state) {
    (void)state;
    enum { MOST = 8 };
    static const struct {
        const char *name;
        size_t Tq, Tk;
        attn_causal causal, alignment;
        attn_window window;
        unsigned seen[MOST]; /* bit j: key j */
    } examples[] = {
        {"ONNX opset 25", 4, 6, ATTN_CAUSAL_NONE, ATTN_CAUSAL_TOP_LEFT, {2, 1}, {0x03, 0x07, 0x0F, 0x1E}},
        {"the same, as a cache is", 4, 6, ATTN_CAUSAL_NONE, ATTN_CAUSAL_NONE, {2, 1}, {0x0F, 0x1E, 0x3C, 0x38}},
        {"jax, T < S", 3, 6, ATTN_CAUSAL_NONE, ATTN_CAUSAL_TOP_LEFT, {1, 2}, {0x07, 0x0F, 0x1E}},
        {"jax, T > S", 5, 3, ATTN_CAUSAL_NONE, ATTN_CAUSAL_TOP_LEFT, {1, 0}, {0x01, 0x03, 0x06, 0x04, 0x00}},
        {"on one side", 7, 7, ATTN_CAUSAL_NONE, ATTN_CAUSAL_NONE, {4, -3}, {0, 0, 0, 0x01, 0x03, 0x06, 0x0C}},
        {"that, causal", 2, 7, ATTN_CAUSAL_BOTTOM_RIGHT, ATTN_CAUSAL_NONE, {4, -3}, {0x06, 0x0C}},
        {"on the other", 4, 4, ATTN_CAUSAL_NONE, ATTN_CAUSAL_TOP_LEFT, {-2, -1}, {0x0C, 0x08, 0, 0}}};
    attn_context *context = new_context_of(1, 0);
    for (size_t n = 0; n < COUNT(examples); n++) {
        const size_t Tq = examples[n].Tq, Tk = examples[n].Tk;
        struct sdpa_case c = sdpa_case_of(1, 1, 1, Tq, Tk, 4, 4);
        c.params.causal = examples[n].causal;
        c.params.alignment = examples[n].alignment;
        c.params.window = &examples[n].window;
        c.probabilities = true;
        const struct sdpa_result got = run_sdpa(context, &c);
        for (size_t i = 0; i < Tq * Tk; i++)
            if ((value(got.probabilities, i) > 0) != (examples[n].seen[i / Tk] >> i % Tk & 1U))
                fail_msg("%s: query %zu, key %zu", examples[n].name, i / Tk, i % Tk);
        end_case();
    }
}

/* Ramapuram et al.'s bias −ln n; more keys than a segment. */
static void sigmoids(void **state) {
    (void)state;
    static const size_t keys[] = {1, 70, 2047, 2100, 4097};
    attn_context *contexts[] = {new_context_of(1, 0), new_context_of(3, 0)};
    seed(51);
    for (size_t i = 0; i < 2 * COUNT(keys); i++) {
        struct sdpa_case c = sdpa_case_of(1, 2, 1, i % 2 ? 1 : 9, keys[i / 2], 16, 8);
        const float share[] = {-logf((float)keys[i / 2]), -logf((float)keys[i / 2])};
        const attn_relative_bias bias = {.table = share};
        c.params.relative_bias = &bias;
        c.params.sigmoid = 1;
        c.lse = false;
        c.key_mass = c.largest = true;
        c.top_keys = 2;
        check_sdpa(contexts[i / 2 % 2], &c);
        end_case();
    }
}

/* exp(s) / (1 + Σ exp(s)): as with a key and a value of zeros. */
static void softmax_plus_one(void **state) {
    (void)state;
    seed(52);
    struct sdpa_case c = sdpa_case_of(2, 2, 1, 5, 7, 16, 8);
    float sinks[] = {0, 0};
    for (size_t n = 0; n < 16; n++) {
        set_value_at(c.k, 0, 0, 6, n, 0);
        set_value_at(c.k, 1, 0, 6, n, 0);
        set_value_at(c.v, 0, 0, 6, n / 2, 0);
        set_value_at(c.v, 1, 0, 6, n / 2, 0);
    }
    const answer want = reference_sdpa(c.q, c.k, c.v, &c.params);
    c.k = tokens_of(c.k, 0, 6);
    c.v = tokens_of(c.v, 0, 6);
    c.params.sinks = sinks;
    const struct sdpa_result got = run_sdpa(new_context_of(1, 0), &c);
    assert_near(got.out, want.out, promised(1));
    assert_near(got.lse, want.lse, promised(1));
    end_case();
}

/* Every second of the heads that x [B,2H,T,D] has. */
static attn_tensor half_of_heads(attn_tensor x, size_t first) {
    x.data = element_at(x, 0, first, 0, 0);
    x.size[1] /= 2;
    x.stride[1] *= 2;
    return x;
}

/* (softmax(q1·k1) − λ · softmax(q2·k2)) · v, the heads normed, as the header of attn_sdpa composes it. */
static void differential_attention(void **state) {
    (void)state;
    enum { Bd = 2, Hd = 3, T = 40, D = 16, E = 32 };
    const double lambda = 0.3;
    attn_context *context = new_context_of(2, 0);
    seed(53);
    const attn_tensor q = new_normal(BTHD, Bd, 2 * Hd, T, D), k = new_normal(BTHD, Bd, 2 * Hd, T, D);
    const attn_tensor v = new_normal(BTHD, Bd, Hd, T, E), out = new_tensor(BTHD, Bd, Hd, T, E);
    const attn_tensor other = new_tensor(BTHD, Bd, Hd, T, E);
    attn_sdpa_params causal;
    attn_norm_params norm;
    ATTN_INIT(&causal);
    ATTN_INIT(&norm);
    causal.causal = ATTN_CAUSAL_TOP_LEFT;
    norm.kind = ATTN_RMS_NORM;
    answer part[2];
    for (size_t half = 0; half < 2; half++) {
        const attn_tensor qh = half_of_heads(q, half), kh = half_of_heads(k, half);
        part[half] = reference_sdpa(qh, kh, v, &causal);
        assert_ok(context, attn_sdpa(context, &qh, &kh, &v, half ? &other : &out, &causal));
    }
    double *const want = part[0].out;
    for (size_t n = 0; n < element_count(out); n++)
        want[n] -= lambda * part[1].out[n];
    for (size_t n = 0; n < element_count(out); n++)
        set_value(out, n, value(out, n) - lambda * value(other, n));
    assert_ok(context, attn_norm(context, &out, &out, &norm));
    for (size_t row = 0; row < (size_t)Bd * Hd * T; row++) {
        double square = 0;
        for (size_t e = 0; e < E; e++)
            square += want[row * E + e] * want[row * E + e] / E;
        for (size_t e = 0; e < E; e++)
            want[row * E + e] /= sqrt(square + 1e-5);
    }
    assert_near(out, want, promised(8));
    end_case();
}

/* ---- the callback ---- */

enum { CB = 2, CH = 3, CQ = 70, CK = 200 };
static _Atomic unsigned char calls_of[CB][CH][CQ][CK];
static _Atomic bool strayed;

static void count_calls(void *data, const attn_score_tile *t) {
    const bool inside = t->batch < CB && t->head < CH && t->query + t->queries <= CQ && t->key + t->keys <= CK;
    if (data != calls_of || !inside || t->queries == 0 || t->keys == 0 || t->stride < t->keys)
        strayed = true;
    for (size_t i = 0; i < t->queries && inside; i++)
        for (size_t j = 0; j < t->keys; j++)
            calls_of[t->batch][t->head][t->query + i][t->key + j] = 1;
}

/* Every score that is not masked is shown, whatever the tiles, and none that is not there. */
static void callback_sees_every_score(void **state) {
    (void)state;
    attn_context *contexts[] = {new_context_of(1, 0), new_context_of(3, 0)};
    seed(9);
    for (size_t i = 0; i < 8; i++) {
        struct levels levels = {{0}};
        const struct shape shape = {CB, CH, 1, CQ, CK, 8, 8};
        levels.of[CAUSAL] = (unsigned)(i % 4);
        levels.of[i < 4 ? WINDOW : MASK] = i % 2 ? 4 : 0;
        struct sdpa_case c = variant_of("counted", &levels, &shape);
        memset((void *)calls_of, 0, sizeof calls_of);
        strayed = false;
        c.params.score = count_calls;
        c.params.score_data = (void *)calls_of;
        (void)run_sdpa(contexts[i / 4], &c);
        c.params.score = NULL;
        assert_false(strayed);
        for (size_t x = 0; x < sizeof calls_of; x++) {
            const size_t j = x % CK, q = x / CK % CQ, h = x / CK / CQ % CH, b = x / CK / CQ / CH;
            const span s = span_of(&c.params, b, CQ, CK);
            if (sees(&c.params, &s, b, h, CH, q, j))
                assert_true(calls_of[b][h][q][j]);
        }
        end_case();
    }
}

/* What it makes of masked keys is nobody's business. */
static void scribble(void *data, const attn_score_tile *t) {
    const attn_sdpa_params *clean = data;
    const span s = {.Tq = CQ, .queries = CQ, .Tk = CK, .keys = CK};
    for (size_t i = 0; i < t->queries; i++)
        for (size_t j = 0; j < t->keys; j++)
            if (!sees(clean, &s, t->batch, t->head, CH, t->query + i, t->key + j))
                t->scores[i * t->stride + j] = j % 3 ? NAN : INFINITY;
}

static void leave_alone(void *data, const attn_score_tile *t) {
    (void)data;
    (void)t;
}

static void callback_cannot_unmask(void **state) {
    (void)state;
    static const enum option options[] = {MASK, KEY_MASK, CAUSAL, WINDOW, BLOCK_MAP};
    static const unsigned level[] = {1, 1, 1, 1, 2};
    attn_context *context = new_context_of(1, 0);
    seed(10);
    for (size_t i = 0; i < COUNT(options); i++) {
        struct levels levels = {{0}};
        const struct shape shape = {CB, CH, 1, CQ, CK, 8, 8};
        levels.of[options[i]] = level[i];
        levels.of[WEIGHTS] = 1 + ATTN_STAGE_BIASED;
        struct sdpa_case c = variant_of("scribbled", &levels, &shape);
        attn_sdpa_params clean = c.params;
        c.params.score = leave_alone;
        const struct sdpa_result want = run_sdpa(context, &c);
        c.params.score = scribble;
        c.params.score_data = &clean;
        const struct sdpa_result got = run_sdpa(context, &c);
        assert_same_result(&got, &want);
        end_case();
    }
}

/* ---- the rest ---- */

/* Of keys that are as probable the first come first; what is not visible is −1. */
static void equal_keys_in_their_order(void **state) {
    (void)state;
    enum { T = 150, K = 7 };
    attn_context *context = new_context_of(1, 0);
    seed(11);
    struct sdpa_case c = sdpa_case_of(1, 2, 1, T, T, 8, 8);
    for (size_t n = 0; n < element_count(c.k); n++)
        *element(c.k, n) = n / 8 % 3 == 1 ? 0.5F : 0; /* keys 1, 4, 7, … alike, and all others */
    for (size_t n = 0; n < element_count(c.q); n++)
        *element(c.q, n) = 1;
    set_causal(&c, ATTN_CAUSAL_TOP_LEFT, NULL);
    c.top_keys = K;
    const struct sdpa_result r = run_sdpa(context, &c);
    const int64_t *keys = r.top_keys.data;
    for (size_t row = 0; row < (size_t)2 * T; row++) {
        int64_t want[K];
        size_t n = 0;
        const int64_t i = (int64_t)(row % T);
        for (int64_t j = 1; j <= i && n < K; j += 3)
            want[n++] = j;
        for (int64_t j = 0; j <= i && n < K; j++)
            if (j % 3 != 1)
                want[n++] = j;
        while (n < K)
            want[n++] = -1;
        assert_memory_equal(keys + row * K, want, sizeof want);
    }
}

/* Outputs that are optional within an option. */
static void top_keys_without_probabilities(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(12);
    struct sdpa_case c = sdpa_case_of(1, 2, 1, 20, 70, 8, 8);
    c.top_keys = 4;
    const struct sdpa_result want = run_sdpa(context, &c);
    struct sdpa_result got = new_sdpa_result(&c);
    attn_top_keys top;
    const attn_sdpa_params params = params_for(&c, &got, &top);
    top.probabilities = NULL;
    assert_ok(context, attn_sdpa(context, &c.q, &c.k, &c.v, &got.out, &params));
    assert_bits(got.top_keys, want.top_keys);
    assert_untouched(got.top_probabilities);
}

/* After reserve there is no allocation; the size is known without data. */
static void scratch_is_known(void **state) {
    (void)state;
    enum { CASES = 60 };
    seed(13);
    for (size_t i = 0; i < CASES; i++) {
        struct meter m = {0};
        struct levels levels;
        size_t bytes[2] = {0};
        attn_top_keys top;
        for (size_t o = 0; o < OPTIONS; o++)
            levels.of[o] = (unsigned)random_below(OPTION_LEVELS[o]);
        const struct sdpa_case c = variant_of("scratch", &levels, &VARIANT_SHAPES[i % SHAPES]);
        const struct sdpa_result r = new_sdpa_result(&c);
        const attn_sdpa_params params = params_for(&c, &r, &top);
        attn_context *context = new_metered(&m, 1 + i % 3);
        attn_tensor q = c.q, k = c.k, v = c.v, out = r.out;
        assert_ok(context, attn_sdpa_scratch_size(context, &q, &k, &v, &out, &params, &bytes[0]));
        q.data = k.data = v.data = out.data = NULL;
        assert_ok(context, attn_sdpa_scratch_size(context, &q, &k, &v, &out, &params, &bytes[1]));
        assert_int_equal(bytes[0], bytes[1]);
        assert_ok(context, attn_context_reserve(context, bytes[0]));
        const size_t calls = m.calls;
        (void)run_sdpa(context, &c);
        attn_context_destroy(context);
        assert_int_equal(m.calls, calls);
        assert_int_equal(m.live, 0);
        end_case();
    }
}

/* Nothing but `weights` grows with Tq·Tk, and without an inspection nothing grows with either. */
static void memory_is_of_a_tile(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    size_t bytes[2][2] = {{0}};
    for (size_t i = 0; i < 4; i++) {
        const size_t T = i % 2 ? 1 << 16 : 1 << 14;
        const attn_tensor x = attn_tensor_bhtd(NULL, ATTN_F32, 1, 8, T, 64);
        const attn_tensor bias = attn_tensor_bhtd(NULL, ATTN_F32, 1, 1, T, T);
        float none = 0;
        attn_sdpa_params params;
        ATTN_INIT(&params);
        params.bias = &bias;
        params.softcap = 3;
        params.dropout = 0.5F;
        params.alibi = ATTN_ALIBI_STANDARD;
        params.key_mass = i / 2 ? &none : NULL;
        params.entropy = i / 2 ? &none : NULL;
        assert_ok(context, attn_sdpa_scratch_size(context, &x, &x, &x, &x, &params, &bytes[i / 2][i % 2]));
    }
    assert_int_equal(bytes[0][1], bytes[0][0]);
    assert_true(bytes[1][1] <= 5 * bytes[1][0]);
    assert_true(bytes[1][1] < (size_t)64 << 20);
}

static void presets(void **state) {
    (void)state;
    static const struct {
        attn_causal causal;
        attn_polarity polarity;
        int pad_masks;
    } want[] = {[ATTN_PRESET_PYTORCH_SDPA] = {ATTN_CAUSAL_TOP_LEFT, ATTN_KEEP, 0},
                [ATTN_PRESET_PYTORCH_MHA] = {ATTN_CAUSAL_TOP_LEFT, ATTN_DROP, 0},
                [ATTN_PRESET_ONNX] = {ATTN_CAUSAL_TOP_LEFT, ATTN_KEEP, 1},
                [ATTN_PRESET_FLASH] = {ATTN_CAUSAL_BOTTOM_RIGHT, ATTN_KEEP, 0},
                [ATTN_PRESET_HF] = {ATTN_CAUSAL_BOTTOM_RIGHT, ATTN_KEEP, 0}};
    for (size_t i = 0; i < 2 * COUNT(want); i++) {
        attn_sdpa_params params, expected;
        ATTN_INIT(&params);
        ATTN_INIT(&expected);
        expected.causal = i % 2 ? want[i / 2].causal : ATTN_CAUSAL_NONE;
        expected.polarity = want[i / 2].polarity;
        expected.pad_masks = want[i / 2].pad_masks;
        assert_int_equal(attn_sdpa_preset((attn_preset)(i / 2), i % 2 ? 7 : 0, &params), ATTN_OK);
        assert_memory_equal(&params, &expected, sizeof params);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(buckets_of_distances),   TEST(windows_by_example),        TEST(sigmoids),
        TEST(softmax_plus_one),       TEST(differential_attention),    TEST(callback_sees_every_score),
        TEST(callback_cannot_unmask), TEST(equal_keys_in_their_order), TEST(top_keys_without_probabilities),
        TEST(scratch_is_known),       TEST(memory_is_of_a_tile),       TEST(presets)};
    return cmocka_run_group_tests_name("special", tests, NULL, NULL);
}
