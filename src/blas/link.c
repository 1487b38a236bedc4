/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE /* RTLD_DEFAULT, dladdr */
#include <cblas.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "blas/blas.h"

static attni_symbol find_linked(void *data, const char *name) {
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
    (void)data;
    for (size_t i = 0; i < sizeof linked / sizeof *linked; i++)
        if (strcmp(linked[i].name, name) == 0)
            return linked[i].symbol;
    attni_symbol symbol;
    *(void **)&symbol = dlsym(RTLD_DEFAULT, name);
    return symbol;
}

attn_status attni_blas_link(attn_context *context, attni_blas *blas) {
    Dl_info info;
    const attni_symbol sgemm = (attni_symbol)cblas_sgemm;
    if (dladdr(*(void *const *)&sgemm, &info) && info.dli_fname)
        snprintf(blas->path, sizeof blas->path, "%s", info.dli_fname);
    return attni_blas_identify(context, find_linked, NULL, blas);
}
