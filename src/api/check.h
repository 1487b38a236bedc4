/* SPDX-License-Identifier: BSD-3-Clause */
/* What every exported function checks before it writes anything. Each check returns ATTN_OK, or fails with a message
 * that names the field, its value and the rule. */
#ifndef ATTNI_CHECK_H
#define ATTNI_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "attn/attn.h"
#include "context/context.h"
#include "sdpa/sdpa.h"

/* Leaves the function with the status of a check that failed. */
#define ATTNI_TRY(check)                                                                                               \
    do {                                                                                                               \
        const attn_status attni_status_ = (check);                                                                     \
        if (attni_status_ != ATTN_OK)                                                                                  \
            return attni_status_;                                                                                      \
    } while (0)

/* Where each struct with a struct_size ended in the first release, 0.1.0: X(struct, its last field then, bytes up to
 * its end with pointers of 64 bits). No caller has a shorter one. A field that is appended must make its struct longer,
 * not take the place of padding. */
#define ATTNI_FIRST_RELEASE(X)                                                                                         \
    X(attn_context_options, parallel_for_data, 88)                                                                     \
    X(attn_context_info, blas_choice, 80)                                                                              \
    X(attn_norm_params, bias, 32)                                                                                      \
    X(attn_activation_params, up_offset, 28)                                                                           \
    X(attn_qk_norm, k_weight, 40)                                                                                      \
    X(attn_rotary, key_positions, 64)                                                                                  \
    X(attn_rotary_tables_params, high_turns, 80)                                                                       \
    X(attn_sdpa_params, top_keys, 256)                                                                                 \
    X(attn_linear_params, weight_scale, 64)                                                                            \
    X(attn_mha_params, out_scale, 216)                                                                                 \
    X(attn_mha_inputs, starts, 56)                                                                                     \
    X(attn_cache_pool_params, dtype, 52)                                                                               \
    X(attn_cache_pool_info, page_bytes, 40)                                                                            \
    X(attn_cache_params, first_tokens, 88)                                                                             \
    X(attn_cache_append_params, starts, 40)                                                                            \
    X(attn_feed_params, down_scale, 104)                                                                               \
    X(attn_block_params, feed_norm, 64)                                                                                \
    X(attn_block_inputs, starts, 72)                                                                                   \
    X(attn_embed_params, norm, 112)                                                                                    \
    X(attn_sdpa_gradients, score_backward, 88)                                                                         \
    X(attn_linear_gradients, accumulate, 36)                                                                           \
    X(attn_mha_gradients, accumulate, 140)                                                                             \
    X(attn_feed_gradients, hidden_norm, 64)                                                                            \
    X(attn_block_gradients, accumulate, 124)                                                                           \
    X(attn_norm_gradients, accumulate, 36)                                                                             \
    X(attn_cross_entropy_params, ldd, 48)                                                                              \
    X(attn_embed_gradients, accumulate, 60)

#define ATTNI_FIRST_END(type, last) (offsetof(type, last) + sizeof((type){0}.last))
#define ATTNI_FIRST_SIZE(type, last, bytes) type * : ATTNI_FIRST_END(type, last),

/* Copies a caller's parameter struct of any version into *copy, a struct of this version, `size` bytes; what is missing
 * is 0. NULL: all defaults. */
#define attni_check_params(context, name, params, size, copy)                                                          \
    attni_check_struct(context, name, params, _Generic((copy), ATTNI_FIRST_RELEASE(ATTNI_FIRST_SIZE) void * : 0),      \
                       size, copy)
attn_status attni_check_struct(attn_context *context, const char *name, const void *params, size_t first_size,
                               size_t size, void *copy);

/* Copies `known`, `size` bytes, into a struct of any version that the caller reads, as far as that reaches; its
 * struct_size stays. */
void attni_give(void *info, const void *known, size_t size);

attn_status attni_check_pointer(attn_context *context, const char *name, const void *pointer);

/* a·b, or an error that names what is too large. */
attn_status attni_check_product(attn_context *context, const char *name, size_t a, size_t b, size_t *product);

/* A size that the BLAS must hold in an int. */
attn_status attni_check_int(attn_context *context, const char *name, size_t size);

/* A tensor that a function reads, or writes (`output`), of one of some types: bits 1 << attn_dtype. With `data` unset
 * the data pointer is not looked at. */
enum { ATTNI_F32_ONLY = 1, ATTNI_FLOATS = 7, ATTNI_BOOLS = 8 };
attn_status attni_check_typed(attn_context *context, const char *name, const attn_tensor *tensor, unsigned types,
                              bool output, bool data);
/* The same for f32. */
attn_status attni_check_tensor(attn_context *context, const char *name, const attn_tensor *tensor, bool output,
                               bool data);

/* tensor->size[axis] = expected; `letter` is the dimension's name. */
attn_status attni_check_size(attn_context *context, const char *name, const attn_tensor *tensor, int axis,
                             const char *letter, size_t expected);
/* The same, or 1. */
attn_status attni_check_axis(attn_context *context, const char *name, const attn_tensor *tensor, int axis,
                             const char *letter, size_t expected);

/* Rows `ld` floats apart: as a tensor, and whether ld is large enough, and not too large. */
attn_tensor attni_rows_tensor(const float *data, size_t rows, size_t columns, size_t ld);
attn_status attni_check_ld(attn_context *context, const char *name, size_t ld, size_t rows, size_t columns);

/* A tensor of the sizes of another. */
attn_status attni_check_like(attn_context *context, const char *name, const attn_tensor *tensor, const char *like,
                             const attn_tensor *x, unsigned types, bool output, bool data);

/* An output that shares no memory with another tensor. */
attn_status attni_check_disjoint(attn_context *context, const char *output_name, const attn_tensor *output,
                                 const char *name, const attn_tensor *tensor);

/* What the options of attention read and write, for the search for overlaps; data = NULL where there is nothing. */
enum { ATTNI_EXTRA_INPUTS = 32, ATTNI_EXTRA_OUTPUTS = 12 };
typedef struct attni_extras {
    attn_tensor inputs[ATTNI_EXTRA_INPUTS], outputs[ATTNI_EXTRA_OUTPUTS];
    const char *input_names[ATTNI_EXTRA_INPUTS], *output_names[ATTNI_EXTRA_OUTPUTS];
} attni_extras;

/* Which sequences a call has: sets B, Tq and, without a cache, Tk of a ragged one from its arrays, where they were
 * those of the tensors, whose B must be 1 then. */
attn_status attni_check_ragged(attn_context *context, const char *name, const attn_tensor *q,
                               const attn_sdpa_params *params);
attn_status attni_check_sequences(attn_context *context, const attn_sdpa_params *params, attni_sdpa *call);
/* starts[N+1] within so many tokens; tells the longest sequence. */
attn_status attni_check_starts(attn_context *context, const char *name, const int64_t *starts, size_t N, size_t tokens,
                               size_t *longest);
/* All other options, once call->B … E are set; `params` is a copy from attni_check_params. Where a layer's key_lengths
 * are its query_lengths, the message names these: they come first. */
attn_status attni_check_attention(attn_context *context, const attn_sdpa_params *params, bool data, attni_sdpa *call,
                                  attni_extras *extras);
/* Where queries stand, and which keys they see by place (places.c). */
attn_status attni_check_places(attn_context *context, const attn_sdpa_params *params, bool data, attni_sdpa *call,
                               attni_extras *extras);
/* What else is written, and whether there is memory for that (outputs.c). */
attn_status attni_check_extra_outputs(attn_context *context, const attn_sdpa_params *params, bool data,
                                      attni_sdpa *call, attni_extras *extras);
void attni_add_input(attni_extras *extras, const char *name, attn_tensor tensor);
void attni_add_output(attni_extras *extras, const char *name, attn_tensor tensor);
/* A dense array, or NULL. */
void attni_add_floats(attni_extras *extras, const char *name, float *data, size_t n);
/* Whether the last keys of sequence b, whose call this is, may be the tree, if it has queries. */
attn_status attni_check_tree_fits(attn_context *context, const attni_sdpa *one, size_t b);
/* An array of the params; elements of 8 bytes count as two. */
void attni_add_array(attni_extras *extras, const char *name, const void *data, size_t floats);
/* QK-norm and rotary embedding; key_positions are of so many keys (rotary.c). */
attn_status attni_check_turns(attn_context *context, const attn_sdpa_params *params, size_t keys, bool data,
                              attni_sdpa *call, attni_extras *extras);
/* How keys of a cache were rotated, which are to be rotated back by `count` places. */
attn_status attni_check_shift(attn_context *context, const attn_rotary *rotary, size_t D, size_t count,
                              attni_turn *turn);
/* Whether the tables have the positions of the first `tokens` tokens of sequence b, or of all queries and keys. */
attn_status attni_check_positions(attn_context *context, const char *name, const attni_turn *turn, size_t b,
                                  size_t tokens, ptrdiff_t first);
attn_status attni_check_all_positions(attn_context *context, const attni_sdpa *call);
attn_status attni_check_dropout(attn_context *context, const char *name, float dropout, uint64_t seed,
                                attni_dropout *to);
/* A whole call of attn_sdpa, `params` being such a copy, but for the overlaps. */
attn_status attni_check_sdpa(attn_context *context, const attn_tensor *q, const attn_tensor *k, const attn_tensor *v,
                             const attn_tensor *out, const attn_sdpa_params *params, bool data, attni_sdpa *call,
                             attni_extras *extras);
/* Neither `out`, which may be NULL, nor an extra output shares memory with an input or another output; `count` named
 * inputs come beside the extra ones. */
attn_status attni_check_outputs(attn_context *context, const attni_extras *extras, const attn_tensor *out, size_t count,
                                const char *const names[], const attn_tensor *const inputs[]);

/* Gradients that a call writes; `extras` are what it reads beside `count` inputs. */
enum { ATTNI_MOST_WRITTEN = 96 };
typedef struct attni_written {
    size_t count;
    attn_tensor tensors[ATTNI_MOST_WRITTEN];
    const char *names[ATTNI_MOST_WRITTEN];
} attni_written;
void attni_write_tensor(attni_written *written, const char *name, const attn_tensor *tensor); /* or NULL */
void attni_write_floats(attni_written *written, const char *name, float *data, size_t n);
attn_status attni_check_written(attn_context *context, const attni_written *written, const attni_extras *extras,
                                size_t count, const char *const names[], const attn_tensor *const inputs[]);

/* Without elements. A call whose every output is so returns at once, whatever the other sizes are. */
bool attni_is_empty(const attn_tensor *tensor);

/* Of a tensor without elements, whose data may be NULL, all strides are 0. */
attni_view attni_view_of(const attn_tensor *tensor);

#endif
