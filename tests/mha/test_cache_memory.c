/* SPDX-License-Identifier: BSD-3-Clause */
/* A cache's memory: how much, from whom, and when; and many readers of one. */
#include <pthread.h>

#include "support/cache_model.h"
#include "support/meter.h"

static attn_cache_params params_of(attn_dtype dtype, size_t B, size_t capacity, size_t G, size_t D, size_t E) {
    attn_cache_params p;
    ATTN_INIT(&p);
    p.batch = B;
    p.capacity = capacity;
    p.kv_heads = G;
    p.head_width = D;
    p.value_width = E;
    p.dtype = dtype;
    return p;
}

/* Some of all that one can ask for. */
static struct sdpa_case random_case(size_t B, size_t H, size_t Tq, size_t Tk, size_t D, size_t E) {
    struct sdpa_case c = {.lse = random_below(2) > 0, .probabilities = random_below(2) > 0, .score_size = 1};
    ATTN_INIT(&c.params);
    c.q = new_normal(BHTD, B, H, Tq, D);
    c.k = (attn_tensor){.size = {B, 1, Tk, D}};
    c.v = (attn_tensor){.size = {B, 1, Tk, E}};
    c.averaged = c.probabilities && random_below(2);
    c.key_mass = random_below(3) == 0;
    c.entropy = random_below(3) == 0;
    c.top_keys = random_below(3) ? 0 : 1 + random_below(7);
    c.params.causal = random_below(2) ? ATTN_CAUSAL_BOTTOM_RIGHT : ATTN_CAUSAL_NONE;
    c.params.alibi = random_below(3) ? ATTN_ALIBI_NONE : ATTN_ALIBI_STANDARD;
    c.params.weights_stage = c.probabilities ? (attn_stage)random_below(STAGES) : ATTN_STAGE_PROBABILITIES;
    if (random_below(3) == 0) {
        int64_t *lengths = new_integers((int64_t[MODEL_BATCH]){0}, B);
        for (size_t b = 0; b < B; b++)
            lengths[b] = (int64_t)random_below(Tq + 1);
        c.params.query_lengths = lengths;
    }
    return c;
}

/* The scratch for a call, asked for while the cache is empty, is enough at any lengths up to the capacity; appending
 * f32 takes none. */
static void reserved_once(void **state) {
    (void)state;
    static const size_t capacities[] = {1, 100, 700, 2048, 2049, 5000}, tokens[] = {1, 1, 2, 5, 70, 300};
    static const size_t widths[] = {1, 8, 20, 64};
    static const attn_dtype types[] = {ATTN_F32, ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_INT8, ATTN_INT4};
    attn_context *other = new_context_of(1, 0);
    seed(1);
    for (size_t i = 0; i < 50; i += every()) {
        struct meter m = {0};
        const size_t B = 1 + random_below(3), G = 1 + random_below(2), H = G * (1 + random_below(5));
        const size_t D = random_pick(widths), E = random_pick(widths), Tq = random_pick(tokens);
        const size_t capacity = random_pick(capacities), threads = 1 + random_below(4);
        const attn_cache_params p = params_of(random_pick(types), B, capacity, G, D, E);
        attn_context *context = new_metered(&m, threads);
        attn_cache *cache;
        size_t bytes;
        name_case("reserve %zu: B=%zu H=%zu G=%zu Tq=%zu capacity=%zu D=%zu E=%zu threads=%zu type=%d", i, B, H, G, Tq,
                  capacity, D, E, threads, (int)p.dtype);
        assert_ok(context, attn_cache_create(context, &p, &cache));
        struct sdpa_case c = random_case(B, H, Tq, 0, D, E);
        struct sdpa_result r = new_sdpa_result(&c);
        attn_top_keys top;
        attn_sdpa_params params = params_for(&c, &r, &top);
        float wanted = 0; /* of no keys yet, there is no mass */
        params.key_mass = c.key_mass ? &wanted : NULL;
        assert_ok(context, attn_cache_scratch_size(context, cache, &c.q, &r.out, &params, &bytes));
        assert_ok(context, attn_context_reserve(context, bytes));
        const size_t calls = m.calls;
        for (size_t n = 0; n < 5; n++) {
            int64_t counts[3];
            const attn_cache_append_params some = {.struct_size = sizeof some, .counts = counts};
            const size_t room = capacity - attn_cache_length(cache, 0), T = n == 4 ? room : random_below(room + 1);
            const attn_tensor k = new_normal(BHTD, B, G, T, D), v = new_normal(BHTD, B, G, T, E);
            for (size_t b = 0; b < B; b++)
                counts[b] = (int64_t)(b ? random_below(capacity - attn_cache_length(cache, b) + 1) : T);
            for (size_t b = 0; b < B; b++)
                counts[b] = counts[b] > (int64_t)T ? (int64_t)T : counts[b];
            attn_context *writer = p.dtype == ATTN_F32 ? context : other;
            assert_ok(writer, attn_cache_append(writer, cache, &k, &v, &some));
            c.k.size[2] = c.v.size[2] = attn_cache_length(cache, 0);
            for (size_t b = 0; b < B; b++)
                c.k.size[2] = attn_cache_length(cache, b) > c.k.size[2] ? attn_cache_length(cache, b) : c.k.size[2];
            r = new_sdpa_result(&c);
            params = params_for(&c, &r, &top);
            assert_ok(context, attn_cache_attend(context, cache, &c.q, &r.out, &params));
            assert_int_equal(m.calls, calls);
        }
        attn_cache_destroy(cache);
        attn_context_destroy(context);
        assert_int_equal(m.live, 0);
        end_case();
    }
}

/* Wherever the allocator fails, there is an error, nothing is left behind and nothing has changed. */
static void every_failure(void **state) {
    (void)state;
    seed(2);
    for (size_t fail = 1;; fail++) {
        struct meter m = {0};
        attn_context *context = new_metered(&m, 2);
        attn_cache_pool_params pp = {.struct_size = sizeof pp, .pages = 3, .kv_heads = 1, .head_width = 4};
        attn_cache_params p = params_of(ATTN_INT8, 1, 10, 1, 4, 4);
        attn_cache_pool *pool = NULL;
        attn_cache *shared = NULL, *own = NULL;
        const attn_tensor k = new_normal(BHTD, 1, 1, 3, 4), out = new_tensor(BHTD, 1, 1, 3, 4);
        const size_t live = m.live;
        attn_status status[6] = {0};
        attn_cache_params in_pool = {.struct_size = sizeof in_pool, .batch = 2, .capacity = 300};
        m.fail_at = m.calls + fail;
        status[0] = attn_cache_pool_create(context, &pp, &pool);
        in_pool.pool = pool;
        status[1] = pool ? attn_cache_create(context, &in_pool, &shared) : ATTN_OK;
        status[2] = attn_cache_create(context, &p, &own);
        status[3] = own ? attn_cache_append(context, own, &k, &k, NULL) : ATTN_OK;
        if (status[3]) {
            assert_int_equal(attn_cache_length(own, 0), 0);
            assert_ok(context, attn_cache_append(context, own, &k, &k, NULL));
        }
        status[4] = own ? attn_cache_attend(context, own, &k, &out, NULL) : ATTN_OK;
        if (status[4])
            assert_untouched(out);
        size_t failed = 0;
        for (size_t i = 0; i < COUNT(status); i++) {
            assert_true(status[i] == ATTN_OK || status[i] == ATTN_ERROR_MEMORY);
            failed += status[i] != ATTN_OK;
        }
        assert_int_equal(failed, m.calls >= m.fail_at);
        assert_true(pool || status[0]);
        assert_true(own || status[2]);
        attn_cache_destroy(own);
        attn_cache_destroy(shared);
        attn_cache_pool_destroy(pool);
        m.fail_at = 0;
        attn_context_destroy(context);
        assert_int_equal(m.live, 0);
        (void)live;
        end_case();
        if (!failed) {
            assert_true(fail > 10);
            break;
        }
    }
}

/* ---- readers ---- */

enum { READERS = 4, ROUNDS = 6 };

struct reader {
    attn_context *context;
    const attn_cache *cache;
    const struct sdpa_case *c;
    attn_tensor out;
    attn_status status;
};

static void *read_cache(void *arg) {
    struct reader *r = arg;
    attn_sdpa_params params = r->c->params;
    params.key_lengths = NULL;
    for (size_t i = 0; i < ROUNDS && r->status == ATTN_OK; i++)
        r->status = attn_cache_attend(r->context, r->cache, &r->c->q, &r->out, &params);
    return NULL;
}

/* Any number of threads, with a context each, may attend at the same time. */
static void many_readers(void **state) {
    (void)state;
    static const attn_dtype types[] = {ATTN_F32, ATTN_F16, ATTN_INT8, ATTN_INT4};
    attn_context *writer = new_context_of(2, 0);
    seed(3);
    for (size_t i = 0; i < COUNT(types); i++) {
        struct model_pool pool = new_model_pool(writer, 20, 128, types[i], 2, 16, 24);
        struct model_cache c = new_model_cache(writer, &pool, 3, 700, 0, 0);
        const attn_tensor k = new_storable(types[i], BTHD, 3, 2, 600, 16),
                          v = new_storable(types[i], BHTD, 3, 2, 600, 24);
        assert_int_equal(model_append(writer, &c, k, v, (const int64_t[]){600, 250, 3}), ATTN_OK);
        model_fork(writer, &c, 0, 2);
        struct sdpa_case of = model_case(&c, 4, 9);
        of.lse = false;
        set_causal(&of, ATTN_CAUSAL_BOTTOM_RIGHT, NULL);
        const struct sdpa_result want = model_attend(writer, &c, &of);
        assert_sdpa_near(&of, &want);
        struct reader readers[READERS];
        pthread_t threads[READERS];
        for (size_t n = 0; n < READERS; n++)
            readers[n] =
                (struct reader){new_context_of(1 + n % 2, 0), c.real, &of, new_tensor(BHTD, 3, 4, 9, 24), ATTN_OK};
        for (size_t n = 0; n < READERS; n++)
            assert_int_equal(pthread_create(&threads[n], NULL, read_cache, &readers[n]), 0);
        for (size_t n = 0; n < READERS; n++)
            assert_int_equal(pthread_join(threads[n], NULL), 0);
        for (size_t n = 0; n < READERS; n++) {
            assert_int_equal(readers[n].status, ATTN_OK);
            assert_bits(readers[n].out, want.out);
        }
        delete_model_cache(&c);
        attn_cache_pool_destroy(pool.real);
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(reserved_once), TEST(every_failure), TEST(many_readers)};
    return cmocka_run_group_tests_name("cache_memory", tests, NULL, NULL);
}
