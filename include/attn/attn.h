/* SPDX-License-Identifier: BSD-3-Clause */
/* libattn: scaled dot-product and multi-head attention on the CPU. This header includes all the others:
 *     version.h   which library this is
 *     status.h    what functions return
 *     context.h   threads, backend and scratch memory; how parameter structs are initialised
 *     tensor.h    views of the caller's memory, the dimension letters, splitting and concatenating heads
 *     softmax.h   the stable row softmax
 *     rotary.h    rotary embedding and normalisation of queries and keys
 *     sdpa.h      attention
 *     mha.h       the layer: projections and attention
 *     cache.h     the key/value cache of a decoder
 *     linear.h    a linear map with packed weights
 *     norm.h      layer and RMS norm, activation functions
 *     embed.h     tokens, positions and patches
 *     block.h     the block of a transformer: attention, feed-forward, norms, residuals
 * C99 and C++ compatible. All symbols begin with attn_ or ATTN_. No function prints, exits, or keeps a pointer to the
 * caller's tensors after it returns. */
#ifndef ATTN_ATTN_H
#define ATTN_ATTN_H

#include "block.h"
#include "cache.h"
#include "context.h"
#include "embed.h"
#include "linear.h"
#include "mha.h"
#include "norm.h"
#include "rotary.h"
#include "sdpa.h"
#include "softmax.h"
#include "status.h"
#include "tensor.h"
#include "version.h"

#endif
