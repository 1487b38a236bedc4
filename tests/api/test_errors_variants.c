/* SPDX-License-Identifier: BSD-3-Clause */
/* Every way to set the options of attn_sdpa wrongly, one by one and against each other. */
#include <math.h>
#include <string.h>

#include "support/fault.h"

enum { B = 2, H = 4, G = 2, Tq = 3, Tk = 5, D = 8, E = 6, N = 2 };

/* A call with every option on that can be, in memory of its own. */
typedef struct call {
    attn_context *context;
    attn_tensor q, k, v, out, bias, mask, key_mask, block_map, weights;
    attn_sdpa_params params;
    attn_window window;
    attn_top_keys top;
    int64_t offsets[B], key_lengths[B], query_lengths[B];
    int64_t starts[B + 1], bounds[6]; /* of documents and spans */
    attn_spans documents, spans;
    attn_tree tree;
    attn_key_lists lists;
    int64_t blocks[B * G * 2 * 2];
    attn_relative_bias relative;
    attn_query_factor factor;
    float table[H * 18], scales[H];
    uint64_t ancestors[B * Tq];
    float slopes[H], sinks[H], spare[B * H * Tk];
} call;

/* Factors from a table, beside what they are without one or not. */
#define TABLE (c->factor.table = c->slopes, c->factor.positions = H)
#define ONLY_TABLE (c->factor = (attn_query_factor){.table = c->slopes, .positions = H})

/* What both functions refuse. */
#define OPTION_FAULTS(X)                                                                                               \
    X(softcap_negative, ATTN_ERROR_VALUE, "softcap", c->params.softcap = -1)                                           \
    X(softcap_nan, ATTN_ERROR_VALUE, "softcap", c->params.softcap = NAN)                                               \
    X(softcap_infinite, ATTN_ERROR_VALUE, "softcap", c->params.softcap = INFINITY)                                     \
    X(bias_bool, ATTN_ERROR_DTYPE, "bias", c->bias.dtype = ATTN_BOOL)                                                  \
    X(bias_unknown, ATTN_ERROR_DTYPE, "bias", c->bias.dtype = (attn_dtype)4)                                           \
    X(bias_batch, ATTN_ERROR_SHAPE, "bias", c->bias.size[0] = B + 1)                                                   \
    X(bias_no_batch, ATTN_ERROR_SHAPE, "bias", c->bias.size[0] = 0)                                                    \
    X(bias_heads, ATTN_ERROR_SHAPE, "bias", c->bias.size[1] = G)                                                       \
    X(bias_rows, ATTN_ERROR_SHAPE, "bias", c->bias.size[2] = Tq - 1)                                                   \
    X(bias_columns, ATTN_ERROR_SHAPE, "bias", c->bias.size[3] = Tk - 1)                                                \
    X(bias_one_column, ATTN_ERROR_SHAPE, "bias", c->bias.size[3] = 1)                                                  \
    X(bias_more_columns, ATTN_ERROR_SHAPE, "bias", c->bias.size[3] = Tk + 1)                                           \
    X(bias_padded_more_columns, ATTN_ERROR_SHAPE, "bias", c->params.pad_masks = 1; c->bias.size[3] = Tk + 1)           \
    X(bias_inner_stride, ATTN_ERROR_STRIDE, "bias", c->bias.stride[3] = 2)                                             \
    X(bias_no_inner_stride, ATTN_ERROR_STRIDE, "bias", c->bias.stride[3] = 0)                                          \
    X(bias_huge_stride, ATTN_ERROR_OVERFLOW, "bias", c->bias.stride[2] = PTRDIFF_MAX)                                  \
    X(alibi_unknown, ATTN_ERROR_VALUE, "alibi", c->params.alibi = (attn_alibi)3)                                       \
    X(alibi_negative, ATTN_ERROR_VALUE, "alibi", c->params.alibi = (attn_alibi)-1)                                     \
    X(slopes_without_alibi, ATTN_ERROR_VALUE, "alibi_slopes", c->params.alibi = ATTN_ALIBI_NONE)                       \
    X(slopes_of_the_standard, ATTN_ERROR_VALUE, "alibi_slopes", c->params.alibi = ATTN_ALIBI_STANDARD)                 \
    X(mask_float, ATTN_ERROR_DTYPE, "mask", c->mask.dtype = ATTN_F32)                                                  \
    X(mask_batch, ATTN_ERROR_SHAPE, "mask", c->mask.size[0] = 3)                                                       \
    X(mask_heads, ATTN_ERROR_SHAPE, "mask", c->mask.size[1] = G)                                                       \
    X(mask_rows, ATTN_ERROR_SHAPE, "mask", c->mask.size[2] = Tq + 1)                                                   \
    X(mask_columns, ATTN_ERROR_SHAPE, "mask", c->mask.size[3] = Tk - 1)                                                \
    X(mask_padded_more_columns, ATTN_ERROR_SHAPE, "mask", c->params.pad_masks = 1; c->mask.size[3] = Tk + 1)           \
    X(mask_inner_stride, ATTN_ERROR_STRIDE, "mask", c->mask.stride[3] = -1)                                            \
    X(key_mask_half, ATTN_ERROR_DTYPE, "key_mask", c->key_mask.dtype = ATTN_F16)                                       \
    X(key_mask_batch, ATTN_ERROR_SHAPE, "key_mask", c->key_mask.size[0] = 3)                                           \
    X(key_mask_heads, ATTN_ERROR_SHAPE, "key_mask", c->key_mask.size[1] = H)                                           \
    X(key_mask_rows, ATTN_ERROR_SHAPE, "key_mask", c->key_mask.size[2] = Tq)                                           \
    X(key_mask_columns, ATTN_ERROR_SHAPE, "key_mask", c->key_mask.size[3] = Tk + 1)                                    \
    X(polarity_unset, ATTN_ERROR_VALUE, "polarity", c->params.polarity = ATTN_POLARITY_UNSET)                          \
    X(polarity_unset_key_mask, ATTN_ERROR_VALUE, "polarity", c->params.mask = NULL;                                    \
      c->params.polarity = ATTN_POLARITY_UNSET)                                                                        \
    X(polarity_unset_mask, ATTN_ERROR_VALUE, "polarity", c->params.key_mask = NULL;                                    \
      c->params.polarity = ATTN_POLARITY_UNSET)                                                                        \
    X(polarity_unknown, ATTN_ERROR_VALUE, "polarity", c->params.polarity = (attn_polarity)3)                           \
    X(polarity_of_nothing, ATTN_ERROR_VALUE, "polarity", c->params.mask = NULL; c->params.key_mask = NULL;             \
      c->params.polarity = (attn_polarity)3)                                                                           \
    X(polarity_negative, ATTN_ERROR_VALUE, "polarity", c->params.mask = NULL; c->params.key_mask = NULL;               \
      c->params.polarity = (attn_polarity)-1)                                                                          \
    X(causal_unknown, ATTN_ERROR_VALUE, "causal", c->params.causal = (attn_causal)4)                                   \
    X(offset_without_causal, ATTN_ERROR_VALUE, "causal_offset", c->params.causal = ATTN_CAUSAL_NONE)                   \
    X(alignment_unknown, ATTN_ERROR_VALUE, "alignment", c->params.alignment = (attn_causal)4)                          \
    X(alignment_negative, ATTN_ERROR_VALUE, "alignment", c->params.alignment = (attn_causal)-1)                        \
    X(alignment_of_causal, ATTN_ERROR_VALUE, "alignment", c->params.alignment = ATTN_CAUSAL_TOP_LEFT)                  \
    X(offset_without_alignment, ATTN_ERROR_VALUE, "causal_offset", c->params.causal = ATTN_CAUSAL_NONE;                \
      c->params.causal_block = 0; c->params.alignment = ATTN_CAUSAL_TOP_LEFT)                                          \
    X(blocks_without_causal, ATTN_ERROR_VALUE, "causal_block", c->params.causal = ATTN_CAUSAL_NONE;                    \
      c->params.alignment = ATTN_CAUSAL_OFFSET)                                                                        \
    X(documents_null, ATTN_ERROR_NULL, "documents", c->documents.starts = NULL)                                        \
    X(spans_null, ATTN_ERROR_NULL, "spans", c->spans.starts = NULL)                                                    \
    X(relative_table_null, ATTN_ERROR_NULL, "relative_bias", c->relative.table = NULL)                                 \
    X(relative_no_rows, ATTN_ERROR_SHAPE, "rows", c->relative.rows = 0)                                                \
    X(relative_no_columns, ATTN_ERROR_SHAPE, "columns", c->relative.columns = 0)                                       \
    X(relative_prefix, ATTN_ERROR_SHAPE, "prefix", c->relative.rows = c->relative.columns = 0)                         \
    X(relative_reach, ATTN_ERROR_SHAPE, "reach", c->relative.reach = 1)                                                \
    X(relative_far, ATTN_ERROR_OVERFLOW, "reach",                                                                      \
      c->relative = (attn_relative_bias){.table = c->slopes, .reach = SIZE_MAX / 2})                                   \
    X(relative_huge, ATTN_ERROR_OVERFLOW, "rows", c->relative.rows = SIZE_MAX / 2)                                     \
    X(relative_huge_prefix, ATTN_ERROR_OVERFLOW, "relative_bias", c->relative.prefix = SIZE_MAX / 2)                   \
    X(factor_period, ATTN_ERROR_SHAPE, "query_factor", c->factor.period = 0)                                           \
    X(factor_positions, ATTN_ERROR_SHAPE, "query_factor", c->factor.table = c->slopes)                                 \
    X(factor_amount, ATTN_ERROR_VALUE, "amount", c->factor.amount = NAN)                                               \
    X(factor_period_of_table, ATTN_ERROR_VALUE, "period", TABLE; c->factor.amount = 0)                                 \
    X(factor_amount_of_table, ATTN_ERROR_VALUE, "amount", TABLE)                                                       \
    X(factor_shift_of_table, ATTN_ERROR_VALUE, "shift", TABLE; c->factor.amount = 0; c->factor.period = 0;             \
      c->factor.shift = 1)                                                                                             \
    X(factor_without_table, ATTN_ERROR_NULL, "table", c->factor.positions = 2)                                         \
    X(factor_huge, ATTN_ERROR_OVERFLOW, "positions", ONLY_TABLE; c->factor.positions = SIZE_MAX)                       \
    X(sinks_of_sigmoids, ATTN_ERROR_VALUE, "sinks", c->params.sigmoid = 1)                                             \
    X(lse_of_sigmoids, ATTN_ERROR_VALUE, "lse", c->params.sigmoid = -1; c->params.sinks = NULL)                        \
    X(entropy_of_sigmoids, ATTN_ERROR_VALUE, "entropy", c->params.sigmoid = 1; c->params.sinks = NULL;                 \
      c->params.lse = NULL)                                                                                            \
    X(lists_batch, ATTN_ERROR_SHAPE, "key_lists", c->lists.batch = 3)                                                  \
    X(lists_heads, ATTN_ERROR_SHAPE, "key_lists", c->lists.heads = 3)                                                  \
    X(lists_queries, ATTN_ERROR_SHAPE, "queries", c->lists.queries = 0)                                                \
    X(lists_keys, ATTN_ERROR_SHAPE, "keys", c->lists.keys = 0)                                                         \
    X(huge_lists, ATTN_ERROR_OVERFLOW, "key_lists", c->lists.count = SIZE_MAX)                                         \
    X(huge_tree, ATTN_ERROR_OVERFLOW, "tree", c->tree.tokens = SIZE_MAX)                                               \
    X(tree_beyond, ATTN_ERROR_SHAPE, "tree", c->tree.tokens = Tk + 1)                                                  \
    X(tree_beyond_length, ATTN_ERROR_SHAPE, "sequence 1", c->key_lengths[1] = 1)                                       \
    X(key_length_negative, ATTN_ERROR_VALUE, "key_lengths", c->key_lengths[1] = -1)                                    \
    X(key_length_beyond, ATTN_ERROR_VALUE, "key_lengths", c->key_lengths[0] = Tk + 1)                                  \
    X(query_length_negative, ATTN_ERROR_VALUE, "query_lengths", c->query_lengths[0] = INT64_MIN)                       \
    X(query_length_beyond, ATTN_ERROR_VALUE, "query_lengths", c->query_lengths[1] = Tq + 1)                            \
    X(block_map_float, ATTN_ERROR_DTYPE, "block_map", c->block_map.dtype = ATTN_F32)                                   \
    X(block_map_batch, ATTN_ERROR_SHAPE, "block_map", c->block_map.size[0] = 3)                                        \
    X(block_map_heads, ATTN_ERROR_SHAPE, "block_map", c->block_map.size[1] = G)                                        \
    X(block_map_rows, ATTN_ERROR_SHAPE, "block_map", c->block_map.size[2] = 1)                                         \
    X(block_map_columns, ATTN_ERROR_SHAPE, "block_map", c->block_map.size[3] = Tk)                                     \
    X(block_map_for_less, ATTN_ERROR_SHAPE, "block_map", c->params.block_keys = 1)                                     \
    X(block_map_inner_stride, ATTN_ERROR_STRIDE, "block_map", c->block_map.stride[3] = 2)                              \
    X(no_block_queries, ATTN_ERROR_SHAPE, "block_queries", c->params.block_queries = 0)                                \
    X(no_block_keys, ATTN_ERROR_SHAPE, "block_keys", c->params.block_keys = 0)                                         \
    X(blocks_without_map, ATTN_ERROR_NULL, "block_map", c->params.block_map = NULL)                                    \
    X(sequences_without_starts, ATTN_ERROR_NULL, "query_starts", c->params.sequences = N)                              \
    X(starts_without_sequences, ATTN_ERROR_VALUE, "sequences is 0", c->params.query_starts = c->offsets;               \
      c->q.size[0] = c->k.size[0] = c->v.size[0] = c->out.size[0] = 1)                                                 \
    X(key_starts_alone, ATTN_ERROR_NULL, "query_starts",                                                               \
      c->params.key_starts = new_integers((const int64_t[]){0, 1, 2}, 3))                                              \
    X(ragged_batch, ATTN_ERROR_SHAPE, "q", c->params.sequences = N;                                                    \
      c->params.query_starts = new_integers((const int64_t[]){0, 1, 2}, 3))                                            \
    X(dropout_negative, ATTN_ERROR_VALUE, "dropout", c->params.dropout = -0.1F)                                        \
    X(dropout_one, ATTN_ERROR_VALUE, "dropout", c->params.dropout = 1)                                                 \
    X(dropout_nan, ATTN_ERROR_VALUE, "dropout", c->params.dropout = NAN)                                               \
    X(stage_unknown, ATTN_ERROR_VALUE, "weights_stage", c->params.weights_stage = (attn_stage)4)                       \
    X(stage_negative, ATTN_ERROR_VALUE, "weights_stage", c->params.weights_stage = (attn_stage)-1)                     \
    X(weights_bool, ATTN_ERROR_DTYPE, "weights", c->weights.dtype = ATTN_BOOL)                                         \
    X(weights_heads, ATTN_ERROR_SHAPE, "weights", c->weights.size[1] = G)                                              \
    X(weights_columns, ATTN_ERROR_SHAPE, "weights", c->weights.size[3] = Tk - 1)                                       \
    X(weights_same_rows, ATTN_ERROR_STRIDE, "weights", c->weights.stride[2] = 0)                                       \
    X(too_many_top_keys, ATTN_ERROR_OVERFLOW, "top_keys", c->top.k = SIZE_MAX / 2)                                     \
    X(slopes_null, ATTN_ERROR_NULL, "alibi_slopes", c->params.alibi_slopes = NULL)                                     \
    X(lists_null, ATTN_ERROR_NULL, "key_lists", c->lists.blocks = NULL)                                                \
    X(ancestors_null, ATTN_ERROR_NULL, "tree", c->tree.ancestors = NULL)                                               \
    X(top_keys_null, ATTN_ERROR_NULL, "top_keys", c->top.keys = NULL)                                                  \
    X(struct_size, ATTN_ERROR_STRUCT, "struct_size", c->params.struct_size = offsetof(attn_sdpa_params, top_keys))

/* What only the function that uses the memory can see. */
#define OPTION_DATA_FAULTS(X)                                                                                          \
    X(bias_data_null, ATTN_ERROR_NULL, "bias", c->bias.data = NULL)                                                    \
    X(mask_data_null, ATTN_ERROR_NULL, "mask", c->mask.data = NULL)                                                    \
    X(key_mask_data_null, ATTN_ERROR_NULL, "key_mask", c->key_mask.data = NULL)                                        \
    X(block_map_data_null, ATTN_ERROR_NULL, "block_map", c->block_map.data = NULL)                                     \
    X(weights_data_null, ATTN_ERROR_NULL, "weights", c->weights.data = NULL)                                           \
    X(offset_null, ATTN_ERROR_NULL, "causal_offset", c->params.causal_offset = NULL)                                   \
    X(alignment_offset_null, ATTN_ERROR_NULL, "causal_offset", c->params.causal = ATTN_CAUSAL_NONE;                    \
      c->params.causal_block = 0; c->params.alignment = ATTN_CAUSAL_OFFSET; c->params.causal_offset = NULL)            \
    X(relative_nan, ATTN_ERROR_VALUE, "relative_bias", c->table[H * 18 - 1] = NAN)                                     \
    X(relative_infinite, ATTN_ERROR_VALUE, "relative_bias", c->table[0] = -INFINITY)                                   \
    X(lse_in_relative, ATTN_ERROR_ALIAS, "lse", c->params.lse = c->table)                                              \
    X(factor_nan, ATTN_ERROR_VALUE, "query_factor", ONLY_TABLE; c->slopes[H - 1] = NAN; c->params.alibi_slopes = NULL; \
      c->params.alibi = ATTN_ALIBI_NONE)                                                                               \
    X(factor_infinite, ATTN_ERROR_VALUE, "query_factor", ONLY_TABLE; c->factor.table = c->sinks;                       \
      c->params.sinks = NULL; c->sinks[0] = INFINITY)                                                                  \
    X(head_scale_infinite, ATTN_ERROR_VALUE, "head_scales", c->scales[1] = INFINITY)                                   \
    X(lse_in_head_scales, ATTN_ERROR_ALIAS, "lse", c->params.lse = c->scales)                                          \
    X(lse_in_factors, ATTN_ERROR_ALIAS, "lse", ONLY_TABLE; c->params.alibi = ATTN_ALIBI_NONE;                          \
      c->params.alibi_slopes = NULL; c->params.lse = c->slopes)                                                        \
    X(largest_in_q, ATTN_ERROR_ALIAS, "largest_scores", c->params.largest_scores = c->q.data)                          \
    X(largest_is_lse, ATTN_ERROR_ALIAS, "largest_scores", c->params.largest_scores = c->params.lse)                    \
    X(list_beyond, ATTN_ERROR_VALUE, "key_lists", c->blocks[B * G * 2 * 2 - 1] = 3)                                    \
    X(list_backward, ATTN_ERROR_VALUE, "key_lists", c->blocks[0] = 1)                                                  \
    X(lse_in_lists, ATTN_ERROR_ALIAS, "lse", c->params.lse = (float *)(void *)c->blocks)                               \
    X(documents_begin_early, ATTN_ERROR_VALUE, "documents", c->starts[0] = -1)                                         \
    X(documents_back, ATTN_ERROR_VALUE, "documents", c->starts[1] = 4)                                                 \
    X(document_negative, ATTN_ERROR_VALUE, "documents", c->bounds[0] = -1)                                             \
    X(document_backward, ATTN_ERROR_VALUE, "documents", c->bounds[1] = INT64_MIN)                                      \
    X(documents_overlap, ATTN_ERROR_VALUE, "documents", c->bounds[2] = 1)                                              \
    X(spans_overlap, ATTN_ERROR_VALUE, "spans", c->params.documents = NULL; c->bounds[2] = 1)                          \
    X(spans_bounds_null, ATTN_ERROR_NULL, "spans", c->spans.bounds = NULL)                                             \
    X(documents_bounds_null, ATTN_ERROR_NULL, "documents", c->documents.bounds = NULL)                                 \
    X(lse_in_documents, ATTN_ERROR_ALIAS, "lse", c->params.lse = (float *)(void *)c->bounds)                           \
    X(entropy_in_starts, ATTN_ERROR_ALIAS, "entropy", c->params.entropy = (float *)(void *)c->starts)                  \
    X(lse_in_tree, ATTN_ERROR_ALIAS, "lse", c->params.lse = (float *)(void *)c->ancestors)                             \
    X(slope_nan, ATTN_ERROR_VALUE, "alibi_slopes", c->slopes[H - 1] = NAN)                                             \
    X(slope_infinite, ATTN_ERROR_VALUE, "alibi_slopes", c->slopes[0] = -INFINITY)                                      \
    X(sink_nan, ATTN_ERROR_VALUE, "sinks", c->sinks[H - 1] = NAN)                                                      \
    X(sink_infinite, ATTN_ERROR_VALUE, "sinks", c->sinks[1] = INFINITY)                                                \
    X(out_in_bias, ATTN_ERROR_ALIAS, "out", c->out.data = (float *)c->bias.data + 1)                                   \
    X(bias_in_out, ATTN_ERROR_ALIAS, "out", c->bias.data = (float *)c->out.data + 1)                                   \
    X(mask_in_out, ATTN_ERROR_ALIAS, "out", c->mask.data = c->out.data)                                                \
    X(key_mask_in_out, ATTN_ERROR_ALIAS, "out", c->key_mask.data = (char *)c->out.data + 3)                            \
    X(block_map_in_out, ATTN_ERROR_ALIAS, "out", c->block_map.data = (char *)c->out.data + 3)                          \
    X(lse_in_slopes, ATTN_ERROR_ALIAS, "lse", c->params.lse = c->slopes)                                               \
    X(entropy_in_sinks, ATTN_ERROR_ALIAS, "entropy", c->params.entropy = c->sinks + 1)                                 \
    X(key_mass_in_offsets, ATTN_ERROR_ALIAS, "key_mass", c->params.key_mass = (float *)(void *)c->offsets)             \
    X(lse_in_lengths, ATTN_ERROR_ALIAS, "lse", c->params.lse = (float *)(void *)c->key_lengths)                        \
    X(bias_in_weights, ATTN_ERROR_ALIAS, "weights", c->bias.data = c->weights.data)                                    \
    X(lse_is_entropy, ATTN_ERROR_ALIAS, "entropy", c->params.entropy = c->params.lse)                                  \
    X(lse_in_key_mass, ATTN_ERROR_ALIAS, "key_mass", c->params.key_mass = c->params.lse - 1)                           \
    X(key_mass_in_q, ATTN_ERROR_ALIAS, "key_mass", c->params.key_mass = c->q.data)                                     \
    X(entropy_in_out, ATTN_ERROR_ALIAS, "entropy", c->params.entropy = c->out.data)                                    \
    X(top_keys_in_weights, ATTN_ERROR_ALIAS, "top_keys", c->top.keys = c->weights.data)                                \
    X(top_in_top, ATTN_ERROR_ALIAS, "top_keys", c->top.probabilities = (float *)(void *)c->top.keys)                   \
    X(weights_in_v, ATTN_ERROR_ALIAS, "weights", c->weights.data = c->v.data)

DEFINE_FAULTS(faults, OPTION_FAULTS);
DEFINE_FAULTS(data_faults, OPTION_DATA_FAULTS);

static attn_tensor bools(size_t b, size_t h, size_t rows, size_t columns) {
    const attn_tensor t = new_tensor_of(ATTN_BOOL, BHTD, b, h, rows, columns);
    for (size_t n = 0; n < element_count(t); n++)
        set_value(t, n, 1);
    return t;
}

static void make_outputs(call *c) {
    c->out = new_tensor(BHTD, B, H, Tq, E);
    c->weights = new_tensor(BHTD, B, H, Tq, Tk);
    c->top =
        (attn_top_keys){2, (int64_t *)(void *)new_floats((size_t)B * H * Tq * 4), new_floats((size_t)B * H * Tq * 2)};
    c->params.weights = &c->weights;
    c->params.top_keys = &c->top;
    c->params.lse = new_floats((size_t)B * H * Tq);
    c->params.entropy = new_floats((size_t)B * H * Tq);
    c->params.largest_scores = new_floats((size_t)B * H);
    c->params.key_mass = new_floats((size_t)B * H * Tk);
}

static void make_masks(call *c) {
    c->bias = new_normal(BHTD, B, H, Tq, Tk);
    c->mask = bools(B, H, Tq, Tk);
    c->key_mask = bools(B, 1, 1, Tk);
    c->block_map = bools(B, H, 2, 3);
    c->params.bias = &c->bias;
    c->params.mask = &c->mask;
    c->params.key_mask = &c->key_mask;
    c->params.polarity = ATTN_KEEP;
    c->params.block_map = &c->block_map;
    c->params.block_queries = c->params.block_keys = 2;
}

/* A call that is right, as long as the caller leaves `c` where it is. */
static void make_valid(attn_context *context, call *c) {
    memset(c, 0, sizeof *c);
    c->context = context;
    c->q = new_normal(BHTD, B, H, Tq, D);
    c->k = new_normal(BHTD, B, G, Tk, D);
    c->v = new_normal(BHTD, B, G, Tk, E);
    ATTN_INIT(&c->params);
    make_masks(c);
    make_outputs(c);
    for (size_t b = 0; b < B; b++) {
        c->key_lengths[b] = Tk;
        c->query_lengths[b] = Tq - 1;
        c->offsets[b] = 3;
    }
    memcpy(c->starts, (const int64_t[]){0, 2, 3}, sizeof c->starts);
    memcpy(c->bounds, (const int64_t[]){0, 2, 2, 4, 1, 9}, sizeof c->bounds);
    c->documents = c->spans = (attn_spans){c->starts, c->bounds};
    c->params.documents = &c->documents;
    c->params.spans = &c->spans;
    c->tree = (attn_tree){2, c->ancestors};
    c->params.tree = &c->tree;
    c->lists = (attn_key_lists){c->blocks, B, G, 2, 2, 2};
    c->params.key_lists = &c->lists;
    for (size_t n = 0; n < COUNT(c->blocks); n++)
        c->blocks[n] = (int64_t)(n % 2);
    c->relative = (attn_relative_bias){.table = c->table, .rows = 2, .columns = 3, .prefix = 1};
    c->params.relative_bias = &c->relative;
    c->factor = (attn_query_factor){.amount = 0.1F, .period = 2};
    c->params.query_factor = &c->factor;
    c->params.head_scales = c->scales;
    c->params.chunk = c->params.causal_block = 3;
    c->params.first_keys = 1;
    c->params.softcap = 9;
    c->params.alibi = ATTN_ALIBI_SLOPES;
    c->params.alibi_slopes = c->slopes;
    c->params.causal = ATTN_CAUSAL_OFFSET;
    c->params.causal_offset = c->offsets;
    c->window = (attn_window){3, 3};
    c->params.window = &c->window;
    c->params.key_lengths = c->key_lengths;
    c->params.query_lengths = c->query_lengths;
    c->params.sinks = c->sinks;
    c->params.dropout = 0.5F;
}

static attn_status run(const call *c) { return attn_sdpa(c->context, &c->q, &c->k, &c->v, &c->out, &c->params); }

static attn_status ask_size(const call *c, size_t *bytes) {
    return attn_sdpa_scratch_size(c->context, &c->q, &c->k, &c->v, &c->out, &c->params, bytes);
}

/* What it reads is test_errors_sdpa's business. */
static call copies_of(const call *valid) { return *valid; }

static void assert_nothing_written(const call *valid, const call *copies) {
    (void)copies;
    assert_untouched(valid->out);
    assert_untouched(valid->weights);
    assert_untouched(attn_tensor_bhtd(valid->params.lse, ATTN_F32, B, H, Tq, 1));
    assert_untouched(attn_tensor_bhtd(valid->params.entropy, ATTN_F32, B, H, Tq, 1));
    assert_untouched(attn_tensor_bhtd(valid->params.largest_scores, ATTN_F32, B, H, 1, 1));
    assert_untouched(attn_tensor_bhtd(valid->params.key_mass, ATTN_F32, B, H, Tk, 1));
    assert_untouched(attn_tensor_bhtd(valid->top.keys, ATTN_F32, B, H, Tq, 4));
    assert_untouched(attn_tensor_bhtd(valid->top.probabilities, ATTN_F32, B, H, Tq, 2));
}

#include "support/every_fault.h"

/* What the faults begin with is no fault; and what looks like one is none. */
static void no_fault(void **state) {
    (void)state;
    call c;
    size_t bytes = 0;
    seed(1);
    make_valid(new_context_of(1, 0), &c);
    assert_ok(c.context, run(&c));
    assert_ok(c.context, ask_size(&c, &bytes));
    c.top.k = 2 * Tk; /* more than there are */
    c.top.keys = (int64_t *)(void *)new_floats((size_t)B * H * Tq * 4 * Tk);
    c.top.probabilities = NULL;
    assert_ok(c.context, run(&c));
    c.sinks[1] = -INFINITY;
    c.window = (attn_window){INT64_MAX, INT64_MAX};
    c.params.chunk = c.params.causal_block = c.params.first_keys = SIZE_MAX;
    c.tree.tokens = Tk;
    assert_ok(c.context, run(&c));
    c.tree.tokens = 0; /* off */
    c.tree.ancestors = NULL;
    c.bounds[5] = INT64_MAX;
    c.offsets[0] = INT64_MIN;
    c.offsets[1] = INT64_MAX;
    assert_ok(c.context, run(&c));
    c.params.sigmoid = 1;
    c.params.lse = c.params.entropy = NULL;
    c.params.sinks = NULL;
    assert_ok(c.context, run(&c));
    c.top.k = 0; /* off */
    assert_ok(c.context, run(&c));
    c.params.pad_masks = -1;
    c.bias.size[3] = 0;
    c.mask.size[3] = 1;
    assert_ok(c.context, run(&c));
}

/* ---- ragged batches ---- */

enum { TOKENS = 9, SEQUENCES = 3 };

static attn_status run_ragged_with(attn_context *context, const int64_t *query_starts, const int64_t *key_starts,
                                   size_t key_tokens, const attn_sdpa_params *with) {
    const attn_tensor q = new_normal(BHTD, 1, H, TOKENS, D), k = new_normal(BHTD, 1, G, key_tokens, D);
    const attn_tensor v = new_normal(BHTD, 1, G, key_tokens, E), out = new_tensor(BHTD, 1, H, TOKENS, E);
    attn_sdpa_params params = *with;
    params.sequences = SEQUENCES;
    params.query_starts = query_starts;
    params.key_starts = key_starts;
    const attn_status status = attn_sdpa(context, &q, &k, &v, &out, &params);
    if (status != ATTN_OK)
        assert_untouched(out);
    return status;
}

static attn_status run_ragged(attn_context *context, const int64_t *query_starts, const int64_t *key_starts,
                              size_t key_tokens) {
    attn_sdpa_params params;
    ATTN_INIT(&params);
    return run_ragged_with(context, query_starts, key_starts, key_tokens, &params);
}

/* No length is more than its own sequence has, and no tree; where there are no queries, no tree is looked at. */
static void ragged_lengths(void **state) {
    (void)state;
    static const int64_t queries[] = {0, 3, 3, 5}, keys[] = {0, 4, 5, 9};
    static const struct {
        int64_t lengths[SEQUENCES];
        bool of_keys, good;
    } cases[] = {{{3, 0, 2}, false, true}, {{3, 0, 3}, false, false}, {{2, 1, 2}, false, false},
                 {{4, 1, 4}, true, true},  {{4, 2, 4}, true, false},  {{5, 1, 4}, true, false}};
    const uint64_t ancestors[TOKENS] = {0};
    const attn_tree fits = {4, ancestors}, large = {5, ancestors};
    attn_context *context = new_context_of(2, 0);
    attn_sdpa_params p;
    seed(3);
    for (size_t i = 0; i < COUNT(cases); i++) {
        ATTN_INIT(&p);
        *(cases[i].of_keys ? &p.key_lengths : &p.query_lengths) = cases[i].lengths;
        name_case("lengths %zu", i);
        assert_status(context, run_ragged_with(context, queries, keys, TOKENS, &p),
                      cases[i].good ? ATTN_OK : ATTN_ERROR_VALUE);
        if (!cases[i].good)
            assert_mentions(attn_context_last_error(context), cases[i].of_keys ? "key_lengths" : "query_lengths");
        end_case();
    }
    ATTN_INIT(&p);
    p.tree = &fits;
    assert_ok(context, run_ragged_with(context, queries, keys, TOKENS, &p));
    p.tree = &large;
    assert_status(context, run_ragged_with(context, queries, keys, TOKENS, &p), ATTN_ERROR_SHAPE);
    assert_mentions(attn_context_last_error(context), "params.tree->tokens is 5, but sequence 0 has 4 keys");
}

static void ragged_faults(void **state) {
    (void)state;
    static const struct {
        int64_t starts[SEQUENCES + 1];
        attn_status status;
    } cases[] = {{{0, 3, 3, 9}, ATTN_OK},
                 {{2, 2, 2, 2}, ATTN_OK},
                 {{-1, 3, 5, 9}, ATTN_ERROR_VALUE},
                 {{0, 3, 2, 9}, ATTN_ERROR_VALUE},
                 {{0, 3, INT64_MIN, 9}, ATTN_ERROR_VALUE},
                 {{0, 3, 5, 10}, ATTN_ERROR_SHAPE},
                 {{0, 3, 5, INT64_MAX}, ATTN_ERROR_SHAPE},
                 {{0, INT64_MAX, 5, 6}, ATTN_ERROR_VALUE}};
    static const int64_t good[] = {0, 2, 5, 7};
    attn_context *context = new_context_of(2, 0);
    seed(2);
    for (size_t i = 0; i < COUNT(cases); i++) {
        name_case("ragged %zu", i);
        assert_status(context, run_ragged(context, cases[i].starts, NULL, TOKENS), cases[i].status);
        if (cases[i].status != ATTN_OK)
            assert_mentions(attn_context_last_error(context), "query_starts");
        assert_status(context, run_ragged(context, good, cases[i].starts, TOKENS), cases[i].status);
        if (cases[i].status != ATTN_OK)
            assert_mentions(attn_context_last_error(context), "key_starts");
        end_case();
    }
    assert_status(context, run_ragged(context, good, NULL, 6), ATTN_ERROR_SHAPE); /* fewer keys than queries */
}

/* ---- attn_dropout_mask, attn_bucket_table and attn_sdpa_preset ---- */

static void bucket_table_faults(void **state) {
    (void)state;
    static const struct {
        size_t heads, buckets, max_distance;
        int bidirectional;
        attn_status status;
        const char *field;
    } cases[] = {{2, 1, 8, 0, ATTN_ERROR_SHAPE, "buckets"},
                 {2, 3, 8, 1, ATTN_ERROR_SHAPE, "buckets"},
                 {2, 5, 8, 1, ATTN_ERROR_SHAPE, "buckets"},
                 {2, 0, 8, 1, ATTN_ERROR_SHAPE, "buckets"},
                 {2, 8, 4, 0, ATTN_ERROR_SHAPE, "max_distance"},
                 {2, 8, 2, 1, ATTN_ERROR_SHAPE, "max_distance"},
                 {2, 8, 0, 1, ATTN_ERROR_SHAPE, "max_distance"},
                 {2, 8, SIZE_MAX, 1, ATTN_ERROR_OVERFLOW, "max_distance"},
                 {SIZE_MAX / 8, 8, 8, 1, ATTN_ERROR_OVERFLOW, "buckets"}};
    attn_context *context = new_context_of(1, 0);
    float *weights = new_floats(16);
    const attn_tensor table = new_tensor(BHTD, 1, 1, 2, 17);
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_status(context,
                      attn_bucket_table(context, cases[i].heads, cases[i].buckets, cases[i].max_distance,
                                        cases[i].bidirectional, weights, table.data),
                      cases[i].status);
        assert_mentions(attn_context_last_error(context), cases[i].field);
    }
    assert_status(context, attn_bucket_table(context, 2, 8, 8, 1, NULL, table.data), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "weights");
    assert_status(context, attn_bucket_table(context, 2, 8, 8, 1, weights, NULL), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "table");
    assert_status(context, attn_bucket_table(context, 2, 8, 8, 1, table.data, table.data), ATTN_ERROR_ALIAS);
    assert_int_equal(attn_bucket_table(NULL, 2, 8, 8, 1, weights, table.data), ATTN_ERROR_NULL);
    assert_ok(context, attn_bucket_table(context, 0, 8, 8, 1, NULL, NULL));
    assert_untouched(table);
}

static void dropout_mask_faults(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    const float bad[] = {-1e-9F, 1, 2, NAN, INFINITY, -INFINITY};
    const attn_tensor mask = new_tensor_of(ATTN_BOOL, BHTD, 2, 2, 3, 5);
    attn_tensor wrong = mask;
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_status(context, attn_dropout_mask(context, bad[i], 1, &mask), ATTN_ERROR_VALUE);
        assert_mentions(attn_context_last_error(context), "dropout");
    }
    assert_status(context, attn_dropout_mask(context, 0.5F, 1, NULL), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "mask");
    wrong.data = NULL;
    assert_status(context, attn_dropout_mask(context, 0.5F, 1, &wrong), ATTN_ERROR_NULL);
    wrong = mask;
    wrong.dtype = ATTN_F32;
    assert_status(context, attn_dropout_mask(context, 0.5F, 1, &wrong), ATTN_ERROR_DTYPE);
    wrong = mask;
    wrong.stride[2] = 0;
    assert_status(context, attn_dropout_mask(context, 0.5F, 1, &wrong), ATTN_ERROR_STRIDE);
    wrong = mask;
    wrong.size[0] = wrong.size[1] = SIZE_MAX / 2;
    assert_status(context, attn_dropout_mask(context, 0.5F, 1, &wrong), ATTN_ERROR_OVERFLOW);
    assert_untouched(mask);
    assert_int_equal(attn_dropout_mask(NULL, 0.5F, 1, &mask), ATTN_ERROR_NULL);
}

static void preset_faults(void **state) {
    (void)state;
    attn_sdpa_params params, was;
    memset(&params, 0x5a, sizeof params);
    assert_int_equal(attn_sdpa_preset(ATTN_PRESET_HF, 0, &params), ATTN_ERROR_STRUCT);
    assert_mentions(attn_context_last_error(NULL), "struct_size");
    params.struct_size = sizeof params;
    was = params;
    assert_int_equal(attn_sdpa_preset(ATTN_PRESET_HF, 0, NULL), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(NULL), "params");
    for (int preset = -1; preset <= 5; preset += 6) {
        assert_int_equal(attn_sdpa_preset((attn_preset)preset, 0, &params), ATTN_ERROR_VALUE);
        assert_mentions(attn_context_last_error(NULL), "preset");
        assert_memory_equal(&params, &was, sizeof params);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(no_fault),           TEST(every_fault),         TEST(ragged_faults),
                                       TEST(ragged_lengths),     TEST(dropout_mask_faults), TEST(preset_faults),
                                       TEST(bucket_table_faults)};
    return cmocka_run_group_tests_name("errors_variants", tests, NULL, NULL);
}
