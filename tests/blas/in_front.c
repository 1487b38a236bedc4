/* SPDX-License-Identifier: BSD-3-Clause */
/* A BLAS in front of the linked OpenBLAS, preloaded or the program's own: "linked" is that one, or is refused.
 * in_front KIND PATH: what it is, or a word of the refusal, and the file that it is in. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <attn/attn.h>

int main(int argc, char **argv) {
    attn_context *context = NULL;
    attn_context_info info;
    ATTN_INIT(&info);
    if (argc != 3)
        return 2;
    if (attn_context_create(NULL, &context) != ATTN_OK) {
        printf("%s\n", attn_context_last_error(NULL));
        return !strstr(attn_context_last_error(NULL), argv[1]);
    }
    const bool described = attn_context_describe(context, &info) == ATTN_OK;
    printf("%s, core %s, from %s\n", info.blas, info.blas_core, info.blas_path);
    const bool right = described && strcmp(info.blas, argv[1]) == 0 && strcmp(info.blas_path, argv[2]) == 0;
    attn_context_destroy(context);
    return !right;
}
