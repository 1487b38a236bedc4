/* SPDX-License-Identifier: BSD-3-Clause */
/* What the functions of backward.h share. */
#ifndef ATTNI_API_GRADIENTS_H
#define ATTNI_API_GRADIENTS_H

#include "api/layer.h"
#include "attn/backward.h"

/* The gradients of what attention shares: those whose params are there; `call` is what these came to. */
attn_status attni_check_sdpa_gradients(attn_context *context, const attn_sdpa_params *p, const attni_sdpa *call,
                                       const attn_sdpa_gradients *g, bool data);
attni_gradients attni_shared_gradients(const attn_sdpa_gradients *g);

/* Gradients of the parameters of a norm of `width` numbers, if it is there, within those of something else; the names
 * are of the struct and of what it writes. */
attn_status attni_check_norm_sums(attn_context *context, const char *const names[3], const attn_norm_gradients *given,
                                  bool belongs, size_t width, attni_written *written, attni_norm_sums *sums);

/* A gradient of an input, which has a name of its own only where the input was given. */
attn_status attni_check_input_gradient(attn_context *context, const char *name, const attn_tensor *d, bool given,
                                       const attn_tensor *of, bool data, attni_view *view, attni_written *written);

/* `bytes` of the caller's, for so many floats that are to be kept. */
attn_status attni_check_kept(attn_context *context, const void *kept, size_t bytes, size_t floats);

/* A copy, for a call that only reads. */
attn_sdpa_params attni_without_outputs(const attn_sdpa_params *params);

/* Gradients of a layer, of which `b` has the call and its tensors; what they write is added to the list, names
 * beginning with "gradients.", or "gradients.self." and the like. */
typedef enum attni_place { ATTNI_ALONE, ATTNI_IN_SELF, ATTNI_IN_CROSS, ATTNI_PLACES } attni_place;
attn_status attni_check_layer_gradients(attn_context *context, attni_place place, const attn_sdpa_params *params,
                                        const attn_mha_gradients *gradients, bool data, attni_mha_back *b,
                                        attni_written *written);

#endif
