/* SPDX-License-Identifier: BSD-3-Clause */
/* Valid in C99, C11 and C++17. One query that prefers the first of two keys by log 3 weighs their values 3/4 to 1/4. */
#include <attn/attn.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int fail(attn_context *context) {
    printf("failed: %s\n", attn_context_last_error(context));
    attn_context_destroy(context);
    return 1;
}

int main(void) {
    float q = 1.0F, k[2] = {1.09861229F, 0.0F}, v[2] = {4.0F, 8.0F}, out = 0.0F, lse = 0.0F;
    const attn_tensor q_view = attn_tensor_bhtd(&q, ATTN_F32, 1, 1, 1, 1);
    const attn_tensor k_view = attn_tensor_bhtd(k, ATTN_F32, 1, 1, 2, 1);
    const attn_tensor v_view = attn_tensor_bhtd(v, ATTN_F32, 1, 1, 2, 1);
    const attn_tensor out_view = attn_tensor_bhtd(&out, ATTN_F32, 1, 1, 1, 1);
    attn_context *context = NULL;
    attn_context_options options;
    attn_sdpa_params params;

    ATTN_INIT(&options);
    options.threads = 2;
    if (attn_context_create(&options, &context) != ATTN_OK)
        return fail(NULL);

    ATTN_INIT(&params);
    params.scale = 1.0F;
    params.lse = &lse;
    if (attn_sdpa(context, &q_view, &k_view, &v_view, &out_view, &params) != ATTN_OK)
        return fail(context);
    attn_context_destroy(context);

    if (fabsf(out - 5.0F) > 1e-5F || fabsf(lse - logf(4.0F)) > 1e-5F) {
        printf("wrong: out %g, lse %g\n", (double)out, (double)lse);
        return 1;
    }
    if (strncmp(attn_version(), "0.", 2) != 0) {
        printf("wrong: version %s\n", attn_version());
        return 1;
    }
    printf("ok\n");
    return 0;
}
