/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks that the functions of norm.h, linear.h, embed.h and block.h share. */
#ifndef ATTNI_PARTS_H
#define ATTNI_PARTS_H

#include "api/check.h"
#include "attn/linear.h"
#include "attn/norm.h"
#include "block/embed.h"
#include "linear/linear.h"
#include "mha/mha.h"

/* Resolves the defaults of a norm; `name` is that of the parameter. */
attn_status attni_check_norm(attn_context *context, const char *name, const attn_norm_params *params, attni_norm *norm);

/* Resolves the defaults of an activation; `name` and `params_name` are those of its parameters. */
attn_status attni_check_activation(attn_context *context, const char *name, attn_activation kind,
                                   const char *params_name, const attn_activation_params *params, bool gated,
                                   attni_activation *activation);

/* What attn_embed reads, for an output of the sizes of `out`, with whose memory no table and no id may overlap; all but
 * e->out is set. Of vectors nothing is checked. */
attn_status attni_check_embed(attn_context *context, const attn_embed_params *params, const attn_tensor *out,
                              attni_embed *e, attni_norm *norm);

/* Two tensors of the same sizes, the second one an output that may be the first, as the same view. */
attn_status attni_check_map(attn_context *context, const char *x_name, const attn_tensor *x, const char *out_name,
                            const attn_tensor *out, bool data);
bool attni_same_view(const attn_tensor *x, const attn_tensor *y);

/* A weight matrix [out, in], or transposed, of which all but the strides is set. The names are those of its widths. */
attn_status attni_check_weight(attn_context *context, const char *in_name, const char *out_name,
                               attn_weight_order order, attni_weight *weight);

attn_status attni_check_order(attn_context *context, const char *name, attn_weight_order order);

/* The type of weights, and an order that it may have. */
attn_status attni_check_weight_dtype(attn_context *context, const char *name, attn_dtype dtype, const char *order_name,
                                     attn_weight_order order);

/* The scales of a weight [out, in], which are there if it is, and is int8 or int4. */
attn_status attni_check_scale(attn_context *context, const char *name, const float *scale, const void *weight,
                              attn_dtype dtype, size_t out, size_t in);

/* What is to take the place of something that was packed: a misfit, or NULL, as attni_linear_misfit's; a norm, or none,
 * by its params. */
attn_status attni_check_fits(attn_context *context, const char *name, const char *misfit);
attn_status attni_check_norm_fits(attn_context *context, const char *name, const attni_norm *norm,
                                  const attni_norm *kept);

/* attn_mha_update behind its check of pointers, up to where it writes. */
attn_status attni_mha_renew(attn_context *context, attn_mha *mha, const attn_mha_params *params, bool writes);

/* The projected heads of B·T queries and B·keys keys, and `streams` rows of the model's width for each, fit in memory;
 * the names are those of the queries and of the keys. */
attn_status attni_check_projected(attn_context *context, const char *name, const char *key_name, const attn_mha *mha,
                                  size_t B, size_t T, size_t keys, size_t streams);

/* Puts "name: " before the message of a call that failed. */
attn_status attni_within(attn_context *context, const char *name, attn_status status);

#endif
