/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests share: memory that notices stray accesses, random numbers, tensors of every layout, contexts, and
 * assertions that are not fooled by NaN (cmocka's own float assertions are). */
#ifndef ATTN_TESTS_SUPPORT_H
#define ATTN_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <attn/attn.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* A test that cleans up after itself, also when it fails. */
#define TEST(function) cmocka_unit_test_teardown(function, end_test)

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN 0
#endif

/* Memory. Every block ends where an unreadable page begins, and what lies before it is checked when it is released.
 * Floats are filled with a NaN that no arithmetic makes: untouched outputs are told by it. */
float *new_floats(size_t n);
double *new_doubles(size_t n);
bool *new_bools(size_t n);                              /* false */
int64_t *new_integers(const int64_t *values, size_t n); /* a copy of them */
const attn_tensor *new_view(attn_tensor t);             /* a place for the view, not for its data */
void end_case(void);                                    /* releases all blocks */
const void *begin_part(void);                           /* those made from here on */
void end_part(const void *part);                        /* are released */
int end_test(void **state);

/* Names what is being tested in the messages of the assertions below. */
void name_case(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ATTN_TEST_ONLY in the environment is a pattern of the tests that are run: random_*. */

/* Contexts: made without error, destroyed by end_test. */
attn_context *new_context(const attn_context_options *options);
attn_context *new_context_of(size_t threads, uint32_t isa); /* 0: default */
attn_context *new_precise(size_t threads, uint32_t isa, const char *blas, attn_precision precision);
attn_context_info describe(attn_context *context);

/* One context for each instruction set of libattn's that this CPU has, and that ATTN_TEST_ISAS in the environment, a
 * mask, allows. Returns how many. */
enum { ISAS = 4 };
size_t list_isas(uint32_t isas[ISAS]);
size_t new_isa_contexts(size_t threads, attn_context *made[ISAS]);

/* The step from one case of a long loop to the next: 1, or ATTN_TEST_SHORT in the environment, where each takes long.
 */
size_t every(void);

/* An attn_sgemm_fn that is nothing but its definition; `data` is not read. */
void plain_sgemm(void *data, size_t M, size_t N, size_t K, float alpha, const float *A, size_t lda, const float *B,
                 size_t ldb, float beta, float *C, size_t ldc);

/* Random numbers, the same on every run. */
void seed(uint64_t seed);
size_t random_below(size_t n);
float random_normal(void);
void fill_normal(attn_tensor t);
#define random_pick(array) ((array)[random_below(COUNT(array))])

/* Tensors, filled with the untouched NaN. The first OUTPUT_LAYOUTS are fit for outputs. */
enum layout {
    BHTD,
    BTHD,
    PADDED,   /* odd gaps after each row, head and sequence */
    REVERSED, /* negative strides */
    OUTPUT_LAYOUTS,
    SLIDING = OUTPUT_LAYOUTS, /* a token begins one element after the one before */
    SAME_TOKENS,              /* broadcasts */
    SAME_HEADS,
    SAME_BATCHES,
    LAYOUTS
};
attn_tensor new_tensor(enum layout layout, size_t B, size_t H, size_t T, size_t D);
attn_tensor new_strided(const size_t size[4], const ptrdiff_t stride[4]);
attn_tensor new_normal(enum layout layout, size_t B, size_t H, size_t T, size_t D);
attn_tensor new_copy(attn_tensor t); /* dense [B,H,T,D] */

/* Of any type; those above are ATTN_F32. */
attn_tensor new_tensor_of(attn_dtype dtype, enum layout layout, size_t B, size_t H, size_t T, size_t D);
attn_tensor new_normal_of(attn_dtype dtype, enum layout layout, size_t B, size_t H, size_t T, size_t D);
attn_tensor new_copy_of(attn_dtype dtype, attn_tensor t);

/* Parts of a tensor: some tokens, one sequence. */
attn_tensor tokens_of(attn_tensor t, size_t first, size_t count);
attn_tensor sequence_of(attn_tensor t, size_t b);

size_t element_count(attn_tensor t);
float *element(attn_tensor t, size_t n); /* n counts in the order of a dense [B,H,T,D] */
float *element_at(attn_tensor t, size_t b, size_t h, size_t i, size_t d);

/* Elements of any type, as numbers. */
double value(attn_tensor t, size_t n);
double value_at(attn_tensor t, size_t b, size_t h, size_t i, size_t d); /* sizes of 1 but the last broadcast */
void set_value(attn_tensor t, size_t n, double x);
void set_value_at(attn_tensor t, size_t b, size_t h, size_t i, size_t d, double x);

/* |got − want| ≤ absolute + relative · |want|, and half an ulp of a tensor's type that is not f32, where `want` is
 * finite; otherwise the same infinity, or both NaN. What the type cannot hold is infinite. */
typedef struct tolerance {
    double absolute, relative;
} tolerance;

/* The accuracy that libattn promises for inputs N(0,1), some 80 roundings of a float: what sums of up to 256 products
 * and the rounding of scores need, with room. `factor` is for scores that are that much larger, and so their errors. */
tolerance promised(double factor);

#define assert_near(got, want, bound) check_near(#got, got, want, bound, __FILE__, __LINE__)
void check_near(const char *what, attn_tensor got, const double *want, tolerance bound, const char *file, int line);

/* Both tensors have the same bits, whatever their strides. */
#define assert_bits(got, want) check_bits(#got, got, want, __FILE__, __LINE__)
void check_bits(const char *what, attn_tensor got, attn_tensor want, const char *file, int line);

/* All that was allocated around the elements of `t` is untouched. */
#define assert_gaps_untouched(t) check_untouched(#t, t, true, __FILE__, __LINE__)
/* So are the elements themselves. */
#define assert_untouched(t) check_untouched(#t, t, false, __FILE__, __LINE__)
void check_untouched(const char *what, attn_tensor t, bool gaps_only, const char *file, int line);

/* How this thread rounds from now on (FE_TONEAREST, …) and, where the CPU has the choice, whether subnormal numbers are
 * more than 0. */
void set_floating_point_mode(int rounding, bool subnormals);

/* Each row sums to 1 within 1e-6, or is empty: lse = −inf, all zeros. Rows with NaN are none of its business. */
#define assert_rows_sum_to_one(p, lse) check_rows_sum(#p, p, lse, __FILE__, __LINE__)
void check_rows_sum(const char *what, attn_tensor p, const float *lse, const char *file, int line);

#define assert_status(context, call, want) check_status(#call, context, call, want, __FILE__, __LINE__)
#define assert_ok(context, call) assert_status(context, call, ATTN_OK)
void check_status(const char *what, const attn_context *context, attn_status got, attn_status want, const char *file,
                  int line);

/* The message has `word` in it, not as a part of a longer word. */
#define assert_mentions(message, word) check_mentions(message, word, __FILE__, __LINE__)
void check_mentions(const char *message, const char *word, const char *file, int line);

#endif
