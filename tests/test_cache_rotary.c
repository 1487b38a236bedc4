/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys that are normed and rotated as they enter a cache, against the double reference and against keys that the caller
 * had turned; encoders' keys too. */
#include <math.h>

#include "block_case.h"
#include "meter.h"
#include "turns.h"

enum { MOST = 3 }; /* sequences */

static attn_cache *new_cache(attn_context *context, attn_dtype type, size_t B, size_t G, size_t D, size_t E,
                             size_t capacity) {
    attn_cache_params p = {.struct_size = sizeof p, .batch = B, .kv_heads = G, .head_width = D, .value_width = E};
    attn_cache *cache = NULL;
    p.capacity = capacity;
    p.dtype = type;
    assert_ok(context, attn_cache_create(context, &p, &cache));
    return cache;
}

/* ---- in pieces ---- */

/* Some tokens of each sequence, where what is appended next begins, and how many there are; T in the tensors, padded or
 * ragged. */
struct piece {
    bool ragged;
    size_t T;
    int64_t first[MOST], counts[MOST], starts[MOST + 1];
};

static struct piece next_piece(const struct sdpa_case *c, const attn_cache *cache, size_t most) {
    const size_t B = c->k.size[0];
    struct piece p = {.ragged = random_below(2) > 0};
    p.starts[0] = p.ragged ? (int64_t)random_below(3) : 0;
    for (size_t b = 0; b < B; b++) {
        p.first[b] = (int64_t)attn_cache_length(cache, b);
        const size_t left = (size_t)(c->params.key_lengths[b] - p.first[b]), count = random_below(most + 1);
        p.counts[b] = (int64_t)(count < left ? count : left);
        p.starts[b + 1] = p.ragged ? p.starts[b] + p.counts[b] : 0;
        p.T = (size_t)p.counts[b] > p.T ? (size_t)p.counts[b] : p.T;
    }
    p.T = p.ragged ? (size_t)p.starts[B] + random_below(3) : p.T;
    return p;
}

/* Its tokens; all else is NaN. */
static attn_tensor tokens_in(const struct piece *p, attn_tensor t) {
    const size_t B = t.size[0];
    const attn_tensor some = new_tensor_of(t.dtype, (enum layout)random_below(OUTPUT_LAYOUTS), p->ragged ? 1 : B,
                                           t.size[1], p->T, t.size[3]);
    for (size_t n = 0; n < element_count(some); n++)
        set_value(some, n, NAN);
    for (size_t b = 0; b < B; b++)
        for (size_t g = 0; g < t.size[1]; g++)
            for (size_t i = 0; i < (size_t)p->counts[b]; i++)
                for (size_t d = 0; d < t.size[3]; d++)
                    set_value_at(some, p->ragged ? 0 : b, g, (size_t)p->starts[b] + i, d,
                                 value_at(t, b, g, (size_t)p->first[b] + i, d));
    return some;
}

/* Their positions on each axis; what is of no token is none. */
static const int64_t *positions_in(const struct piece *p, const attn_rotary *rotary, size_t B, size_t Tk) {
    const size_t axes = rotary->axes > 1 ? rotary->axes : 1, tokens = (p->ragged ? 1 : B) * p->T;
    int64_t *some = random_positions(axes * tokens, 1);
    if (!rotary->key_positions)
        return NULL;
    for (size_t n = 0; n < axes * tokens; n++)
        some[n] = -1;
    for (size_t n = 0; n < axes * B; n++) {
        const size_t a = n / B, b = n % B;
        for (size_t i = 0; i < (size_t)p->counts[b]; i++)
            some[a * tokens + (p->ragged ? (size_t)p->starts[b] : b * p->T) + i] =
                rotary->key_positions[(a * B + b) * Tk + (size_t)p->first[b] + i];
    }
    return some;
}

static bool is_full(const struct sdpa_case *c, const attn_cache *cache) {
    for (size_t b = 0; b < c->k.size[0]; b++)
        if ((int64_t)attn_cache_length(cache, b) < c->params.key_lengths[b])
            return false;
    return true;
}

/* Key_lengths tokens of each sequence, at most `most` at a time. */
static void append_pieces(attn_context *context, attn_cache *cache, const struct sdpa_case *c, size_t most) {
    const size_t B = c->k.size[0], Tk = c->k.size[2];
    while (!is_full(c, cache)) {
        const struct piece piece = next_piece(c, cache, most);
        const attn_tensor k = tokens_in(&piece, c->k), v = tokens_in(&piece, c->v);
        attn_cache_append_params p = {.struct_size = sizeof p, .counts = piece.counts, .qk_norm = c->params.qk_norm};
        p.starts = piece.ragged ? piece.starts : NULL;
        attn_rotary rotary;
        if (c->params.rotary) {
            rotary = *c->params.rotary;
            rotary.key_positions = positions_in(&piece, c->params.rotary, B, Tk);
            p.rotary = &rotary;
        }
        assert_ok(context, attn_cache_append(context, cache, &k, &v, &p));
    }
}

/* ---- at once, turned by the functions for that ---- */

static void norm_before(attn_context *context, const attn_qk_norm *norm, const float *weight, attn_tensor x) {
    const size_t D = x.size[3];
    for (size_t g = 0; g < x.size[1]; g++) {
        attn_norm_params p = {.struct_size = sizeof p, .kind = norm->kind, .eps = norm->eps, .weight = weight};
        attn_tensor head = x;
        head.data = element_at(x, 0, g, 0, 0);
        head.size[1] = 1;
        p.weight = p.weight && norm->per_head ? p.weight + g * D : p.weight;
        assert_ok(context, attn_norm(context, &head, &head, &p));
    }
}

/* x, normed by the weights, and rotated, or the other way round. */
static attn_tensor turned_before(attn_context *context, const attn_qk_norm *norm, const float *weight,
                                 const attn_rotary *rotary, attn_tensor x) {
    const attn_tensor y = new_tensor(BHTD, x.size[0], x.size[1], x.size[2], x.size[3]);
    assert_ok(context, attn_tensor_copy(context, &x, &y));
    if (norm && !norm->after_rotary)
        norm_before(context, norm, weight, y);
    if (rotary)
        assert_ok(context, attn_rotate(context, &y, &y, rotary, rotary->key_positions));
    if (norm && norm->after_rotary)
        norm_before(context, norm, weight, y);
    return y;
}

static attn_cache *filled_before(attn_context *context, const struct sdpa_case *c, attn_dtype type) {
    const attn_qk_norm *norm = c->params.qk_norm;
    const attn_rotary *rotary = c->params.rotary;
    attn_rotary of_values = rotary ? *rotary : (attn_rotary){0};
    of_values.width = of_values.width ? of_values.width : c->k.size[3]; /* of K */
    const attn_tensor k = turned_before(context, norm, norm ? norm->k_weight : NULL, rotary, c->k);
    const attn_tensor v = turned_before(context, norm && norm->norm_values ? norm : NULL, norm ? norm->v_weight : NULL,
                                        rotary && rotary->rotate_values ? &of_values : NULL, c->v);
    const attn_cache_append_params p = {.struct_size = sizeof p, .counts = c->params.key_lengths};
    attn_cache *cache = new_cache(context, type, k.size[0], k.size[1], k.size[3], c->v.size[3], c->k.size[2]);
    assert_ok(context, attn_cache_append(context, cache, &k, &v, &p));
    return cache;
}

/* ---- the same, and right ---- */

static struct sdpa_result attend(attn_context *context, const attn_cache *cache, const struct sdpa_case *c) {
    const struct sdpa_result r = new_sdpa_result(c);
    attn_top_keys top;
    attn_sdpa_params params = params_for(c, &r, &top);
    attn_rotary of_queries;
    if (params.rotary) {
        of_queries = *params.rotary;
        of_queries.key_positions = NULL;
        params.rotary = &of_queries;
    }
    assert_ok(context, attn_cache_attend(context, cache, &c->q, &r.out, &params));
    return r;
}

/* Sequences of different lengths that have room for all queries, as the last tokens. */
static struct sdpa_case random_case(attn_context *context, struct turns *turns) {
    static const size_t lengths[] = {3, 16, 17, 70, 150, 300}, widths[] = {2, 8, 33, 64, 65, 128};
    const size_t G = 1 + random_below(2), H = G * (1 + random_below(2)), B = 1 + random_below(MOST);
    const size_t Tq = 1 + random_below(3), Tk = random_pick(lengths), D = random_pick(widths);
    struct sdpa_case c = sdpa_case_of(B, H, G, Tq, Tk, D, 24);
    int64_t live[MOST];
    for (size_t b = 0; b < MOST; b++)
        live[b] = (int64_t)(random_below(2) ? Tk : Tq + random_below(Tk - Tq + 1));
    live[random_below(B)] = (int64_t)Tk;
    c.k = new_normal_of((attn_dtype)random_below(3), (enum layout)random_below(LAYOUTS), B, G, Tk, D);
    c.score_size = 8;
    c.probabilities = false;
    set_causal(&c, ATTN_CAUSAL_BOTTOM_RIGHT, NULL);
    set_random_turns(context, &c, turns);
    c.params.key_lengths = new_integers(live, B);
    return c;
}

/* The queries one after the other: the same bits. */
static void check_ragged(attn_context *context, const attn_cache *cache, const struct sdpa_case *c,
                         const struct sdpa_result *want) {
    const size_t B = c->q.size[0], H = c->q.size[1], Tq = c->q.size[2], D = c->q.size[3], E = c->v.size[3];
    struct sdpa_case ragged = *c;
    int64_t starts[MOST + 1];
    ragged.q = new_tensor_of(c->q.dtype, BTHD, 1, H, B * Tq, D);
    ragged.probabilities = ragged.lse = false;
    for (size_t b = 0; b <= B; b++)
        starts[b] = (int64_t)(b * Tq);
    for (size_t n = 0; n < element_count(c->q); n++)
        set_value_at(ragged.q, 0, n / D / Tq % H, n / D / Tq / H * Tq + n / D % Tq, n % D, value(c->q, n));
    ragged.params.key_lengths = NULL; /* the cache's */
    ragged.params.query_starts = starts;
    ragged.params.sequences = B;
    ragged.out = new_tensor_of(c->out_type, BTHD, 1, H, B * Tq, E);
    const struct sdpa_result got = attend(context, cache, &ragged);
    for (size_t b = 0; b < B; b++)
        assert_bits(tokens_of(got.out, b * Tq, Tq), sequence_of(want->out, b));
}

static void check_turned(attn_context *context, attn_dtype type, int number) {
    struct turns turns;
    struct sdpa_case c = random_case(context, &turns);
    snprintf(c.name, sizeof c.name, "type %d, rotated %d, norm %d of %d, case %d", (int)type, c.params.rotary != NULL,
             c.params.qk_norm != NULL, (int)turns.norm.kind, number);
    name_sdpa(&c);
    const bool has_before = !c.params.qk_norm || !turns.norm.all_heads; /* for which there is no function */
    attn_cache *before = has_before ? filled_before(context, &c, type) : NULL;
    attn_cache *cache = new_cache(context, type, c.k.size[0], c.k.size[1], c.k.size[3], 24, c.k.size[2]);
    append_pieces(context, cache, &c, number % 3 ? 40 : 5);
    const struct sdpa_result got = attend(context, cache, &c);
    if (has_before) {
        const struct sdpa_result same = attend(context, before, &c);
        assert_same_result(&got, &same);
    }
    check_ragged(context, cache, &c, &got);
    if (type == ATTN_F32) {
        const struct sdpa_case plain = turned_case(&c);
        assert_sdpa_near(&plain, &got);
    }
    attn_cache_destroy(cache);
    attn_cache_destroy(before);
    end_case();
}

static void in_pieces(void **state) {
    (void)state;
    static const attn_dtype types[] = {ATTN_F32, ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_INT8};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    for (size_t i = 0; i < n; i++) {
        seed(1);
        for (int k = 0; k < 80; k += (int)every())
            check_turned(contexts[i], types[(size_t)k % COUNT(types)], k);
    }
}

/* ---- an encoder's ---- */

/* The keys of an encoder's output, of which each sequence has so many tokens, turned once and for all steps. */
static void encoder(void **state) {
    (void)state;
    enum { M = 48, HEADS = 3, T = 4, Te = 40 };
    static const int64_t lengths[] = {Te, 1, 17};
    attn_context *context = new_context_of(2, 0);
    struct block_case parts;
    struct turns turns;
    attn_block_inputs inputs;
    attn_sdpa_params cross;
    seed(2);
    init_block(&parts, M, HEADS, 64, WHOLE);
    fill_block(&parts, true);
    attn_block *block = new_block(context, &parts);
    attn_cache *cache = new_cache(context, ATTN_F32, MOST, HEADS, M / HEADS, M / HEADS, Te);
    const attn_tensor x = new_normal(BHTD, MOST, 1, T, M), encoded = new_normal(PADDED, MOST, 1, Te, M);
    const attn_tensor want = new_tensor(BHTD, MOST, 1, T, M), got = new_tensor(BHTD, MOST, 1, T, M);
    ATTN_INIT(&inputs);
    ATTN_INIT(&cross);
    ATTN_INIT(&turns.norm);
    turns.norm.kind = ATTN_RMS_NORM;
    turns.norm.k_weight = random_weights(M / HEADS);
    turns.rotary = rotary_of(context, ATTN_ROTARY_HALF, 8, M / HEADS, Te);
    turns.rotary.query_positions = random_positions((size_t)MOST * T, Te);
    const attn_cache_append_params p = {sizeof p, lengths, &turns.norm, &turns.rotary, NULL};
    cross.qk_norm = &turns.norm;
    cross.rotary = &turns.rotary;
    cross.key_lengths = lengths;
    inputs.cross_params = &cross;
    inputs.encoded = &encoded;
    assert_ok(context, attn_block_forward(context, block, &x, &want, &inputs));
    assert_ok(context, attn_block_encode(context, block, &encoded, cache, &p));
    for (size_t b = 0; b < MOST; b++)
        assert_int_equal(attn_cache_length(cache, b), lengths[b]);
    inputs.encoded = NULL;
    inputs.encoded_cache = cache;
    cross.key_lengths = NULL;
    assert_ok(context, attn_block_forward(context, block, &x, &got, &inputs));
    assert_bits(got, want);
    attn_cache_destroy(cache);
    attn_block_destroy(block);
}

/* ---- int8 ---- */

/* A key that is finite, but not once it is turned, is not for int8: neither a decoder's nor an encoder's. */
static void overflows(void **state) {
    (void)state;
    enum { M = 16, B = 2, T = 3 };
    static const float huge[] = {3e38F, 3e38F, 3e38F, 3e38F, 3e38F, 3e38F, 3e38F, 3e38F};
    attn_context *context = new_context_of(1, 0);
    attn_cache *cache = new_cache(context, ATTN_INT8, B, 2, M / 2, M / 2, 2 * T);
    struct block_case parts;
    attn_block_inputs inputs;
    attn_sdpa_params params;
    attn_qk_norm norm = {.struct_size = sizeof norm, .kind = ATTN_LAYER_NORM, .k_weight = huge};
    const attn_cache_append_params p = {.struct_size = sizeof p, .qk_norm = &norm};
    seed(3);
    init_block(&parts, M, 2, 20, HAS_CROSS);
    fill_block(&parts, true);
    attn_block *block = new_block(context, &parts);
    const attn_tensor x = new_normal(BHTD, B, 1, T, M), encoded = new_normal(BHTD, B, 1, T, M);
    const attn_tensor out = new_tensor(BHTD, B, 1, T, M);
    ATTN_INIT(&inputs);
    ATTN_INIT(&params);
    params.qk_norm = &norm;
    inputs.self_params = &params;
    inputs.cache = cache;
    inputs.encoded = &encoded;
    assert_status(context, attn_block_forward(context, block, &x, &out, &inputs), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "int8");
    assert_untouched(out);
    assert_status(context, attn_block_encode(context, block, &x, cache, &p), ATTN_ERROR_VALUE);
    assert_int_equal(attn_cache_length(cache, 0), 0);
    norm.k_weight = NULL;
    assert_ok(context, attn_block_encode(context, block, &x, cache, &p));
    attn_cache_destroy(cache);
    attn_block_destroy(block);
}

/* ---- scratch ---- */

/* An f32 cache needs scratch only for what is turned: as much as its manual says, or it is an error. */
static void scratch(void **state) {
    (void)state;
    enum { THREADS = 2, D = 40, BYTES = THREADS * 192 * 48 };
    struct meter m = {0};
    attn_context *context = new_metered(&m, THREADS);
    attn_cache *cache = new_cache(context, ATTN_F32, 1, 1, D, 3, 100);
    const attn_tensor k = new_normal(BHTD, 1, 1, 20, D), v = new_normal(BHTD, 1, 1, 20, 3);
    const attn_rotary rotary = rotary_of(context, ATTN_ROTARY_HALF, 0, D, 100);
    const attn_cache_append_params p = {.struct_size = sizeof p, .rotary = &rotary};
    m.fail_at = m.calls + 1;
    assert_ok(context, attn_cache_append(context, cache, &k, &v, NULL));
    assert_status(context, attn_cache_append(context, cache, &k, &v, &p), ATTN_ERROR_MEMORY);
    assert_int_equal(attn_cache_length(cache, 0), 20);
    assert_ok(context, attn_context_reserve(context, BYTES));
    const size_t calls = m.calls;
    assert_ok(context, attn_cache_append(context, cache, &k, &v, &p));
    assert_int_equal(m.calls, calls);
    attn_cache_destroy(cache);
    attn_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(in_pieces), TEST(encoder), TEST(overflows), TEST(scratch)};
    return cmocka_run_group_tests_name("cache_rotary", tests, NULL, NULL);
}
