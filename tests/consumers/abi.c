/* SPDX-License-Identifier: BSD-3-Clause */
/* Goes through every struct that has a struct_size. run.sh builds it against the headers of one version of libattn and
 * runs it with the library of another, whose structs are longer or shorter by a field. */
#include <attn/attn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { M = 4, T = 2, GUARD = 64, BYTE = 0xA5 };

static attn_context *context;

static void check(int ok, const char *what) {
    if (ok)
        return;
    printf("abi: %s: %s\n", what, attn_context_last_error(context));
    exit(1);
}

static void check_guard(const unsigned char *guard, const char *what) {
    for (int i = 0; i < GUARD; i++)
        check(guard[i] == BYTE, what);
}

/* A struct after ATTN_INIT, and behind it what libattn must not touch. */
#define GUARDED(type, name)                                                                                            \
    struct {                                                                                                           \
        type s;                                                                                                        \
        unsigned char guard[GUARD];                                                                                    \
    } name;                                                                                                            \
    memset(&name, BYTE, sizeof name);                                                                                  \
    ATTN_INIT(&name.s)
#define OK(call) check((call) == ATTN_OK, #call)

static const float weights[3 * M * M] = {1, 2, 3, 4, 5, 6, 7, 8};
static float buffer[T * M] = {1, 2, 3, 4};

static attn_tensor heads(float *data) { return attn_tensor_bhtd(data, ATTN_F32, 1, 1, T, M); }

static void make_context(void) {
    GUARDED(attn_context_options, options);
    GUARDED(attn_context_info, info);
    options.s.threads = 1;
    OK(attn_context_create(&options.s, &context));
    OK(attn_context_describe(context, &info.s));
    check(info.s.threads == 1 && info.s.isa[0] && info.s.struct_size == sizeof info.s, "attn_context_info");
    check_guard(info.guard, "attn_context_info");
}

static void attend(void) {
    float cos[T * M / 2], sin[T * M / 2], y[T * M];
    const attn_tensor x = heads(buffer), out = heads(y);
    GUARDED(attn_rotary_tables_params, tables);
    GUARDED(attn_rotary, rotary);
    GUARDED(attn_qk_norm, norm);
    GUARDED(attn_sdpa_params, params);
    OK(attn_rotary_tables(context, T, M, &tables.s, cos, sin));
    rotary.s.positions = T;
    rotary.s.cos = cos;
    rotary.s.sin = sin;
    OK(attn_sdpa_preset(ATTN_PRESET_FLASH, 1, &params.s));
    check(params.s.causal == ATTN_CAUSAL_BOTTOM_RIGHT && params.s.struct_size == sizeof params.s, "attn_sdpa_preset");
    check_guard(params.guard, "attn_sdpa_preset");
    params.s.rotary = &rotary.s;
    params.s.qk_norm = &norm.s;
    OK(attn_sdpa(context, &x, &x, &x, &out, &params.s));
    check(memcmp(y, buffer, M * sizeof *y) == 0, "the first of causal queries sees the first key alone");
}

static void decode(void) {
    const attn_tensor x = heads(buffer);
    float y[T * M];
    const attn_tensor out = heads(y);
    attn_mha *mha;
    attn_cache_pool *pool;
    attn_cache *cache;
    GUARDED(attn_cache_pool_params, pool_params);
    GUARDED(attn_cache_pool_info, info);
    GUARDED(attn_cache_params, params);
    GUARDED(attn_cache_append_params, append);
    GUARDED(attn_mha_params, layer);
    GUARDED(attn_mha_inputs, inputs);
    pool_params.s.pages = params.s.batch = pool_params.s.kv_heads = 1;
    pool_params.s.head_width = M;
    OK(attn_cache_pool_create(context, &pool_params.s, &pool));
    OK(attn_cache_pool_describe(context, pool, &info.s));
    check(info.s.page_bytes > 0 && info.s.free_pages == 1, "attn_cache_pool_info");
    check_guard(info.guard, "attn_cache_pool_info");
    params.s.capacity = T;
    params.s.pool = pool;
    OK(attn_cache_create(context, &params.s, &cache));
    OK(attn_cache_append(context, cache, &x, &x, &append.s));
    layer.s.model_width = M;
    layer.s.heads = 1;
    layer.s.in_weight = layer.s.out_weight = weights;
    inputs.s.shared_cache = cache;
    OK(attn_mha_create(context, &layer.s, &mha));
    OK(attn_mha_attend(context, mha, &x, &out, &inputs.s));
    attn_mha_destroy(mha);
    attn_cache_destroy(cache);
    attn_cache_pool_destroy(pool);
}

/* The gradients of a layer and of a map. */
static void go_back(void) {
    const attn_tensor x = attn_tensor_btm(buffer, ATTN_F32, 1, T, M), head = heads(buffer);
    float lse[T], y[T * M], dx[T * M], sums[M];
    const attn_tensor out = heads(y), d_query = attn_tensor_btm(dx, ATTN_F32, 1, T, M), dq = heads(dx);
    attn_mha *mha;
    attn_linear *linear;
    GUARDED(attn_sdpa_params, params);
    GUARDED(attn_sdpa_gradients, gradients);
    GUARDED(attn_mha_params, layer);
    GUARDED(attn_mha_gradients, layer_gradients);
    GUARDED(attn_linear_params, map);
    GUARDED(attn_linear_gradients, map_gradients);
    params.s.lse = lse;
    OK(attn_sdpa(context, &head, &head, &head, &out, &params.s));
    gradients.s.dq = &dq;
    OK(attn_sdpa_backward(context, &head, &head, &head, &out, &head, &params.s, &gradients.s));
    gradients.s.dq = NULL;
    layer.s.model_width = map.s.in_width = map.s.out_width = M;
    layer.s.heads = 1;
    layer.s.in_weight = layer.s.out_weight = map.s.weight = weights;
    layer_gradients.s.d_query = map_gradients.s.dx = &d_query;
    layer_gradients.s.attention = &gradients.s;
    OK(attn_mha_create(context, &layer.s, &mha));
    OK(attn_mha_backward(context, mha, &x, NULL, NULL, &x, NULL, NULL, &layer_gradients.s));
    attn_mha_destroy(mha);
    map_gradients.s.d_bias = sums;
    OK(attn_linear_create(context, &map.s, &linear));
    OK(attn_linear_backward(context, linear, &x, &x, &map_gradients.s));
    check(sums[1] == buffer[1] + buffer[M + 1], "d_bias is the sum of the rows of d_out");
    attn_linear_destroy(linear);
}

static void run_block(void) {
    const attn_tensor x = attn_tensor_btm(buffer, ATTN_F32, 1, T, M);
    float sums[M];
    attn_block *block;
    attn_linear *linear;
    GUARDED(attn_norm_params, norm);
    GUARDED(attn_activation_params, activation);
    GUARDED(attn_linear_params, map);
    GUARDED(attn_mha_params, layer);
    GUARDED(attn_feed_params, feed);
    GUARDED(attn_feed_gradients, feed_gradients);
    GUARDED(attn_block_params, params);
    GUARDED(attn_block_inputs, inputs);
    GUARDED(attn_block_gradients, block_gradients);
    GUARDED(attn_embed_params, embed);
    GUARDED(attn_norm_gradients, gradients);
    GUARDED(attn_embed_gradients, embed_gradients);
    GUARDED(attn_cross_entropy_params, entropy);
    embed.s.vectors = &x;
    embed.s.norm = &norm.s;
    OK(attn_embed(context, &embed.s, &x));
    gradients.s.d_weight = sums;
    OK(attn_norm_backward(context, &x, &x, &norm.s, &gradients.s));
    embed_gradients.s.d_norm_weight = sums;
    OK(attn_embed_backward(context, &embed.s, &x, &embed_gradients.s));
    OK(attn_cross_entropy(context, 1, M, buffer, M, (const int64_t[]){1}, &entropy.s, NULL));
    map.s.in_width = map.s.out_width = layer.s.model_width = feed.s.hidden_width = M;
    map.s.weight = layer.s.in_weight = layer.s.out_weight = feed.s.up_weight = feed.s.down_weight = weights;
    layer.s.heads = 1;
    feed.s.activation_params = &activation.s;
    OK(attn_linear_create(context, &map.s, &linear));
    attn_linear_destroy(linear);
    params.s.self_attention = &layer.s;
    params.s.self_norm = params.s.feed_norm = &norm.s;
    params.s.feed = &feed.s;
    OK(attn_block_create(context, &params.s, &block));
    feed_gradients.s.d_down_bias = sums;
    block_gradients.s.feed = &feed_gradients.s;
    OK(attn_block_backward(context, block, &x, &x, &inputs.s, NULL, &block_gradients.s));
    check(sums[1] == buffer[1] + buffer[M + 1], "d_down_bias is the sum of the rows of d_out");
    OK(attn_block_forward(context, block, &x, &x, &inputs.s));
    attn_block_destroy(block);
}

int main(void) {
    check(sizeof(attn_status) == sizeof(int) && sizeof(attn_dtype) == sizeof(int), "enums have the size of int");
    make_context();
    attend();
    decode();
    go_back();
    run_block();
    attn_context_destroy(context);
    puts("ok");
    return 0;
}
