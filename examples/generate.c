/* SPDX-License-Identifier: BSD-3-Clause */
/* A decoder with a cache, greedy. Its one block is built to look PERIOD tokens back: it goes on singing what it is

 * asks for the key of place t − (PERIOD − 1), whose letter is the next one. */
#include <attn/attn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LETTERS = 27, PLACES = 40, M = LETTERS + PLACES, PERIOD = 9 };

static attn_context *context;

static void check(attn_status status) {
    if (status != ATTN_OK)
        exit(fprintf(stderr, "generate: %s\n", attn_context_last_error(context)) != 0);
}

/* Weights [out, in]: 0 but for `value` at (to + i, from + i), i < n. */
static const float *shift(float *weight, int to, int from, int n, float value) {
    for (int i = 0; i < n; i++)
        weight[(to + i) * M + from + i] = value;
    return weight;
}

static attn_block *singer(void) {
    static float q[M * M], k[M * M], v[M * M], out[M * M];
    attn_mha_params attention;
    attn_block_params params;
    attn_block *block;
    ATTN_INIT(&attention), ATTN_INIT(&params);
    attention.model_width = M;
    attention.heads = 1;
    attention.q_weight = shift(q, LETTERS, LETTERS + PERIOD - 1, PLACES - PERIOD + 1, 20);
    attention.k_weight = shift(k, LETTERS, LETTERS, PLACES, 20);
    attention.v_weight = shift(v, 0, 0, LETTERS, 1);
    attention.out_weight = shift(out, 0, 0, LETTERS, 2); /* louder than the token itself, which the residual keeps */
    params.self_attention = &attention;
    check(attn_block_create(context, &params, &block));
    return block;
}

int main(void) {
    static float letters[LETTERS * M], places[PLACES * M], x[PLACES * M], logits[LETTERS];
    const char *prompt = "la le lu ", *want = "la le lu la le lu la le lu la le lu la l";
    char song[PLACES + 1] = {0};
    int64_t ids[PLACES] = {0};
    attn_cache *cache;
    attn_linear *head;
    attn_cache_params cache_params;
    attn_linear_params head_params;
    attn_embed_params embed;
    attn_sdpa_params causal;
    attn_block_inputs inputs;
    check(attn_context_create(NULL, &context));
    attn_block *block = singer();
    ATTN_INIT(&cache_params), ATTN_INIT(&embed), ATTN_INIT(&head_params), ATTN_INIT(&causal), ATTN_INIT(&inputs);
    cache_params.batch = cache_params.kv_heads = 1;
    cache_params.head_width = M;
    cache_params.capacity = PLACES;
    check(attn_cache_create(context, &cache_params, &cache));
    embed.ids = ids;
    embed.token_table = shift(letters, 0, 0, LETTERS, 1);
    embed.token_count = LETTERS;
    embed.positions = ATTN_POSITIONS_TABLE;
    embed.position_table = shift(places, 0, LETTERS, PLACES, 1);
    embed.position_count = PLACES;
    head_params.in_width = M;
    head_params.out_width = LETTERS;
    head_params.weight = letters; /* tied: the head is the table of tokens */
    check(attn_linear_create(context, &head_params, &head));
    causal.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    inputs.self_params = &causal;
    inputs.cache = cache;
    size_t given = strlen(prompt);
    for (size_t t = 0; t < given; t++)
        ids[t] = (song[t] = prompt[t]) == ' ' ? 26 : prompt[t] - 'a';
    while (embed.first_position + given < PLACES) { /* the whole prompt at once, then token by token */
        const attn_tensor stream = attn_tensor_btm(x, ATTN_F32, 1, given, M);
        const attn_tensor to = attn_tensor_btm(logits, ATTN_F32, 1, 1, LETTERS);
        const attn_tensor last = attn_tensor_btm(x + (given - 1) * M, ATTN_F32, 1, 1, M);
        check(attn_embed(context, &embed, &stream));
        check(attn_block_forward(context, block, &stream, &stream, &inputs));
        check(attn_linear_forward(context, head, &last, &to));
        embed.first_position += given;
        given = 1;
        for (int64_t i = ids[0] = 0; i < LETTERS; i++)
            ids[0] = logits[i] > logits[ids[0]] ? i : ids[0];
        song[embed.first_position] = "abcdefghijklmnopqrstuvwxyz "[ids[0]];
    }
    printf("%s\n", song);
    attn_linear_destroy(head);
    attn_cache_destroy(cache);
    attn_block_destroy(block);
    attn_context_destroy(context);
    return strcmp(song, want) == 0 ? 0 : 1;
}
