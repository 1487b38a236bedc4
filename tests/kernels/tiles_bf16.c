/* SPDX-License-Identifier: BSD-3-Clause */
/* The products of bf16 by tiles, with tiles in plain C. */
#include "kernels/simd_generic.h"

#include "kernels/basics.h"
#include "kernels/narrow.h"
#include "tiles.h"

typedef uint16_t element;
typedef float S;

static inline S s_read(const void *p) { return *(const float *)p; }
static inline void s_round_row(size_t n, const float *x, element *y) {
    for (size_t j = 0; j < n; j++)
        v_store_bf16(y + j, x[j]);
    if (n % 2)
        y[n] = 0;
}

static inline V s_upper(V x) { return float_of(bits_of(x) & 0xFFFF0000U); }
static inline void s_store_upper(element *y, V x) { *y = (element)(bits_of(x) >> 16); }

#include "kernels/split_body.h"

#define DOT_TABLE attni_bf16_tiles
#define DOT_NAME "tiles"
#define DOT_ISA ATTN_ISA_GENERIC
#define TILE_DOT TILE_DOT_BF16
#define SPLIT split_bf16
#define PRODUCTS "kernels/tile_body.h"
#include "kernels/bf16_body.h"
