/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "support/support.h"

#include <ctype.h>
#include <fenv.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/numbers.h"

static const uint32_t UNTOUCHED = 0x7fc0dead;

/* A number from the environment. */
static size_t number_from(const char *variable, size_t otherwise) {
    const char *text = getenv(variable);
    return text ? strtoul(text, NULL, 0) : otherwise;
}

/* Of a program's tests, only those that match. */
__attribute__((constructor)) static void read_filter(void) { cmocka_set_test_filter(getenv("ATTN_TEST_ONLY")); }

static char case_name[256];

void name_case(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(case_name, sizeof case_name, format, args);
    va_end(args);
}

void set_floating_point_mode(int rounding, bool subnormals) {
    fesetround(rounding);
#if defined(__x86_64__)
    enum { DAZ_AND_FTZ = 0x8040 };
    const unsigned mode = __builtin_ia32_stmxcsr() & ~(unsigned)DAZ_AND_FTZ;
    __builtin_ia32_ldmxcsr(subnormals ? mode : mode | DAZ_AND_FTZ);
#elif defined(__aarch64__)
    enum { FZ = 1 << 24 };
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    mode = subnormals ? mode & ~(uint64_t)FZ : mode | FZ;
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
#else
    (void)subnormals;
#endif
}

/* Prints, names the case, and ends the test. */
__attribute__((format(printf, 3, 4), noreturn)) static void fail_at(const char *file, int line, const char *format,
                                                                    ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    print_error("%s\n    case: %s\n", text, case_name);
    _fail(file, line);
    abort(); /* not reached: _fail jumps to cmocka */
}

/* ---- memory: [unreadable page][slack, then data][unreadable page] ---- */

typedef struct block {
    struct block *next;
    char *map;
    size_t inner, bytes; /* of the pages between the guards, of the data at their end */
} block;

static block *blocks;

static size_t page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static char *block_data(const block *b) { return b->map + page_size() + b->inner - b->bytes; }

/* A page as new memory is. */
static const char *new_page(void) {
    static char *page;
    if (page)
        return page;
    page = malloc(page_size());
    assert_non_null(page);
    for (size_t i = 0; i < page_size(); i += sizeof UNTOUCHED)
        memcpy(page + i, &UNTOUCHED, sizeof UNTOUCHED);
    return page;
}

static void *new_block(size_t bytes) {
    const size_t page = page_size(), inner = (bytes + page) / page * page;
    char *map = mmap(NULL, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    block *b = malloc(sizeof *b);
    assert_true(b && map != MAP_FAILED && mprotect(map + page, inner, PROT_READ | PROT_WRITE) == 0);
    *b = (block){blocks, map, inner, bytes};
    blocks = b;
    for (size_t i = 0; i < inner; i += page)
        memcpy(map + page + i, new_page(), page);
    return block_data(b);
}

float *new_floats(size_t n) { return new_block(n * sizeof(float)); }

double *new_doubles(size_t n) { return new_block(n * sizeof(double)); }

bool *new_bools(size_t n) {
    bool *all_false = new_block(n * sizeof *all_false);
    memset(all_false, 0, n * sizeof *all_false);
    return all_false;
}

int64_t *new_integers(const int64_t *values, size_t n) {
    int64_t *integers = new_block(n * sizeof *integers);
    memcpy(integers, values, n * sizeof *integers);
    return integers;
}

const attn_tensor *new_view(attn_tensor t) {
    attn_tensor *view = new_block(sizeof *view);
    *view = t;
    return view;
}

/* Is byte p of a block's pages as it was? */
static bool is_untouched(const block *b, const char *p) {
    const size_t in_pattern = (size_t)(p - b->map) % sizeof UNTOUCHED; /* pages begin at multiples of it */
    return *p == ((const char *)&UNTOUCHED)[in_pattern];
}

static bool release_block(block *b) {
    const size_t slack = (size_t)(block_data(b) - b->map) - page_size(); /* up to a page */
    const bool intact = memcmp(b->map + page_size(), new_page(), slack) == 0;
    munmap(b->map, b->inner + 2 * page_size());
    free(b);
    return intact;
}

static bool release_blocks(const block *down_to) {
    bool intact = true;
    while (blocks != down_to) {
        block *b = blocks;
        blocks = b->next;
        intact = release_block(b) && intact;
    }
    return intact;
}

const void *begin_part(void) { return blocks; }

void end_part(const void *part) { assert_true(release_blocks(part)); }

void end_case(void) {
    if (!release_blocks(NULL))
        fail_at(__FILE__, __LINE__, "something was written before the beginning of a tensor");
}

/* ---- contexts ---- */

static attn_context *contexts[64];
static size_t context_count;

attn_context *new_context(const attn_context_options *options) {
    attn_context *context = NULL;
    assert_true(context_count < COUNT(contexts));
    assert_ok(NULL, attn_context_create(options, &context));
    assert_non_null(context);
    contexts[context_count++] = context;
    return context;
}

attn_context *new_context_of(size_t threads, uint32_t isa) {
    attn_context_options options;
    ATTN_INIT(&options);
    options.threads = threads;
    options.isa = isa;
    return new_context(&options);
}

attn_context *new_precise(size_t threads, uint32_t isa, const char *blas, attn_precision precision) {
    attn_context_options options;
    ATTN_INIT(&options);
    options.threads = threads;
    options.isa = isa;
    options.blas = blas;
    options.precision = precision;
    return new_context(&options);
}

attn_context_info describe(attn_context *context) {
    attn_context_info info;
    ATTN_INIT(&info);
    assert_ok(context, attn_context_describe(context, &info));
    return info;
}

static bool cpu_has(uint32_t isa) {
#if defined(__x86_64__)
    if (isa == ATTN_ISA_AVX2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (isa == ATTN_ISA_AVX512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#elif defined(__aarch64__)
    if (isa == ATTN_ISA_NEON)
        return true;
#endif
    return isa == ATTN_ISA_GENERIC;
}

size_t list_isas(uint32_t isas[ISAS]) {
    static const uint32_t all[ISAS] = {ATTN_ISA_GENERIC, ATTN_ISA_AVX2, ATTN_ISA_AVX512, ATTN_ISA_NEON};
    const uint32_t wanted = (uint32_t)number_from("ATTN_TEST_ISAS", UINT32_MAX);
    size_t n = 0;
    for (size_t i = 0; i < ISAS; i++)
        if ((wanted & all[i]) && cpu_has(all[i]))
            isas[n++] = all[i];
    return n;
}

static const char *isa_name(uint32_t isa) {
    return isa == ATTN_ISA_GENERIC  ? "generic"
           : isa == ATTN_ISA_AVX2   ? "avx2"
           : isa == ATTN_ISA_AVX512 ? "avx512"
                                    : "neon";
}

size_t new_isa_contexts(size_t threads, attn_context *made[ISAS]) {
    uint32_t isas[ISAS];
    const size_t n = list_isas(isas);
    for (size_t i = 0; i < n; i++) {
        made[i] = new_context_of(threads, isas[i]);
        assert_string_equal(describe(made[i]).isa, isa_name(isas[i]));
    }
    return n;
}

int end_test(void **state) {
    (void)state;
    while (context_count > 0)
        attn_context_destroy(contexts[--context_count]);
    case_name[0] = '\0';
    if (release_blocks(NULL))
        return 0;
    print_error("something was written before the beginning of a tensor\n");
    return -1;
}

/* ---- random numbers: SplitMix64 (Steele, Lea and Flood, 2014) ---- */

static uint64_t random_state;

void seed(uint64_t seed) { random_state = seed; }

static uint64_t random_bits(void) {
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void plain_sgemm(void *data, size_t M, size_t N, size_t K, float alpha, const float *A, size_t lda, const float *B,
                 size_t ldb, float beta, float *C, size_t ldc) {
    (void)data;
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++) {
            double sum = 0;
            for (size_t k = 0; k < K; k++)
                sum += (double)A[i * lda + k] * (double)B[k * ldb + j];
            C[i * ldc + j] = alpha * (float)sum + (beta != 0 ? beta * C[i * ldc + j] : 0);
        }
}

size_t every(void) { return number_from("ATTN_TEST_SHORT", 1); }

size_t random_below(size_t n) { return (size_t)(random_bits() % n); }

/* In (0, 1]. */
static double random_uniform(void) { return ((double)(random_bits() >> 11) + 1) * 0x1p-53; }

/* Box and Muller, 1958. */
float random_normal(void) {
    const double radius = sqrt(-2 * log(random_uniform()));
    return (float)(radius * cos(6.283185307179586 * random_uniform()));
}

void fill_normal(attn_tensor t) {
    for (size_t n = 0; n < element_count(t); n++)
        set_value(t, n, (double)random_normal());
}

/* ---- tensors ---- */

size_t element_count(attn_tensor t) { return t.size[0] * t.size[1] * t.size[2] * t.size[3]; }

/* Of any type. */
static void *place_at(attn_tensor t, size_t b, size_t h, size_t i, size_t d) {
    const ptrdiff_t *s = t.stride;
    const ptrdiff_t n = (ptrdiff_t)b * s[0] + (ptrdiff_t)h * s[1] + (ptrdiff_t)i * s[2] + (ptrdiff_t)d * s[3];
    return (char *)t.data + n * (ptrdiff_t)type_size(t.dtype);
}

static void *place(attn_tensor t, size_t n) {
    const size_t d = n % t.size[3], rows = n / t.size[3], heads = rows / t.size[2];
    return place_at(t, heads / t.size[1], heads % t.size[1], rows % t.size[2], d);
}

float *element_at(attn_tensor t, size_t b, size_t h, size_t i, size_t d) {
    assert_int_equal(t.dtype, ATTN_F32);
    return place_at(t, b, h, i, d);
}

float *element(attn_tensor t, size_t n) {
    assert_int_equal(t.dtype, ATTN_F32);
    return place(t, n);
}

double value(attn_tensor t, size_t n) { return read_number(t.dtype, place(t, n)); }

double value_at(attn_tensor t, size_t b, size_t h, size_t i, size_t d) {
    return read_number(t.dtype, place_at(t, t.size[0] == 1 ? 0 : b, t.size[1] == 1 ? 0 : h, t.size[2] == 1 ? 0 : i, d));
}

void set_value(attn_tensor t, size_t n, double x) { write_number(t.dtype, place(t, n), x); }

void set_value_at(attn_tensor t, size_t b, size_t h, size_t i, size_t d, double x) {
    write_number(t.dtype, place_at(t, b, h, i, d), x);
}

attn_tensor tokens_of(attn_tensor t, size_t first, size_t count) {
    t.data = t.data ? place_at(t, 0, 0, first, 0) : NULL;
    t.size[2] = count;
    return t;
}

attn_tensor sequence_of(attn_tensor t, size_t b) {
    t.data = t.data ? place_at(t, b, 0, 0, 0) : NULL;
    t.size[0] = 1;
    return t;
}

static attn_tensor new_strided_of(attn_dtype dtype, const size_t size[4], const ptrdiff_t stride[4]) {
    attn_tensor t = {.dtype = dtype};
    ptrdiff_t low = 0, high = 0;
    for (size_t i = 0; i < 4; i++) {
        t.size[i] = size[i];
        t.stride[i] = stride[i];
        *(stride[i] < 0 ? &low : &high) += stride[i] * ((ptrdiff_t)size[i] - 1);
    }
    const ptrdiff_t bytes = (ptrdiff_t)type_size(dtype);
    if (element_count(t) > 0)
        t.data = (char *)new_block((size_t)((high - low + 1) * bytes)) - low * bytes;
    return t;
}

attn_tensor new_strided(const size_t size[4], const ptrdiff_t stride[4]) {
    return new_strided_of(ATTN_F32, size, stride);
}

attn_tensor new_tensor_of(attn_dtype dtype, enum layout layout, size_t B, size_t H, size_t T, size_t D) {
    const ptrdiff_t h = (ptrdiff_t)H, t = (ptrdiff_t)T, d = (ptrdiff_t)D, padded = t * (d + 3) + 5;
    const ptrdiff_t strides[LAYOUTS][4] = {[BHTD] = {h * t * d, t * d, d, 1},
                                           [BTHD] = {t * h * d, d, h * d, 1},
                                           [PADDED] = {h * padded + 7, padded, d + 3, 1},
                                           [REVERSED] = {-h * t * d, -t * d, -d, 1},
                                           [SLIDING] = {h * (t + d), t + d, 1, 1},
                                           [SAME_TOKENS] = {h * d, d, 0, 1},
                                           [SAME_HEADS] = {t * d, 0, d, 1},
                                           [SAME_BATCHES] = {0, t * d, d, 1}};
    return new_strided_of(dtype, (const size_t[]){B, H, T, D}, strides[layout]);
}

attn_tensor new_tensor(enum layout layout, size_t B, size_t H, size_t T, size_t D) {
    return new_tensor_of(ATTN_F32, layout, B, H, T, D);
}

attn_tensor new_normal_of(attn_dtype dtype, enum layout layout, size_t B, size_t H, size_t T, size_t D) {
    const attn_tensor t = new_tensor_of(dtype, layout, B, H, T, D);
    fill_normal(t);
    return t;
}

attn_tensor new_normal(enum layout layout, size_t B, size_t H, size_t T, size_t D) {
    return new_normal_of(ATTN_F32, layout, B, H, T, D);
}

attn_tensor new_copy_of(attn_dtype dtype, attn_tensor t) {
    const attn_tensor copy = new_tensor_of(dtype, BHTD, t.size[0], t.size[1], t.size[2], t.size[3]);
    for (size_t n = 0; n < element_count(copy); n++)
        set_value(copy, n, value(t, n));
    return copy;
}

attn_tensor new_copy(attn_tensor t) { return new_copy_of(t.dtype, t); }

/* ---- assertions ---- */

tolerance promised(double factor) { return (tolerance){.absolute = 1e-5 * factor, .relative = 5e-6}; }

static bool is_near(double got, double want, tolerance bound) {
    if (isnan(want))
        return isnan(got);
    if (isinf(want) || !isfinite(got))
        return got == want;
    return fabs(got - want) <= bound.absolute + bound.relative * fabs(want);
}

/* Where x or y is beyond what the type holds: x is what some number within the bound of y becomes. */
static bool is_stored_near(attn_dtype dtype, double x, double y, tolerance bound) {
    const double slack = bound.absolute + bound.relative * fabs(y);
    if (isfinite(y) && !(isfinite(x) && isfinite(rounded_to(dtype, y))))
        return rounded_to(dtype, y - slack) <= x && x <= rounded_to(dtype, y + slack);
    return is_near(x, y, (tolerance){bound.absolute + half_ulp(dtype, y), bound.relative});
}

/* Ends the test because of element n of a tensor. */
__attribute__((format(printf, 6, 7), noreturn)) static void
fail_element(const char *what, attn_tensor t, size_t n, const char *file, int line, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const size_t rows = n / t.size[3], heads = rows / t.size[2];
    fail_at(file, line, "%s[%zu,%zu,%zu,%zu] of [%zu,%zu,%zu,%zu]: %s", what, heads / t.size[1], heads % t.size[1],
            rows % t.size[2], n % t.size[3], t.size[0], t.size[1], t.size[2], t.size[3], text);
}

void check_near(const char *what, attn_tensor got, const double *want, tolerance bound, const char *file, int line) {
    for (size_t n = 0; n < element_count(got); n++) {
        const double x = value(got, n), y = want[n];
        if (!is_stored_near(got.dtype, x, y, bound))
            fail_element(what, got, n, file, line, "got %.9g, want %.9g, off by %.3g, allowed %.3g", x, y, fabs(x - y),
                         bound.absolute + bound.relative * fabs(y) + half_ulp(got.dtype, y));
    }
}

void check_bits(const char *what, attn_tensor got, attn_tensor want, const char *file, int line) {
    assert_memory_equal(got.size, want.size, sizeof got.size);
    assert_int_equal(got.dtype, want.dtype);
    for (size_t n = 0; n < element_count(got); n++)
        if (memcmp(place(got, n), place(want, n), type_size(got.dtype)) != 0)
            fail_element(what, got, n, file, line, "got %a, want exactly %a", value(got, n), value(want, n));
}

static const block *block_of(const void *data) {
    for (const block *b = blocks; b; b = b->next)
        if ((const char *)data >= block_data(b) && (const char *)data < block_data(b) + b->bytes)
            return b;
    return NULL;
}

void check_untouched(const char *what, attn_tensor t, bool gaps_only, const char *file, int line) {
    if (element_count(t) == 0)
        return;
    const block *b = block_of(t.data);
    assert_non_null(b);
    const char *data = block_data(b);
    bool *own = calloc(b->bytes, sizeof *own);
    assert_non_null(own);
    for (size_t n = 0; gaps_only && n < element_count(t); n++)
        memset(own + ((const char *)place(t, n) - data), true, type_size(t.dtype));
    size_t i = 0;
    while (i < b->bytes && (own[i] || is_untouched(b, data + i)))
        i++;
    free(own);
    if (i < b->bytes)
        fail_at(file, line, "%s: byte %zu of %zu was written to: element %zu", what, i, b->bytes,
                i / type_size(t.dtype));
}

void check_rows_sum(const char *what, attn_tensor p, const float *lse, const char *file, int line) {
    const size_t columns = p.size[3], rows = p.size[0] * p.size[1] * p.size[2];
    for (size_t r = 0; r < rows; r++) {
        double sum = 0;
        for (size_t j = 0; j < columns; j++)
            sum += value(p, r * columns + j);
        const double want = lse[r] == -INFINITY ? 0 : 1, slack = lse[r] == -INFINITY ? 0 : 1e-6;
        if (!isnan(lse[r]) && !is_near(sum, want, (tolerance){slack, 0}))
            fail_at(file, line, "%s: row %zu of %zu with lse %g sums to %.9g", what, r, rows, (double)lse[r], sum);
    }
}

void check_status(const char *what, const attn_context *context, attn_status got, attn_status want, const char *file,
                  int line) {
    if (got != want)
        fail_at(file, line, "%s: got %d (%s), want %d (%s); last error: %s", what, (int)got, attn_status_text(got),
                (int)want, attn_status_text(want), attn_context_last_error(context));
}

static bool in_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

void check_mentions(const char *message, const char *word, const char *file, int line) {
    const size_t length = strlen(word);
    for (const char *p = message; (p = strstr(p, word)) != NULL; p++)
        if ((p == message || !in_word(p[-1])) && !in_word(p[length]))
            return;
    fail_at(file, line, "the message does not mention '%s': \"%s\"", word, message);
}
