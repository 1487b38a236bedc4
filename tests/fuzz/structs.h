/* SPDX-License-Identifier: BSD-3-Clause */
/* All parameter structs and views, with any values in their fields, and NULL where there was a pointer. Nothing
 * crashes; what fails says which field it was, and has written nothing. Pointers are NULL or point into memory that is
 * larger than the sizes that are drawn can mean; others are so large that they overflow. */
#ifndef ATTN_TESTS_STRUCTS_H
#define ATTN_TESTS_STRUCTS_H

#include <attn/dlpack.h>

#include "fuzz.h"
#include "support/fault.h"

/* Places for outputs that are arrays are OUTPUT_PLACE apart; those of views are behind them. */
enum { INPUT_BYTES = 1 << 23, OUTPUT_BYTES = 1 << 18, OUTPUT_PLACE = OUTPUT_BYTES / 8, FILLER = 0xa5 };

/* A struct without a struct_size. */
#define ONLY(type)                                                                                                     \
    struct {                                                                                                           \
        type known;                                                                                                    \
    }

/* All structs, and what they point to. */
extern struct world {
    WITH_TAIL(attn_context_options) options;
    WITH_TAIL(attn_context_info) info;
    WITH_TAIL(attn_norm_params) norm;
    WITH_TAIL(attn_activation_params) activation;
    WITH_TAIL(attn_qk_norm) qk_norm;
    WITH_TAIL(attn_rotary) rotary;
    WITH_TAIL(attn_rotary_tables_params) tables;
    WITH_TAIL(attn_sdpa_params) sdpa;
    WITH_TAIL(attn_linear_params) linear;
    WITH_TAIL(attn_mha_params) mha;
    WITH_TAIL(attn_feed_params) feed;
    WITH_TAIL(attn_block_params) block;
    WITH_TAIL(attn_block_inputs) inputs;
    WITH_TAIL(attn_mha_inputs) layer_inputs;
    WITH_TAIL(attn_cache_pool_params) pool;
    WITH_TAIL(attn_cache_pool_info) pool_info;
    WITH_TAIL(attn_cache_params) cache;
    WITH_TAIL(attn_cache_append_params) append;
    WITH_TAIL(attn_embed_params) embed;
    WITH_TAIL(attn_sdpa_gradients) d_sdpa;
    WITH_TAIL(attn_linear_gradients) d_linear;
    WITH_TAIL(attn_mha_gradients) d_mha;
    WITH_TAIL(attn_norm_gradients) d_norm;
    WITH_TAIL(attn_feed_gradients) d_feed;
    WITH_TAIL(attn_block_gradients) d_block;
    WITH_TAIL(attn_embed_gradients) d_embed;
    WITH_TAIL(attn_cross_entropy_params) entropy;
    ONLY(attn_window) window;
    ONLY(attn_top_keys) top;
    ONLY(attn_spans) spans;
    ONLY(attn_tree) tree;
    ONLY(attn_relative_bias) relative;
    ONLY(attn_query_factor) factor;
    ONLY(attn_key_lists) lists;
    ONLY(attn_tensor) q, k, v, out, x, y, bias, mask, weights, dq, dk, dv;
    ONLY(DLTensor) dl;
    size_t n[8]; /* sizes that are arguments themselves */
    int choice;
    float number;
} w;

/* Made for each input, mostly of the sizes that the structs have then. */
extern attn_context *context;
extern attn_linear *linear;
extern attn_mha *mha;
extern attn_block *block;
extern attn_cache *cache;
extern attn_cache_pool *pool;

/* By bits: which struct a field is in. */
enum {
    OPTIONS = 1,
    INFO = 2,
    NORM = 4,
    QK_NORM = 8,
    ROTARY = 16,
    TABLES = 32,
    SDPA = 64,
    LINEAR = 128,
    MHA = 256,
    FEED = 512,
    BLOCK = 1024,
    INPUTS = 2048,
    POOL = 4096,
    POOL_INFO = 8192,
    CACHE = 1 << 14,
    APPEND = 1 << 15,
    EMBED = 1 << 16,
    QKV = 1 << 17,
    ROWS = 1 << 18,
    MASKS = 1 << 19,
    SIZES = 1 << 20,
    ACTIVATION = 1 << 21,
    D_SDPA = 1 << 22,
    D_LINEAR = 1 << 23,
    D_MHA = 1 << 24,
    D_NORM = 1 << 25,
    D_BLOCK = 1 << 26,
    D_EMBED = 1 << 27,
    ENTROPY = 1 << 28,
    DLPACK = 1 << 29
};
enum { ATTENTION = SDPA | QK_NORM | ROTARY | MASKS };

extern struct input *in;

void *take_input(void); /* NULL, zeros or numbers */
void *take_output(void);
attn_context *any_context(void); /* NULL once in a while */
void without_context(void);      /* a call that has none */

#define MAYBE(pointer) (take_below(in, 24) ? (pointer) : NULL)

struct call {
    attn_status (*call)(void);
    unsigned of; /* the structs that it reads */
};

/* An input: some of the calls, each with some fields of its structs changed. */
void make_calls(const uint8_t *data, size_t size, const struct call *calls, size_t count);

#endif
