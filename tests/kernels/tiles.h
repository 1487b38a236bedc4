/* SPDX-License-Identifier: BSD-3-Clause */
/* The tile operations of tile_body.h in plain C, to test all of it that is not an instruction where there is no AMX. */
#include <stdint.h>
#include <string.h>

#include "kernels/tile_shapes.h"

enum { TILES = 8, TILE_ROWS = 16, TILE_BYTES = 64 };

static _Thread_local struct {
    const attni_tile_shapes *shapes; /* or NULL */
    uint8_t row[TILES][TILE_ROWS][TILE_BYTES];
} tiles;

static inline void tiles_use(const attni_tile_shapes *shapes) {
    memset(&tiles, 0, sizeof tiles);
    tiles.shapes = shapes;
}
static inline void tile_load(int tile, const void *from, ptrdiff_t stride) {
    for (int r = 0; r < tiles.shapes->rows[tile]; r++)
        memcpy(tiles.row[tile][r], (const char *)from + r * stride, tiles.shapes->bytes[tile]);
}
static inline void tile_store(int tile, void *to, ptrdiff_t stride) {
    for (int r = 0; r < tiles.shapes->rows[tile]; r++)
        memcpy((char *)to + r * stride, tiles.row[tile][r], tiles.shapes->bytes[tile]);
}

static inline float tile_bf16(const uint8_t *p) {
    const uint32_t bits = (uint32_t)p[1] << 24 | (uint32_t)p[0] << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* One group of a and of b: element e of all pairs of a depth of 32 is summed apart. */
static inline void tile_dot_bf16(int c, int a, int b) {
    for (int r = 0; r < tiles.shapes->rows[c]; r++)
        for (int j = 0; j < tiles.shapes->bytes[c]; j += 4) {
            float sum[2] = {0.0F, 0.0F}, to;
            for (int k = 0; k < tiles.shapes->rows[b]; k++)
                for (int e = 0; e < 2; e++)
                    sum[e] += tile_bf16(&tiles.row[a][r][4 * k + 2 * e]) * tile_bf16(&tiles.row[b][k][j + 2 * e]);
            memcpy(&to, &tiles.row[c][r][j], sizeof to);
            to += sum[0] + sum[1];
            memcpy(&tiles.row[c][r][j], &to, sizeof to);
        }
}
static inline void tile_dot_int8(int c, int a, int b) {
    for (int r = 0; r < tiles.shapes->rows[c]; r++)
        for (int j = 0; j < tiles.shapes->bytes[c]; j += 4) {
            int32_t to;
            memcpy(&to, &tiles.row[c][r][j], sizeof to);
            for (int k = 0; k < 4 * tiles.shapes->rows[b]; k++)
                to += (int8_t)tiles.row[a][r][k] * (int)tiles.row[b][k / 4][j + k % 4];
            memcpy(&tiles.row[c][r][j], &to, sizeof to);
        }
}

#define TILES_USE(shapes) tiles_use(shapes)
#define TILES_RELEASE() (tiles.shapes = NULL)
#define TILE_ZERO(tile) memset(tiles.row[tile], 0, sizeof tiles.row[tile])
#define TILE_LOAD(tile, from, stride) tile_load(tile, from, stride)
#define TILE_STORE(tile, to, stride) tile_store(tile, to, stride)
#define TILE_DOT_BF16(c, a, b) tile_dot_bf16(c, a, b)
#define TILE_DOT_INT8(c, a, b) tile_dot_int8(c, a, b)
