/* SPDX-License-Identifier: BSD-3-Clause */
/* A program at a fixed address that takes the address of cblas_sgemm has an entry of its own for it, which all
 * libraries see; it is the linked OpenBLAS all the same. */
#include <cblas.h>
#include <stdio.h>
#include <string.h>

#include <attn/attn.h>

static void (*volatile address)(void);

int main(void) {
    attn_context *context = NULL;
    attn_context_info info;
    ATTN_INIT(&info);
    address = (void (*)(void))cblas_sgemm;
    if (attn_context_create(NULL, &context) != ATTN_OK) {
        printf("%s\n", attn_context_last_error(NULL));
        return 1;
    }
    const int wrong = attn_context_describe(context, &info) != ATTN_OK || strcmp(info.blas, "openblas") != 0;
    printf("%s %s, from %s\n", info.blas, info.blas_core, info.blas_path);
    attn_context_destroy(context);
    return wrong;
}
