/* SPDX-License-Identifier: BSD-3-Clause */
/* Every way to call the small functions wrongly, and to make a context; the texts of statuses. */
#include <string.h>

#include "support/fault.h"

enum { ROWS = 4, COLUMNS = 6, SPACE = 100 };

/* One struct for the arguments of all of them. */
typedef struct call {
    attn_context *context;
    size_t rows, columns, ldx, ldy;
    float *x, *y, *lse;
    attn_tensor source, destination;
    const attn_tensor *source_argument, *destination_argument;
    size_t B, T, H, D;
    WITH_TAIL(attn_context_options) options;
} call;

static void make_valid(attn_context *context, call *c) {
    *c = (call){.context = context, .rows = ROWS, .columns = COLUMNS, .ldx = COLUMNS + 1, .ldy = COLUMNS + 2};
    c->x = new_normal(BHTD, 1, 1, 1, SPACE).data;
    c->y = new_floats(SPACE);
    c->lse = new_floats(ROWS);
    c->B = c->T = c->H = c->D = 2;
    c->source = attn_tensor_bhtd(c->x, ATTN_F32, c->B, c->H, c->T, c->D);
    c->destination = attn_tensor_bthd(c->y, ATTN_F32, c->B, c->T, c->H, c->D);
    c->source_argument = &c->source;
    c->destination_argument = &c->destination;
    ATTN_INIT(&c->options.known);
}

static attn_status run_softmax(const call *c) {
    return attn_softmax(c->context, c->rows, c->columns, c->x, c->ldx, c->y, c->ldy, c->lse);
}
static attn_status run_copy(const call *c) {
    return attn_tensor_copy(c->context, c->source_argument, c->destination_argument);
}
static attn_status run_split(const call *c) { return attn_split_heads(c->context, c->B, c->T, c->H, c->D, c->x, c->y); }
static attn_status run_concat(const call *c) {
    return attn_concat_heads(c->context, c->B, c->T, c->H, c->D, c->x, c->y);
}

#define SOFTMAX_FAULTS(X)                                                                                              \
    X(softmax_x_null, ATTN_ERROR_NULL, "x", c->x = NULL)                                                               \
    X(softmax_y_null, ATTN_ERROR_NULL, "y", c->y = NULL)                                                               \
    X(softmax_ldx, ATTN_ERROR_SHAPE, "ldx", c->ldx = COLUMNS - 1)                                                      \
    X(softmax_ldy, ATTN_ERROR_SHAPE, "ldy", c->ldy = COLUMNS - 1)                                                      \
    X(softmax_no_ldy, ATTN_ERROR_SHAPE, "ldy", c->ldy = 0)                                                             \
    X(softmax_huge_rows, ATTN_ERROR_OVERFLOW, "ldx", c->rows = SIZE_MAX / 2)                                           \
    X(softmax_huge_columns, ATTN_ERROR_OVERFLOW, "ldx", c->columns = c->ldx = c->ldy = PTRDIFF_MAX)                    \
    X(softmax_huge_ldx, ATTN_ERROR_OVERFLOW, "ldx", c->ldx = PTRDIFF_MAX / 2)                                          \
    X(softmax_huge_ldy, ATTN_ERROR_OVERFLOW, "ldy", c->ldy = PTRDIFF_MAX / 2)                                          \
    X(softmax_in_place_other_stride, ATTN_ERROR_ALIAS, "y", c->y = c->x)                                               \
    X(softmax_y_in_x, ATTN_ERROR_ALIAS, "y", c->y = c->x + 1; c->ldy = c->ldx)                                         \
    X(softmax_y_ends_in_x, ATTN_ERROR_ALIAS, "y", c->x = c->y + 3 * c->ldy + COLUMNS - 1)                              \
    X(softmax_lse_in_x, ATTN_ERROR_ALIAS, "lse", c->lse = c->x + 1)                                                    \
    X(softmax_lse_in_y, ATTN_ERROR_ALIAS, "lse", c->lse = c->y + 1)

#define COPY_FAULTS(X)                                                                                                 \
    X(copy_source_null, ATTN_ERROR_NULL, "source", c->source_argument = NULL)                                          \
    X(copy_destination_null, ATTN_ERROR_NULL, "destination", c->destination_argument = NULL)                           \
    X(copy_source_data, ATTN_ERROR_NULL, "source", c->source.data = NULL)                                              \
    X(copy_destination_data, ATTN_ERROR_NULL, "destination", c->destination.data = NULL)                               \
    X(copy_source_dtype, ATTN_ERROR_DTYPE, "source", c->source.dtype = (attn_dtype)4)                                  \
    X(copy_destination_dtype, ATTN_ERROR_DTYPE, "destination", c->destination.dtype = ATTN_BOOL)                       \
    X(copy_batches, ATTN_ERROR_SHAPE, "destination", c->destination.size[0] = 1)                                       \
    X(copy_heads, ATTN_ERROR_SHAPE, "destination", c->destination.size[1] = 1)                                         \
    X(copy_tokens, ATTN_ERROR_SHAPE, "destination", c->destination.size[2] = 1)                                        \
    X(copy_width, ATTN_ERROR_SHAPE, "destination", c->destination.size[3] = 1)                                         \
    X(copy_source_stride, ATTN_ERROR_STRIDE, "source", c->source.stride[3] = 2)                                        \
    X(copy_destination_stride, ATTN_ERROR_STRIDE, "destination", c->destination.stride[3] = -1)                        \
    X(copy_to_same_rows, ATTN_ERROR_STRIDE, "destination", c->destination.stride[2] = 0)                               \
    X(copy_to_rows_that_overlap, ATTN_ERROR_STRIDE, "destination", c->destination.stride[1] = 1)                       \
    X(copy_huge, ATTN_ERROR_OVERFLOW, "source", c->source.size[0] = c->destination.size[0] = SIZE_MAX / 4)             \
    X(copy_huge_stride, ATTN_ERROR_OVERFLOW, "destination", c->destination.stride[0] = PTRDIFF_MIN)                    \
    X(copy_to_itself, ATTN_ERROR_ALIAS, "destination", c->destination.data = c->x)                                     \
    X(copy_overlaps, ATTN_ERROR_ALIAS, "destination", c->destination.data = c->x + 15)

#define HEADS_FAULTS(X)                                                                                                \
    X(heads_x_null, ATTN_ERROR_NULL, "x", c->x = NULL)                                                                 \
    X(heads_y_null, ATTN_ERROR_NULL, "y", c->y = NULL)                                                                 \
    X(heads_huge_batch, ATTN_ERROR_OVERFLOW, "x", c->B = SIZE_MAX / 2)                                                 \
    X(heads_huge_tokens, ATTN_ERROR_OVERFLOW, "x", c->T = SIZE_MAX / 2)                                                \
    X(heads_huge_heads, ATTN_ERROR_OVERFLOW, "x", c->H = (size_t)1 << 62)                                              \
    X(heads_huge_width, ATTN_ERROR_OVERFLOW, "x", c->D = (size_t)1 << 63)                                              \
    X(heads_in_place, ATTN_ERROR_ALIAS, "y", c->y = c->x)                                                              \
    X(heads_overlap, ATTN_ERROR_ALIAS, "y", c->y = c->x + 15)

#define CREATE_FAULTS(X)                                                                                               \
    X(options_not_initialised, ATTN_ERROR_STRUCT, "struct_size", c->options.known.struct_size = 0)                     \
    X(options_too_small, ATTN_ERROR_STRUCT, "struct_size", c->options.known.struct_size -= 1)                          \
    X(options_garbage, ATTN_ERROR_STRUCT, "struct_size", c->options.known.struct_size = SIZE_MAX)                      \
    X(options_unknown, ATTN_ERROR_STRUCT, "struct_size", c->options.known.struct_size = sizeof c->options;             \
      c->options.tail[7] = 1)                                                                                          \
    X(too_many_threads, ATTN_ERROR_VALUE, "threads", c->options.known.threads = 4097)                                  \
    X(far_too_many_threads, ATTN_ERROR_VALUE, "threads", c->options.known.threads = SIZE_MAX)                          \
    X(sgemm_and_blas, ATTN_ERROR_VALUE, "sgemm", c->options.known.sgemm = never; c->options.known.blas = "linked")     \
    X(unknown_isa, ATTN_ERROR_VALUE, "isa", c->options.known.isa = 1U << 30)                                           \
    X(isa_of_another_cpu, ATTN_ERROR_VALUE, "isa", c->options.known.isa = ISA_OF_ANOTHER_CPU)                          \
    X(unknown_precision, ATTN_ERROR_VALUE, "precision", c->options.known.precision = (attn_precision)3)                \
    X(negative_precision, ATTN_ERROR_VALUE, "precision", c->options.known.precision = (attn_precision)-1)              \
    X(no_release, ATTN_ERROR_NULL, "allocator", c->options.known.allocator.allocate = no_memory)                       \
    X(no_allocate, ATTN_ERROR_NULL, "allocator", c->options.known.allocator.release = no_release_either)               \
    X(unknown_blas, ATTN_ERROR_BACKEND, "blas", c->options.known.blas = "no-such-blas")                                \
    X(blas_of_two_lines, ATTN_ERROR_BACKEND, "no such blas", c->options.known.blas = "no\nsuch\rblas")                 \
    X(empty_blas, ATTN_ERROR_BACKEND, "blas", c->options.known.blas = "")

#if defined(__aarch64__)
#define ISA_OF_ANOTHER_CPU (ATTN_ISA_AVX2 | ATTN_ISA_AVX512)
#else
#define ISA_OF_ANOTHER_CPU ATTN_ISA_NEON
#endif

static void never(void *data, size_t M, size_t N, size_t K, float alpha, const float *A, size_t lda, const float *B,
                  size_t ldb, float beta, float *C, size_t ldc) {
    (void)data, (void)M, (void)N, (void)K, (void)alpha, (void)A, (void)lda, (void)B, (void)ldb, (void)beta, (void)C,
        (void)ldc;
    fail();
}

static void *no_memory(void *data, size_t size) {
    (void)data, (void)size;
    return NULL;
}

static void no_release_either(void *data, void *pointer) { (void)data, (void)pointer; }

DEFINE_FAULTS(softmax_faults, SOFTMAX_FAULTS);
DEFINE_FAULTS(copy_faults, COPY_FAULTS);
DEFINE_FAULTS(heads_faults, HEADS_FAULTS);
DEFINE_FAULTS(create_faults, CREATE_FAULTS);

static void check_fault(attn_status (*run)(const call *c), void (*spoil)(call *c), attn_status status,
                        const char *field) {
    call c;
    make_valid(new_context_of(1, 0), &c);
    const attn_tensor x = attn_tensor_btm(c.x, ATTN_F32, 1, 1, SPACE), x_before = new_copy(x);
    const attn_tensor y = attn_tensor_btm(c.y, ATTN_F32, 1, 1, SPACE),
                      lse = attn_tensor_btm(c.lse, ATTN_F32, 1, 1, ROWS);
    assert_untouched(y);
    spoil(&c);
    assert_status(c.context, run(&c), status);
    assert_mentions(attn_context_last_error(c.context), field);
    assert_untouched(y);
    assert_untouched(lse);
    assert_bits(x, x_before);
    end_test(NULL);
}

static void check_valid(attn_status (*run)(const call *c)) {
    call c;
    make_valid(new_context_of(1, 0), &c);
    assert_ok(c.context, run(&c));
    c.context = NULL;
    assert_int_equal(run(&c), ATTN_ERROR_NULL);
    end_test(NULL);
}

static void softmax(void **state) {
    (void)state;
    check_valid(run_softmax);
    for (size_t i = 0; i < COUNT(softmax_faults); i++) {
        name_case("%s", softmax_faults[i].name);
        check_fault(run_softmax, softmax_faults[i].spoil, softmax_faults[i].status, softmax_faults[i].field);
    }
}

static void tensor_copy(void **state) {
    (void)state;
    check_valid(run_copy);
    for (size_t i = 0; i < COUNT(copy_faults); i++) {
        name_case("%s", copy_faults[i].name);
        check_fault(run_copy, copy_faults[i].spoil, copy_faults[i].status, copy_faults[i].field);
    }
}

static void split_and_concat_heads(void **state) {
    (void)state;
    check_valid(run_split);
    check_valid(run_concat);
    for (size_t i = 0; i < 2 * COUNT(heads_faults); i++) {
        const size_t n = i / 2;
        name_case("%s, %s", i % 2 ? "split" : "concat", heads_faults[n].name);
        check_fault(i % 2 ? run_split : run_concat, heads_faults[n].spoil, heads_faults[n].status,
                    heads_faults[n].field);
    }
}

static void context_create(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(create_faults); i++) {
        call c;
        attn_context *context = (attn_context *)&c;
        make_valid(NULL, &c);
        create_faults[i].spoil(&c);
        name_case("%s", create_faults[i].name);
        assert_status(NULL, attn_context_create(&c.options.known, &context), create_faults[i].status);
        assert_mentions(attn_context_last_error(NULL), create_faults[i].field);
        assert_null(context);
        end_case();
    }
    assert_int_equal(attn_context_create(NULL, NULL), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(NULL), "context");
    attn_context_destroy(NULL);
}

static void context_create_tolerates(void **state) {
    (void)state;
    call c;
    make_valid(NULL, &c);
    c.options.known.struct_size = sizeof c.options;
    (void)new_context(&c.options.known);
    c.options.known.isa = ATTN_ISA_GENERIC | ATTN_ISA_NEON | ATTN_ISA_AVX2 | ATTN_ISA_AVX512;
    (void)new_context(&c.options.known);
}

static void context_describe(void **state) {
    (void)state;
    WITH_TAIL(attn_context_info) info;
    const size_t sizes[] = {0, sizeof(size_t), sizeof info.known - 1, SIZE_MAX};
    attn_context *context = new_context_of(1, 0);
    assert_status(context, attn_context_describe(context, NULL), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "info");
    for (size_t i = 0; i < COUNT(sizes); i++) {
        memset(&info, 0, sizeof info);
        info.known.struct_size = sizes[i];
        assert_status(context, attn_context_describe(context, &info.known), ATTN_ERROR_STRUCT);
        assert_mentions(attn_context_last_error(context), "struct_size");
        assert_null(info.known.blas);
    }
    memset(&info, 0, sizeof info);
    info.known.struct_size = sizeof info;
    assert_ok(context, attn_context_describe(context, &info.known));
    assert_int_equal(info.known.struct_size, sizeof info);
    assert_int_equal(attn_context_describe(NULL, &info.known), ATTN_ERROR_NULL);
}

static void context_reserve(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    assert_int_equal(attn_context_reserve(NULL, 10), ATTN_ERROR_NULL);
    assert_ok(context, attn_context_reserve(context, 1000));
    if (!UNDER_ASAN && !UNDER_TSAN) /* whose malloc ends the program instead of returning NULL */
        assert_status(context, attn_context_reserve(context, SIZE_MAX / 4), ATTN_ERROR_MEMORY);
    assert_true(describe(context).scratch_bytes >= 1000);
}

static void status_texts(void **state) {
    (void)state;
#define ASSERT_TEXT(name, value, text)                                                                                 \
    assert_int_equal(name, value);                                                                                     \
    assert_string_equal(attn_status_text(name), text);
    ATTN_STATUS_TABLE(ASSERT_TEXT)
    const int strangers[] = {-1, ATTN_ERROR_BACKEND + 1, 1000000};
    for (size_t i = 0; i < COUNT(strangers); i++) {
        const char *text = attn_status_text((attn_status)strangers[i]);
        assert_non_null(text);
        assert_true(strlen(text) > 0);
        assert_string_not_equal(text, attn_status_text(ATTN_OK));
    }
}

static void version(void **state) {
    (void)state;
    char want[64];
    snprintf(want, sizeof want, "%d.%d.%d", ATTN_VERSION_MAJOR, ATTN_VERSION_MINOR, ATTN_VERSION_PATCH);
    assert_string_equal(attn_version(), want);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(softmax),
                                       TEST(tensor_copy),
                                       TEST(split_and_concat_heads),
                                       TEST(context_create),
                                       TEST(context_create_tolerates),
                                       TEST(context_describe),
                                       TEST(context_reserve),
                                       TEST(status_texts),
                                       TEST(version)};
    return cmocka_run_group_tests_name("errors", tests, NULL, NULL);
}
