/* SPDX-License-Identifier: BSD-3-Clause */
/* What every exported function checks before it writes anything. Each check returns ATTN_OK, or fails with a message
 * that names the field, its value and the rule. */
#ifndef ATTNI_CHECK_H
#define ATTNI_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "attn/tensor.h"
#include "context/context.h"
#include "sdpa/sdpa.h"

/* Leaves the function with the status of a check that failed. */
#define ATTNI_TRY(check)                                                                                               \
    do {                                                                                                               \
        const attn_status attni_status_ = (check);                                                                     \
        if (attni_status_ != ATTN_OK)                                                                                  \
            return attni_status_;                                                                                      \
    } while (0)

/* Copies a caller's parameter struct of any version into `copy`, a struct of this version, `size` bytes; NULL: all
 * defaults. */
attn_status attni_check_params(attn_context *context, const char *name, const void *params, size_t size, void *copy);

attn_status attni_check_pointer(attn_context *context, const char *name, const void *pointer);

/* a·b, or an error that names what is too large. */
attn_status attni_check_product(attn_context *context, const char *name, size_t a, size_t b, size_t *product);

/* A size that the BLAS must hold in an int. */
attn_status attni_check_int(attn_context *context, const char *name, size_t size);

/* A tensor that a function reads, or writes (`output`). With `data` unset the data pointer is not looked at. */
attn_status attni_check_tensor(attn_context *context, const char *name, const attn_tensor *tensor, bool output,
                               bool data);

/* tensor->size[axis] = expected; `letter` is the dimension's name. */
attn_status attni_check_size(attn_context *context, const char *name, const attn_tensor *tensor, int axis,
                             const char *letter, size_t expected);

/* An output that shares no memory with another tensor. */
attn_status attni_check_disjoint(attn_context *context, const char *output_name, const attn_tensor *output,
                                 const char *name, const attn_tensor *tensor);

/* The options and outputs of attention that attn_sdpa and attn_mha_forward share, once call->B … D are set. The outputs
 * are lse [B,H,Tq,1] and probabilities, as tensors, data = NULL where they are not wanted. */
typedef struct attni_extra_outputs {
    attn_tensor lse, probabilities;
} attni_extra_outputs;
attn_status attni_check_attention(attn_context *context, const attn_sdpa_params *params, bool data, attni_sdpa *call,
                                  attni_extra_outputs *outputs);
/* Neither `out` nor an extra output shares memory with one of the `count` inputs, nor `out` with an extra output. */
attn_status attni_check_outputs(attn_context *context, const attni_extra_outputs *extra, const attn_tensor *out,
                                size_t count, const char *const names[], const attn_tensor *const inputs[]);

attni_view attni_view_of(const attn_tensor *tensor);

#endif
