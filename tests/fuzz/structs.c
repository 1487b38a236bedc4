/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "structs.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "support/pools.h"

struct world w;
attn_context *context;
attn_linear *linear;
attn_mha *mha;
attn_block *block;
attn_cache *cache;
attn_cache_pool *pool;
struct input *in;

/* ---- memory ---- */

enum { MOST_ALLOCATED = 1 << 24 };

/* Zeros, and numbers: both can only be read. */
static char *zeros, *numbers, *outputs, *untouched;

static char *new_pages(size_t bytes) {
    char *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(pages != MAP_FAILED);
    return pages;
}

static void make_memory(void) {
    zeros = new_pages(INPUT_BYTES);
    numbers = new_pages(INPUT_BYTES);
    outputs = new_pages(OUTPUT_BYTES);
    untouched = new_pages(OUTPUT_BYTES);
    fill_normal(attn_tensor_bhtd(numbers, ATTN_F32, 1, 1, 1, INPUT_BYTES / sizeof(float)));
    assert_int_equal(mprotect(numbers, INPUT_BYTES, PROT_READ) | mprotect(zeros, INPUT_BYTES, PROT_READ), 0);
    memset(outputs, FILLER, OUTPUT_BYTES);
    memset(untouched, FILLER, OUTPUT_BYTES);
}

/* What a struct asks for by mistake is refused. */
static size_t allocated;

static void *allocate(void *data, size_t size) {
    const bool fits = size <= MOST_ALLOCATED && allocated + size <= MOST_ALLOCATED;
    size_t *p = fits ? malloc(size + 16) : NULL;
    (void)data;
    if (!p)
        return NULL;
    allocated += size;
    *p = size;
    return p + 2;
}

static void release(void *data, void *pointer) {
    size_t *p = (size_t *)pointer - 2;
    (void)data;
    allocated -= *p;
    free(p);
}

/* ---- fields ---- */

enum kind { SIZE, SMALL_SIZE, INTEGER, CHOICE, FLOAT, DOUBLE, INPUT, ZEROS, OUTPUT, NAME, NESTED, FUNCTION };

struct field {
    const char *name;
    const void *value; /* NESTED: what it may point to; FUNCTION: where such a pointer is */
    size_t offset;
    unsigned in;
    enum kind kind;
};

static attn_parallel_for_fn parallel_for = run_in_order;
static void *(*const allocator)(void *, size_t) = allocate;
static void (*const releaser)(void *, void *) = release;
static size_t threads = 2;

/* Writes nothing, which is found out. */
static void no_product(void *data, size_t rows, size_t columns, size_t depth, float alpha, const float *a, size_t lda,
                       const float *b, size_t ldb, float beta, float *c, size_t ldc) {
    (void)data, (void)rows, (void)columns, (void)depth, (void)alpha, (void)a, (void)lda;
    (void)b, (void)ldb, (void)beta, (void)c, (void)ldc;
}
static attn_sgemm_fn sgemm = no_product;

static void leave(void *data, const attn_score_tile *tile) { (void)data, (void)tile; }
static attn_score_fn score = leave;

static void leave_gradients(void *data, const attn_score_tile *tile, float *gradients) {
    (void)data, (void)tile, (void)gradients;
}
static attn_score_backward_fn score_backward = leave_gradients;

#define F(in, object, field, kind) {#field, NULL, offsetof(struct world, object.known.field), in, kind},
#define P(in, object, field, kind, value) {#field, value, offsetof(struct world, object.known.field), in, kind},
#define N(name, member, kind) {name, NULL, offsetof(struct world, member), SIZES, kind},
#define VIEW(in, object, kind)                                                                                         \
    F(in, object, data, kind)                                                                                          \
    F(in, object, dtype, CHOICE)                                                                                       \
    F(in, object, size[0], SMALL_SIZE)                                                                                 \
    F(in, object, size[1], SMALL_SIZE)                                                                                 \
    F(in, object, size[2], SMALL_SIZE)                                                                                 \
    F(in, object, size[3], SMALL_SIZE)                                                                                 \
    F(in, object, stride[0], SIZE)                                                                                     \
    F(in, object, stride[1], SIZE)                                                                                     \
    F(in, object, stride[2], SIZE)                                                                                     \
    F(in, object, stride[3], SIZE)

/* clang-format off */
static const struct field fields[] = {
    F(OPTIONS, options, struct_size, SIZE) F(OPTIONS, options, threads, SIZE) F(OPTIONS, options, blas, NAME)
    P(OPTIONS, options, sgemm, FUNCTION, &sgemm) F(OPTIONS, options, sgemm_data, INPUT) F(OPTIONS, options, isa, CHOICE)
    F(OPTIONS, options, precision, CHOICE)
    P(OPTIONS, options, allocator.allocate, FUNCTION, &allocator)
    P(OPTIONS, options, allocator.release, FUNCTION, &releaser)
    P(OPTIONS, options, parallel_for, FUNCTION, &parallel_for)
    F(INFO, info, struct_size, SIZE)
    F(NORM, norm, struct_size, SIZE) F(NORM, norm, kind, CHOICE) F(NORM, norm, eps, FLOAT) F(NORM, norm, weight, INPUT)
    F(NORM, norm, bias, INPUT) F(NORM, norm, mean, OUTPUT) F(NORM, norm, inverse_deviation, OUTPUT)
    F(ACTIVATION, activation, struct_size, SIZE) F(ACTIVATION, activation, beta, FLOAT)
    F(ACTIVATION, activation, alpha_p, FLOAT) F(ACTIVATION, activation, alpha_n, FLOAT)
    F(ACTIVATION, activation, limit, FLOAT) F(ACTIVATION, activation, up_offset, FLOAT)
    F(QK_NORM, qk_norm, struct_size, SIZE) F(QK_NORM, qk_norm, kind, CHOICE) F(QK_NORM, qk_norm, eps, FLOAT)
    F(QK_NORM, qk_norm, per_head, CHOICE) F(QK_NORM, qk_norm, q_weight, INPUT) F(QK_NORM, qk_norm, k_weight, INPUT)
    F(QK_NORM, qk_norm, all_heads, CHOICE) F(QK_NORM, qk_norm, after_rotary, CHOICE)
    F(QK_NORM, qk_norm, norm_values, CHOICE) F(QK_NORM, qk_norm, v_weight, INPUT)
    F(ROTARY, rotary, struct_size, SIZE) F(ROTARY, rotary, kind, CHOICE) F(ROTARY, rotary, width, SIZE)
    F(ROTARY, rotary, positions, SIZE) F(ROTARY, rotary, cos, INPUT) F(ROTARY, rotary, sin, INPUT)
    F(ROTARY, rotary, query_positions, INPUT) F(ROTARY, rotary, key_positions, INPUT)
    F(ROTARY, rotary, offset, SIZE) F(ROTARY, rotary, axes, SMALL_SIZE) F(ROTARY, rotary, pair_axis, INPUT)
    F(ROTARY, rotary, rotate_values, CHOICE)
    F(TABLES, tables, struct_size, SIZE) F(TABLES, tables, base, DOUBLE) F(TABLES, tables, scaling, CHOICE)
    F(TABLES, tables, factor, DOUBLE) F(TABLES, tables, original_positions, SIZE) F(TABLES, tables, beta_fast, DOUBLE)
    F(TABLES, tables, beta_slow, DOUBLE) F(TABLES, tables, attention_factor, DOUBLE)
    F(TABLES, tables, low_turns, DOUBLE)
    F(TABLES, tables, high_turns, DOUBLE) F(TABLES, tables, pair_factors, INPUT) F(TABLES, tables, mscale, DOUBLE)
    F(TABLES, tables, mscale_all_dim, DOUBLE) F(TABLES, tables, partial_rotary_factor, DOUBLE)
    F(TABLES, tables, no_truncate, CHOICE)
    F(SDPA, sdpa, struct_size, SIZE) P(SDPA, sdpa, qk_norm, NESTED, &w.qk_norm) P(SDPA, sdpa, rotary, NESTED, &w.rotary)
    F(SDPA, sdpa, scale, FLOAT) F(SDPA, sdpa, softcap, FLOAT) P(SDPA, sdpa, bias, NESTED, &w.bias)
    F(SDPA, sdpa, alibi, CHOICE) F(SDPA, sdpa, alibi_slopes, INPUT) P(SDPA, sdpa, score, FUNCTION, &score)
    P(SDPA, sdpa, mask, NESTED, &w.mask) P(SDPA, sdpa, key_mask, NESTED, &w.mask) F(SDPA, sdpa, polarity, CHOICE)
    F(SDPA, sdpa, pad_masks, CHOICE) F(SDPA, sdpa, causal, CHOICE) F(SDPA, sdpa, causal_offset, INPUT)
    P(SDPA, sdpa, window, NESTED, &w.window) F(SDPA, sdpa, key_lengths, INPUT) F(SDPA, sdpa, query_lengths, INPUT)
    P(SDPA, sdpa, block_map, NESTED, &w.mask) F(SDPA, sdpa, block_queries, SIZE) F(SDPA, sdpa, block_keys, SIZE)
    F(SDPA, sdpa, sequences, SIZE) F(SDPA, sdpa, query_starts, INPUT) F(SDPA, sdpa, key_starts, INPUT)
    F(SDPA, sdpa, sinks, INPUT) F(SDPA, sdpa, dropout, FLOAT) F(SDPA, sdpa, dropout_seed, INTEGER)
    F(SDPA, sdpa, lse, OUTPUT) P(SDPA, sdpa, weights, NESTED, &w.weights) F(SDPA, sdpa, weights_stage, CHOICE)
    F(SDPA, sdpa, key_mass, OUTPUT) F(SDPA, sdpa, entropy, OUTPUT) P(SDPA, sdpa, top_keys, NESTED, &w.top)
    F(SDPA, window, left, INTEGER) F(SDPA, window, right, INTEGER)
    F(SDPA, top, k, SIZE) F(SDPA, top, keys, OUTPUT) F(SDPA, top, probabilities, OUTPUT)
    F(LINEAR, linear, struct_size, SIZE) F(LINEAR, linear, in_width, SIZE) F(LINEAR, linear, out_width, SIZE)
    F(LINEAR, linear, order, CHOICE) F(LINEAR, linear, weight, INPUT) F(LINEAR, linear, bias, INPUT)
    F(LINEAR, linear, weight_dtype, CHOICE) F(LINEAR, linear, weight_scale, INPUT)
    F(MHA, mha, struct_size, SIZE) F(MHA, mha, model_width, SIZE) F(MHA, mha, heads, SIZE) F(MHA, mha, kv_heads, SIZE)
    F(MHA, mha, head_width, SIZE) F(MHA, mha, value_width, SIZE) F(MHA, mha, key_input_width, SIZE)
    F(MHA, mha, value_input_width, SIZE) F(MHA, mha, order, CHOICE) F(MHA, mha, in_weight, INPUT)
    F(MHA, mha, in_bias, INPUT) F(MHA, mha, q_weight, INPUT) F(MHA, mha, k_weight, INPUT) F(MHA, mha, v_weight, INPUT)
    F(MHA, mha, q_bias, INPUT) F(MHA, mha, k_bias, INPUT) F(MHA, mha, v_bias, INPUT) F(MHA, mha, out_weight, INPUT)
    F(MHA, mha, out_bias, INPUT) F(MHA, mha, extra_key, INPUT) F(MHA, mha, extra_value, INPUT)
    F(MHA, mha, zero_key, CHOICE) F(MHA, mha, weight_dtype, CHOICE) F(MHA, mha, in_scale, INPUT)
    F(MHA, mha, q_scale, INPUT) F(MHA, mha, k_scale, INPUT) F(MHA, mha, v_scale, INPUT) F(MHA, mha, out_scale, INPUT)
    F(MHA, mha, qkv_order, CHOICE) F(MHA, mha, clip, FLOAT) F(MHA, mha, gate_weight, INPUT)
    F(MHA, mha, gate_bias, INPUT) F(MHA, mha, gate_scale, INPUT) F(MHA, mha, gate_per_head, CHOICE)
    F(MHA, mha, q_latent, SIZE) F(MHA, mha, q_down_weight, INPUT) F(MHA, mha, q_down_bias, INPUT)
    F(MHA, mha, q_down_scale, INPUT) P(MHA, mha, q_latent_norm, NESTED, &w.norm) F(MHA, mha, kv_latent, SIZE)
    F(MHA, mha, shared_key_width, SIZE) F(MHA, mha, kv_down_weight, INPUT) F(MHA, mha, kv_down_bias, INPUT)
    F(MHA, mha, kv_down_scale, INPUT) P(MHA, mha, kv_latent_norm, NESTED, &w.norm)
    F(MHA, mha, kv_up_weight, INPUT) F(MHA, mha, kv_up_scale, INPUT) F(MHA, mha, gate_in_q, CHOICE)
    P(MHA, mha, out_norm, NESTED, &w.norm)
    F(FEED, feed, struct_size, SIZE) F(FEED, feed, hidden_width, SIZE) F(FEED, feed, activation, CHOICE)
    F(FEED, feed, order, CHOICE) F(FEED, feed, up_weight, INPUT) F(FEED, feed, up_bias, INPUT)
    F(FEED, feed, gate_weight, INPUT) F(FEED, feed, gate_bias, INPUT) F(FEED, feed, down_weight, INPUT)
    F(FEED, feed, down_bias, INPUT) F(FEED, feed, weight_dtype, CHOICE) F(FEED, feed, up_scale, INPUT)
    F(FEED, feed, gate_scale, INPUT) F(FEED, feed, down_scale, INPUT)
    P(FEED, feed, activation_params, NESTED, &w.activation) P(FEED, feed, hidden_norm, NESTED, &w.norm)
    F(BLOCK, block, struct_size, SIZE) F(BLOCK, block, norm_place, CHOICE)
    P(BLOCK, block, self_attention, NESTED, &w.mha) P(BLOCK, block, self_norm, NESTED, &w.norm)
    P(BLOCK, block, cross_attention, NESTED, &w.mha) P(BLOCK, block, cross_norm, NESTED, &w.norm)
    P(BLOCK, block, feed, NESTED, &w.feed) P(BLOCK, block, feed_norm, NESTED, &w.norm)
    F(BLOCK, block, parallel, CHOICE) F(BLOCK, block, residual_factor, FLOAT)
    P(BLOCK, block, self_output_norm, NESTED, &w.norm) P(BLOCK, block, cross_output_norm, NESTED, &w.norm)
    P(BLOCK, block, feed_output_norm, NESTED, &w.norm) F(BLOCK, block, self_layer_scale, INPUT)
    F(BLOCK, block, cross_layer_scale, INPUT) F(BLOCK, block, feed_layer_scale, INPUT)
    F(INPUTS, inputs, struct_size, SIZE) P(INPUTS, inputs, self_params, NESTED, &w.sdpa)
    P(INPUTS, inputs, cache, FUNCTION, &cache) P(INPUTS, inputs, encoded, NESTED, &w.y)
    P(INPUTS, inputs, encoded_cache, FUNCTION, &cache) P(INPUTS, inputs, cross_params, NESTED, &w.sdpa)
    F(INPUTS, inputs, counts, INPUT) F(INPUTS, inputs, sequences, SIZE) F(INPUTS, inputs, starts, INPUT)
    P(INPUTS, inputs, shared_cache, FUNCTION, &cache)
    F(INPUTS, layer_inputs, struct_size, SIZE) P(INPUTS, layer_inputs, params, NESTED, &w.sdpa)
    P(INPUTS, layer_inputs, cache, FUNCTION, &cache) P(INPUTS, layer_inputs, shared_cache, FUNCTION, &cache)
    F(INPUTS, layer_inputs, counts, INPUT) F(INPUTS, layer_inputs, sequences, SIZE)
    F(INPUTS, layer_inputs, starts, INPUT)
    F(POOL, pool, struct_size, SIZE) F(POOL, pool, pages, SIZE) F(POOL, pool, kv_heads, SIZE)
    F(POOL, pool, head_width, SIZE) F(POOL, pool, value_width, SIZE) F(POOL, pool, page_size, SIZE)
    F(POOL, pool, dtype, CHOICE) F(POOL, pool, latent_width, SIZE)
    F(POOL_INFO, pool_info, struct_size, SIZE)
    F(CACHE, cache, struct_size, SIZE) F(CACHE, cache, batch, SIZE) F(CACHE, cache, capacity, SIZE)
    P(CACHE, cache, pool, FUNCTION, &pool) F(CACHE, cache, kv_heads, SIZE) F(CACHE, cache, head_width, SIZE)
    F(CACHE, cache, value_width, SIZE) F(CACHE, cache, page_size, SIZE) F(CACHE, cache, dtype, CHOICE)
    F(CACHE, cache, window, SIZE) F(CACHE, cache, first_tokens, SIZE) F(CACHE, cache, key_scales, INPUT)
    F(CACHE, cache, latent_width, SIZE)
    F(APPEND, append, struct_size, SIZE) F(APPEND, append, counts, INPUT)
    P(APPEND, append, qk_norm, NESTED, &w.qk_norm) P(APPEND, append, rotary, NESTED, &w.rotary)
    F(APPEND, append, starts, INPUT)
    F(EMBED, embed, struct_size, SIZE) F(EMBED, embed, ids, INPUT) F(EMBED, embed, token_table, INPUT)
    F(EMBED, embed, token_count, SIZE) P(EMBED, embed, vectors, NESTED, &w.x) F(EMBED, embed, scale, FLOAT)
    F(EMBED, embed, positions, CHOICE) F(EMBED, embed, position_table, INPUT) F(EMBED, embed, position_count, SIZE)
    F(EMBED, embed, position_ids, INPUT) F(EMBED, embed, first_position, SIZE) F(EMBED, embed, type_table, INPUT)
    F(EMBED, embed, type_count, SIZE) F(EMBED, embed, type_ids, INPUT) P(EMBED, embed, norm, NESTED, &w.norm)
    F(SDPA, sdpa, alignment, CHOICE) F(SDPA, sdpa, chunk, SIZE) F(SDPA, sdpa, causal_block, SIZE)
    P(SDPA, sdpa, documents, NESTED, &w.spans) P(SDPA, sdpa, spans, NESTED, &w.spans)
    F(SDPA, sdpa, first_keys, INPUT) P(SDPA, sdpa, tree, NESTED, &w.tree)
    P(SDPA, sdpa, relative_bias, NESTED, &w.relative) P(SDPA, sdpa, query_factor, NESTED, &w.factor)
    F(SDPA, sdpa, head_scales, INPUT) P(SDPA, sdpa, key_lists, NESTED, &w.lists) F(SDPA, sdpa, sigmoid, CHOICE)
    F(SDPA, sdpa, largest_scores, OUTPUT)
    F(SDPA, spans, starts, ZEROS) F(SDPA, spans, bounds, INPUT)
    F(SDPA, tree, tokens, SIZE) F(SDPA, tree, ancestors, INPUT)
    F(SDPA, relative, table, INPUT) F(SDPA, relative, reach, SMALL_SIZE) F(SDPA, relative, rows, SMALL_SIZE)
    F(SDPA, relative, columns, SMALL_SIZE) F(SDPA, relative, prefix, SMALL_SIZE)
    F(SDPA, factor, table, INPUT) F(SDPA, factor, positions, SIZE) F(SDPA, factor, amount, FLOAT)
    F(SDPA, factor, period, SIZE) F(SDPA, factor, shift, SIZE)
    F(SDPA, lists, blocks, INPUT) F(SDPA, lists, batch, SMALL_SIZE) F(SDPA, lists, heads, SMALL_SIZE)
    F(SDPA, lists, count, SMALL_SIZE) F(SDPA, lists, queries, SIZE) F(SDPA, lists, keys, SIZE)
    F(D_SDPA, d_sdpa, struct_size, SIZE) F(D_SDPA, d_sdpa, d_lse, INPUT) P(D_SDPA, d_sdpa, dq, NESTED, &w.dq)
    P(D_SDPA, d_sdpa, dk, NESTED, &w.dk) P(D_SDPA, d_sdpa, dv, NESTED, &w.dv)
    P(D_SDPA, d_sdpa, d_bias, NESTED, &w.dk) F(D_SDPA, d_sdpa, d_sinks, OUTPUT)
    F(D_SDPA, d_sdpa, d_alibi_slopes, OUTPUT) F(D_SDPA, d_sdpa, d_relative_bias, OUTPUT)
    F(D_SDPA, d_sdpa, accumulate, CHOICE) P(D_SDPA, d_sdpa, score_backward, FUNCTION, &score_backward)
    F(D_SDPA, d_sdpa, d_q_norm_weight, OUTPUT) F(D_SDPA, d_sdpa, d_k_norm_weight, OUTPUT)
    F(D_SDPA, d_sdpa, d_v_norm_weight, OUTPUT) F(D_SDPA, d_sdpa, d_head_scales, OUTPUT)
    F(D_LINEAR, d_linear, struct_size, SIZE) P(D_LINEAR, d_linear, dx, NESTED, &w.dq)
    F(D_LINEAR, d_linear, d_weight, OUTPUT) F(D_LINEAR, d_linear, d_bias, OUTPUT)
    F(D_LINEAR, d_linear, accumulate, CHOICE)
    F(D_NORM, d_norm, struct_size, SIZE) P(D_NORM, d_norm, dx, NESTED, &w.dq) F(D_NORM, d_norm, d_weight, OUTPUT)
    F(D_NORM, d_norm, d_bias, OUTPUT) F(D_NORM, d_norm, accumulate, CHOICE)
    F(D_MHA, d_mha, struct_size, SIZE) P(D_MHA, d_mha, d_query, NESTED, &w.dq) P(D_MHA, d_mha, d_key, NESTED, &w.dk)
    P(D_MHA, d_mha, d_value, NESTED, &w.dv) F(D_MHA, d_mha, d_in_weight, OUTPUT) F(D_MHA, d_mha, d_in_bias, OUTPUT)
    F(D_MHA, d_mha, d_q_weight, OUTPUT) F(D_MHA, d_mha, d_k_weight, OUTPUT) F(D_MHA, d_mha, d_v_weight, OUTPUT)
    F(D_MHA, d_mha, d_q_bias, OUTPUT) F(D_MHA, d_mha, d_k_bias, OUTPUT) F(D_MHA, d_mha, d_v_bias, OUTPUT)
    F(D_MHA, d_mha, d_out_weight, OUTPUT) F(D_MHA, d_mha, d_out_bias, OUTPUT)
    F(D_MHA, d_mha, d_gate_weight, OUTPUT) F(D_MHA, d_mha, d_gate_bias, OUTPUT)
    P(D_MHA, d_mha, attention, NESTED, &w.d_sdpa) F(D_MHA, d_mha, accumulate, CHOICE)
    F(D_MHA, d_mha, d_extra_key, OUTPUT) F(D_MHA, d_mha, d_extra_value, OUTPUT)
    F(D_MHA, d_mha, d_q_down_weight, OUTPUT) F(D_MHA, d_mha, d_q_down_bias, OUTPUT)
    F(D_MHA, d_mha, d_kv_down_weight, OUTPUT) F(D_MHA, d_mha, d_kv_down_bias, OUTPUT)
    F(D_MHA, d_mha, d_kv_up_weight, OUTPUT) P(D_MHA, d_mha, out_norm, NESTED, &w.d_norm)
    P(D_MHA, d_mha, q_latent_norm, NESTED, &w.d_norm) P(D_MHA, d_mha, kv_latent_norm, NESTED, &w.d_norm)
    F(D_BLOCK, d_feed, struct_size, SIZE) F(D_BLOCK, d_feed, d_up_weight, OUTPUT) F(D_BLOCK, d_feed, d_up_bias, OUTPUT)
    F(D_BLOCK, d_feed, d_gate_weight, OUTPUT) F(D_BLOCK, d_feed, d_gate_bias, OUTPUT)
    F(D_BLOCK, d_feed, d_down_weight, OUTPUT) F(D_BLOCK, d_feed, d_down_bias, OUTPUT)
    P(D_BLOCK, d_feed, hidden_norm, NESTED, &w.d_norm)
    F(D_BLOCK, d_block, struct_size, SIZE) P(D_BLOCK, d_block, dx, NESTED, &w.dq)
    P(D_BLOCK, d_block, d_encoded, NESTED, &w.dk) P(D_BLOCK, d_block, self_attention, NESTED, &w.d_mha)
    P(D_BLOCK, d_block, cross_attention, NESTED, &w.d_mha) P(D_BLOCK, d_block, feed, NESTED, &w.d_feed)
    P(D_BLOCK, d_block, self_norm, NESTED, &w.d_norm) P(D_BLOCK, d_block, cross_norm, NESTED, &w.d_norm)
    P(D_BLOCK, d_block, feed_norm, NESTED, &w.d_norm) P(D_BLOCK, d_block, self_output_norm, NESTED, &w.d_norm)
    P(D_BLOCK, d_block, cross_output_norm, NESTED, &w.d_norm)
    P(D_BLOCK, d_block, feed_output_norm, NESTED, &w.d_norm) F(D_BLOCK, d_block, d_self_layer_scale, OUTPUT)
    F(D_BLOCK, d_block, d_cross_layer_scale, OUTPUT) F(D_BLOCK, d_block, d_feed_layer_scale, OUTPUT)
    F(D_BLOCK, d_block, accumulate, CHOICE)
    F(D_EMBED, d_embed, struct_size, SIZE) F(D_EMBED, d_embed, d_token_table, OUTPUT)
    P(D_EMBED, d_embed, d_vectors, NESTED, &w.dq) F(D_EMBED, d_embed, d_position_table, OUTPUT)
    F(D_EMBED, d_embed, d_type_table, OUTPUT) F(D_EMBED, d_embed, d_norm_weight, OUTPUT)
    F(D_EMBED, d_embed, d_norm_bias, OUTPUT) F(D_EMBED, d_embed, accumulate, CHOICE)
    F(ENTROPY, entropy, struct_size, SIZE) F(ENTROPY, entropy, ignored_target, INPUT)
    F(ENTROPY, entropy, label_smoothing, FLOAT) F(ENTROPY, entropy, factor, FLOAT)
    F(ENTROPY, entropy, losses, OUTPUT) F(ENTROPY, entropy, d_logits, OUTPUT) F(ENTROPY, entropy, ldd, SIZE)
    F(DLPACK, dl, data, INPUT) F(DLPACK, dl, device.device_type, CHOICE) F(DLPACK, dl, ndim, CHOICE)
    F(DLPACK, dl, dtype.code, CHOICE) F(DLPACK, dl, shape, INPUT) F(DLPACK, dl, strides, INPUT)
    VIEW(D_SDPA | D_MHA, dq, OUTPUT) VIEW(D_SDPA | D_MHA, dk, OUTPUT) VIEW(D_SDPA, dv, OUTPUT)
    VIEW(QKV, q, INPUT) VIEW(QKV, k, INPUT) VIEW(QKV, v, INPUT) VIEW(QKV | ROWS, out, OUTPUT) VIEW(ROWS, x, INPUT)
    VIEW(ROWS, y, INPUT) VIEW(MASKS, bias, INPUT) VIEW(MASKS, mask, INPUT) VIEW(MASKS, weights, OUTPUT)
    N("width", n[0], SIZE) N("height", n[1], SIZE) N("rows", n[2], SIZE) N("columns", n[3], SIZE) N("ldx", n[4], SIZE)
    N("ldy", n[5], SIZE) N("sequence", n[6], SIZE) N("length", n[7], SIZE) N("preset", choice, CHOICE)
    N("dropout", number, FLOAT)};
/* clang-format on */

/* Names in messages besides those. */
static const char *const words[] = {"gate",
                                    "up",
                                    "q",
                                    "k",
                                    "v",
                                    "key",
                                    "value",
                                    "query",
                                    "out",
                                    "x",
                                    "y",
                                    "lse",
                                    "part",
                                    "image",
                                    "bytes",
                                    "source",
                                    "params",
                                    "info",
                                    "context",
                                    "cache",
                                    "pool",
                                    "linear",
                                    "mha",
                                    "block",
                                    "cos",
                                    "sin",
                                    "rotary",
                                    "encoded",
                                    "activation",
                                    "in_width",
                                    "scales",
                                    "weight",
                                    "order",
                                    "part_lse",
                                    "mask",
                                    "to",
                                    "from",
                                    "axes",
                                    "kept_bytes",
                                    "batch",
                                    "query_tokens",
                                    "key_tokens",
                                    "encoded_tokens",
                                    "tensor",
                                    "d_out",
                                    "dx",
                                    "kept",
                                    "logits",
                                    "ld",
                                    "targets",
                                    "tokens",
                                    "gradients",
                                    "d_gate",
                                    "d_up",
                                    "table",
                                    "weights",
                                    "buckets",
                                    "max_distance",
                                    "loss",
                                    "tree",
                                    "B",
                                    "T",
                                    "H",
                                    "columns",
                                    "destination"};

/* ---- drawing ---- */

static size_t take_size(size_t most) {
    static const size_t huge[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 4, SIZE_MAX / 4 + 1, SIZE_MAX - 63};
    return take_below(in, 8) ? take_below(in, most) : take_pick(in, huge);
}

static const char *take_name(void) {
    static const char *const names[] = {NULL, "", "linked", "builtin", "nonsense", "/nonsense", "/dev/null"};
    return take_pick(in, names);
}

void *take_input(void) {
    char *const inputs[] = {NULL, zeros, numbers};
    char *input = take_pick(in, inputs);
    return input ? input + INPUT_BYTES / 2 : NULL;
}

void *take_output(void) {
    const size_t place = take_below(in, 4);
    return place ? outputs + place * OUTPUT_PLACE : NULL;
}

static void set_pointer(void *place, const void *pointer) { memcpy(place, &pointer, sizeof pointer); }

static void set_field(const struct field *f) {
    char *place = (char *)&w + f->offset;
    const size_t size = take_size(f->kind == SIZE ? 65 : 9);
    const int64_t integer = take_integer(in);
    const int choice = (int)integer;
    const double number = take_number(in);
    switch (f->kind) {
    case SIZE:
    case SMALL_SIZE:
        memcpy(place, &size, sizeof size);
        break;
    case INTEGER:
        memcpy(place, &integer, sizeof integer);
        break;
    case CHOICE:
        memcpy(place, &choice, sizeof choice);
        break;
    case FLOAT:
        memcpy(place, &(float){(float)number}, sizeof(float));
        break;
    case DOUBLE:
        memcpy(place, &number, sizeof number);
        break;
    case INPUT:
        set_pointer(place, take_input());
        break;
    case OUTPUT:
        set_pointer(place, take_output());
        break;
    case ZEROS:
        set_pointer(place, take_below(in, 4) ? zeros + INPUT_BYTES / 2 : NULL);
        break;
    case NAME:
        set_pointer(place, take_name());
        break;
    case NESTED:
        set_pointer(place, take_below(in, 4) ? f->value : NULL);
        break;
    case FUNCTION:
        set_pointer(place, take_below(in, 4) ? *(const void *const *)f->value : NULL);
        break;
    }
}

/* One of the fields in structs `of`. */
static const struct field *take_field(unsigned of) {
    const struct field *found[COUNT(fields)] = {NULL};
    size_t count = 0;
    for (size_t n = 0; n < COUNT(fields); n++)
        if (fields[n].in & of)
            found[count++] = &fields[n];
    return found[take_below(in, count)];
}

static attn_tensor view_of(void *data, size_t B, size_t heads, size_t T, size_t width) {
    static const attn_dtype types[] = {ATTN_F32, ATTN_F32, ATTN_F32, ATTN_F16, ATTN_BF16};
    return attn_tensor_bhtd(data, take_pick(in, types), B, heads, T, width);
}

#define INITIALISE(object)                                                                                             \
    (memset(&w.object, 0, sizeof w.object), (void)(w.object.known.struct_size = sizeof w.object.known))

static void make_views(size_t B, size_t heads, size_t T, size_t D) {
    char *input = numbers + INPUT_BYTES / 2, *output = outputs + OUTPUT_BYTES * 3 / 4;
    const size_t Tk = 1 + take_below(in, 6);
    w.q.known = view_of(input, B, heads, T, D);
    w.k.known = view_of(input, B, 1, Tk, D);
    w.v.known = view_of(input, B, 1, Tk, D);
    w.out.known = view_of(output, B, heads, T, D);
    w.x.known = w.y.known = view_of(input, B, heads, T, D);
    w.dq.known = view_of(outputs + OUTPUT_BYTES / 2, B, heads, T, D);
    w.dk.known = view_of(outputs + OUTPUT_BYTES * 9 / 16, B, 1, Tk, D);
    w.dv.known = view_of(outputs + OUTPUT_BYTES * 11 / 16, B, 1, Tk, D);
    w.bias.known = view_of(input, 1, heads, 1, Tk);
    w.mask.known = attn_tensor_bhtd(zeros + INPUT_BYTES / 2, ATTN_BOOL, B, 1, 1, Tk);
    w.weights.known = view_of(outputs + OUTPUT_BYTES * 5 / 8, B, heads, T, Tk);
}

static void make_weights(size_t M, size_t heads) {
    const void *input = numbers + INPUT_BYTES / 2;
    w.linear.known.in_width = M;
    w.linear.known.out_width = take_below(in, 2) ? M : 1 + take_below(in, 40);
    w.linear.known.weight = input;
    w.mha.known.model_width = M;
    w.mha.known.heads = heads;
    w.mha.known.kv_heads = take_below(in, 2);
    w.mha.known.in_weight = take_below(in, 2) ? input : NULL;
    w.mha.known.q_weight = w.mha.known.k_weight = w.mha.known.v_weight = w.mha.known.in_weight ? NULL : input;
    w.mha.known.out_weight = input;
    w.feed.known.hidden_width = 1 + take_below(in, 40);
    w.feed.known.up_weight = w.feed.known.down_weight = input;
    w.block.known.self_attention = &w.mha.known;
}

static void make_world(void) {
    static const size_t all_heads[] = {1, 2, 4};
    const size_t heads = take_pick(in, all_heads), M = heads * (2 + 2 * take_below(in, 4));
    const bool rows = take_below(in, 2);
    const size_t B = 1 + take_below(in, 3), T = 1 + take_below(in, 4);
    memset(&w, 0, sizeof w);
    INITIALISE(options), INITIALISE(info), INITIALISE(norm), INITIALISE(activation), INITIALISE(qk_norm),
        INITIALISE(rotary);
    INITIALISE(tables), INITIALISE(sdpa), INITIALISE(linear), INITIALISE(mha), INITIALISE(feed), INITIALISE(block);
    INITIALISE(inputs), INITIALISE(layer_inputs), INITIALISE(pool), INITIALISE(pool_info), INITIALISE(cache),
        INITIALISE(append), INITIALISE(embed);
    INITIALISE(d_sdpa), INITIALISE(d_linear), INITIALISE(d_mha), INITIALISE(d_norm), INITIALISE(d_feed);
    INITIALISE(d_block), INITIALISE(d_embed), INITIALISE(entropy);
    make_views(B, rows ? 1 : heads, T, rows ? M : M / heads);
    make_weights(M, heads);
    w.options.known.threads = 1;
    w.options.known.allocator = (attn_allocator){allocate, release, NULL};
    w.rotary.known.positions = 64;
    w.rotary.known.cos = w.rotary.known.sin = (const float *)(void *)(numbers + INPUT_BYTES / 2);
    w.pool.known.pages = w.cache.known.capacity = 1 + take_below(in, 20);
    w.cache.known.batch = B;
    w.pool.known.kv_heads = w.cache.known.kv_heads = heads;
    w.pool.known.head_width = w.cache.known.head_width = M / heads;
    w.embed.known.token_table = (const float *)(void *)(numbers + INPUT_BYTES / 2);
    w.embed.known.token_count = 9;
    w.dl.known = (DLTensor){zeros + INPUT_BYTES / 2, {kDLCPU, 0}, 4, {kDLFloat, 32, 1}, NULL, NULL, 0};
    w.dl.known.shape = (int64_t *)(void *)(zeros + INPUT_BYTES / 2);
    w.embed.known.ids = (const int64_t *)(void *)(zeros + INPUT_BYTES / 2);
    for (size_t i = 0; i < COUNT(w.n); i++)
        w.n[i] = 2 * take_below(in, 6);
}

/* ---- an input ---- */

static bool no_context;

attn_context *any_context(void) {
    no_context = take_below(in, 40) == 0;
    return no_context ? NULL : context;
}

void without_context(void) { no_context = true; }

static bool is_word(const char *name, const char *word, size_t length) {
    return strncmp(name, word, length) == 0 && !isalnum((unsigned char)name[length]) && name[length] != '_';
}

static bool is_known(const char *word, size_t length) {
    bool known = false;
    for (size_t i = 0; i < COUNT(fields); i++)
        known = known || is_word(fields[i].name, word, length);
    for (size_t i = 0; i < COUNT(words); i++)
        known = known || is_word(words[i], word, length);
    return known;
}

static bool names_a_field(const char *message) {
    size_t length;
    for (const char *p = message; *p; p += length + (length == 0)) {
        length = 0;
        while (isalnum((unsigned char)p[length]) || p[length] == '_')
            length++;
        if (length && is_known(p, length))
            return true;
    }
    return false;
}

static void make_objects(void) {
    INITIALISE(options);
    w.options.known.allocator = (attn_allocator){allocate, release, NULL};
    w.options.known.threads = threads;
    w.options.known.precision = ATTN_PRECISION_INT8;
    w.options.known.parallel_for = run_in_order;
    w.options.known.parallel_for_data = &threads;
    context = new_context(&w.options.known);
    make_world();
    assert_ok(context, attn_linear_create(context, &w.linear.known, &linear));
    w.block.known.cross_attention = &w.mha.known;
    w.block.known.feed = &w.feed.known;
    w.block.known.feed_norm = &w.norm.known;
    assert_ok(context, attn_mha_create(context, &w.mha.known, &mha));
    assert_ok(context, attn_block_create(context, &w.block.known, &block));
    assert_ok(context, attn_cache_pool_create(context, &w.pool.known, &pool));
    assert_ok(context, attn_cache_create(context, &w.cache.known, &cache));
}

static void delete_objects(void) {
    attn_linear_destroy(linear);
    attn_mha_destroy(mha);
    attn_block_destroy(block);
    attn_cache_destroy(cache);
    attn_cache_pool_destroy(pool);
    cache = NULL;
    assert_int_equal(end_test(NULL), 0); /* the context */
    assert_int_equal(allocated, 0);
}

static void check(size_t which, attn_status status) {
    const char *message = attn_context_last_error(no_context ? NULL : context);
    name_case("function %zu, status %d, \"%s\"", which, (int)status, message);
    if (status == ATTN_OK) {
        memset(outputs, FILLER, OUTPUT_BYTES);
        return;
    }
    if (strcmp(attn_status_text(status), attn_status_text((attn_status)-1)) == 0 ||
        (status != ATTN_ERROR_MEMORY && !names_a_field(message)))
        check_mentions(message, "a field", __FILE__, __LINE__);
    assert_memory_equal(outputs, untouched, OUTPUT_BYTES);
}

void make_calls(const uint8_t *data, size_t size, const struct call *calls, size_t count) {
    struct input input = {data, size};
    in = &input;
    if (!zeros)
        make_memory();
    make_objects();
    if (take_below(in, 4) == 1)
        make_world(); /* of sizes that may be others than those of the objects */
    w.layer_inputs.known.shared_cache = cache;
    w.inputs.known.encoded = &w.y.known;
    for (size_t n = 2 + take_below(in, 6); n > 0; n--) {
        const size_t which = take_below(in, count);
        const struct world valid = w;
        for (size_t changes = take_below(in, 5); changes > 0; changes--)
            set_field(take_field(calls[which].of));
        check(which, calls[which].call());
        w = valid;
    }
    delete_objects();
}
