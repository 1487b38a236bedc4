/* SPDX-License-Identifier: BSD-3-Clause */
/* Tile sizes by backend and core, from measurements (src/README.md). Nothing is timed at run time, so the
 * same build on the same machine always makes the same tiles and gives the same bits. */
#include <string.h>

#include "context/sizes.h"
#include "kernels/int4.h"
#include "product/product.h"

/* OpenBLAS's small-matrix kernels take a product up to this M·N·K; one step over it costs 15 %. */
enum { SMALL_PRODUCT = 1000000 };

/* Of libattn's own kernels: rows of a tile, two passes over a block while it is in the L1, and more where the scores of
 * few keys stay there too; rows of V that need not be copied into panels; and a depth of which a panel stays there. */
enum { BUILTIN_ROWS = 12, BUILTIN_SHORT_ROWS = 48, BUILTIN_SHORT = 128, BUILTIN_IN_PLACE = 96, BUILTIN_DEPTH = 384 };

/* Rows of a product with the other two sizes' product given: a multiple of 4, at least 4, at most `most`. */
static size_t small_rows(size_t other, size_t most) {
    return attni_max(4, attni_min(most, SMALL_PRODUCT / attni_max(1, other)) / 4 * 4);
}

/* Tiles that walk together share what it costs to pack K and V. Their Q and O, three quarters of a 1 MB L2, are read
 * once for each group of keys; more gain nothing. */
static size_t tiles_together(size_t rows, size_t D, size_t E) {
    const size_t bytes = rows * (D + E) * sizeof(float);
    return attni_max(1, 768 * 1024 / attni_max(1, bytes));
}

/* The scores of a tile stay in the L1. */
static attni_tile own_tile(const attn_context *context, size_t keys, bool causal) {
    const size_t width = context->kernels->panel_width;
    return (attni_tile){.width = width,
                        .rows = keys <= BUILTIN_SHORT && !causal ? BUILTIN_SHORT_ROWS : BUILTIN_ROWS,
                        .keys = 256,
                        .columns = width,
                        .in_place = BUILTIN_IN_PLACE};
}

attni_tile attni_tile_for_pairs(const attn_context *context, size_t D, size_t E, size_t keys, bool causal) {
    attni_tile t = own_tile(context, keys, causal);
    t.tiles = tiles_together(t.rows, D, E);
    return t;
}

attni_tile attni_tile_for_attention(const attn_context *context, size_t D, size_t E, size_t keys, bool causal,
                                    bool paged) {
    const attni_blas *blas = context->blas;
    attni_tile t = {.width = 64, .keys = 256, .columns = 64};
    if (!blas->sgemm) {
        t = own_tile(context, paged ? SIZE_MAX : keys, causal); /* scratch for a full cache does for any */
        t.keys = attni_max(D, E) <= 32 ? 128 : 256; /* where sums are short, those over keys make most of the error */
    } else if (blas->no_pack) {
        t.keys = paged || attni_max(D, E) <= 96 ? 256 : 128; /* a page of 256 is read in one go */
        const size_t most = causal ? 32 : 96;                /* the diagonal cuts less off small tiles */
        t.rows = attni_min(small_rows(t.width * D, most), small_rows(t.columns * t.keys, most));
    } else if (strcmp(blas->name, "openblas") == 0) {
        t.rows = 64; /* more gain nothing, and cost where a mask cuts through a tile */
        t.columns = 256;
    } else {
        t = (attni_tile){.width = 128, .rows = 128, .keys = 256, .columns = 256};
    }
    t.tiles = tiles_together(t.rows, D, E);
    return t;
}

/* A group's keys and values, each in two forms, and their gradients stay in the L2. */
attni_tile attni_tile_for_backward(const attn_context *context, size_t D, size_t E) {
    const attni_blas *blas = context->blas;
    attni_tile t = {.rows = 64, .keys = 128, .tiles = 1};
    t.width = !blas->sgemm ? context->kernels->panel_width : blas->no_pack ? 64 : t.keys;
    t.columns = t.width;
    if (blas->no_pack)
        t.rows = small_rows(t.width * attni_max(t.keys, attni_max(D, E)), t.rows);
    else if (blas->sgemm)
        t.rows = 128; /* packing counts less */
    return t;
}

/* OpenBLAS's small kernels treat up to 8 columns left over from 16 in one way at a depth of up to 31 and in another
 * from there on. */
size_t attni_least_depth(const attn_context *context, size_t columns) {
    const size_t left = columns % 16;
    return context->blas->no_pack && 1 <= left && left <= 8 ? 32 : 1;
}

attni_panel attni_panel_for_weights(const attn_context *context, attn_dtype type) {
    const attni_blas *blas = context->blas;
    if (type == ATTN_INT4)
        return (attni_panel){.width = context->int4->width, .unit = 64, .rows = 192, .depth = BUILTIN_DEPTH};
    if (type != ATTN_F32 || !blas->sgemm)
        return (attni_panel){.width = context->kernels->panel_width, .unit = 64, .rows = 192, .depth = BUILTIN_DEPTH};
    if (blas->no_pack)
        return (attni_panel){.width = 64, .unit = 64, .rows = 20, .depth = 768};
    return (attni_panel){.width = 128, .unit = 128, .rows = 192, .depth = 384};
}
