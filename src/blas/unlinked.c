/* SPDX-License-Identifier: BSD-3-Clause */
/* In the place of link.c where libattn is built without OpenBLAS. */
#include "blas/blas.h"

const char attni_blas_default[] = "builtin";

attn_status attni_blas_link(attn_context *context, attni_blas *blas) {
    (void)blas;
    return attni_fail(
        context, ATTN_ERROR_BACKEND,
        "blas: \"linked\" cannot be used: this libattn was built without OpenBLAS (ATTN_OPENBLAS=OFF); use "
        "\"builtin\", or the name or path of a library to load");
}
