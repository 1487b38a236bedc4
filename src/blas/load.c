/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE /* RTLD_DEEPBIND, RTLD_DEFAULT */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "blas/blas.h"

/* Debian keeps flavours that share a soname in folders of their own, below the folder of the architecture. */
#define DEBIAN "/usr/lib/" ATTN_LIBRARY_ARCHITECTURE "/"

static const struct {
    const char *name, *files[4]; /* tried in this order */
} catalogue[] = {
    {"openblas-pthread", {DEBIAN "openblas-pthread/libopenblas.so.0"}},
    {"openblas-openmp", {DEBIAN "openblas-openmp/libopenblas.so.0"}},
    {"openblas-serial", {DEBIAN "openblas-serial/libopenblas.so.0"}},
    /* Not libblas.so.3: that one hides the bli_* functions. */
    {"blis", {"libblis.so.4", DEBIAN "blis-pthread/libblis.so.4", DEBIAN "blis-openmp/libblis.so.4"}},
    {"blis-pthread", {DEBIAN "blis-pthread/libblis.so.4"}},
    {"blis-openmp", {DEBIAN "blis-openmp/libblis.so.4"}},
    {"reference", {DEBIAN "blas/libblas.so.3"}},
    {"mkl", {"libmkl_rt.so.3", "libmkl_rt.so.2", "libmkl_rt.so.1", "libmkl_rt.so"}},
};

static const char *const *files_of(const char *name) {
    for (size_t i = 0; i < sizeof catalogue / sizeof *catalogue; i++)
        if (strcmp(catalogue[i].name, name) == 0)
            return catalogue[i].files;
    return NULL;
}

/* PyPI's scipy-openblas32 prefixes its symbols. */
static attni_symbol find_loaded(void *library, const char *name) {
    char prefixed[64];
    attni_symbol symbol;
    *(void **)&symbol = dlsym(library, name);
    if (symbol)
        return symbol;
    snprintf(prefixed, sizeof prefixed, "scipy_%s", name);
    *(void **)&symbol = dlsym(library, prefixed);
    return symbol;
}

/* With RTLD_DEEPBIND the library calls itself; without (musl), it calls into a BLAS that the program is linked with:
 * then only a library whose names are its own can be used, as PyPI's, or the linked one itself. */
#ifdef RTLD_DEEPBIND
enum { DEEPBIND = RTLD_DEEPBIND };

static bool is_shadowed(void *library) {
    (void)library;
    return false;
}
#else
enum { DEEPBIND = 0 };

static bool is_shadowed(void *library) {
    const void *own = dlsym(library, "cblas_sgemm"), *called = dlsym(RTLD_DEFAULT, "cblas_sgemm");
    return own && called && own != called;
}
#endif

static attn_status identify(attn_context *context, void *library, attni_blas *blas) {
    if (is_shadowed(library))
        return attni_fail(context, ATTN_ERROR_BACKEND,
                          "blas: %s cannot be used beside the linked BLAS, which has its names: this system has no "
                          "RTLD_DEEPBIND; use \"linked\" or \"builtin\", or link the program with it",
                          blas->path);
    return attni_blas_identify(context, find_loaded, library, blas);
}

/* Where the loader found it. */
static void note_path(void *library, const char *file, attni_blas *blas) {
    Dl_info info;
    const void *sgemm = dlsym(library, "cblas_sgemm");
    const bool known = sgemm && dladdr(sgemm, &info) && info.dli_fname;
    snprintf(blas->path, sizeof blas->path, "%s", known ? info.dli_fname : file);
}

/* Whether ASan or TSan are in this process, libattn having been compiled with them or not. */
static bool is_sanitized(void) { return dlsym(RTLD_DEFAULT, "__asan_init") || dlsym(RTLD_DEFAULT, "__tsan_init"); }

/* A library is never closed: BLAS libraries do not survive that, nor do their threads. */
static attn_status load_first(attn_context *context, const char *name, const char *const *files, attni_blas *blas) {
    if (is_sanitized())
        return attni_fail(context, ATTN_ERROR_BACKEND,
                          "blas: %s cannot be loaded under ASan or TSan, which forbid RTLD_DEEPBIND; use \"linked\" or "
                          "\"builtin\"",
                          name);
    char reason[160] = "";
    for (size_t i = 0; i < 4 && files[i]; i++) {
        void *library = dlopen(files[i], RTLD_NOW | RTLD_LOCAL | DEEPBIND);
        if (library) {
            note_path(library, files[i], blas);
            return identify(context, library, blas);
        }
        if (i == 0)
            snprintf(reason, sizeof reason, "%s", dlerror());
    }
    return attni_fail(context, ATTN_ERROR_BACKEND, "blas: %s cannot be loaded: %s", name, reason);
}

attn_status attni_blas_load(attn_context *context, const char *name, attni_blas *blas) {
    const char *path[4] = {name};
    if (strchr(name, '/'))
        return load_first(context, name, path, blas);
    const char *const *files = files_of(name);
    if (!files)
        return attni_fail(context, ATTN_ERROR_BACKEND,
                          "blas: \"%s\" is neither a name that attn/context.h lists nor a path with a '/'", name);
    return load_first(context, name, files, blas);
}
