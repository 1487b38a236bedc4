/* SPDX-License-Identifier: BSD-3-Clause */
/* The products of int8 by tiles, with tiles in plain C. */
#include "kernels/simd_generic.h"

#include "kernels/basics.h"
#include "tiles.h"

typedef int8_t element;
typedef int32_t S;
enum { BIAS = 128 };

static inline S s_read(const void *p) { return *(const int32_t *)p; }
static inline V s_less(S sum, int32_t x) { return (float)(sum - x); }
static inline void s_store(element *y, V x) { *y = quantum_of(x); }

#define DOT_TABLE attni_int8_tiles
#define DOT_NAME "tiles"
#define DOT_ISA ATTN_ISA_GENERIC
#define TILE_DOT TILE_DOT_INT8
#define PRODUCTS "kernels/tile_body.h"
#include "kernels/int8_body.h"
