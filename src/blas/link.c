/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE /* RTLD_DEFAULT, RTLD_NOLOAD, dladdr */
#include <cblas.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "blas/blas.h"

static attni_symbol find_in(void *library, const char *name) {
    attni_symbol symbol;
    *(void **)&symbol = dlsym(library, name);
    return symbol;
}

/* What the process calls by that name, whoever has it. */
static attni_symbol find_anywhere(const char *name) {
    static const struct {
        const char *name;
        attni_symbol symbol;
    } linked[] = {
        {"cblas_sgemm", (attni_symbol)cblas_sgemm},
        {"cblas_sgemv", (attni_symbol)cblas_sgemv},
        {"cblas_sasum", (attni_symbol)cblas_sasum},
        {"openblas_get_config", (attni_symbol)openblas_get_config},
        {"openblas_get_corename", (attni_symbol)openblas_get_corename},
        {"openblas_get_parallel", (attni_symbol)openblas_get_parallel},
        {"openblas_get_num_threads", (attni_symbol)openblas_get_num_threads},
        {"openblas_set_num_threads", (attni_symbol)openblas_set_num_threads},
    };
    for (size_t i = 0; i < sizeof linked / sizeof *linked; i++)
        if (strcmp(linked[i].name, name) == 0)
            return linked[i].symbol;
    return find_in(RTLD_DEFAULT, name);
}

/* A program that has a cblas_sgemm itself, or another BLAS before libattn, puts its own in front of OpenBLAS's: only
 * what lies beside that, or is linked with it, tells of it. `library` is NULL for the program. An OpenMP is the
 * process's. */
static attni_symbol find_linked(void *library, const char *name) {
    const attni_symbol symbol = find_anywhere(name);
    if (!symbol || attni_same_object(symbol, (attni_symbol)cblas_sgemm) || strncmp(name, "omp_", 4) == 0)
        return symbol;
    return library ? find_in(library, name) : NULL;
}

const char attni_blas_default[] = "linked";

attn_status attni_blas_link(attn_context *context, attni_blas *blas) {
    Dl_info info;
    void *library = NULL;
    const attni_symbol sgemm = (attni_symbol)cblas_sgemm;
    if (dladdr(*(void *const *)&sgemm, &info) && info.dli_fname) {
        snprintf(blas->path, sizeof blas->path, "%s", info.dli_fname);
        library = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    }
    const attn_status status = attni_blas_identify(context, find_linked, library, blas);
    if (library)
        dlclose(library); /* it stays, as it was there before */
    return status;
}
