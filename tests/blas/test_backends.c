/* SPDX-License-Identifier: BSD-3-Clause */
/* Other BLAS libraries, each in a process of its own: test_backends NAME. What is no usable BLAS: test_backends
 * refused. Exits with 77 if the library is not there, or cannot be loaded in a sanitized build. */
#define _GNU_SOURCE /* dladdr */
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/layer.h"
#include "support/pools.h"
#include "support/sdpa_case.h"

#define DEBIAN LIBRARY_FOLDER "/"

enum { SKIPPED = 77 };

/* How to ask for a backend, a file that has to be there for it, and what it must say of itself. */
struct backend {
    const char *name, *blas, *file, *kind, *threads;
};

static const struct backend BACKENDS[] = {
    {"linked", "linked", "/", "openblas", NULL},
    {"openblas-pthread", "openblas-pthread", DEBIAN "openblas-pthread/libopenblas.so.0", "openblas", "pthread"},
    {"openblas-openmp", "openblas-openmp", DEBIAN "openblas-openmp/libopenblas.so.0", "openblas", "openmp"},
    {"openblas-path", DEBIAN "openblas-pthread/libopenblas.so.0", DEBIAN "openblas-pthread/libopenblas.so.0",
     "openblas", "pthread"},
    {"blis", "blis", DEBIAN "libblis.so.4", "blis", NULL},
    {"blis-pthread-path", DEBIAN "blis-pthread/libblis.so.4", DEBIAN "blis-pthread/libblis.so.4", "blis", "pthread"},
    {"blis-openmp-path", DEBIAN "blis-openmp/libblis.so.4", DEBIAN "blis-openmp/libblis.so.4", "blis", "openmp"},
    {"reference", "reference", DEBIAN "blas/libblas.so.3", "reference", NULL},
    {"atlas", DEBIAN "libcblas.so.3", DEBIAN "libcblas.so.3", "cblas", ""},
    {"mkl", "mkl", DEBIAN "libmkl_rt.so", "mkl", NULL},
    {"fake-mkl", FAKE_MKL, FAKE_MKL, "mkl", ""},
    {"fake", FAKE_BLAS, FAKE_BLAS, "cblas", ""},
    {"scipy", FAKE_BLAS_SCIPY, FAKE_BLAS_SCIPY, "cblas", ""},
    {"prescott", FAKE_OPENBLAS, FAKE_OPENBLAS, "openblas", "pthread"},
    {"skylakex", FAKE_OPENBLAS, FAKE_OPENBLAS, "openblas", "pthread"},
};

static const struct backend *backend;

static bool is_linked(void) { return strcmp(backend->blas, "linked") == 0; }

static attn_context *new_backend_context(size_t threads) {
    attn_context_options options;
    ATTN_INIT(&options);
    options.threads = threads;
    options.blas = backend->blas;
    return new_context(&options);
}

static void assert_is_the_backend(attn_context *context) {
    const attn_context_info info = describe(context);
    print_message("%s %s, core %s, threads %s, from %s\n", info.blas, info.blas_version, info.blas_core,
                  info.blas_threads, info.blas_path);
    assert_string_equal(info.blas, backend->kind);
    if (backend->threads)
        assert_string_equal(info.blas_threads, backend->threads);
    if (strchr(backend->blas, '/'))
        assert_string_equal(info.blas_path, backend->blas);
    assert_true(*info.blas_path == '/' || !*info.blas_path);
}

static void by_option(void **state) {
    (void)state;
    assert_is_the_backend(new_backend_context(1));
}

static void by_environment(void **state) {
    (void)state;
    setenv("ATTN_BLAS", backend->blas, 1);
    attn_context *context = new_context(NULL);
    unsetenv("ATTN_BLAS");
    assert_is_the_backend(context);
}

/* Small enough for the slowest; some beyond the tiles of each. */
enum { SHAPES = 6 };

static struct sdpa_case shape(size_t n) {
    static const size_t sizes[SHAPES][7] = {{1, 1, 1, 1, 1, 1, 1},       {2, 4, 2, 70, 90, 16, 24},
                                            {1, 2, 1, 257, 300, 64, 64}, {1, 1, 1, 300, 300, 128, 40},
                                            {3, 2, 2, 1, 130, 80, 80},   {1, 2, 2, 37, 530, 8, 256}};
    const size_t *s = sizes[n];
    struct sdpa_case c = sdpa_case_of(s[0], s[1], s[2], s[3], s[4], s[5], s[6]);
    set_causal(&c, n % 2 ? ATTN_CAUSAL_BOTTOM_RIGHT : ATTN_CAUSAL_NONE, NULL);
    c.out_layout = n % 3 ? BTHD : BHTD;
    return c;
}

static void accurate(void **state) {
    (void)state;
    attn_context *context = new_backend_context(2);
    seed(1);
    for (size_t i = 0; i < SHAPES; i++) {
        const struct sdpa_case c = shape(i);
        check_sdpa(context, &c);
        end_case();
    }
    static const attn_dtype types[] = {ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_INT8, ATTN_INT4};
    for (size_t i = 0; i < 2 * COUNT(types); i++) {
        struct mha_case layer = mha_case_of(96, 6, 2, i % 2 ? 1 : 70);
        layer.layer.weight_dtype = types[i / 2];
        fill_layer(&layer.layer, true, ALL_BIASES);
        check_mha(context, &layer);
        end_case();
    }
}

/* For layers wider than a tile, and in every layout. */
static void accurate_layouts(void **state) {
    (void)state;
    attn_context *context = new_backend_context(1);
    seed(2);
    for (size_t i = 0; i < LAYOUTS; i++) {
        struct sdpa_case c = sdpa_case_of(2, 2, 1, 40, 90, 24, 24);
        c.v = new_normal((enum layout)i, 2, 1, 90, 24);
        c.k = new_normal((enum layout)i, 2, 1, 90, 24);
        check_sdpa(context, &c);
        end_case();
    }
}

static void any_number_of_threads(void **state) {
    (void)state;
    static const size_t threads[] = {1, 2, 3};
    seed(3);
    for (size_t i = 1; i < SHAPES; i += 2) {
        const struct sdpa_case c = shape(i);
        struct sdpa_result want = {0};
        for (size_t t = 0; t < COUNT(threads); t++) {
            attn_context *context = new_backend_context(threads[t]);
            const struct sdpa_result got = run_sdpa(context, &c);
            const struct sdpa_result again = run_sdpa(context, &c);
            want = t ? want : got;
            assert_same_result(&got, &want);
            assert_same_result(&again, &want);
        }
        end_test(NULL);
    }
}

/* Masked NaN must not come through a product either. */
static void masked_tokens_change_no_bit(void **state) {
    (void)state;
    attn_context *context = new_backend_context(2);
    seed(4);
    struct sdpa_case c = sdpa_case_of(1, 2, 2, 90, 300, 16, 40);
    set_causal(&c, ATTN_CAUSAL_TOP_LEFT, NULL);
    const struct sdpa_result clean = run_sdpa(context, &c);
    for (size_t n = 0; n < element_count(c.k); n++)
        if (n / 16 % 300 >= 90)
            *element(c.k, n) = NAN;
    for (size_t n = 0; n < element_count(c.v); n++)
        if (n / 40 % 300 >= 90)
            *element(c.v, n) = NAN;
    const struct sdpa_result got = run_sdpa(context, &c);
    assert_same_result(&got, &clean);
}

/* An output that ends where a page ends, and sums that begin with the bias: nothing is read behind. */
static void ends_with_a_page(void **state) {
    (void)state;
    attn_context *context = new_backend_context(1);
    for (size_t out = 1; out <= 40; out++)
        for (size_t T = 1; T <= 9; T += 2) {
            attn_linear_params p;
            attn_linear *linear;
            ATTN_INIT(&p);
            const attn_tensor weight = new_normal(BHTD, 1, 1, out, 1), bias = new_normal(BHTD, 1, 1, 1, out);
            const attn_tensor x = new_normal(BHTD, 1, 1, T, 1), y = new_tensor(BHTD, 1, 1, T, out);
            p.in_width = 1;
            p.out_width = out;
            p.weight = weight.data;
            p.bias = bias.data;
            assert_ok(context, attn_linear_create(context, &p, &linear));
            assert_ok(context, attn_linear_forward(context, linear, &x, &y));
            double *want = new_doubles(T * out);
            for (size_t n = 0; n < T * out; n++)
                want[n] = value(bias, n % out) + value(x, n / out) * value(weight, n % out);
            assert_near(y, want, promised(1));
            attn_linear_destroy(linear);
            end_case();
        }
}

/* Rows 2 GB apart. */
static void far_rows(void **state) {
    (void)state;
    enum { ROWS = 16, E = 64 };
    const size_t stride = (size_t)1 << 29, bytes = ROWS * stride * sizeof(float);
    float *far = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (far == MAP_FAILED)
        skip();
    struct sdpa_case c = sdpa_case_of(1, 1, 1, 8, ROWS, 8, E);
    const attn_tensor v = c.v;
    c.v.data = far;
    c.v.stride[2] = (ptrdiff_t)stride;
    for (size_t n = 0; n < ROWS * E; n++)
        far[n / E * stride + n % E] = (float)value(v, n);
    attn_context *context = new_backend_context(1);
    const struct sdpa_result got = run_sdpa(context, &c);
    c.v = v;
    const struct sdpa_result want = run_sdpa(context, &c);
    munmap(far, bytes);
    assert_same_result(&got, &want);
}

/* MKL's number of threads is each thread's own. */
static void leaves_threads_alone(void **state) {
    (void)state;
    int (*set)(int) = NULL;
    attn_context *context = new_backend_context(2);
    void *library = dlopen(describe(context).blas_path, RTLD_LAZY | RTLD_NOLOAD);
    if (library)
        *(void **)&set = dlsym(library, "MKL_Set_Num_Threads_Local");
    if (!set)
        skip();
    const struct sdpa_case c = shape(2);
    set(3);
    check_sdpa(context, &c);
    assert_int_equal(set(0), 3);
    assert_true(strncmp(describe(context).blas_version, "20", 2) == 0); /* a year */
}

/* ---- what cannot be used ---- */

static void assert_refused(const char *blas, const char *word) {
    attn_context_options options;
    attn_context *context = NULL;
    ATTN_INIT(&options);
    options.blas = blas;
    name_case("%s", blas);
    assert_status(NULL, attn_context_create(&options, &context), ATTN_ERROR_BACKEND);
    assert_null(context);
    print_message("%s\n", attn_context_last_error(NULL));
    assert_mentions(attn_context_last_error(NULL), "blas");
    if (!UNDER_ASAN && !UNDER_TSAN) /* where all are refused for the same reason */
        assert_mentions(attn_context_last_error(NULL), word);
}

static void no_such_library(void **state) {
    (void)state;
    char *long_path = malloc(5001);
    memset(long_path, '/', 5000);
    long_path[5000] = '\0';
    assert_refused("/no/such/folder/libblas.so.3", "loaded");
    assert_refused("./libblas-that-is-not-here.so", "loaded");
    assert_refused("openblas", "openblas");
    assert_refused(long_path, "blas"); /* the message is cut */
    free(long_path);
}

static void no_library_at_all(void **state) {
    (void)state;
    assert_refused(TEXT_FILE, "loaded");
    assert_refused("/", "loaded");
#ifdef __GLIBC__ /* others load a program too */
    assert_refused("/proc/self/exe", "loaded");
#endif
}

static void no_blas(void **state) {
    (void)state;
    Dl_info info;
    double (*const cosine)(double) = cos;
    void *address;
    memcpy(&address, &cosine, sizeof address);
    assert_true(dladdr(address, &info) && strchr(info.dli_fname, '/'));
    assert_refused(info.dli_fname, "cblas_sgemm");
}

static void integers_of_64_bits(void **state) {
    (void)state;
    assert_refused(FAKE_BLAS_64, "64");
    const char *const files[] = {DEBIAN "openblas64-pthread/libopenblas64.so.0", DEBIAN "blas64/libblas64.so.3",
                                 DEBIAN "blis64-pthread/libblis64.so.4"};
    for (size_t i = 0; i < COUNT(files); i++)
        if (access(files[i], R_OK) == 0)
            assert_refused(files[i], "64");
}

static void serial_openblas(void **state) {
    (void)state;
    assert_refused(FAKE_BLAS_SERIAL, "serial");
    if (access(DEBIAN "openblas-serial/libopenblas.so.0", R_OK) == 0)
        assert_refused(DEBIAN "openblas-serial/libopenblas.so.0", "serial");
}

/* The variable is taken only when the option is not set, and not when it is empty. */
static void environment(void **state) {
    (void)state;
    attn_context *context = NULL;
    attn_context_options options;
    ATTN_INIT(&options);
    setenv("ATTN_BLAS", "/no/such/library.so", 1);
    assert_status(NULL, attn_context_create(&options, &context), ATTN_ERROR_BACKEND);
    assert_mentions(attn_context_last_error(NULL), "library");
    options.blas = "builtin";
    assert_string_equal(describe(new_context(&options)).blas, "builtin");
    setenv("ATTN_BLAS", "", 1);
    const char *empty = describe(new_context(NULL)).blas_choice;
    unsetenv("ATTN_BLAS");
    assert_string_equal(empty, describe(new_context(NULL)).blas_choice);
}

static void copy_to_temporary(const char *file, char *path, size_t size) {
    char buffer[4096];
    snprintf(path, size, "/tmp/attn-XXXXXX");
    FILE *from = fopen(file, "rb"), *to = fdopen(mkstemp(path), "wb");
    assert_true(from && to);
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, from)) > 0;)
        assert_int_equal(fwrite(buffer, 1, n, to), n);
    fclose(from);
    fclose(to);
}

/* ---- products that are none ---- */

enum fault { NOTHING, ZEROS, READS_C, NO_K, ONE_ROW, LAST_ROW, OUTSIDE, FACTOR, FAULTS };

/* A plain product with one fault. */
static void faulty(void *data, size_t M, size_t N, size_t K, float alpha, const float *A, size_t lda, const float *b,
                   size_t ldb, float beta, float *C, size_t ldc) {
    const enum fault fault = *(const enum fault *)data;
    if (fault == NOTHING || (fault == NO_K && K == 0) || (fault == ONE_ROW && M == 1))
        return;
    for (size_t i = 0; i < M - (fault == LAST_ROW); i++)
        for (size_t j = 0; j < N + (fault == OUTSIDE && i == M - 1); j++) {
            float sum = 0;
            for (size_t k = 0; k < K; k++)
                sum += A[i * lda + k] * b[k * ldb + j];
            sum *= fault == FACTOR ? 1 : alpha;
            C[i * ldc + j] = fault == ZEROS ? 0 : sum + (beta != 0 || fault == READS_C ? beta * C[i * ldc + j] : 0);
        }
}

static void no_products(void **state) {
    (void)state;
    for (enum fault fault = NOTHING; fault <= FAULTS; fault++) {
        attn_context_options options;
        attn_context *context = NULL;
        ATTN_INIT(&options);
        options.sgemm = faulty;
        options.sgemm_data = &fault;
        name_case("fault %d", (int)fault);
        assert_status(NULL, attn_context_create(&options, &context), fault < FAULTS ? ATTN_ERROR_BACKEND : ATTN_OK);
        if (fault < FAULTS)
            assert_mentions(attn_context_last_error(NULL), "options.sgemm");
        attn_context_destroy(context);
    }
}

/* Each library is held at one thread by a setting of its own, of which a process has only so many. */
static void too_many_libraries(void **state) {
    (void)state;
    enum { HELD = 16 };
    char paths[HELD + 1][64];
    if (UNDER_ASAN || UNDER_TSAN)
        skip();
    for (size_t i = 0; i <= HELD; i++)
        copy_to_temporary(FAKE_OPENBLAS, paths[i], sizeof paths[i]);
    size_t opened = 0;
    for (size_t i = 0; i < HELD; i++) {
        attn_context_options options;
        attn_context *context = NULL;
        ATTN_INIT(&options);
        options.blas = paths[i];
        opened += attn_context_create(&options, &context) == ATTN_OK;
        attn_context_destroy(context);
    }
    assert_refused(paths[HELD], "libraries");
    assert_true(opened >= HELD - 1); /* the linked one may have its own */
    for (size_t i = 0; i <= HELD; i++)
        unlink(paths[i]);
}

static int test_refusals(void) {
    const struct CMUnitTest tests[] = {TEST(no_such_library),     TEST(no_library_at_all), TEST(no_blas),
                                       TEST(integers_of_64_bits), TEST(serial_openblas),   TEST(environment),
                                       TEST(no_products),         TEST(too_many_libraries)};
    return cmocka_run_group_tests_name("backends refused", tests, NULL, NULL);
}

/* False, with the library's own words, where there is nothing to test: no such file, or a sanitized build. A file that
 * is there must load, which the tests see to. */
static bool can_be_tested(void) {
    attn_context_options options;
    attn_context *context = NULL;
    if (is_linked() || (!UNDER_ASAN && !UNDER_TSAN && access(backend->file, R_OK) == 0))
        return true;
    ATTN_INIT(&options);
    options.blas = backend->blas;
    const attn_status status = attn_context_create(&options, &context);
    attn_context_destroy(context);
    if (status != ATTN_ERROR_BACKEND)
        return true;
    printf("SKIP %s: %s\n", backend->name, attn_context_last_error(NULL));
    return false;
}

static int test_backend(void) {
    const struct CMUnitTest tests[] = {TEST(by_option),
                                       TEST(by_environment),
                                       TEST(accurate),
                                       TEST(accurate_layouts),
                                       TEST(any_number_of_threads),
                                       TEST(masked_tokens_change_no_bit),
                                       TEST(ends_with_a_page),
                                       TEST(far_rows),
                                       TEST(leaves_threads_alone)};
    return can_be_tested() ? cmocka_run_group_tests_name(backend->name, tests, NULL, NULL) : SKIPPED;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "refused") == 0)
        return test_refusals();
    for (size_t i = 0; argc == 2 && i < COUNT(BACKENDS); i++)
        if (strcmp(argv[1], BACKENDS[i].name) == 0) {
            backend = &BACKENDS[i];
            return test_backend();
        }
    fprintf(stderr, "usage: %s BACKEND | refused\n", argv[0]);
    return 2;
}
