/* SPDX-License-Identifier: BSD-3-Clause */
/* attn_sdpa against the double reference: shapes, layouts, causal rules. */
#define _GNU_SOURCE /* MAP_NORESERVE */
#include <math.h>
#include <sys/mman.h>

#include "support/sdpa_case.h"

static const size_t LENGTHS[] = {0, 1, 2, 3, 15, 16, 17, 63, 64, 65, 100, 257, 300};
static const size_t WIDTHS[] = {1, 3, 8, 16, 40, 64, 72, 80, 96, 128, 160, 256};

/* ---- shapes ---- */

static enum layout random_layout(void) { return (enum layout)random_below(LAYOUTS); }

static struct sdpa_case random_case(const int64_t offsets[3]) {
    const size_t Tq = random_pick(LENGTHS), Tk = random_pick(LENGTHS), D = random_pick(WIDTHS);
    const size_t E = random_below(2) ? D : random_pick(WIDTHS);
    const bool large = Tq * Tk * (D + E) > 2000000;
    const size_t G = large ? 1 : 1 + random_below(3), H = G * (1 + random_below(3)),
                 B = large ? 1 : 1 + random_below(3);
    struct sdpa_case c = sdpa_case_of(B, H, G, Tq, Tk, D, E);
    c.q = new_normal(random_layout(), B, H, Tq, D);
    c.k = new_normal(random_layout(), B, G, Tk, D);
    c.v = new_normal(random_layout(), B, G, Tk, E);
    set_causal(&c, (attn_causal)random_below(4), offsets);
    c.out_layout = (enum layout)random_below(OUTPUT_LAYOUTS);
    c.lse = random_below(4) > 0;
    c.probabilities = random_below(2) > 0;
    c.params.scale = random_below(2) ? 0 : random_normal();
    return c;
}

static void random_shapes(void **state) {
    (void)state;
    attn_context *contexts[ISAS + 1];
    size_t n = new_isa_contexts(1, contexts);
    contexts[n++] = new_context_of(2, 0);
    seed(1);
    for (size_t i = 0; i < 150; i += every()) {
        const int64_t offsets[3] = {random_pick(OFFSETS), random_pick(OFFSETS), random_pick(OFFSETS)};
        const struct sdpa_case c = random_case(offsets);
        check_sdpa(contexts[random_below(n)], &c);
        end_case();
    }
}

/* Every pair of lengths under every causal rule. */
static void all_lengths(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(2);
    for (size_t i = 0; i < COUNT(LENGTHS) * COUNT(LENGTHS) * CAUSALS; i += every()) {
        const size_t Tq = LENGTHS[i / CAUSALS % COUNT(LENGTHS)], Tk = LENGTHS[i / CAUSALS / COUNT(LENGTHS)];
        struct sdpa_case c = sdpa_case_of(2, 2, 1, Tq, Tk, 8, 3);
        const int64_t offsets[2] = {random_pick(OFFSETS), random_pick(OFFSETS)};
        set_causal(&c, (attn_causal)(i % CAUSALS), offsets);
        check_sdpa(context, &c);
        end_case();
    }
}

/* Every pair of widths, with every instruction set in turn. */
static void all_widths(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    seed(3);
    for (size_t i = 0; i < COUNT(WIDTHS) * COUNT(WIDTHS); i += every()) {
        struct sdpa_case c = sdpa_case_of(1, 1, 1, 37, 70, WIDTHS[i / COUNT(WIDTHS)], WIDTHS[i % COUNT(WIDTHS)]);
        set_causal(&c, i % 2 ? ATTN_CAUSAL_BOTTOM_RIGHT : ATTN_CAUSAL_NONE, NULL);
        check_sdpa(contexts[i % n], &c);
        end_case();
    }
}

/* The larger shapes cross every boundary of tiles, steps and super-blocks, in every instruction set. */
static void long_sequences(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    seed(4);
    for (size_t i = 0; i < n * CAUSALS; i++) {
        const int64_t offset = -130;
        struct sdpa_case c = sdpa_case_of(1, 2, 1, 700, 900, 16, 24);
        set_causal(&c, (attn_causal)(i % CAUSALS), &offset);
        check_sdpa(contexts[i / CAUSALS], &c);
        end_case();
    }
}

/* Few rows and many keys: the keys are split and merged, some splits seeing nothing. */
static void decoding_steps(void **state) {
    (void)state;
    static const size_t keys[] = {1023, 1024, 2049, 4100};
    static const int64_t offsets[] = {-1, 0, 900, 1100, 4200};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    seed(40);
    for (size_t i = 0; i < COUNT(keys) * COUNT(offsets) * n; i += every()) {
        struct sdpa_case c = sdpa_case_of(1, 4, 2, 1 + i % 3, keys[i % COUNT(keys)], 24, 70);
        c.probabilities = false;
        set_causal(&c, i % 4 ? ATTN_CAUSAL_OFFSET : ATTN_CAUSAL_NONE, &offsets[i / COUNT(keys) % COUNT(offsets)]);
        for (size_t j = visible_keys(&c.params, 0, c.q.size[2] - 1, c.q.size[2], c.k.size[2]); j < c.k.size[2]; j++) {
            *element_at(c.k, 0, 0, j, 3) = NAN;
            *element_at(c.v, 0, 1, j, 69) = INFINITY;
        }
        check_sdpa(contexts[i % n], &c);
        end_case();
    }
}

static void scales(void **state) {
    (void)state;
    const float values[] = {-1, -0.1F, 1e-6F, -1e-30F, 0x1p-100F, 1, 2.5F, 0x1p100F};
    attn_context *context = new_context_of(1, 0);
    seed(5);
    for (size_t i = 0; i < COUNT(values); i++) {
        struct sdpa_case c = sdpa_case_of(1, 2, 2, 20, 90, 16, 16);
        c.params.scale = values[i];
        check_sdpa(context, &c);
        end_case();
    }
}

static void grouped_heads(void **state) {
    (void)state;
    const size_t groups[] = {1, 2, 3, 6, 12};
    attn_context *context = new_context_of(2, 0);
    seed(6);
    for (size_t i = 0; i < COUNT(groups) * 3; i++) {
        const size_t Tq = (const size_t[]){1, 5, 70}[i % 3];
        struct sdpa_case c = sdpa_case_of(2, 12, groups[i / 3], Tq, 77, 24, 40);
        set_causal(&c, ATTN_CAUSAL_BOTTOM_RIGHT, NULL);
        check_sdpa(context, &c);
        end_case();
    }
}

/* ---- layouts ---- */

static void every_layout_of_every_tensor(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    seed(7);
    for (size_t i = 0; i < LAYOUTS * LAYOUTS; i += every()) {
        struct sdpa_case c = sdpa_case_of(2, 4, 2, 70, 130, 24, 72);
        c.q = new_normal((enum layout)(i % LAYOUTS), 2, 4, 70, 24);
        c.k = new_normal((enum layout)(i / LAYOUTS), 2, 2, 130, 24);
        c.v = new_normal((enum layout)((i + i / LAYOUTS) % LAYOUTS), 2, 2, 130, 72);
        c.out_layout = (enum layout)(i % OUTPUT_LAYOUTS);
        set_causal(&c, i % 2 ? ATTN_CAUSAL_BOTTOM_RIGHT : ATTN_CAUSAL_NONE, NULL);
        check_sdpa(context, &c);
        end_case();
    }
}

static void packed_qkv(void **state) {
    (void)state;
    enum { B = 2, T = 90, H = 6, G = 3, D = 40 };
    seed(8);
    const attn_tensor all = new_normal(BHTD, 1, 1, 1, (size_t)B * T * (H + G + G) * D);
    struct sdpa_case c = sdpa_case_of(B, H, G, T, T, D, D);
    c.q = attn_tensor_packed_qkv(all.data, ATTN_F32, ATTN_Q, B, T, H, G, D);
    c.k = attn_tensor_packed_qkv(all.data, ATTN_F32, ATTN_K, B, T, H, G, D);
    c.v = attn_tensor_packed_qkv(all.data, ATTN_F32, ATTN_V, B, T, H, G, D);
    c.out_layout = BTHD;
    set_causal(&c, ATTN_CAUSAL_TOP_LEFT, NULL);
    check_sdpa(new_context_of(1, 0), &c);
}

static void packed_kv(void **state) {
    (void)state;
    enum { B = 2, Tq = 33, Tk = 90, H = 4, G = 2, D = 64 };
    seed(9);
    const attn_tensor all = new_normal(BHTD, 1, 1, 1, (size_t)B * Tk * 2 * G * D);
    struct sdpa_case c = sdpa_case_of(B, H, G, Tq, Tk, D, D);
    c.k = attn_tensor_packed_kv(all.data, ATTN_F32, ATTN_K, B, Tk, G, D);
    c.v = attn_tensor_packed_kv(all.data, ATTN_F32, ATTN_V, B, Tk, G, D);
    check_sdpa(new_context_of(1, 0), &c);
}

/* Strides of sizes of 1 mean nothing, that of a width of 1 included. */
static void strides_that_do_not_matter(void **state) {
    (void)state;
    static const ptrdiff_t odd[] = {0, 1, -1, -12345, PTRDIFF_MAX, PTRDIFF_MIN};
    attn_context *context = new_context_of(1, 0);
    seed(10);
    for (size_t i = 0; i < 2 * COUNT(odd); i++) {
        const size_t T = i % 2 ? 1 : 20, D = i % 2 ? 8 : 1;
        struct sdpa_case c = sdpa_case_of(1, 1, 1, T, T, D, D);
        attn_tensor *const tensors[] = {&c.q, &c.k, &c.v, &c.out};
        c.out = new_tensor(BHTD, 1, 1, T, D);
        for (size_t t = 0; t < COUNT(tensors); t++)
            for (size_t axis = 0; axis < 4; axis++)
                if (tensors[t]->size[axis] == 1)
                    tensors[t]->stride[axis] = odd[(i / 2 + t + axis) % COUNT(odd)];
        check_sdpa(context, &c);
        end_case();
    }
}

/* A row stride that no BLAS can be given as a leading dimension. */
enum { FAR_TOKENS = 3 };
static const size_t FAR_STRIDE = ((size_t)1 << 31) + 16, FAR_BYTES = FAR_TOKENS * (((size_t)1 << 31) + 16) * 4;

static float *new_far_rows(void) {
    void *p = mmap(NULL, FAR_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        skip();
    return p;
}

static void spread_rows(attn_tensor *t) {
    t->data = new_far_rows();
    t->stride[2] = (ptrdiff_t)FAR_STRIDE;
    fill_normal(*t);
}

static void strides_beyond_int(void **state) {
    (void)state;
    seed(11);
    struct sdpa_case c = sdpa_case_of(1, 1, 1, 5, FAR_TOKENS, 8, 8);
    spread_rows(&c.k);
    spread_rows(&c.v);
    check_sdpa(new_context_of(1, 0), &c);
    munmap(c.k.data, FAR_BYTES);
    munmap(c.v.data, FAR_BYTES);
}

/* ---- empty things ---- */

static void empty_sizes(void **state) {
    (void)state;
    static const size_t sizes[][7] = {{0, 2, 1, 5, 6, 8, 8}, {1, 0, 1, 5, 6, 8, 8}, {1, 0, 0, 5, 6, 8, 8},
                                      {2, 2, 1, 0, 6, 8, 8}, {2, 2, 1, 5, 0, 8, 8}, {2, 2, 1, 5, 6, 8, 0},
                                      {2, 2, 1, 0, 0, 8, 8}, {2, 2, 1, 5, 0, 8, 0}, {1, 1, 1, 5, 70, 0, 8}};
    attn_context *context = new_context_of(2, 0);
    seed(12);
    for (size_t i = 0; i < COUNT(sizes) * CAUSALS; i++) {
        const size_t *s = sizes[i / CAUSALS];
        const int64_t offsets[2] = {1, -2};
        struct sdpa_case c = sdpa_case_of(s[0], s[1], s[2], s[3], s[4], s[5], s[6]);
        set_causal(&c, (attn_causal)(i % CAUSALS), offsets);
        check_sdpa(context, &c);
        end_case();
    }
}

/* No key at all, or none in reach: zeros and −∞, exactly, also where the caller wants no lse and no probabilities. */
static void empty_rows_are_zero(void **state) {
    (void)state;
    const int64_t offset = INT64_MIN;
    attn_context *context = new_context_of(1, 0);
    seed(13);
    for (size_t Tk = 0; Tk <= 70; Tk += 70) {
        struct sdpa_case c = sdpa_case_of(1, 2, 1, 50, Tk, 16, 16);
        set_causal(&c, ATTN_CAUSAL_OFFSET, &offset);
        for (size_t i = 0; i < 2; i++) {
            c.lse = c.probabilities = i == 0;
            const struct sdpa_result r = run_sdpa(context, &c);
            for (size_t n = 0; n < element_count(r.out); n++)
                assert_true(*element(r.out, n) == 0);
            for (size_t n = 0; c.lse && n < element_count(r.lse); n++)
                assert_true(*element(r.lse, n) == -INFINITY);
        }
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(random_shapes),
                                       TEST(all_lengths),
                                       TEST(all_widths),
                                       TEST(long_sequences),
                                       TEST(decoding_steps),
                                       TEST(scales),
                                       TEST(grouped_heads),
                                       TEST(every_layout_of_every_tensor),
                                       TEST(packed_qkv),
                                       TEST(packed_kv),
                                       TEST(strides_that_do_not_matter),
                                       TEST(strides_beyond_int),
                                       TEST(empty_sizes),
                                       TEST(empty_rows_are_zero)};
    return cmocka_run_group_tests_name("sdpa", tests, NULL, NULL);
}
