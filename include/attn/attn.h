/* SPDX-License-Identifier: BSD-3-Clause */
/* libattn: scaled dot-product and multi-head attention on the CPU. This header includes all the others:
 *     version.h   which library this is
 *     status.h    what functions return
 *     context.h   threads, backend and scratch memory; how parameter structs are initialised
 *     tensor.h    views of the caller's memory, the dimension letters, splitting and concatenating heads
 *     softmax.h   the stable row softmax
 *     rotary.h    rotary embedding and normalisation of queries and keys
 *     sdpa.h      attention
 *     backward.h  gradients of attention, layers, linear maps, norms, activation functions and embeddings, and the
 *                 cross-entropy
 *     mha.h       the layer: projections and attention
 *     cache.h     the key/value cache of a decoder
 *     linear.h    a linear map with packed weights
 *     norm.h      layer and RMS norm, activation functions
 *     embed.h     tokens, positions and patches
 *     block.h     the block of a transformer: attention, feed-forward, norms, residuals
 * but for two, which are included by themselves:
 *     attn.hpp    owners, exceptions and views for C++
 *     dlpack.h    tensors of DLPack as views, and back
 *
 * The binary interface, for programs that were built against another version, and for Rust, ctypes and the like:
 * - libattn.so.0.1 keeps it for all 0.1.x. A program runs with that version or a later one, and with an earlier one if
 *   it uses nothing newer.
 * - An enum has the size of int, a size_t that of a pointer. Values of enums stay; new ones are added.
 * - Structs with a struct_size, the first field, only grow at the end. It is the size of the struct as the caller knows
 *   it. A shorter one, from 0.1.0's size on, is accepted: the fields that are missing are 0, the default. A longer one
 *   is accepted if all its bytes behind the library's are 0. Of an info, only as much is written as the caller has.
 *   All of it must be 0 before fields are set, padding too, as with ATTN_INIT: zeroed memory, then struct_size.
 * - Structs without it never change. attn_score_tile, which only libattn makes, may grow at its end.
 *
 * Accuracy, against double precision on the numbers as they are stored, which are N(0,1): |error| ≤ 1e-5 + 5e-6·|x| for
 * attention and the layer, and 2e-5 + 1e-5·|x| for gradients; the errors of larger numbers, and of a stack of layers,
 * are larger in proportion. Each type adds only what storing costs: an f16 or bf16 output is rounded to the nearest
 * once (relative 2^−11, 2^−8), a cache of these types rounds keys and values so as they come; int8 is off by half a
 * step, 1/254 of the largest of the row (of a cache: of a token and head, of weights: of an output feature), and int4
 * by half of its own, 1/30 of the range of a group. Inputs of f16 and bf16 are read exactly.
 *
 * Results are promised in the default floating-point mode. In another, all threads of a call work in the calling
 * thread's, so that the bits are the same on any number of them: with FTZ or DAZ, as -ffast-math sets them, what is
 * below 1.2e-38 in f32 may be 0; rounded otherwise than to the nearest, errors are larger.
 *
 * C99 and C++ compatible. All symbols begin with attn_ or ATTN_. No function prints, exits, or keeps a pointer to the
 * caller's tensors after it returns. */
#ifndef ATTN_ATTN_H
#define ATTN_ATTN_H

#include "backward.h"
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
