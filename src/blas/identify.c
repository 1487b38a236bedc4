/* SPDX-License-Identifier: BSD-3-Clause */
/* What a library is: each vendor's is known by a function that only it has. */
#define _GNU_SOURCE /* dladdr1 */
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blas/blas.h"

typedef struct library {
    attni_finder find;
    void *data;
    attni_symbol sgemm;
} library;

typedef struct search {
    uintptr_t address;
    size_t passed;      /* objects; the program is the first */
    const void *object; /* its headers */
} search;

static int is_in(struct dl_phdr_info *info, size_t size, void *arg) {
    search *s = arg;
    (void)size;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && s->address - (info->dlpi_addr + part->p_vaddr) < part->p_memsz)
            s->object = info->dlpi_phdr;
    }
    s->passed += !s->object;
    return s->object != NULL;
}

/* A program at a fixed address has an entry of its own for each function whose address it takes. */
static bool is_import(const void *address) {
#ifdef __GLIBC__
    Dl_info info;
    const ElfW(Sym) *entry = NULL;
    return dladdr1(address, &info, (void **)&entry, RTLD_DL_SYMENT) && entry && entry->st_shndx == SHN_UNDEF;
#else
    (void)address;
    return false;
#endif
}

/* The object that a symbol is in, or NULL: cannot be told. dladdr would take 60 us to look through OpenBLAS. */
static const void *object_of(attni_symbol symbol) {
    const void *address = *(void **)&symbol;
    search s = {.address = (uintptr_t)address};
    dl_iterate_phdr(is_in, &s);
    return s.object && s.passed == 0 && is_import(address) ? NULL : s.object;
}

bool attni_same_object(attni_symbol a, attni_symbol b) {
    const void *of_a = object_of(a), *of_b = object_of(b);
    return !of_a || !of_b || of_a == of_b;
}

static attni_symbol get(const library *lib, const char *name) { return lib->find(lib->data, name); }

/* A function of CBLAS, from where sgemm is. */
static attni_symbol get_beside(const library *lib, const char *name) {
    const attni_symbol symbol = get(lib, name);
    return symbol && attni_same_object(symbol, lib->sgemm) ? symbol : NULL;
}

/* A library with 64-bit integers sees a negative count and sums nothing; one with 32-bit integers sees 1. Both read the
 * argument from a register. */
static bool has_32_bit_integers(attni_symbol cblas_sasum) {
    float (*sasum)(int64_t, const float *, int64_t) = (float (*)(int64_t, const float *, int64_t))cblas_sasum;
    const float one = 1;
    const int64_t n = INT64_C(1) - (INT64_C(1) << 32);
    return sasum(n, &one, 1) == 1.0F;
}

static void use_threads(const library *lib, attni_threading *threading, attni_reach reach, const char *getter,
                        const char *setter) {
    const attni_symbol set = get(lib, setter);
    threading->get = getter ? (ptrdiff_t(*)(void))get(lib, getter) : NULL;
    threading->set = (ptrdiff_t(*)(ptrdiff_t))set;
    threading->reach = set && (!getter || threading->get) ? reach : ATTNI_REACH_NONE;
}

static void openblas_threading(const library *lib, attni_blas *blas, int parallel) {
    blas->threads = parallel == 2 ? "openmp" : parallel == 1 ? "pthread" : "serial";
    if (blas->no_pack)
        return;
    if (parallel == 2)
        use_threads(lib, &blas->threading, ATTNI_REACH_THREAD, "omp_get_max_threads", "omp_set_num_threads");
    else
        use_threads(lib, &blas->threading, ATTNI_REACH_PROCESS, "openblas_get_num_threads", "openblas_set_num_threads");
}

static bool is_openblas(const library *lib, attni_blas *blas) {
    const char *(*config)(void) = (const char *(*)(void))get(lib, "openblas_get_config");
    const char *(*core)(void) = (const char *(*)(void))get(lib, "openblas_get_corename");
    int (*parallel)(void) = (int (*)(void))get(lib, "openblas_get_parallel");
    if (!config || !core || !parallel)
        return false;
    blas->name = "openblas";
    blas->keeps_inside = true;
    sscanf(config(), "OpenBLAS %63s", blas->version); /* NOLINT(cert-err34-c): a string */
    snprintf(blas->core, sizeof blas->core, "%s", core());
    blas->no_pack = attni_blas_has_small_kernels(blas);
    if (blas->no_pack)
        blas->cblas_sgemv = NULL;
    openblas_threading(lib, blas, parallel());
    return true;
}

static bool is_blis(const library *lib, attni_blas *blas) {
    const char *(*version)(void) = (const char *(*)(void))get(lib, "bli_info_get_version_str");
    int (*arch)(void) = (int (*)(void))get(lib, "bli_arch_query_id");
    const char *(*arch_name)(int) = (const char *(*)(int))get(lib, "bli_arch_string");
    ptrdiff_t (*openmp)(void) = (ptrdiff_t(*)(void))get(lib, "bli_info_get_enable_openmp");
    if (!version || !arch || !arch_name || !openmp)
        return false;
    blas->name = "blis";
    snprintf(blas->version, sizeof blas->version, "%s", version());
    snprintf(blas->core, sizeof blas->core, "%s", arch_name(arch()));
    blas->threads = openmp() ? "openmp" : "pthread";
    use_threads(lib, &blas->threading, ATTNI_REACH_PROCESS, "bli_thread_get_num_threads", "bli_thread_set_num_threads");
    return true;
}

static bool is_mkl(const library *lib, attni_blas *blas) {
    void (*version)(char *, int) = (void (*)(char *, int))get(lib, "mkl_get_version_string");
    char text[200] = "";
    if (!version)
        return false;
    blas->name = "mkl";
    version(text, (int)sizeof text - 1);
    const char *number = strstr(text, "Version ");
    snprintf(blas->version, sizeof blas->version, "%.*s", number ? (int)strcspn(number + 8, " ") : 0,
             number ? number + 8 : "");
    use_threads(lib, &blas->threading, ATTNI_REACH_THREAD, NULL, "MKL_Set_Num_Threads_Local");
    return true;
}

static bool is_other(attni_blas *blas) {
    blas->name = strstr(blas->path, "/blas/libblas.so.3") ? "reference" : "cblas";
    return true;
}

static attn_status refuse(attn_context *context, const attni_blas *blas, const char *why) {
    return attni_fail(context, ATTN_ERROR_BACKEND, "blas: %s cannot be used: %s", blas->path, why);
}

attn_status attni_blas_identify(attn_context *context, attni_finder find, void *data, attni_blas *blas) {
    const library lib = {find, data, find(data, "cblas_sgemm")};
    blas->cblas_sgemm = (attni_cblas_sgemm)lib.sgemm;
    if (!blas->cblas_sgemm)
        return refuse(context, blas, "it has no cblas_sgemm");
    const attni_symbol sasum = get_beside(&lib, "cblas_sasum");
    if (!sasum)
        return refuse(context, blas, "it has a cblas_sgemm but no cblas_sasum, by which the width of integers is told");
    if (!has_32_bit_integers(sasum))
        return refuse(context, blas, "its integers have 64 bits, libattn passes 32; use the 32-bit (LP64) build of it");
    blas->cblas_sgemv = (attni_cblas_sgemv)get_beside(&lib, "cblas_sgemv");
    (void)(is_openblas(&lib, blas) || is_blis(&lib, blas) || is_mkl(&lib, blas) || is_other(blas));
    if (strcmp(blas->threads, "serial") == 0)
        return refuse(context, blas,
                      "a serial OpenBLAS gives wrong answers when several threads call it; install a threaded one "
                      "(Debian: libopenblas0-pthread), it is called single-threaded all the same");
    if (!attni_threading_share(&blas->threading))
        return refuse(context, blas, "too many different libraries in one process");
    return ATTN_OK;
}
