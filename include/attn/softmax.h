/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_SOFTMAX_H
#define ATTN_SOFTMAX_H

#include <stddef.h>

#include "context.h"
#include "export.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Softmax of each row: y[r,j] = exp(x[r,j] - m_r) / Σ_j exp(x[r,j] - m_r), m_r the row's maximum.
 *   x    [rows, columns], row r at x + r·ldx; ldx ≥ columns
 *   y    [rows, columns], row r at y + r·ldy; ldy ≥ columns; y = x with ldy = ldx works in place, any other overlap is
 *        an error
 *   lse  [rows] or NULL: m_r + log Σ_j exp(x[r,j] - m_r), natural logarithm
 * −inf is a masked element and gives 0. A row of −inf only, or of no columns, is empty: y = 0, lse = −inf. A row with a
 * NaN or +inf becomes NaN as IEEE arithmetic says, other rows are untouched by it. Rows sum to 1 within 1e-6.
 * Errors: NULL, SHAPE (ld too small), OVERFLOW, ALIAS; nothing is written then.
 * Source: the safe softmax of Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018. */
ATTN_API attn_status attn_softmax(attn_context *context, size_t rows, size_t columns, const float *x, size_t ldx,
                                  float *y, size_t ldy, float *lse);

#ifdef __cplusplus
}
#endif

#endif
