/* SPDX-License-Identifier: BSD-3-Clause */
/* The key/value cache of a decoder, and the pool of pages that caches share: keys and values are kept in the form that
 * the engine computes on, so that a decoding step packs nothing and reads memory as one stream.
 *
 * A decoder: the keys and values of new tokens are appended, then their queries attend to all that is there. Here eight
 * sequences begin with the same P tokens, which go into the first and are shared with the others: no page is copied
 * until they part. `check` is yours, for what is not ATTN_OK; `project` makes q [8,H,T,D], k and v [8,G,T,D] of T new
 * tokens.
 *
 *     attn_cache *cache;
 *     attn_cache_params params;
 *     ATTN_INIT(&params);
 *     params.batch = 8;
 *     params.capacity = 4096;
 *     params.kv_heads = G;
 *     params.head_width = D;
 *     check(attn_cache_create(context, &params, &cache));
 *
 *     attn_sdpa_params causal;
 *     ATTN_INIT(&causal);
 *     causal.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
 *
 *     const int64_t prefix[8] = {P};
 *     attn_cache_append_params first;
 *     ATTN_INIT(&first);
 *     first.counts = prefix;
 *     project(P, &q, &k, &v);
 *     check(attn_cache_append(context, cache, &k, &v, &first));
 *     for (size_t b = 1; b < 8; b++)
 *         check(attn_cache_fork(context, cache, 0, b));
 *
 *     for (int step = 0; step < steps; step++) {
 *         project(1, &q, &k, &v);
 *         check(attn_cache_append(context, cache, &k, &v, NULL));
 *         check(attn_cache_attend(context, cache, &q, &out[step], &causal));
 *     }
 *     attn_cache_destroy(cache);
 */
#ifndef ATTN_CACHE_H
#define ATTN_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "context.h"
#include "export.h"
#include "sdpa.h"
#include "status.h"
#include "tensor.h"

/* Pages of memory, each for page_size tokens of all key/value heads. Its caches and it may be changed by one thread at
 * a time, and no other may attend meanwhile; any number of threads, with a context each, may attend at the same time.
 */
typedef struct attn_cache_pool attn_cache_pool;

typedef struct attn_cache_pool_params {
    size_t struct_size;
    size_t pages;       /* Required. */
    size_t kv_heads;    /* G. Required. */
    size_t head_width;  /* D. Required. */
    size_t value_width; /* E. 0: D. */
    size_t page_size;   /* tokens of a page: a power of two from 128 to 2048. 0: 256. */
    attn_dtype dtype;   /* how keys and values are stored: f32, f16, bf16, int8 with a scale for each token and head
                         * (rows of less than 1e-34 become 0), or int4 with a scale and an offset for each group.
                         * Arithmetic is f32, for bf16 as the context's precision says. With f16, bf16 and int8, which
                         * no BLAS multiplies, the bits of a query's output depend on no other query, on any backend.
                         * Int4: each 32 elements of a key or value in turn, and the rest, are 16 numbers apart evenly
                         * from their least to their largest, which are rounded outwards to bf16 (what differs by less
                         * than 2e-37 is one number, and what is beyond ±2^126 becomes that). The root mean square of
                         * the errors is 0.08 of that of numbers from N(0,1), where it is 0.006 with int8. A token and
                         * head takes 20 bytes for each group, int8 32 of them and 4 more: at D = 128 0.6 of it.
                         * Decoding takes 1.1 to 1.5 times as long as from int8 by `builtin`, measured on AVX2,
                         * up to 1.8 times by OpenBLAS. */

    /* Not 0: values are the first so many elements of their keys, as these are kept, and are not kept themselves;
     * value_width is 0 or the same. The latent of DeepSeek's multi-head latent attention: G = 1, D = 576, E = 512 (see
     * attn_mha_params). */
    size_t latent_width;
} attn_cache_pool_params;

/* Keys and values of B sequences, each of its own length. */
typedef struct attn_cache attn_cache;

typedef struct attn_cache_params {
    size_t struct_size;
    size_t batch;    /* B. Required. */
    size_t capacity; /* tokens that a sequence can be long. Required. */

    /* The pool, shared with other caches of the same shape, which must outlive the cache; or NULL: a pool of its own,
     * with room for all sequences (rolling: for the first tokens, the window and up to as many that are appended at
     * once), for which kv_heads … dtype are as in attn_cache_pool_params. With a pool they must be 0 or the pool's. */
    attn_cache_pool *pool;
    size_t kv_heads, head_width, value_width, page_size;
    attn_dtype dtype;

    /* Rolling: each query sees the last `window` tokens, itself included, and the first `first_tokens` of the sequence;
     * pages that nobody will see again go back to the pool. 0: off. Queries further back than those of the last append
     * see what is left of their window. Weights at the stages RAW and CAPPED are unspecified outside of the window. */
    size_t window, first_tokens;

    /* [G, D], copied, or NULL. Of int8: keys, normalised and rotated, are divided by these before they are quantised,
     * and queries multiplied. Where some channels of keys are always larger than the others, as in Qwen2 and LLaMA,
     * those others keep their digits: give the largest absolute value that each channel has in a sample, or the root of
     * its mean square. With one channel 30 times as large the root mean square error of scores becomes about 10 times
     * less where queries are small in it (a fifth of their other channels, or less), 3 times where they are not. From
     * 2^−100 to 2^100; not with a latent_width, and not of int4. */
    const float *key_scales;

    size_t latent_width; /* with `pool` 0 or the pool's; else as in attn_cache_pool_params */
} attn_cache_params;

/* How tokens are appended. */
typedef struct attn_cache_append_params {
    size_t struct_size;

    const int64_t *counts; /* [B]: sequence b gets its first counts[b] of up to T tokens; NULL: all */

    /* What is done to the keys before they are stored, or NULL: they are normalised by k_weight and then rotated, and
     * so are values, if they say so. key_positions are [B,T], with `starts` [T] (times the axes); NULL: token t of
     * sequence b is at attn_cache_length + t, where queries with ATTN_CAUSAL_BOTTOM_RIGHT expect it. What is there for
     * queries is not looked at. */
    const attn_qk_norm *qk_norm;
    const attn_rotary *rotary;

    /* [B+1], or NULL. Ragged: the sequences are one after the other in tensors whose B is 1; sequence b has tokens
     * [starts[b], starts[b+1]), starts[0] ≥ 0, not decreasing. */
    const int64_t *starts;
} attn_cache_append_params;

/* How much of a pool is used. */
typedef struct attn_cache_pool_info {
    size_t struct_size;
    size_t pages, free_pages;
    size_t page_size;  /* tokens */
    size_t page_bytes; /* of memory */
} attn_cache_pool_info;

#ifdef __cplusplus
extern "C" {
#endif

/* Makes a pool with all its memory, pages · page_bytes, from the allocator of `context`, which must outlive it. On
 * success *pool is the caller's, to be given to attn_cache_pool_destroy after its caches; it may be used with any
 * context, fastest with those of the same backend. On failure *pool is NULL (if `pool` is not). Errors: NULL, SHAPE,
 * DTYPE, STRUCT, OVERFLOW, MEMORY. */
ATTN_API attn_status attn_cache_pool_create(attn_context *context, const attn_cache_pool_params *params,
                                            attn_cache_pool **pool);

/* Frees a pool. NULL is allowed. No cache may be using it. */
ATTN_API void attn_cache_pool_destroy(attn_cache_pool *pool);

/* Tells how much is used. `info` must have been through ATTN_INIT. Errors: NULL, STRUCT. */
ATTN_API attn_status attn_cache_pool_describe(attn_context *context, const attn_cache_pool *pool,
                                              attn_cache_pool_info *info);

/* Makes an empty cache. Otherwise as attn_cache_pool_create. Errors: NULL, SHAPE, DTYPE, VALUE, STRUCT, OVERFLOW,
 * MEMORY. */
ATTN_API attn_status attn_cache_create(attn_context *context, const attn_cache_params *params, attn_cache **cache);

/* Gives a cache's pages back to the pool and frees it. NULL is allowed. No call may be using it. */
ATTN_API void attn_cache_destroy(attn_cache *cache);

/* Tokens of a sequence, those that a rolling cache has forgotten included; the position of the next one. `cache` must
 * not be NULL, and `sequence` below B. */
ATTN_API size_t attn_cache_length(const attn_cache *cache, size_t sequence);

/* The pool that a cache takes its pages from. `cache` must not be NULL. */
ATTN_API attn_cache_pool *attn_cache_pool_of(const attn_cache *cache);

/* Appends tokens: O(T), nothing is moved but at most one page of each sequence that it shares with another one.
 *   k       [B,G,T,D], f32, f16 or bf16; ragged [1,G,T,D]
 *   v       [B,G,T,E]; NULL where the cache has a latent_width
 *   params  NULL: all defaults
 * Scratch: none for a cache of f32 that takes both as they are, else 192 bytes times the larger of D and E (rounded up
 * to 16) for each thread. Errors: NULL, SHAPE, STRIDE, DTYPE, STRUCT, OVERFLOW, VALUE (counts, starts; a position
 * outside the tables; keys, once normalised and rotated, and values that int8 or int4 cannot hold: Inf, NaN), FULL
 * (capacity, or the pool has too few pages), MEMORY (scratch); nothing is changed then. */
ATTN_API attn_status attn_cache_append(attn_context *context, attn_cache *cache, const attn_tensor *k,
                                       const attn_tensor *v, const attn_cache_append_params *params);

/* Forgets the tokens of a sequence from `length` on; 0 empties it. Errors: NULL, SHAPE (no such sequence, longer than
 * it is, or so short that the next token's window lacks tokens that a rolling cache has forgotten; those in the pages
 * of the first tokens never are). */
ATTN_API attn_status attn_cache_truncate(attn_context *context, attn_cache *cache, size_t sequence, size_t length);

/* Empties all sequences. Errors: NULL. */
ATTN_API attn_status attn_cache_reset(attn_context *context, attn_cache *cache);

/* Makes sequence `to` (whatever it held) the same as sequence `from`: O(pages), they share them until one of the two
 * appends into the last one. For beams, and prefixes in common. Errors: NULL, SHAPE (no such sequence). */
ATTN_API attn_status attn_cache_fork(attn_context *context, attn_cache *cache, size_t from, size_t to);

/* Makes each sequence b, all at once, what sequence from[b] was: the beams that a search keeps, by the index of the
 * beam that each goes on from (Hugging Face's reorder_cache). In place: O(B · pages), tokens are shared as by
 * attn_cache_fork, no page is copied, and none is needed.
 *   from  [B], each from 0 to B − 1
 * Scratch: the cache's tables, 4 bytes for each page that the sequences may have and 16 for each sequence. Errors:
 * NULL, VALUE, MEMORY; nothing is changed then. */
ATTN_API attn_status attn_cache_reorder(attn_context *context, attn_cache *cache, const int64_t *from);

/* Makes room in a stream that goes on past the end of its rotary tables, or of the capacity (context shift): forgets
 * the tokens [begin, begin + count) of a sequence. Those behind move `count` places nearer the beginning, their keys
 * are rotated back by as many, and attn_cache_length becomes `count` less: what is appended next, and its queries, are
 * as far from them as before. With a rolling cache that keeps first tokens these are StreamingLLM's positions, to
 * within a page.
 *   begin, count  whole pages: multiples of the page size. Of a rolling cache behind the pages of the first tokens,
 *                 and so that the next token's window lacks none that has been forgotten
 *   rotary        how the keys were rotated (the offset being that in the cache's keys), by position alone: no
 *                 key_positions, no axes, no rotate_values, tables of attn_rotary_tables, of more than `count`
 *                 positions; not of keys normed after_rotary. query_positions are not looked at. NULL: not at all,
 *                 nothing is rotated now
 * O(tokens behind); without rotary O(pages). Pages that other sequences share are copied where they are rotated. What
 * is kept is rounded once more. Scratch: as attn_cache_append's. Errors: NULL, SHAPE, VALUE, STRUCT, OVERFLOW, FULL
 * (too few pages for copies), MEMORY; nothing is changed then.
 * Source: Xiao et al., "Efficient streaming language models with attention sinks", 2023, section 3.2. */
ATTN_API attn_status attn_cache_shift(attn_context *context, attn_cache *cache, size_t sequence, size_t begin,
                                      size_t count, const attn_rotary *rotary);

/* attn_sdpa of the queries over the tokens of the cache: Tk is the length of the longest sequence, key_lengths are
 * those of the cache (if given, up to these: as if the sequences were no longer). With ATTN_CAUSAL_BOTTOM_RIGHT the
 * queries are those of the last Tq tokens of each sequence, which a decoder has appended before; where it appended
 * counts, give these as query_lengths.
 *   q       [B,H,Tq,D], H mod G = 0; ragged [1,H,T,D]
 *   out     [B,H,Tq,E], output; ragged [1,H,T,E]
 *   params  NULL: all defaults. No window or first_keys for a rolling cache, and no rotary.key_positions: keys stand
 *           where they were appended. Ragged: query_starts are those of the queries, sequences is B, and there are no
 *           key_starts.
 * Everything else, errors too, is as in attn_sdpa. How the tokens were appended, and which pages they are in, changes
 * no bit. */
ATTN_API attn_status attn_cache_attend(attn_context *context, const attn_cache *cache, const attn_tensor *q,
                                       const attn_tensor *out, const attn_sdpa_params *params);

/* Sets *bytes to the scratch that attn_cache_attend with the same arguments needs, however long the sequences become.
 * The data pointers may be NULL, and so may causal_offset. Errors as attn_cache_attend, but for those that only the
 * data show. */
ATTN_API attn_status attn_cache_scratch_size(attn_context *context, const attn_cache *cache, const attn_tensor *q,
                                             const attn_tensor *out, const attn_sdpa_params *params, size_t *bytes);

#ifdef __cplusplus
}
#endif

#endif
