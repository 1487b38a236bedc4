/* SPDX-License-Identifier: BSD-3-Clause */
/* A bi-directional encoder: tokens → embedding → blocks → norm. Its weights are random, and yet two things are known of
 * its answer: without positions an encoder sees a set, so that reversed tokens give the reversed output; with positions
 * it sees a sequence, and the first token's output depends on the last token. */
#include <attn/attn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOKENS = 50, T = 9, M = 32, HEADS = 4, F = 128, LAYERS = 3 };

static attn_context *context;

static void check(attn_status status) {
    if (status != ATTN_OK)
        exit(fprintf(stderr, "encoder: %s\n", attn_context_last_error(context)) != 0);
}

/* Numbers in [−size, size], the same on every run. */
static const float *random_weights(float *to, size_t n, double size) {
    static uint32_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u; /* Numerical Recipes */
        to[i] = (float)(size * ((double)state / 2147483648.0 - 1));
    }
    return to;
}

static attn_block *random_block(void) {
    static float in[3 * M * M], out[M * M], up[F * M], down[M * F]; /* packed by attn_block_create, and not kept */
    attn_mha_params attention;
    attn_norm_params norm;
    attn_feed_params feed;
    attn_block_params params;
    attn_block *block;
    ATTN_INIT(&attention), ATTN_INIT(&norm), ATTN_INIT(&feed), ATTN_INIT(&params);
    attention.model_width = M;
    attention.heads = HEADS;
    attention.in_weight = random_weights(in, sizeof in / sizeof *in, 0.4);
    attention.out_weight = random_weights(out, sizeof out / sizeof *out, 0.4);
    feed.hidden_width = F;
    feed.up_weight = random_weights(up, sizeof up / sizeof *up, 0.4);
    feed.down_weight = random_weights(down, sizeof down / sizeof *down, 0.2);
    params.self_attention = &attention;
    params.self_norm = params.feed_norm = &norm;
    params.feed = &feed;
    check(attn_block_create(context, &params, &block));
    return block;
}

static void encode(attn_block *const blocks[], attn_embed_params *tables, const int64_t ids[], float *x) {
    const attn_tensor stream = attn_tensor_btm(x, ATTN_F32, 1, T, M);
    tables->ids = ids;
    check(attn_embed(context, tables, &stream));
    for (int i = 0; i < LAYERS; i++) /* in place */
        check(attn_block_forward(context, blocks[i], &stream, &stream, NULL));
    check(attn_norm(context, &stream, &stream, NULL));
}

static float difference(const float *x, const float *y) {
    float most = 0;
    for (int m = 0; m < M; m++)
        most = fmaxf(most, fabsf(x[m] - y[m]));
    return most;
}

int main(void) {
    static float table[TOKENS * M], x[T * M], reversed[T * M], changed[T * M];
    const int64_t ids[T] = {3, 1, 4, 1, 5, 9, 2, 6, 5}, back[T] = {5, 6, 2, 9, 5, 1, 4, 1, 3};
    const int64_t other[T] = {3, 1, 4, 1, 5, 9, 2, 6, 7};
    float as_set = 0;
    attn_block *blocks[LAYERS];
    attn_embed_params tables;
    check(attn_context_create(NULL, &context));
    for (int i = 0; i < LAYERS; i++)
        blocks[i] = random_block();
    ATTN_INIT(&tables);
    tables.token_table = random_weights(table, sizeof table / sizeof *table, 1);
    tables.token_count = TOKENS;
    encode(blocks, &tables, ids, x);
    encode(blocks, &tables, back, reversed);
    for (int t = 0; t < T; t++)
        as_set = fmaxf(as_set, difference(x + t * M, reversed + (T - 1 - t) * M));
    tables.positions = ATTN_POSITIONS_SINUSOIDAL;
    encode(blocks, &tables, ids, x);
    encode(blocks, &tables, other, changed);
    encode(blocks, &tables, back, reversed);
    const float last_on_first = difference(x, changed), order = difference(x, reversed + (T - 1) * M);
    printf("as a set, reversed tokens differ by %.1g; as a sequence by %.2f\n", (double)as_set, (double)order);
    printf("another last token moves the first output by %.2f\n", (double)last_on_first);
    for (int i = 0; i < LAYERS; i++)
        attn_block_destroy(blocks[i]);
    attn_context_destroy(context);
    return as_set < 1e-4F && order > 1e-2F && last_on_first > 1e-2F ? 0 : 1;
}
