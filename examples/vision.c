/* SPDX-License-Identifier: BSD-3-Clause */
/* A vision transformer in small: image → patches → convolution → block → mean over the patches → class. Its filters are
 * built to tell stripes that lie from stripes that stand: feature 0 answers to edges between rows of a patch, feature 1
 * to edges between columns; the feed-forward makes a loudness of an answer of either sign. */
#include <attn/attn.h>
#include <stdio.h>
#include <stdlib.h>

enum { SIZE = 16, PATCH = 4, T = (SIZE / PATCH) * (SIZE / PATCH), PIXELS = PATCH * PATCH, M = 4, F = 4 };

static attn_context *context;

static void check(attn_status status) {
    if (status != ATTN_OK)
        exit(fprintf(stderr, "vision: %s\n", attn_context_last_error(context)) != 0);
}

/* nn.Conv2d's weight [M, 1, PATCH, PATCH] with stride PATCH. */
static attn_linear *make_convolution(void) {
    float filters[M * PIXELS] = {0};
    attn_linear_params p;
    attn_linear *convolution;
    for (int y = 0; y < PATCH; y++)
        for (int x = 0; x < PATCH; x++) {
            filters[y * PATCH + x] = y % 2 ? -1 : 1;
            filters[PIXELS + y * PATCH + x] = x % 2 ? -1 : 1;
        }
    ATTN_INIT(&p);
    p.in_width = PIXELS;
    p.out_width = M;
    p.weight = filters;
    check(attn_linear_create(context, &p, &convolution));
    return convolution;
}

/* Attention over all patches alike, as its queries are 0: each gets the mean. Elements 2 and 3 become the loudness. */
static attn_block *make_block(void) {
    const float nothing[M * M] = {0}, same[M * M] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
    const float up[F * M] = {1, 0, 0, 0, -1, 0, 0, 0, 0, 1, 0, 0, 0, -1, 0, 0};
    const float down[M * F] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1};
    attn_mha_params attention;
    attn_feed_params feed;
    attn_block_params p;
    attn_block *block;
    ATTN_INIT(&attention);
    ATTN_INIT(&feed);
    ATTN_INIT(&p);
    attention.model_width = M;
    attention.heads = 1;
    attention.q_weight = attention.k_weight = nothing;
    attention.v_weight = attention.out_weight = same;
    feed.hidden_width = F;
    feed.activation = ATTN_RELU;
    feed.up_weight = up;
    feed.down_weight = down;
    p.self_attention = &attention;
    p.feed = &feed;
    check(attn_block_create(context, &p, &block));
    return block;
}

/* 0: the stripes lie, 1: they stand. */
static int classify(const attn_linear *convolution, const attn_block *block, const float *pixels) {
    float patches[T * PIXELS], x[T * M] = {0}, loudness[2] = {0, 0};
    const attn_tensor image = attn_tensor_bhtd(pixels, ATTN_F32, 1, 1, SIZE, SIZE);
    const attn_tensor cut = attn_tensor_btm(patches, ATTN_F32, 1, T, PIXELS),
                      stream = attn_tensor_btm(x, ATTN_F32, 1, T, M);
    check(attn_patchify(context, &image, PATCH, PATCH, &cut));
    check(attn_linear_forward(context, convolution, &cut, &stream));
    check(attn_block_forward(context, block, &stream, &stream, NULL));
    for (int t = 0; t < T; t++)
        for (int i = 0; i < 2; i++)
            loudness[i] += x[t * M + 2 + i] / T;
    printf("lying %.1f, standing %.1f\n", (double)loudness[0], (double)loudness[1]);
    return loudness[1] > loudness[0];
}

int main(void) {
    float image[SIZE * SIZE];
    int wrong = 0;
    check(attn_context_create(NULL, &context));
    attn_linear *convolution = make_convolution();
    attn_block *block = make_block();
    for (int kind = 0; kind < 2; kind++) {
        for (int y = 0; y < SIZE; y++)
            for (int x = 0; x < SIZE; x++)
                image[y * SIZE + x] = (float)((kind ? x : y) % 2) + 0.05F * (float)(x * y % 7);
        wrong |= classify(convolution, block, image) != kind;
    }
    attn_block_destroy(block);
    attn_linear_destroy(convolution);
    attn_context_destroy(context);
    return wrong;
}
