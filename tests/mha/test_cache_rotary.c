/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys that are normed and rotated as they enter a cache, against the double reference and against keys that the caller
 * had turned; encoders' keys too. */
#include <math.h>

#include "support/block_case.h"
#include "support/meter.h"
#include "support/turns.h"

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
    static const attn_dtype types[] = {ATTN_F32, ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_INT8, ATTN_INT4};
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

/* ---- shifts ---- */

/* The same tokens in another cache, those behind the gap `count` places earlier than they were. */
static attn_cache *shifted_anew(attn_context *context, const attn_cache *like, attn_dtype type, attn_tensor k,
                                attn_tensor v, size_t begin, size_t count, const attn_rotary *rotary) {
    attn_cache *cache = new_cache(context, type, 1, k.size[1], k.size[3], v.size[3], 600);
    const attn_cache_append_params turns = {.struct_size = sizeof turns, .rotary = rotary};
    const size_t left = k.size[2] - begin - count;
    const attn_tensor first_k = tokens_of(k, 0, begin), first_v = tokens_of(v, 0, begin);
    const attn_tensor rest_k = tokens_of(k, begin + count, left), rest_v = tokens_of(v, begin + count, left);
    assert_ok(context, attn_cache_append(context, cache, &first_k, &first_v, &turns));
    assert_ok(context, attn_cache_append(context, cache, &rest_k, &rest_v, &turns));
    assert_int_equal(attn_cache_length(cache, 0), attn_cache_length(like, 0));
    return cache;
}

/* A stream that has been shifted is one that had never been so long; again and again, and its fork stays what it is. */
static void streams_are_shifted(void **state) {
    (void)state;
    enum { T = 500, P = 256, G = 2, H = 4, D = 24, E = 10 };
    static const struct {
        attn_dtype type;
        double most;
    } types[] = {{ATTN_F32, 2e-5}, {ATTN_F16, 4e-3}, {ATTN_BF16, 4e-2}, {ATTN_INT8, 6e-2}, {ATTN_INT4, 1}};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    seed(9);
    for (size_t i = 0; i < n * COUNT(types) * 2; i++) {
        attn_context *context = contexts[i % n];
        const attn_dtype type = types[i / n % COUNT(types)].type;
        float cosines[(T + 100) * 8], sines[(T + 100) * 8];
        attn_rotary_tables_params scaled = {.struct_size = sizeof scaled, .scaling = ATTN_ROTARY_YARN, .factor = 4};
        scaled.original_positions = 100;
        attn_rotary rotary = {.struct_size = sizeof rotary, .width = 16, .positions = T + 100, .offset = i % 3 ? 8 : 0};
        rotary.kind = (attn_rotary_kind)(i % 2);
        rotary.cos = cosines;
        rotary.sin = sines;
        assert_ok(context, attn_rotary_tables(context, T + 100, 16, i % 4 ? &scaled : NULL, cosines, sines));
        const attn_tensor k = new_normal(BHTD, 1, G, T, D), v = new_normal(BTHD, 1, G, T, E);
        const attn_cache_append_params turns = {.struct_size = sizeof turns, .rotary = &rotary};
        attn_cache *cache = new_cache(context, type, 2, G, D, E, 600);
        const int64_t only[] = {T, 0};
        attn_cache_append_params first = turns;
        first.counts = only;
        attn_tensor two_k = k, two_v = v;
        two_k.size[0] = two_v.size[0] = 2;
        two_k.stride[0] = two_v.stride[0] = 0;
        assert_ok(context, attn_cache_append(context, cache, &two_k, &two_v, &first));
        assert_ok(context, attn_cache_fork(context, cache, 0, 1));
        const attn_tensor q = new_normal(BHTD, 2, H, 3, D), before = new_tensor(BHTD, 2, H, 3, E);
        const attn_tensor out = new_tensor(BHTD, 2, H, 3, E), want = new_tensor(BHTD, 1, H, 3, E);
        attn_sdpa_params params = {.struct_size = sizeof params, .causal = ATTN_CAUSAL_BOTTOM_RIGHT, .rotary = &rotary};
        assert_ok(context, attn_cache_attend(context, cache, &q, &before, &params));
        attn_rotary of_queries = rotary; /* which a shift does not look at */
        of_queries.query_positions = only;
        assert_ok(context, attn_cache_shift(context, cache, 0, 0, P, &of_queries));
        assert_ok(context, attn_cache_attend(context, cache, &q, &out, &params));
        attn_cache *anew = shifted_anew(context, cache, type, k, v, 0, P, &rotary);
        attn_tensor q_one = q;
        q_one.size[0] = 1;
        assert_ok(context, attn_cache_attend(context, anew, &q_one, &want, &params));
        for (size_t e = 0; e < element_count(want); e++) {
            name_case("shifted: type %d, kind %d", (int)type, (int)rotary.kind);
            assert_true(fabs(value(out, e) - value(want, e)) <= types[i / n % COUNT(types)].most);
            assert_true(value(out, e + element_count(want)) == value(before, e + element_count(want)));
        }
        attn_cache_destroy(anew);
        attn_cache_destroy(cache);
        end_case();
    }
}

/* A rolling cache with first tokens, past its tables and its capacity: first tokens keep their places. */
static void an_endless_stream(void **state) {
    (void)state;
    enum { P = 128, TABLES = 640, G = 1, D = 16, WINDOW = 100, FIRST = 4, STEP = 50, STEPS = 60 };
    attn_context *context = new_context_of(2, 0);
    float cosines[TABLES * D / 2], sines[TABLES * D / 2];
    attn_rotary rotary = {.struct_size = sizeof rotary, .positions = TABLES, .cos = cosines, .sin = sines};
    attn_cache_params p = {.struct_size = sizeof p, .batch = 1, .capacity = TABLES, .kv_heads = G, .head_width = D};
    attn_cache *cache;
    seed(10);
    p.window = WINDOW;
    p.first_tokens = FIRST;
    p.page_size = P;
    assert_ok(context, attn_cache_create(context, &p, &cache));
    assert_ok(context, attn_rotary_tables(context, TABLES, D, NULL, cosines, sines));
    const attn_cache_append_params turns = {.struct_size = sizeof turns, .rotary = &rotary};
    const attn_sdpa_params params = {
        .struct_size = sizeof params, .causal = ATTN_CAUSAL_BOTTOM_RIGHT, .rotary = &rotary};
    const attn_tensor k = new_normal(BHTD, 1, G, STEP * STEPS, D), v = new_normal(BHTD, 1, G, STEP * STEPS, D);
    size_t gone = 0;
    for (size_t s = 0; s < STEPS; s++) {
        const attn_tensor some_k = tokens_of(k, s * STEP, STEP), some_v = tokens_of(v, s * STEP, STEP);
        if (attn_cache_length(cache, 0) + STEP > TABLES) {
            const size_t count = (attn_cache_length(cache, 0) - WINDOW - P) / P * P;
            assert_ok(context, attn_cache_shift(context, cache, 0, P, count, &rotary));
            gone += count;
        }
        assert_ok(context, attn_cache_append(context, cache, &some_k, &some_v, &turns));
        const size_t length = attn_cache_length(cache, 0), all = length + gone;
        const size_t near = length < WINDOW + FIRST ? length - FIRST : WINDOW;
        assert_int_equal(all, (s + 1) * STEP);
        /* The last query sees the first tokens at 0 to 3 and the last ones where they are now. */
        const attn_tensor seen_k = new_tensor(BHTD, 1, G, FIRST + near, D),
                          seen_v = new_tensor(BHTD, 1, G, FIRST + near, D);
        int64_t positions[FIRST + WINDOW], last = (int64_t)length - 1;
        for (size_t j = 0; j < FIRST + near; j++) {
            const size_t from = j < FIRST ? j : all - near + j - FIRST;
            positions[j] = (int64_t)(j < FIRST ? j : from - gone);
            for (size_t d = 0; d < D; d++) {
                set_value_at(seen_k, 0, 0, j, d, value_at(k, 0, 0, from, d));
                set_value_at(seen_v, 0, 0, j, d, value_at(v, 0, 0, from, d));
            }
        }
        const attn_tensor q = new_normal(BHTD, 1, 2, 1, D), out = new_tensor(BHTD, 1, 2, 1, D);
        const attn_tensor want = new_tensor(BHTD, 1, 2, 1, D);
        attn_rotary placed = rotary;
        placed.key_positions = positions;
        placed.query_positions = &last;
        const attn_sdpa_params plain = {.struct_size = sizeof plain, .rotary = &placed};
        assert_ok(context, attn_cache_attend(context, cache, &q, &out, &params));
        assert_ok(context, attn_sdpa(context, &q, &seen_k, &seen_v, &want, &plain));
        for (size_t e = 0; e < element_count(out); e++) {
            name_case("step %zu of an endless stream, %zu tokens are gone", s, gone);
            assert_true(fabs(value(out, e) - value(want, e)) <= 3e-5);
        }
    }
    assert_true(gone > 3 * TABLES);
    attn_cache_destroy(cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(in_pieces),           TEST(encoder),
                                       TEST(overflows),           TEST(scratch),
                                       TEST(streams_are_shifted), TEST(an_endless_stream)};
    return cmocka_run_group_tests_name("cache_rotary", tests, NULL, NULL);
}
