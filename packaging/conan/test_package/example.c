/* SPDX-License-Identifier: BSD-3-Clause */
/* One token attends to itself. */
#include <attn/attn.h>
#include <stdio.h>

int main(void) {
    float x = 2, y = 0;
    const attn_tensor in = attn_tensor_bhtd(&x, ATTN_F32, 1, 1, 1, 1);
    const attn_tensor out = attn_tensor_bhtd(&y, ATTN_F32, 1, 1, 1, 1);
    attn_context *context;
    const attn_status status = attn_context_create(NULL, &context);
    if (status != ATTN_OK) {
        printf("no context: %s\n", attn_status_text(status));
        return 1;
    }
    const int wrong = attn_sdpa(context, &in, &in, &in, &out, NULL) != ATTN_OK || y != x;
    attn_context_destroy(context);
    puts(wrong ? "wrong" : "ok");
    return wrong;
}
