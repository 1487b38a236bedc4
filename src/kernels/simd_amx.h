/* SPDX-License-Identifier: BSD-3-Clause */
/* The tile operations of tile_body.h in AMX. Tiles are named by literals, since gcc makes assembler text of them; what
 * it does not know is that they read memory. */
#include <immintrin.h>

#include "kernels/tile_shapes.h"

#define IN_MEMORY __asm__ volatile("" : : : "memory")

#define TILES_USE(shapes)                                                                                              \
    do {                                                                                                               \
        IN_MEMORY;                                                                                                     \
        _tile_loadconfig(shapes);                                                                                      \
    } while (0)
#define TILES_RELEASE() _tile_release()
#define TILE_ZERO(tile) _tile_zero(tile)
#define TILE_LOAD(tile, from, stride)                                                                                  \
    do {                                                                                                               \
        IN_MEMORY;                                                                                                     \
        _tile_loadd(tile, from, stride);                                                                               \
    } while (0)
#define TILE_STORE(tile, to, stride)                                                                                   \
    do {                                                                                                               \
        _tile_stored(tile, to, stride);                                                                                \
        IN_MEMORY;                                                                                                     \
    } while (0)
/* c += a · b: pairs of bf16, or quads of int8 by those of uint8. */
#define TILE_DOT_BF16(c, a, b) _tile_dpbf16ps(c, a, b)
#define TILE_DOT_INT8(c, a, b) _tile_dpbsud(c, a, b)
