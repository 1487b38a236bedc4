/* SPDX-License-Identifier: BSD-3-Clause */
/* Every way to use caches and their pools wrongly: the message names the field, and nothing has changed. */
#include <float.h>
#include <math.h>

#include "support/fault.h"
#include "support/support.h"

enum { B = 2, H = 4, G = 2, Tq = 3, D = 8, E = 5, CAPACITY = 200, HELD = 6, PAGES = 3, WINDOW = 4, HUGE_T = 150 };
enum { APPENDED = 4 };

/* Valid arguments of every function; `rolling` and `small` share a pool of three pages, of which each has two and none.
 */
typedef struct call {
    attn_context *context;
    WITH_TAIL(attn_cache_pool_params) pool;
    WITH_TAIL(attn_cache_params) create;
    WITH_TAIL(attn_cache_pool_info) info;
    attn_cache *cache, *rolling, *small, *bytes, *target;
    attn_tensor k, v, q, out;
    const attn_tensor *k_argument, *v_argument, *q_argument, *out_argument;
    WITH_TAIL(attn_cache_append_params) append;
    int64_t counts[B], lengths[B], order[B], positions[B * APPENDED];
    attn_rotary rotary; /* and norm: set, but not yet asked for */
    attn_qk_norm norm;
    float weight[D];
    attn_window window;
    attn_tensor mask;
    attn_sdpa_params params;
    size_t from, to, length, begin, count;
    int32_t axes[D / 2];
} call;

#define POOL_FAULTS(X)                                                                                                 \
    X(pool_not_initialised, ATTN_ERROR_STRUCT, "struct_size", c->pool.known.struct_size = 0)                           \
    X(pool_unknown_option, ATTN_ERROR_STRUCT, "struct_size", c->pool.known.struct_size = sizeof c->pool;               \
      c->pool.tail[3] = 1)                                                                                             \
    X(no_pages, ATTN_ERROR_SHAPE, "pages", c->pool.known.pages = 0)                                                    \
    X(pool_no_heads, ATTN_ERROR_SHAPE, "kv_heads", c->pool.known.kv_heads = 0)                                         \
    X(pool_no_width, ATTN_ERROR_SHAPE, "head_width", c->pool.known.head_width = 0)                                     \
    X(page_too_small, ATTN_ERROR_SHAPE, "page_size", c->pool.known.page_size = 64)                                     \
    X(page_too_large, ATTN_ERROR_SHAPE, "page_size", c->pool.known.page_size = 4096)                                   \
    X(page_no_power, ATTN_ERROR_SHAPE, "page_size", c->pool.known.page_size = 384)                                     \
    X(page_huge, ATTN_ERROR_SHAPE, "page_size", c->pool.known.page_size = SIZE_MAX / 2 + 1)                            \
    X(pool_bool, ATTN_ERROR_DTYPE, "dtype", c->pool.known.dtype = ATTN_BOOL)                                           \
    X(pool_dtype, ATTN_ERROR_DTYPE, "dtype", c->pool.known.dtype = (attn_dtype)77)                                     \
    X(pool_dtype_below, ATTN_ERROR_DTYPE, "dtype", c->pool.known.dtype = (attn_dtype)-1)                               \
    X(wide_latent, ATTN_ERROR_SHAPE, "latent_width", c->pool.known.latent_width = D + 1)                               \
    X(latent_and_values, ATTN_ERROR_SHAPE, "value_width", c->pool.known.latent_width = E - 1)                          \
    X(huge_pages, ATTN_ERROR_OVERFLOW, "pages", c->pool.known.pages = SIZE_MAX / 4)                                    \
    X(huge_pool_heads, ATTN_ERROR_OVERFLOW, "kv_heads", c->pool.known.kv_heads = SIZE_MAX / 4)                         \
    X(huge_pool_width, ATTN_ERROR_OVERFLOW, "head_width", c->pool.known.head_width = SIZE_MAX / 4)                     \
    X(huge_pool_value_width, ATTN_ERROR_OVERFLOW, "value_width", c->pool.known.value_width = SIZE_MAX / 4)             \
    X(huge_pool, ATTN_ERROR_OVERFLOW, "head_width", c->pool.known.pages = 1 << 30;                                     \
      c->pool.known.kv_heads = c->pool.known.head_width = 1 << 20)

#define CREATE_FAULTS(X)                                                                                               \
    X(not_initialised, ATTN_ERROR_STRUCT, "struct_size", c->create.known.struct_size = 0)                              \
    X(unknown_option, ATTN_ERROR_STRUCT, "struct_size", c->create.known.struct_size = sizeof c->create;                \
      c->create.tail[3] = 1)                                                                                           \
    X(no_batch, ATTN_ERROR_SHAPE, "batch", c->create.known.batch = 0)                                                  \
    X(no_heads, ATTN_ERROR_SHAPE, "kv_heads", c->create.known.kv_heads = 0)                                            \
    X(no_width, ATTN_ERROR_SHAPE, "head_width", c->create.known.head_width = 0)                                        \
    X(no_capacity, ATTN_ERROR_SHAPE, "capacity", c->create.known.capacity = 0)                                         \
    X(page_size, ATTN_ERROR_SHAPE, "page_size", c->create.known.page_size = 100)                                       \
    X(dtype, ATTN_ERROR_DTYPE, "dtype", c->create.known.dtype = ATTN_BOOL)                                             \
    X(scales_of_f32, ATTN_ERROR_VALUE, "key_scales", c->create.known.key_scales = c->weight)                           \
    X(dtype_beyond, ATTN_ERROR_DTYPE, "dtype", c->create.known.dtype = (attn_dtype)6)                                  \
    X(dtype_below, ATTN_ERROR_DTYPE, "dtype", c->create.known.dtype = (attn_dtype)-1)                                  \
    X(scales_of_int4, ATTN_ERROR_VALUE, "key_scales", c->create.known.key_scales = c->weight; c->weight[0] = 1;        \
      c->create.known.dtype = ATTN_INT4)                                                                               \
    X(zero_scale, ATTN_ERROR_VALUE, "key_scales[0]", c->create.known.key_scales = c->weight;                           \
      c->create.known.dtype = ATTN_INT8)                                                                               \
    X(nan_scale, ATTN_ERROR_VALUE, "key_scales[0]", c->create.known.key_scales = c->weight; c->weight[0] = NAN;        \
      c->create.known.dtype = ATTN_INT8)                                                                               \
    X(scale_of_latent, ATTN_ERROR_VALUE, "key_scales", c->create.known.key_scales = c->weight; c->weight[0] = 1;       \
      c->create.known.dtype = ATTN_INT8; c->create.known.latent_width = E)                                             \
    X(infinite_scale, ATTN_ERROR_VALUE, "key_scales[0]", c->create.known.key_scales = c->weight;                       \
      c->weight[0] = INFINITY; c->create.known.dtype = ATTN_INT8)                                                      \
    X(small_scale, ATTN_ERROR_VALUE, "key_scales[1]", c->create.known.key_scales = c->weight;                          \
      c->weight[0] = 0x1p-100F; c->weight[1] = 0x1p-101F; c->create.known.dtype = ATTN_INT8)                           \
    X(large_scale, ATTN_ERROR_VALUE, "key_scales[1]", c->create.known.key_scales = c->weight; c->weight[0] = 0x1p100F; \
      c->weight[1] = 0x1p101F; c->create.known.dtype = ATTN_INT8)                                                      \
    X(first_of_no_window, ATTN_ERROR_VALUE, "first_tokens", c->create.known.first_tokens = 1)                          \
    X(huge_batch, ATTN_ERROR_OVERFLOW, "batch", c->create.known.batch = SIZE_MAX / 2)                                  \
    X(huge_width, ATTN_ERROR_OVERFLOW, "head_width", c->create.known.head_width = SIZE_MAX / 2)                        \
    X(huge_value_width, ATTN_ERROR_OVERFLOW, "value_width", c->create.known.value_width = SIZE_MAX / 2)                \
    X(huge_capacity, ATTN_ERROR_OVERFLOW, "capacity", c->create.known.capacity = SIZE_MAX / 2)                         \
    X(huge_window, ATTN_ERROR_OVERFLOW, "window", c->create.known.window = SIZE_MAX)                                   \
    X(huge_first_tokens, ATTN_ERROR_OVERFLOW, "first_tokens", c->create.known.window = 1;                              \
      c->create.known.first_tokens = SIZE_MAX)                                                                         \
    X(huge_product, ATTN_ERROR_OVERFLOW, "batch", c->create.known.batch = (size_t)1 << 40;                             \
      c->create.known.capacity = 1 << 30)                                                                              \
    X(many_pages, ATTN_ERROR_OVERFLOW, "params.batch", c->create.known.batch = (size_t)1 << 32)

/* In a pool that is there. */
#define SHARE_FAULTS(X)                                                                                                \
    X(share_heads, ATTN_ERROR_SHAPE, "kv_heads", c->create.known.kv_heads = G + 1)                                     \
    X(share_width, ATTN_ERROR_SHAPE, "head_width", c->create.known.head_width = D + 1)                                 \
    X(share_value_width, ATTN_ERROR_SHAPE, "value_width", c->create.known.value_width = D)                             \
    X(share_page_size, ATTN_ERROR_SHAPE, "page_size", c->create.known.page_size = 256)                                 \
    X(share_dtype, ATTN_ERROR_DTYPE, "dtype", c->create.known.dtype = ATTN_F16)                                        \
    X(share_bool, ATTN_ERROR_DTYPE, "dtype", c->create.known.dtype = (attn_dtype)77)                                   \
    X(share_latent, ATTN_ERROR_SHAPE, "latent_width", c->create.known.latent_width = E)                                \
    X(share_scales, ATTN_ERROR_VALUE, "key_scales", c->create.known.key_scales = c->weight)                            \
    X(share_no_batch, ATTN_ERROR_SHAPE, "batch", c->create.known.batch = 0)                                            \
    X(share_huge, ATTN_ERROR_OVERFLOW, "batch", c->create.known.batch = SIZE_MAX / 8)

#define ROTATED c->append.known.rotary = &c->rotary
#define NORMED c->append.known.qk_norm = &c->norm

#define RAGGED                                                                                                         \
    c->append.known.starts = c->positions;                                                                             \
    c->k.size[0] = c->v.size[0] = 1

#define APPEND_FAULTS(X)                                                                                               \
    X(append_to_null, ATTN_ERROR_NULL, "cache", c->target = NULL)                                                      \
    X(k_null, ATTN_ERROR_NULL, "k", c->k_argument = NULL)                                                              \
    X(v_null, ATTN_ERROR_NULL, "v", c->v_argument = NULL)                                                              \
    X(k_data, ATTN_ERROR_NULL, "k", c->k.data = NULL)                                                                  \
    X(v_data, ATTN_ERROR_NULL, "v", c->v.data = NULL)                                                                  \
    X(k_dtype, ATTN_ERROR_DTYPE, "k", c->k.dtype = (attn_dtype)77)                                                     \
    X(v_dtype, ATTN_ERROR_DTYPE, "v", c->v.dtype = ATTN_INT8)                                                          \
    X(k_batch, ATTN_ERROR_SHAPE, "k", c->k.size[0] = 1)                                                                \
    X(v_batch, ATTN_ERROR_SHAPE, "v", c->v.size[0] = 1)                                                                \
    X(k_heads, ATTN_ERROR_SHAPE, "k", c->k.size[1] = 1)                                                                \
    X(v_heads, ATTN_ERROR_SHAPE, "v", c->v.size[1] = 1)                                                                \
    X(k_width, ATTN_ERROR_SHAPE, "k", c->k.size[3] = D - 1)                                                            \
    X(v_width, ATTN_ERROR_SHAPE, "v", c->v.size[3] = E - 1)                                                            \
    X(v_tokens, ATTN_ERROR_SHAPE, "v", c->v.size[2] = 1)                                                               \
    X(k_stride, ATTN_ERROR_STRIDE, "k", c->k.stride[3] = 2)                                                            \
    X(v_stride, ATTN_ERROR_STRIDE, "v", c->v.stride[3] = 2)                                                            \
    X(k_huge, ATTN_ERROR_OVERFLOW, "k", c->k.stride[2] = PTRDIFF_MAX / 2)                                              \
    X(negative_count, ATTN_ERROR_VALUE, "counts[1]", c->append.known.counts = c->counts; c->counts[1] = -1)            \
    X(count_above, ATTN_ERROR_VALUE, "counts[0]", c->append.known.counts = c->counts; c->counts[0] = 5)                \
    X(count_huge, ATTN_ERROR_VALUE, "counts[0]", c->append.known.counts = c->counts; c->counts[0] = INT64_MIN)         \
    X(ragged_k, ATTN_ERROR_SHAPE, "k", c->append.known.starts = c->positions)                                          \
    X(start_negative, ATTN_ERROR_VALUE, "starts[0]", RAGGED; c->positions[0] = -1)                                     \
    X(start_before, ATTN_ERROR_VALUE, "starts[2]", RAGGED; c->positions[1] = 1)                                        \
    X(start_beyond, ATTN_ERROR_SHAPE, "starts[2]", RAGGED; c->positions[2] = APPENDED + 1)                             \
    X(ragged_count, ATTN_ERROR_VALUE, "counts[1]", RAGGED; c->append.known.counts = c->counts;                         \
      c->positions[2] = APPENDED; c->counts[0] = 0; c->counts[1] = APPENDED + 1)                                       \
    X(too_many, ATTN_ERROR_FULL, "cache: 195 tokens", c->k.size[2] = c->v.size[2] = CAPACITY - HELD + 1)               \
    X(too_many_of_one, ATTN_ERROR_FULL, "sequence 1", c->append.known.counts = c->counts;                              \
      c->k.size[2] = c->v.size[2] = CAPACITY - HELD + 1; c->counts[1] = CAPACITY - HELD + 1)                           \
    X(no_pages_left, ATTN_ERROR_FULL, "cache: 2 more pages", c->target = c->small)                                     \
    X(no_page_for_one, ATTN_ERROR_FULL, "pages", c->target = c->rolling; c->k.size[2] = c->v.size[2] = HUGE_T)         \
    X(k_nan_in_bytes, ATTN_ERROR_VALUE, "k", c->target = c->bytes; *element_at(c->k, 1, 1, 3, D - 1) = NAN)            \
    X(v_inf_in_bytes, ATTN_ERROR_VALUE, "v", c->target = c->bytes; *element_at(c->v, 0, 1, 2, 0) = -INFINITY)          \
    X(append_not_initialised, ATTN_ERROR_STRUCT, "struct_size", c->append.known.struct_size = 0)                       \
    X(append_unknown_option, ATTN_ERROR_STRUCT, "struct_size", c->append.known.struct_size = sizeof c->append;         \
      c->append.tail[3] = 1)                                                                                           \
    X(append_rotary_struct, ATTN_ERROR_STRUCT, "rotary", ROTATED; c->rotary.struct_size = 0)                           \
    X(append_rotary_kind, ATTN_ERROR_VALUE, "kind", ROTATED; c->rotary.kind = (attn_rotary_kind)2)                     \
    X(append_rotary_width, ATTN_ERROR_SHAPE, "width", ROTATED; c->rotary.width = D + 2)                                \
    X(append_rotary_odd, ATTN_ERROR_SHAPE, "width", ROTATED; c->rotary.width = 3)                                      \
    X(append_no_cos, ATTN_ERROR_NULL, "cos", ROTATED; c->rotary.cos = NULL)                                            \
    X(append_no_sin, ATTN_ERROR_NULL, "sin", ROTATED; c->rotary.sin = NULL)                                            \
    X(append_table_huge, ATTN_ERROR_OVERFLOW, "rotary.positions", ROTATED; c->rotary.positions = SIZE_MAX)             \
    X(append_beyond, ATTN_ERROR_VALUE, "key_positions", ROTATED; c->rotary.positions = HELD + APPENDED - 1)            \
    X(append_position_beyond, ATTN_ERROR_VALUE, "key_positions", ROTATED; c->rotary.key_positions = c->positions;      \
      c->positions[APPENDED + 3] = HELD + APPENDED)                                                                    \
    X(append_position_negative, ATTN_ERROR_VALUE, "key_positions", ROTATED; c->rotary.key_positions = c->positions;    \
      c->positions[0] = -1)                                                                                            \
    X(append_norm_struct, ATTN_ERROR_STRUCT, "qk_norm", NORMED; c->norm.struct_size = 1)                               \
    X(append_norm_kind, ATTN_ERROR_VALUE, "kind", NORMED; c->norm.kind = (attn_norm_kind)3)                            \
    X(append_norm_eps, ATTN_ERROR_VALUE, "eps", NORMED; c->norm.eps = -1)                                              \
    X(rotated_inf_in_bytes, ATTN_ERROR_VALUE, "k", c->target = c->bytes; ROTATED;                                      \
      *element_at(c->k, 1, 0, 3, 0) = FLT_MAX; *element_at(c->k, 1, 0, 3, D / 2) = -FLT_MAX)                           \
    X(normed_inf_in_bytes, ATTN_ERROR_VALUE, "k", c->target = c->bytes; NORMED; c->weight[D - 1] = FLT_MAX;            \
      *element_at(c->k, 0, 1, 2, D - 1) = 1e10F)                                                                       \
    X(rotated_nan_in_bytes, ATTN_ERROR_VALUE, "k", c->target = c->bytes; ROTATED; *element_at(c->k, 1, 1, 0, 1) = NAN)

#define TRUNCATE_FAULTS(X)                                                                                             \
    X(truncate_null, ATTN_ERROR_NULL, "cache", c->target = NULL)                                                       \
    X(truncate_sequence, ATTN_ERROR_SHAPE, "sequence", c->from = B)                                                    \
    X(truncate_sequence_huge, ATTN_ERROR_SHAPE, "sequence", c->from = SIZE_MAX)                                        \
    X(truncate_longer, ATTN_ERROR_SHAPE, "length", c->length = HELD + 1)                                               \
    X(truncate_huge, ATTN_ERROR_SHAPE, "length", c->length = SIZE_MAX)

#define FORK_FAULTS(X)                                                                                                 \
    X(fork_null, ATTN_ERROR_NULL, "cache", c->target = NULL)                                                           \
    X(fork_from, ATTN_ERROR_SHAPE, "from", c->from = B)                                                                \
    X(fork_to, ATTN_ERROR_SHAPE, "to", c->to = SIZE_MAX)

#define REORDER_FAULTS(X)                                                                                              \
    X(reorder_null, ATTN_ERROR_NULL, "cache", c->target = NULL)                                                        \
    X(reorder_negative, ATTN_ERROR_VALUE, "from[0]", c->order[0] = -1)                                                 \
    X(reorder_above, ATTN_ERROR_VALUE, "from[1]", c->order[1] = B)                                                     \
    X(reorder_huge, ATTN_ERROR_VALUE, "from[1]", c->order[1] = INT64_MAX)

#define SHIFT_FAULTS(X)                                                                                                \
    X(shift_null, ATTN_ERROR_NULL, "cache", c->target = NULL)                                                          \
    X(shift_sequence, ATTN_ERROR_SHAPE, "sequence", c->from = B)                                                       \
    X(shift_part, ATTN_ERROR_SHAPE, "begin", c->begin = 1)                                                             \
    X(shift_count, ATTN_ERROR_SHAPE, "count", c->count = 100)                                                          \
    X(shift_beyond, ATTN_ERROR_SHAPE, "begin and count", c->count = 128)                                               \
    X(shift_begin_beyond, ATTN_ERROR_SHAPE, "begin and count", c->begin = SIZE_MAX / 256 * 128)                        \
    X(shift_positions, ATTN_ERROR_VALUE, "key_positions", c->rotary.key_positions = c->positions)                      \
    X(shift_values, ATTN_ERROR_VALUE, "rotate_values", c->rotary.rotate_values = 1)                                    \
    X(shift_axes, ATTN_ERROR_VALUE, "axes", c->rotary.axes = 2; c->rotary.pair_axis = c->axes)                         \
    X(shift_tables, ATTN_ERROR_VALUE, "rotary.positions", c->rotary.positions = 0)                                     \
    X(shift_angles, ATTN_ERROR_VALUE, "rotary.sin", c->count = 0)                                                      \
    X(shift_struct, ATTN_ERROR_STRUCT, "rotary", c->rotary.struct_size = 5)

#define ATTEND_FAULTS(X)                                                                                               \
    X(attend_null, ATTN_ERROR_NULL, "cache", c->target = NULL)                                                         \
    X(q_null, ATTN_ERROR_NULL, "q", c->q_argument = NULL)                                                              \
    X(q_data, ATTN_ERROR_NULL, "q", c->q.data = NULL)                                                                  \
    X(out_null, ATTN_ERROR_NULL, "out", c->out_argument = NULL)                                                        \
    X(out_data, ATTN_ERROR_NULL, "out", c->out.data = NULL)                                                            \
    X(q_dtype, ATTN_ERROR_DTYPE, "q", c->q.dtype = ATTN_BOOL)                                                          \
    X(out_dtype, ATTN_ERROR_DTYPE, "out", c->out.dtype = ATTN_INT8)                                                    \
    X(q_batch, ATTN_ERROR_SHAPE, "q", c->q.size[0] = 1)                                                                \
    X(q_width, ATTN_ERROR_SHAPE, "q", c->q.size[3] = D - 1)                                                            \
    X(q_heads, ATTN_ERROR_SHAPE, "q", c->q.size[1] = c->out.size[1] = 3)                                               \
    X(out_batch, ATTN_ERROR_SHAPE, "out", c->out.size[0] = 1)                                                          \
    X(out_heads, ATTN_ERROR_SHAPE, "out", c->out.size[1] = 2)                                                          \
    X(out_tokens, ATTN_ERROR_SHAPE, "out", c->out.size[2] = Tq - 1)                                                    \
    X(out_width, ATTN_ERROR_SHAPE, "out", c->out.size[3] = E - 1)                                                      \
    X(out_stride, ATTN_ERROR_STRIDE, "out", c->out.stride[2] = 0)                                                      \
    X(out_is_q, ATTN_ERROR_ALIAS, "out", c->out.data = c->q.data)                                                      \
    X(lse_is_q, ATTN_ERROR_ALIAS, "lse", c->params.lse = c->q.data)                                                    \
    X(lse_is_lengths, ATTN_ERROR_ALIAS, "lse", c->params.key_lengths = c->lengths;                                     \
      c->params.lse = (float *)(void *)c->lengths)                                                                     \
    X(params_size, ATTN_ERROR_STRUCT, "struct_size", c->params.struct_size = 1)                                        \
    X(scale, ATTN_ERROR_VALUE, "scale", c->params.scale = NAN)                                                         \
    X(causal, ATTN_ERROR_VALUE, "causal", c->params.causal = (attn_causal)9)                                           \
    X(no_offset, ATTN_ERROR_NULL, "causal_offset", c->params.causal = ATTN_CAUSAL_OFFSET)                              \
    X(window_of_rolling, ATTN_ERROR_VALUE, "window", c->target = c->rolling; c->params.window = &c->window)            \
    X(first_of_rolling, ATTN_ERROR_VALUE, "first_keys", c->target = c->rolling; c->params.first_keys = 1)              \
    X(longer_lengths, ATTN_ERROR_VALUE, "key_lengths[1]", c->params.key_lengths = c->lengths;                          \
      c->lengths[1] = HELD + 1)                                                                                        \
    X(negative_lengths, ATTN_ERROR_VALUE, "key_lengths[0]", c->params.key_lengths = c->lengths; c->lengths[0] = -1)    \
    X(query_lengths, ATTN_ERROR_VALUE, "query_lengths[0]", c->params.query_lengths = c->lengths;                       \
      c->lengths[0] = Tq + 1)                                                                                          \
    X(attend_key_positions, ATTN_ERROR_VALUE, "key_positions", c->params.rotary = &c->rotary;                          \
      c->rotary.key_positions = c->positions)                                                                          \
    X(attend_beyond, ATTN_ERROR_VALUE, "query_positions", c->params.rotary = &c->rotary;                               \
      c->rotary.positions = HELD - 1)                                                                                  \
    X(mask_too_long, ATTN_ERROR_SHAPE, "mask", c->params.mask = &c->mask; c->params.polarity = ATTN_KEEP)              \
    X(ragged_batch, ATTN_ERROR_SHAPE, "q", c->params.query_starts = c->lengths; c->params.sequences = 1)               \
    X(ragged_sequences, ATTN_ERROR_SHAPE, "sequences", c->q.size[0] = c->out.size[0] = 1;                              \
      c->params.query_starts = c->lengths; c->params.sequences = 1)                                                    \
    X(no_sequences, ATTN_ERROR_VALUE, "sequences is 0", c->q.size[0] = c->out.size[0] = 1;                             \
      c->params.query_starts = c->lengths)                                                                             \
    X(ragged_keys, ATTN_ERROR_VALUE, "key_starts", c->q.size[0] = c->out.size[0] = 1;                                  \
      c->params.query_starts = c->params.key_starts = c->lengths; c->params.sequences = 1)

DEFINE_FAULTS(pool_faults, POOL_FAULTS);
DEFINE_FAULTS(create_faults, CREATE_FAULTS);
DEFINE_FAULTS(share_faults, SHARE_FAULTS);
DEFINE_FAULTS(append_faults, APPEND_FAULTS);
DEFINE_FAULTS(truncate_faults, TRUNCATE_FAULTS);
DEFINE_FAULTS(fork_faults, FORK_FAULTS);
DEFINE_FAULTS(reorder_faults, REORDER_FAULTS);
DEFINE_FAULTS(shift_faults, SHIFT_FAULTS);
DEFINE_FAULTS(attend_faults, ATTEND_FAULTS);

static attn_cache *new_cache(attn_context *context, attn_cache_pool *pool, size_t batch, attn_dtype dtype,
                             size_t window) {
    attn_cache *cache;
    attn_cache_params p = {.struct_size = sizeof p, .batch = batch, .capacity = CAPACITY, .pool = pool};
    p.window = window;
    if (!pool) {
        p.kv_heads = G;
        p.head_width = D;
        p.value_width = E;
        p.dtype = dtype;
        p.page_size = 128;
    }
    assert_ok(context, attn_cache_create(context, &p, &cache));
    return cache;
}

static void fill(attn_context *context, attn_cache *cache) {
    const attn_tensor k = new_normal(BHTD, B, G, HELD, D), v = new_normal(BHTD, B, G, HELD, E);
    assert_ok(context, attn_cache_append(context, cache, &k, &v, NULL));
}

/* The cosine and sine of an eighth of a turn. */
static const float *eighths(size_t n) {
    float *x = new_floats(n);
    for (size_t i = 0; i < n; i++)
        x[i] = 0.70710678F;
    return x;
}

static call valid_call(attn_context *context, attn_cache_pool **pool) {
    call c = {.context = context, .length = HELD - 1, .from = 0, .to = 1, .lengths = {2, 2}, .counts = {4, 0}};
    const attn_cache_pool_params p = {sizeof p, PAGES, G, D, E, 128, ATTN_F32, 0};
    assert_ok(context, attn_cache_pool_create(context, &p, pool));
    c.pool.known = p;
    c.create.known = (attn_cache_params){
        .struct_size = sizeof c.create.known, .batch = B, .capacity = CAPACITY, .kv_heads = G, .head_width = D};
    c.create.known.value_width = E;
    c.cache = c.target = new_cache(context, NULL, B, ATTN_F32, 0);
    c.bytes = new_cache(context, NULL, B, ATTN_INT8, 0);
    c.rolling = new_cache(context, *pool, B, ATTN_F32, WINDOW);
    c.small = new_cache(context, *pool, B, ATTN_F32, 0);
    fill(context, c.cache);
    fill(context, c.bytes);
    fill(context, c.rolling);
    c.k = new_normal(BHTD, B, G, CAPACITY, D);
    c.v = new_normal(BHTD, B, G, CAPACITY, E);
    c.k.size[2] = c.v.size[2] = APPENDED;
    c.q = new_normal(BHTD, B, H, Tq, D);
    c.out = new_tensor(BHTD, B, H, Tq, E);
    c.mask = new_tensor_of(ATTN_BOOL, BHTD, B, 1, Tq, HELD + 1);
    ATTN_INIT(&c.params);
    ATTN_INIT(&c.append.known);
    ATTN_INIT(&c.rotary);
    ATTN_INIT(&c.norm);
    c.rotary.positions = HELD + APPENDED;
    c.rotary.cos = c.rotary.sin = eighths(c.rotary.positions * D / 2);
    c.norm.kind = ATTN_RMS_NORM;
    return c;
}

/* Points that must follow the struct to where it is now. */
static void settle(call *c) {
    c->k_argument = &c->k;
    c->v_argument = &c->v;
    c->q_argument = &c->q;
    c->out_argument = &c->out;
    c->norm.k_weight = c->weight;
}

/* What the three caches that hold tokens answer. */
static void ask(const call *c, attn_tensor answers[3]) {
    attn_cache *const all[] = {c->cache, c->rolling, c->bytes};
    const attn_tensor ones = new_tensor(BHTD, B, H, 1, D);
    for (size_t n = 0; n < element_count(ones); n++)
        *element(ones, n) = 1;
    for (size_t i = 0; i < COUNT(all); i++) {
        answers[i] = new_tensor(BHTD, B, H, 1, E);
        assert_ok(c->context, attn_cache_attend(c->context, all[i], &ones, &answers[i], NULL));
    }
}

static void assert_unchanged(const call *c, attn_cache_pool *pool, const attn_tensor before[3]) {
    attn_cache *const all[] = {c->cache, c->rolling, c->bytes};
    attn_tensor now[3];
    attn_cache_pool_info info;
    ATTN_INIT(&info);
    assert_ok(c->context, attn_cache_pool_describe(c->context, pool, &info));
    assert_int_equal(info.free_pages, PAGES - B);
    ask(c, now);
    for (size_t i = 0; i < COUNT(all); i++) {
        assert_bits(now[i], before[i]);
        for (size_t b = 0; b < B; b++) {
            assert_int_equal(attn_cache_length(all[i], b), HELD);
            assert_int_equal(attn_cache_length(c->small, b), 0);
        }
    }
}

enum function { POOL, CREATE, SHARE, APPEND, TRUNCATE, FORK, REORDER, SHIFT, ATTEND };

static attn_status run(call *c, enum function function, attn_cache_pool *pool) {
    attn_cache_pool *made = (attn_cache_pool *)(void *)c;
    attn_cache *cache = (attn_cache *)(void *)c;
    attn_status status;
    switch (function) {
    case POOL:
        status = attn_cache_pool_create(c->context, &c->pool.known, &made);
        assert_null(made);
        return status;
    case SHARE:
        c->create.known.pool = pool;
        status = attn_cache_create(c->context, &c->create.known, &cache);
        assert_null(cache);
        return status;
    case CREATE:
        status = attn_cache_create(c->context, &c->create.known, &cache);
        assert_null(cache);
        return status;
    case APPEND:
        return attn_cache_append(c->context, c->target, c->k_argument, c->v_argument, &c->append.known);
    case TRUNCATE:
        return attn_cache_truncate(c->context, c->target, c->from, c->length);
    case FORK:
        return attn_cache_fork(c->context, c->target, c->from, c->to);
    case REORDER:
        return attn_cache_reorder(c->context, c->target, c->order);
    case SHIFT:
        return attn_cache_shift(c->context, c->target, c->from, c->begin, c->count, &c->rotary);
    case ATTEND:
        break;
    }
    return attn_cache_attend(c->context, c->target, c->q_argument, c->out_argument, &c->params);
}

static void check_fault(enum function function, const char *name, attn_status want, const char *field,
                        void (*spoil)(call *)) {
    attn_cache_pool *pool;
    attn_tensor before[3];
    call c = valid_call(new_context_of(1, 0), &pool);
    const attn_tensor out = c.out;
    settle(&c);
    ask(&c, before);
    spoil(&c);
    name_case("%s", name);
    assert_status(c.context, run(&c, function, pool), want);
    assert_mentions(attn_context_last_error(c.context), field);
    assert_untouched(out);
    assert_unchanged(&c, pool, before);
    attn_cache_destroy(c.cache);
    attn_cache_destroy(c.rolling);
    attn_cache_destroy(c.small);
    attn_cache_destroy(c.bytes);
    attn_cache_pool_destroy(pool);
    end_test(NULL);
}

#define CHECK_FAULTS(function, faults)                                                                                 \
    static void faults##_are_told(void **state) {                                                                      \
        (void)state;                                                                                                   \
        for (size_t i = 0; i < COUNT(faults); i++)                                                                     \
            check_fault(function, faults[i].name, faults[i].status, faults[i].field, faults[i].spoil);                 \
    }
CHECK_FAULTS(POOL, pool_faults)
CHECK_FAULTS(CREATE, create_faults)
CHECK_FAULTS(SHARE, share_faults)
CHECK_FAULTS(APPEND, append_faults)
CHECK_FAULTS(TRUNCATE, truncate_faults)
CHECK_FAULTS(FORK, fork_faults)
CHECK_FAULTS(REORDER, reorder_faults)
CHECK_FAULTS(SHIFT, shift_faults)
CHECK_FAULTS(ATTEND, attend_faults)

/* Arguments that are no fields. */
static void other_faults(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    attn_cache_pool *pool, *made = (attn_cache_pool *)(void *)context;
    call c = valid_call(context, &pool);
    size_t bytes = 7;
    attn_cache *cache = (attn_cache *)(void *)context;
    assert_status(context, attn_cache_create(context, NULL, &cache), ATTN_ERROR_NULL);
    assert_null(cache);
    assert_status(context, attn_cache_create(context, &c.create.known, NULL), ATTN_ERROR_NULL);
    assert_status(context, attn_cache_pool_create(context, NULL, &made), ATTN_ERROR_NULL);
    assert_null(made);
    assert_status(context, attn_cache_pool_create(context, &c.pool.known, NULL), ATTN_ERROR_NULL);
    assert_status(context, attn_cache_reset(context, NULL), ATTN_ERROR_NULL);
    assert_status(context, attn_cache_scratch_size(context, c.cache, &c.q, &c.out, NULL, NULL), ATTN_ERROR_NULL);
    assert_status(context, attn_cache_scratch_size(context, NULL, &c.q, &c.out, &c.params, &bytes), ATTN_ERROR_NULL);
    c.q.size[0] = 1;
    assert_status(context, attn_cache_scratch_size(context, c.cache, &c.q, &c.out, &c.params, &bytes),
                  ATTN_ERROR_SHAPE);
    assert_int_equal(bytes, 7);
    assert_status(NULL, attn_cache_pool_describe(NULL, pool, &c.info.known), ATTN_ERROR_NULL);
    assert_status(NULL, attn_cache_scratch_size(NULL, c.cache, &c.q, &c.out, &c.params, &bytes), ATTN_ERROR_NULL);
    c.info.known.struct_size = 0;
    assert_status(context, attn_cache_pool_describe(context, pool, &c.info.known), ATTN_ERROR_STRUCT);
    assert_status(context, attn_cache_pool_describe(context, pool, NULL), ATTN_ERROR_NULL);
    ATTN_INIT(&c.info.known);
    assert_status(context, attn_cache_pool_describe(context, NULL, &c.info.known), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "pool");
    assert_status(NULL, attn_cache_append(NULL, c.cache, &c.k, &c.v, NULL), ATTN_ERROR_NULL);
    assert_status(NULL, attn_cache_attend(NULL, c.cache, &c.q, &c.out, NULL), ATTN_ERROR_NULL);
    assert_status(NULL, attn_cache_truncate(NULL, c.cache, 0, 0), ATTN_ERROR_NULL);
    assert_status(NULL, attn_cache_fork(NULL, c.cache, 0, 1), ATTN_ERROR_NULL);
    assert_status(NULL, attn_cache_shift(NULL, c.cache, 0, 0, 0, NULL), ATTN_ERROR_NULL);
    assert_status(NULL, attn_cache_reorder(NULL, c.cache, c.order), ATTN_ERROR_NULL);
    assert_status(context, attn_cache_reorder(context, c.cache, NULL), ATTN_ERROR_NULL);
    assert_status(NULL, attn_cache_reset(NULL, c.cache), ATTN_ERROR_NULL);
    assert_status(NULL, attn_cache_create(NULL, &c.create.known, &cache), ATTN_ERROR_NULL);
    assert_status(NULL, attn_cache_pool_create(NULL, &c.pool.known, &made), ATTN_ERROR_NULL);
    attn_cache_destroy(c.cache);
    attn_cache_destroy(c.rolling);
    attn_cache_destroy(c.small);
    attn_cache_destroy(c.bytes);
    attn_cache_pool_destroy(pool);
    attn_cache_destroy(NULL);
    attn_cache_pool_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(pool_faults_are_told),     TEST(create_faults_are_told),
                                       TEST(share_faults_are_told),    TEST(append_faults_are_told),
                                       TEST(truncate_faults_are_told), TEST(fork_faults_are_told),
                                       TEST(reorder_faults_are_told),  TEST(shift_faults_are_told),
                                       TEST(attend_faults_are_told),   TEST(other_faults)};
    return cmocka_run_group_tests_name("errors_cache", tests, NULL, NULL);
}
