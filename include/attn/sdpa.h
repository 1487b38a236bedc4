/* SPDX-License-Identifier: BSD-3-Clause */
/* Scaled dot-product attention, all variants of it. */
#ifndef ATTN_SDPA_H
#define ATTN_SDPA_H

#include <stddef.h>
#include <stdint.h>

#include "context.h"
#include "export.h"
#include "rotary.h"
#include "status.h"
#include "tensor.h"

/* Which keys j a query i may see, and where it stands among the keys: its position p. */
typedef enum attn_causal {
    ATTN_CAUSAL_NONE = 0,         /* all keys; p = i + Tk − Tq */
    ATTN_CAUSAL_TOP_LEFT = 1,     /* j ≤ p = i: PyTorch's is_causal, ONNX */
    ATTN_CAUSAL_BOTTOM_RIGHT = 2, /* j ≤ p = i + Tk − Tq: the last query sees the last key; FlashAttention, decoding */
    ATTN_CAUSAL_OFFSET = 3        /* j ≤ p = i + causal_offset[b] */
} attn_causal;

/* Keys j in [p − left, p + right]; −1: unbounded on that side. {256, 0} is 256 keys back and the token itself. Less
 * than −1 leaves out the nearest: {4, −3} are the keys p − 4 and p − 3, {−2, −1} all from p + 2 on. */
typedef struct attn_window {
    int64_t left, right;
} attn_window;

/* Tokens of each sequence, counted as keys are: sequence b has spans n = starts[b] to starts[b+1] − 1, of tokens
 * [bounds[n][0], bounds[n][1]) each, in ascending order, none in another. They may go beyond the keys, of which they
 * hold what is there: a prompt's spans serve while its tokens come into a cache piece by piece, and INT64_MAX ends a
 * document that still grows. */
typedef struct attn_spans {
    const int64_t *starts; /* [B+1] */
    const int64_t *bounds; /* [starts[B], 2] */
} attn_spans;

/* The last keys of each sequence are a tree of drafted tokens, of which a query sees its ancestors. */
typedef struct attn_tree {
    size_t tokens;             /* of the tree, no more than there are keys. 0: off */
    const uint64_t *ancestors; /* [B,Tq,⌈tokens/64⌉], ragged [tokens of all,⌈tokens/64⌉]: bit n mod 64 of word n/64 is 1
                                  if the query sees key Tk − tokens + n */
} attn_tree;

/* What an element of a boolean mask that is true means. There is no default: libraries disagree. */
typedef enum attn_polarity {
    ATTN_POLARITY_UNSET = 0,
    ATTN_KEEP = 1, /* true: attend. PyTorch's scaled_dot_product_attention, ONNX, Hugging Face's attention_mask */
    ATTN_DROP = 2  /* true: masked. PyTorch's nn.MultiheadAttention */
} attn_polarity;

typedef enum attn_alibi {
    ATTN_ALIBI_NONE = 0,
    ATTN_ALIBI_STANDARD = 1, /* slopes 2^(−8(h+1)/n) for the n = 2^⌊log2 H⌋ first heads; every second of those of 2n
                                heads for the rest */
    ATTN_ALIBI_SLOPES = 2    /* the caller's, in alibi_slopes */
} attn_alibi;

/* What params.weights gets. All but the last are in natural units (base e). */
typedef enum attn_stage {
    ATTN_STAGE_PROBABILITIES = 0, /* after the softmax, before dropout; 0 where masked */
    ATTN_STAGE_RAW = 1,           /* scale · q·k, masked or not; 0 beyond the lengths of a sequence */
    ATTN_STAGE_CAPPED = 2,        /* after the soft cap, as RAW */
    ATTN_STAGE_BIASED = 3         /* after bias, ALiBi, callback and masks; −inf where masked */
} attn_stage;

/* Scores of one head for a rectangle of queries and keys. */
typedef struct attn_score_tile {
    size_t batch, head;
    size_t query, queries; /* tokens [query, query + queries) */
    size_t key, keys;      /* tokens [key, key + keys) */
    float *scores;         /* (i, j) at scores[i·stride + j], to be changed in place; natural units */
    size_t stride;

    /* What was multiplied, for places that are multiplied with it (Shaw, XLNet, DeBERTa, Conformer): f32, normed and
     * rotated, with a cache's key_scales in q instead of k; element d of query i is q[i·width + d], that of key j
     * k[(j / block · width + d) · block + j mod block]. RAW is factor · Σ_d of their products. */
    const float *q, *k;
    size_t width, block;
    float factor;
} attn_score_tile;

/* Changes the scores of a tile. Called from any of the context's threads, from several at the same time, for every tile
 * that is not masked whole, once or more; keys that are masked may be in it or not. The result for a score must depend
 * on its place and value, and on q and k, alone. −inf masks the key. Must not call a function on the same context. */
typedef void (*attn_score_fn)(void *data, const attn_score_tile *tile);

/* A bias that goes by where a key is from the query.
 * By distance (rows and columns 0): table [H, 2·reach + 1], key j has table[h][reach + j − p], beyond its ends those.
 * T5, MPNet and WavLM: attn_bucket_table makes it, with `scale` 1 for T5.
 * By place in a window of rows and columns: token prefix + y·columns + x is at (y, x), and seen from (y', x') a key
 * there has table[h][(rows − 1 + y − y')·(2·columns − 1) + columns − 1 + x − x'], table [H, N],
 * N = (2·rows − 1)·(2·columns − 1); nothing is added for tokens beyond the window. Swin's table of N rows is this one
 * backwards: here n is row N − 1 − n there. With prefix > 0 tokens come before the window, and table is [H, N + 3]:
 * from those to it is table[h][N], from it to them N + 1, among them N + 2, as in BEiT. */
typedef struct attn_relative_bias {
    const float *table; /* finite numbers */
    size_t reach;
    size_t rows, columns, prefix;
} attn_relative_bias;

/* Which blocks of keys a query sees, by number: [batch, heads, ⌈Tq/queries⌉, count], in ascending order, a negative
 * number ends a list. */
typedef struct attn_key_lists {
    const int64_t *blocks;
    size_t batch, heads; /* 1 or B; 1, G or H */
    size_t count;
    size_t queries, keys; /* of a block */
} attn_key_lists;

/* A factor of q by its position, that of rotary.query_positions, if they are given, or p; below 0 it counts as 0.
 * table [positions], if it is not NULL, finite: table[position], beyond its end the last. Else 1 + amount · ln(1 +
 * ⌊(position + shift) / period⌋): Llama 4's temperature has amount 0.1, period 8192 and shift 1, Ministral 3's amount
 * 0.1 and period original_max_position_embeddings. Qwen's logn is a table. */
typedef struct attn_query_factor {
    const float *table;
    size_t positions;
    float amount;
    size_t period, shift;
} attn_query_factor;

/* The k most probable keys of each row. */
typedef struct attn_top_keys {
    size_t k;
    int64_t *keys; /* output, [B,H,Tq,k], the most probable first, of equals the first; −1 where no further key has
                      a probability above 0 */
    float *probabilities; /* output, [B,H,Tq,k], or NULL; 0 there */
} attn_top_keys;

/* Options in the order in which they act on a score:
 *     q, k → norm → rotary → factors of q; s = scale · q·k → softcap → + bias → + relative bias → + ALiBi → callback →
 *     masks → softmax (with sinks) → dropout → · V
 * Shapes that broadcast: a tensor's size[0], [1] and [2] may be 1 where B, H and Tq are asked for. */
typedef struct attn_sdpa_params {
    size_t struct_size;

    /* What is done to q, k and v first, or NULL. Keys and values of an attn_cache are as they were appended: only q is
     * rotated and normalised then. A layer applies both to what it projected. */
    const attn_qk_norm *qk_norm;
    const attn_rotary *rotary; /* after qk_norm */

    /* Factor of the scores, of a size from 2^−100 to 2^100. 0: 1/√D. Scores are f32, as are scale · q and q · k on the
     * way to them: beyond its range they are ±∞, of which −∞ masks and ∞ makes the row NaN. */
    float scale;

    /* c > 0: s becomes c · tanh(s / c). 0: off. */
    float softcap;

    /* Added to the scores: [B|1,H|1,Tq|1,Tk], f32, f16 or bf16, or NULL. −inf is a mask. */
    const attn_tensor *bias;

    /* −slope · |p − j| is added; the sum is rounded to f32, which tells 2^24 from 2^24 + 2, but not from 2^24 + 1. */
    attn_alibi alibi;
    const float *alibi_slopes; /* [H], for ATTN_ALIBI_SLOPES, otherwise NULL */

    attn_score_fn score; /* or NULL */
    void *score_data;

    /* Boolean masks (ATTN_BOOL), or NULL: a key must pass both. */
    const attn_tensor *mask;     /* [B|1,H|1,Tq|1,Tk] */
    const attn_tensor *key_mask; /* [B|1,1,1,Tk]: padding */
    attn_polarity polarity;      /* of both; required if there is one */

    /* Not 0: mask and bias may have fewer columns than Tk, or none; the keys beyond them are masked, as in ONNX. */
    int pad_masks;

    attn_causal causal;
    const int64_t *causal_offset; /* [B], for ATTN_CAUSAL_OFFSET, otherwise NULL: how many tokens each sequence's cache
                                     held before this call */
    const attn_window *window;    /* or NULL; on top of `causal`: Mistral, Gemma, GPT-OSS, Phi-3 */

    /* [B], or NULL: only the first so many tokens of each sequence are there; keys beyond are masked, queries beyond
     * are empty rows. Tk and Tq in `causal` are then these: where keys and queries are the same tokens, padded to one
     * length, both are needed, or BOTTOM_RIGHT is off by what is missing. */
    const int64_t *key_lengths;
    const int64_t *query_lengths;

    /* Block-sparse: [B|1,H|1,⌈Tq/block_queries⌉,⌈Tk/block_keys⌉] (ATTN_BOOL), or NULL. True: that rectangle of scores
     * is computed; false: it is masked. */
    const attn_tensor *block_map;
    size_t block_queries, block_keys;

    /* Ragged batch: N sequences one after the other in tensors with B = 1; sequence n has tokens
     * [starts[n], starts[n+1]), starts[0] ≥ 0, not decreasing. Both NULL: off; key_starts NULL: as query_starts. All
     * that is [B] here is then [N], and Tq and Tk in shapes of mask, bias, block_map and weights are those of the
     * longest sequence; tokens of `out` between the sequences are not written. */
    size_t sequences;            /* N; at least 1 where there are tokens */
    const int64_t *query_starts; /* [N+1], "cu_seqlens_q" */
    const int64_t *key_starts;   /* [N+1] */

    /* [H], or NULL: exp(sink) is added to the denominator of each row: GPT-OSS, MiMo; sinks of 0 are softmax-plus-one,
     * exp(s) / (1 + Σ exp(s)). An empty row stays 0, its lse is the sink. */
    const float *sinks;

    /* Probability p in [0, 1) that a weight is dropped; kept ones are multiplied by 1/(1−p). Which are dropped depends
     * on (seed, b, h, i, j) alone: attn_dropout_mask tells. */
    float dropout;
    uint64_t dropout_seed;

    /* Output, or NULL: dense [B,H,Tq] (ragged: [H,T], T = q.size[2]), f32, the natural logarithm of Σ_j exp(score) of
     * each row; −inf for an empty row. */
    float *lse;

    /* Outputs that need one or two further walks over the scores; memory but for `weights` is O(Tq + Tk). */

    /* [B,H,Tq,Tk], or [B,1,Tq,Tk] for the average over the heads (0 where H = 0); f32, f16 or bf16; or NULL. The one
     * thing whose memory grows with Tq·Tk. */
    const attn_tensor *weights;
    attn_stage weights_stage;

    float *key_mass;               /* dense [B,H,Tk], or NULL: Σ_i of the probabilities that key j received */
    float *entropy;                /* dense [B,H,Tq], or NULL: −Σ_j p ln p of each row, in nats */
    const attn_top_keys *top_keys; /* or NULL */

    /* Where queries stand if `causal` is NONE and does not tell, for windows, ALiBi and all that counts from p; OFFSET
     * is by causal_offset, NONE is as BOTTOM_RIGHT. TOP_LEFT: windows of jax's local_window_size and of ONNX. */
    attn_causal alignment;

    /* More bounds of the keys that a query sees. Together they are, and cost, one range [lower, upper) for each query:
     *     lower   the largest of the window's left end and where the query's chunk and document begin
     *     upper   the least of the window's right end, of what is causal, and where its chunk and document end
     *     a span that holds p makes lower no more than its begin, upper no less than its end
     *     keys below first_keys and below `upper` are seen too
     * Chunks: ⌊j/c⌋ = ⌊p/c⌋ for c = chunk, 0: off. Llama 4's attention_chunk_size.
     * Causal blocks: with `causal`, j ≤ p becomes ⌊j/c⌋ ≤ ⌊p/c⌋ for c = causal_block; 0 and 1: off. Block diffusion
     * (Fast-dLLM, SDAR, LLaDA 2), chunks of streaming speech. The mask of training such a model, on noised and clean
     * copies of the tokens, is a block_map.
     * Documents: a query that stands in one sees nothing outside of it; one that stands in none is not held in. Packed
     * sequences: FlexAttention's document masks, jax's segment ids; with first_keys as the length of a prefix that all
     * share, block-attention for retrieval.
     * Spans: a query that stands in one sees all of it. Prefix-LM (T5's and GLM's, PaliGemma): [0, prefix); the tokens
     * of each image (Gemma 3). A rolling cache's window holds all the same.
     * First keys: StreamingLLM's attention sinks. A rolling cache has its own. */
    size_t chunk, causal_block;
    const attn_spans *documents; /* or NULL */
    const attn_spans *spans;     /* or NULL */
    size_t first_keys;

    /* Speculative decoding (Medusa, EAGLE, SpecInfer), or NULL. The tree's tokens have the places in which they come
     * for all else that is said here; where they stand in the text is rotary.query_positions' business. */
    const attn_tree *tree;

    const attn_relative_bias *relative_bias; /* or NULL */

    /* Factors of q, or NULL: by position, and [H], finite, for each head: a learned temperature (Swin v2's logit scale,
     * with scale = 1 and L2 norm). */
    const attn_query_factor *query_factor;
    const float *head_scales;

    /* Sparse by index, or NULL: only the listed keys are seen, and of the others only those are read that share a block
     * of the engine, of 64 or 128 keys, with one that a query nearby or a head of the group sees. Native sparse
     * attention's selected blocks, MoBA; with blocks of one key the tokens that DeepSeek's indexer chooses. */
    const attn_key_lists *key_lists;

    /* Not 0: sigmoid attention. Weights are 1 / (1 + exp(−score)), which is not divided by anything: no sinks, lse or
     * entropy. Its bias −ln n is a relative_bias with reach 0. Ramapuram et al., 2024. */
    int sigmoid;

    /* Output, dense [B,H], or NULL: the largest score of each head that the softmax saw, −∞ where there was none, NaN
     * passed over. QK-clip (Kimi K2). Needs a further walk over the scores. */
    float *largest_scores;
} attn_sdpa_params;

/* Whose conventions to follow. */
typedef enum attn_preset {
    ATTN_PRESET_PYTORCH_SDPA = 0,
    ATTN_PRESET_PYTORCH_MHA = 1,
    ATTN_PRESET_ONNX = 2,
    ATTN_PRESET_FLASH = 3,
    ATTN_PRESET_HF = 4
} attn_preset;

#ifdef __cplusplus
extern "C" {
#endif

/* out = softmax(scores, masked) · v for every batch and head.
 *   q    [B,H,Tq,D]  f32, f16 or bf16; each tensor may have its own type; arithmetic is f32, or as the context's
 *                    precision says
 *   k    [B,G,Tk,D], H mod G = 0: query head h reads key head h / (H/G)
 *   v    [B,G,Tk,E]
 *   out  [B,H,Tq,E], output
 *   params  NULL: all defaults
 * With D = 0 each q · k is 0: the mean of the values that are seen, but for bias and the like.
 * A query that sees no key is an empty row: out = 0, lse = −inf, probabilities = 0. A masked key or value is never read
 * into a result: NaN or Inf there changes no bit; nor does NaN in a bias where a mask masks. A score of −inf counts as
 * masked. A key whose distance (ALiBi) makes its probability 0 in f32 beside another is not computed. Memory is O(1) in
 * Tq and Tk. Same inputs, build, backend and ISA give the same bits for any number of threads.
 * Differential attention is two calls over one v, a − λ·b of their outputs, and attn_norm of its heads: in Ye et al.'s
 * "Differential transformer", 2024, q and k of the first call are the even heads of 2·H, those of the second the odd
 * ones, by strides.
 * Errors: NULL, SHAPE, STRIDE, DTYPE, VALUE, STRUCT, OVERFLOW, ALIAS, MEMORY; nothing is written then.
 * Source: Vaswani et al., "Attention is all you need", 2017; the tiling: Dao et al., "FlashAttention", 2022. */
ATTN_API attn_status attn_sdpa(attn_context *context, const attn_tensor *q, const attn_tensor *k, const attn_tensor *v,
                               const attn_tensor *out, const attn_sdpa_params *params);

/* Sets *bytes to the scratch that attn_sdpa with the same arguments needs (see attn_context_reserve). Reads no data:
 * the data pointers of tensors may be NULL, and so may causal_offset; the other arrays of params are looked at for
 * being NULL only, but query_starts, key_starts and the lengths, which are read if they are given. Errors as attn_sdpa,
 * but for those that only the data show. */
ATTN_API attn_status attn_sdpa_scratch_size(attn_context *context, const attn_tensor *q, const attn_tensor *k,
                                            const attn_tensor *v, const attn_tensor *out,
                                            const attn_sdpa_params *params, size_t *bytes);

/* Sets the fields that are the conventions of another project; `params` must have been through ATTN_INIT:
 *
 *                                    PYTORCH_SDPA  PYTORCH_MHA  ONNX         FLASH         HF
 *     causal, if `is_causal` is set  TOP_LEFT      TOP_LEFT     TOP_LEFT     BOTTOM_RIGHT  BOTTOM_RIGHT
 *     polarity of boolean masks      KEEP          DROP         KEEP         KEEP          KEEP
 *     pad_masks                      0             0            1            0             0
 *
 * PYTORCH_SDPA: attn_mask, is_causal, scale and enable_gqa (H and G) of scaled_dot_product_attention.
 *
 * PYTORCH_MHA: attn_mask and key_padding_mask of nn.MultiheadAttention are `mask` and `key_mask`; for its
 * average_attn_weights give `weights` one head.
 *
 * ONNX: Attention of the opsets 23 to 25, as onnx 1.23 defines them. nonpad_kv_seqlen is key_lengths, with
 * ATTN_CAUSAL_BOTTOM_RIGHT for is_causal (onnx 1.22: TOP_LEFT); with a past it is ATTN_CAUSAL_OFFSET and the length of
 * the past. left_window_size and right_window_size are `window`; without is_causal they need an `alignment`: TOP_LEFT,
 * or OFFSET by the length of the past. qk_matmul_output_mode 0 to 3 are RAW, CAPPED, BIASED and PROBABILITIES; the
 * first two are 0 beyond key_lengths here. softmax_precision is always f32. A row without keys is 0.
 *
 * FLASH: flash_attn's causal, window_size = window, softcap, alibi_slopes, cu_seqlens = query_starts and key_starts,
 * seqused_k = key_lengths.
 *
 * HF: attention_mask of zeros and ones is key_mask, the 4-D mask of floats is `bias`; sliding_window W is window
 * {W − 1, 0}; attention_chunk_size is `chunk`; s_aux is sinks; tokens of an image or a prefix are `spans`.
 *
 * Errors: NULL, STRUCT, VALUE (unknown preset). */
ATTN_API attn_status attn_sdpa_preset(attn_preset preset, int is_causal, attn_sdpa_params *params);

/* Combines attention of the same queries over two disjoint sets of keys, in place:
 *   out   [B,H,T,E] f32, input and output: attention over one set
 *   lse   dense [B,H,T], input and output
 *   part, part_lse  attention over the other, f32
 * Afterwards both are of the union. (out = 0, lse = −inf), which is the result over no keys, changes nothing. An lse of
 * ∞ or NaN makes the row NaN beside any other.
 * Associative and commutative to rounding: for keys split over machines (each sends out and lse), prefixes that several
 * sequences share (attend once, merge many), and caches in pieces. Not with sinks, which must be in one part only.
 * Errors: NULL, SHAPE, STRIDE, DTYPE, OVERFLOW, ALIAS; nothing is written then.
 * Source: Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018, section 3.1. */
ATTN_API attn_status attn_merge(attn_context *context, const attn_tensor *out, float *lse, const attn_tensor *part,
                                const float *part_lse);

/* Makes the table of an attn_relative_bias with reach = max_distance from one weight for each bucket of distances: half
 * of the buckets of a direction are of one distance each, the others grow up to max_distance.
 *   buckets        T5: 32. Bidirectional: half of them are for keys that come later, which are at distance 0 if not
 *   max_distance   T5: 128; more than there are buckets of one distance
 *   weights        [buckets, H], as T5 and MPNet store them
 *   table          [H, 2·max_distance + 1], output
 * Errors: NULL, SHAPE, OVERFLOW, ALIAS; nothing is written then.
 * Source: Raffel et al., "Exploring the limits of transfer learning", 2020; the code's _relative_position_bucket. */
ATTN_API attn_status attn_bucket_table(attn_context *context, size_t heads, size_t buckets, size_t max_distance,
                                       int bidirectional, const float *weights, float *table);

/* The mask that dropout uses: mask [B,H,Tq,Tk] (ATTN_BOOL), output, true where a weight is kept.
 * Errors: NULL, SHAPE, STRIDE, DTYPE, VALUE (dropout not in [0, 1)), OVERFLOW.
 * Source: Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011, with key = seed and
 * counter (j/4, i, h, b), word j mod 4: a weight is dropped where the word is below p·2^32. */
ATTN_API attn_status attn_dropout_mask(attn_context *context, float dropout, uint64_t seed, const attn_tensor *mask);

#ifdef __cplusplus
}
#endif

#endif
