/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTNI_TILE_SHAPES_H
#define ATTNI_TILE_SHAPES_H

#include <stddef.h>
#include <stdint.h>

/* What ldtilecfg reads. A tile that is not used has no rows and no bytes a row. */
typedef struct attni_tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} attni_tile_shapes;

#endif
