/* SPDX-License-Identifier: BSD-3-Clause */
/* The same bits, whatever runs the work: any number of threads, any pool, any time, any batch. */
#include <fenv.h>
#include <string.h>

#include "support/pools.h"
#include "support/sdpa_case.h"

static const size_t THREADS[] = {1, 2, 3, 7};

enum { SHAPES = 8 };

/* Few and many heads, long and short, decoding, uneven tiles. */
static struct sdpa_case shape(size_t n) {
    static const size_t sizes[SHAPES][7] = {{1, 1, 1, 300, 300, 16, 16}, {1, 2, 1, 257, 130, 64, 40},
                                            {2, 6, 3, 65, 90, 8, 24},    {3, 4, 4, 1, 300, 32, 32},
                                            {1, 1, 1, 7, 7, 3, 5},       {1, 1, 1, 500, 500, 8, 8},
                                            {1, 4, 2, 1, 7000, 8, 20},   {1, 2, 1, 20, 4100, 16, 8}};
    static const int64_t offsets[3] = {-30, 20, 3};
    const size_t *s = sizes[n];
    struct sdpa_case c = sdpa_case_of(s[0], s[1], s[2], s[3], s[4], s[5], s[6]);
    c.probabilities = s[4] < 4000; /* without them the keys are shared between threads */
    set_causal(&c, (attn_causal)(n % CAUSALS), offsets);
    return c;
}

static void check_same_bits(attn_context *const *contexts, size_t n) {
    seed(1);
    for (size_t i = 0; i < SHAPES; i++) {
        const struct sdpa_case c = shape(i);
        const struct sdpa_result want = run_sdpa(contexts[0], &c);
        for (size_t t = 1; t < n; t++) {
            const struct sdpa_result got = run_sdpa(contexts[t], &c);
            assert_same_result(&got, &want);
        }
        end_case();
    }
}

static void any_number_of_threads(void **state) {
    (void)state;
    attn_context *contexts[COUNT(THREADS)];
    for (size_t i = 0; i < COUNT(THREADS); i++)
        contexts[i] = new_context_of(THREADS[i], 0);
    check_same_bits(contexts, COUNT(THREADS));
}

/* Sequences that end where their tiles are shared out otherwise than those of all the tokens. */
static void any_lengths(void **state) {
    (void)state;
    enum { TQ = 300, STEP = 26 };
    attn_context *const one = new_context_of(1, 0);
    seed(2);
    for (size_t threads = 2; threads <= 7; threads++) {
        attn_context *const several = new_context_of(threads, 0);
        for (int64_t length = 0; length <= TQ; length += STEP * (int64_t)every()) {
            const int64_t lengths[] = {94, length};
            struct sdpa_case c = sdpa_case_of(2, 2, 2, TQ, 40, 8, 8);
            c.params.query_lengths = lengths;
            name_case("%zu threads, length %d", threads, (int)length);
            const struct sdpa_result got = run_sdpa(several, &c), want = run_sdpa(one, &c);
            assert_same_result(&got, &want);
            end_case();
        }
    }
}

static void any_pool(void **state) {
    (void)state;
    attn_context *contexts[1 + 3 * COUNT(THREADS)] = {new_context_of(1, 0)};
    for (size_t i = 0; i < COUNT(THREADS); i++) {
        contexts[1 + 3 * i] = new_context_on(run_in_order, &THREADS[i]);
        contexts[2 + 3 * i] = new_context_on(run_backwards, &THREADS[i]);
        contexts[3 + 3 * i] = new_context_on(run_on_pthreads, &THREADS[i]);
    }
    parallel_calls = 0;
    check_same_bits(contexts, COUNT(contexts));
    assert_true(parallel_calls > 0);
}

/* Most of it is subnormal. */
static void shrink(attn_tensor dense) {
    float *x = dense.data;
    for (size_t i = 0; i < dense.size[0] * dense.size[1] * dense.size[2] * dense.size[3]; i++)
        x[i] *= 1e-38F;
}

static struct sdpa_result run_in_mode(attn_context *context, const struct sdpa_case *c, int rounding, bool subnormals) {
    set_floating_point_mode(rounding, subnormals);
    const struct sdpa_result result = run_sdpa(context, c);
    set_floating_point_mode(FE_TONEAREST, true);
    return result;
}

/* Threads that were started in one mode work in the caller's. */
static void any_floating_point_mode(void **state) {
    (void)state;
    static const int roundings[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    attn_context *contexts[] = {new_context_of(1, 0), new_context_of(2, 0), new_context_of(7, 0),
                                new_context_on(run_on_pthreads, &THREADS[2])};
    check_same_bits(contexts, COUNT(contexts));
    seed(3);
    for (size_t i = 0; i < SHAPES * COUNT(roundings) * 2; i += every()) {
        const int rounding = roundings[i / SHAPES % COUNT(roundings)];
        const bool subnormals = i / SHAPES / COUNT(roundings);
        const struct sdpa_case c = shape(i % SHAPES);
        shrink(c.v);
        const struct sdpa_result want = run_in_mode(contexts[0], &c, rounding, subnormals);
        for (size_t n = 1; n < COUNT(contexts); n++) {
            const struct sdpa_result got = run_in_mode(contexts[n], &c, rounding, subnormals);
            assert_same_result(&got, &want);
        }
        end_case();
    }
}

/* Nothing of a call stays behind in the context and shows in the next. */
static void calls_again(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    seed(2);
    for (size_t i = 0; i < SHAPES; i++) {
        const struct sdpa_case c = shape(i), other = shape((i + 1) % SHAPES);
        const struct sdpa_result want = run_sdpa(context, &c);
        (void)run_sdpa(context, &other);
        const struct sdpa_result got = run_sdpa(context, &c);
        assert_same_result(&got, &want);
        end_case();
    }
}

/* OpenBLAS's kernels for small matrices, on AVX-512, compute each row alone: the bits of its product do not depend on
 * how many rows there are. Other backends promise no such thing. */
static bool rows_are_independent(attn_context *context) {
    const attn_context_info info = describe(context);
    const char *const cores[] = {"SkylakeX", "Cooperlake", "SapphireRapids"};
    for (size_t i = 0; i < COUNT(cores); i++)
        if (strcmp(info.blas, "openblas") == 0 && strcmp(info.blas_core, cores[i]) == 0)
            return true;
    return false;
}

static void skip_unless_rows_are_independent(attn_context *context) {
    const attn_context_info info = describe(context);
    if (rows_are_independent(context))
        return;
    print_message("skipped: with %s %s a row's bits may depend on its neighbours\n", info.blas, info.blas_core);
    skip();
}

/* Prefill in one go and in uneven pieces. */
static void any_chunking(void **state) {
    (void)state;
    enum { T = 301 };
    static const size_t ends[] = {1, 3, 70, 71, 200, 264, T};
    attn_context *context = new_context_of(1, 0);
    skip_unless_rows_are_independent(context);
    seed(3);
    struct sdpa_case c = sdpa_case_of(1, 2, 1, T, T, 64, 64);
    set_causal(&c, ATTN_CAUSAL_BOTTOM_RIGHT, NULL);
    const struct sdpa_result whole = run_sdpa(context, &c);
    c.probabilities = false;
    for (size_t i = 0, begin = 0; i < COUNT(ends); begin = ends[i++]) {
        struct sdpa_case chunk = c;
        chunk.q = tokens_of(c.q, begin, ends[i] - begin);
        chunk.k = tokens_of(c.k, 0, ends[i]);
        chunk.v = tokens_of(c.v, 0, ends[i]);
        const struct sdpa_result part = run_sdpa(context, &chunk);
        assert_bits(part.out, tokens_of(whole.out, begin, ends[i] - begin));
        assert_bits(part.lse, tokens_of(whole.lse, begin, ends[i] - begin));
    }
}

/* Heads of q, heads of k and v, width. */
static const size_t HEADS[][3] = {{1, 1, 64},  {4, 4, 64},  {4, 1, 64},  {6, 2, 64},
                                  {1, 1, 128}, {4, 4, 128}, {8, 2, 128}, {3, 3, 40}};

/* Each sequence of a batch alone. */
static void check_batch(attn_context *context, const struct sdpa_case *c, const int64_t *offsets) {
    const struct sdpa_result all = run_sdpa(context, c);
    for (size_t b = 0; b < c->q.size[0]; b++) {
        struct sdpa_case one = *c;
        one.q = sequence_of(c->q, b);
        one.k = sequence_of(c->k, b);
        one.v = sequence_of(c->v, b);
        set_causal(&one, c->params.causal, &offsets[b]);
        const struct sdpa_result got = run_sdpa(context, &one);
        assert_bits(got.out, sequence_of(all.out, b));
        assert_bits(got.lse, sequence_of(all.lse, b));
        assert_bits(got.probabilities, sequence_of(all.probabilities, b));
    }
}

static void any_batch(void **state) {
    (void)state;
    enum { B = 3 };
    static const size_t tokens[][2] = {{1, 200}, {90, 90}, {320, 200}};
    static const int64_t offsets[B] = {0, 40, -7};
    attn_context *context = new_context_of(2, 0);
    skip_unless_rows_are_independent(context);
    seed(4);
    for (size_t i = 0; i < COUNT(HEADS); i++)
        for (size_t t = 0; t < COUNT(tokens); t++) {
            const size_t *h = HEADS[i];
            struct sdpa_case c = sdpa_case_of(B, h[0], h[1], tokens[t][0], tokens[t][1], h[2], h[2]);
            set_causal(&c, (attn_causal)((i + t) % CAUSALS), offsets);
            check_batch(context, &c, offsets);
            end_case();
        }
}

/* Prefill in chunks of `size` tokens, each of which finds the keys before it in place. */
static void check_chunks(attn_context *context, const struct sdpa_case *c, const struct sdpa_result *whole,
                         size_t size) {
    const size_t T = c->q.size[2];
    for (size_t begin = 0; begin < T; begin += size) {
        const size_t n = begin + size < T ? size : T - begin;
        const int64_t offsets[2] = {(int64_t)begin, (int64_t)begin};
        struct sdpa_case chunk = *c;
        chunk.q = tokens_of(c->q, begin, n);
        chunk.k = tokens_of(c->k, 0, begin + n);
        chunk.v = tokens_of(c->v, 0, begin + n);
        set_causal(&chunk, ATTN_CAUSAL_OFFSET, offsets);
        const struct sdpa_result part = run_sdpa(context, &chunk);
        assert_bits(part.out, tokens_of(whole->out, begin, n));
        assert_bits(part.lse, tokens_of(whole->lse, begin, n));
    }
}

static void chunks_of_whole_blocks(void **state) {
    (void)state;
    enum { B = 2, T = 320 };
    static const size_t chunk_sizes[] = {64, 128, 192};
    attn_context *context = new_context_of(2, 0);
    skip_unless_rows_are_independent(context);
    seed(5);
    for (size_t i = 0; i < COUNT(HEADS); i++) {
        const size_t *h = HEADS[i];
        struct sdpa_case c = sdpa_case_of(B, h[0], h[1], T, T, h[2], h[2]);
        set_causal(&c, ATTN_CAUSAL_TOP_LEFT, NULL);
        c.probabilities = false;
        const struct sdpa_result whole = run_sdpa(context, &c);
        for (size_t s = 0; s < COUNT(chunk_sizes); s++)
            check_chunks(context, &c, &whole, chunk_sizes[s]);
        end_case();
    }
}

/* Over more keys than one segment, down to single tokens. */
static void chunks_of_long_sequences(void **state) {
    (void)state;
    enum { T = 4200 };
    static const size_t chunk_sizes[] = {1000, 2050, 4199};
    attn_context *context = new_context_of(2, 0);
    skip_unless_rows_are_independent(context);
    seed(6);
    struct sdpa_case c = sdpa_case_of(1, 2, 1, T, T, 8, 8);
    set_causal(&c, ATTN_CAUSAL_TOP_LEFT, NULL);
    c.probabilities = false;
    const struct sdpa_result whole = run_sdpa(context, &c);
    for (size_t s = 0; s < COUNT(chunk_sizes); s++)
        check_chunks(context, &c, &whole, chunk_sizes[s]);
    end_case();
}

/* Prefill in chunks into a cache, whose pages are of other lengths than the chunks. */
static void check_prefill(attn_context *context, const struct sdpa_case *c, attn_dtype dtype, size_t window) {
    static const size_t ends[] = {1, 3, 70, 71, 128, 200, 264, 301};
    struct sdpa_result whole = {.out = {0}};
    for (size_t chunks = 0; chunks < 2; chunks++) {
        attn_cache_params p = {.struct_size = sizeof p, .batch = c->k.size[0], .capacity = 400, .page_size = 128};
        attn_cache *cache;
        p.kv_heads = c->k.size[1];
        p.head_width = c->k.size[3];
        p.value_width = c->v.size[3];
        p.dtype = dtype;
        p.window = window;
        p.first_tokens = window ? 5 : 0;
        assert_ok(context, attn_cache_create(context, &p, &cache));
        for (size_t i = chunks ? 0 : COUNT(ends) - 1, begin = 0; i < COUNT(ends); begin = ends[i++]) {
            struct sdpa_case chunk = *c;
            chunk.q = tokens_of(c->q, begin, ends[i] - begin);
            const attn_tensor k = tokens_of(c->k, begin, ends[i] - begin), v = tokens_of(c->v, begin, ends[i] - begin);
            assert_ok(context, attn_cache_append(context, cache, &k, &v, NULL));
            const struct sdpa_result part = new_sdpa_result(&chunk);
            attn_sdpa_params params = chunk.params;
            params.lse = part.lse.data;
            assert_ok(context, attn_cache_attend(context, cache, &chunk.q, &part.out, &params));
            whole = chunks ? whole : part;
            assert_bits(part.out, tokens_of(whole.out, begin, ends[i] - begin));
            assert_bits(part.lse, tokens_of(whole.lse, begin, ends[i] - begin));
        }
        attn_cache_destroy(cache);
    }
}

/* What is stored in f16, bf16 and int8 never meets the backend. */
static void prefill_of_a_cache(void **state) {
    (void)state;
    static const attn_dtype types[] = {ATTN_F16, ATTN_BF16, ATTN_INT8, ATTN_F32, ATTN_INT4};
    attn_context *context = new_context_of(2, 0);
    const size_t count = rows_are_independent(context) ? COUNT(types) : 3;
    seed(9);
    for (size_t i = 0; i < COUNT(HEADS) * count; i++) {
        const size_t *h = HEADS[i / count];
        struct sdpa_case c = sdpa_case_of(2, h[0], h[1], 301, 301, h[2], h[2]);
        c.probabilities = false;
        set_causal(&c, ATTN_CAUSAL_BOTTOM_RIGHT, NULL);
        check_prefill(context, &c, types[i % count], 0);
        check_prefill(context, &c, types[i % count], 100);
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(any_number_of_threads),
                                       TEST(any_lengths),
                                       TEST(any_pool),
                                       TEST(any_floating_point_mode),
                                       TEST(calls_again),
                                       TEST(any_chunking),
                                       TEST(any_batch),
                                       TEST(chunks_of_whole_blocks),
                                       TEST(prefill_of_a_cache),
                                       TEST(chunks_of_long_sequences)};
    return cmocka_run_group_tests_name("determinism", tests, NULL, NULL);
}
