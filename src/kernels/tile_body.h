/* SPDX-License-Identifier: BSD-3-Clause */
/* Products whose factors lie in groups along the depth, by tiles of 16 rows of 64 bytes, over the operations of the
 * simd_amx.h included before. A block of up to 32 rows by 32 columns has its sums in tiles 0 to 3, two beside each
 * other; 64 bytes of the depth of its rows are in tiles 4 and 5, as many of the columns in tiles 6 and 7. One row is a
 * tile too: bits do not depend on how many there are, and what it reads of the panels is as much a stream as with
 * vectors. */
#include "kernels/dot_task.h"

enum { TILE = 16, LINE = 64, BLOCK = 2 * TILE, DEEP = LINE / (int)sizeof(element) };

typedef struct block {
    const task *x;
    size_t row, rows, column, columns;               /* of the task */
    const char *b[2];                                /* 16 columns each */
    char a_rest[BLOCK][LINE], b_rest[2][TILE][LINE]; /* what is left of the depth, and zeros */
} block;

static attni_tile_shapes shapes_of(size_t rows) {
    const uint8_t upper = (uint8_t)(rows < TILE ? rows : TILE), lower = (uint8_t)(rows - upper), all = TILE;
    const uint16_t below = lower ? LINE : 0;
    return (attni_tile_shapes){.palette = 1,
                               .bytes = {LINE, LINE, below, below, LINE, below, LINE, LINE},
                               .rows = {upper, upper, lower, lower, upper, lower, all, all}};
}

static inline void add_tiles(const block *p, const char *a, ptrdiff_t lda, const char *b0, const char *b1,
                             ptrdiff_t ldb) {
    const bool right = p->columns > TILE, below = p->rows > TILE;
    TILE_LOAD(4, a, lda);
    TILE_LOAD(6, b0, ldb);
    TILE_DOT(0, 4, 6);
    if (right) {
        TILE_LOAD(7, b1, ldb);
        TILE_DOT(1, 4, 7);
    }
    if (below) {
        TILE_LOAD(5, a + TILE * lda, lda);
        TILE_DOT(2, 5, 6);
    }
    if (right && below)
        TILE_DOT(3, 5, 7);
}

/* The rest of the depth of rows, `left` elements from k on. */
static void take_a_rest(block *p, size_t k, size_t left) {
    memset(p->a_rest, 0, sizeof p->a_rest);
    for (size_t r = 0; r < p->rows; r++)
        memcpy(p->a_rest[r], p->x->a + (p->row + r) * p->x->lda + k, left * sizeof(element));
}

/* And that of the columns. What is beyond it in the last group may be NaN, by which 0 would be. */
static void take_b_rest(block *p, size_t half, size_t groups, size_t left) {
    const char *from = p->b[half] + groups * p->x->step;
    memset(p->b_rest[half], 0, sizeof p->b_rest[half]);
    for (size_t g = 0; g < left; g += GROUP, from += p->x->step)
        memcpy(p->b_rest[half][g / GROUP], from, LINE);
    for (size_t at = left % GROUP * sizeof(element); at % GROUP_BYTES; at++)
        for (size_t c = 0; c < TILE; c++)
            p->b_rest[half][left / GROUP][c * GROUP_BYTES + at] = 0;
}

static void sum_tiles(block *p) {
    const size_t whole = p->x->depth / DEEP * DEEP, left = p->x->depth - whole;
    const ptrdiff_t lda = (ptrdiff_t)(p->x->lda * sizeof(element)), ldb = (ptrdiff_t)p->x->step;
    const char *a = (const char *)(p->x->a + p->row * p->x->lda), *b0 = p->b[0], *b1 = p->b[1];
    TILE_ZERO(0);
    TILE_ZERO(1);
    if (p->rows > TILE) {
        TILE_ZERO(2);
        TILE_ZERO(3);
    }
    for (size_t k = 0; k < whole; k += DEEP, a += LINE, b0 += TILE * ldb, b1 += TILE * ldb)
        add_tiles(p, a, lda, b0, b1, ldb);
    if (left == 0)
        return;
    for (size_t half = 0; half * TILE < p->columns; half++)
        take_b_rest(p, half, whole / GROUP, left);
    add_tiles(p, p->a_rest[0], LINE, p->b_rest[0][0], p->b_rest[1][0], LINE);
}

/* A tile of sums goes to c, from row r and column c of the block on. */
static void put_tile(const block *p, const uint32_t sums[TILE][TILE], size_t r, size_t c) {
    const task *x = p->x;
    const size_t rows = p->rows - r < TILE ? p->rows - r : TILE,
                 columns = p->columns - c < TILE ? p->columns - c : TILE;
    for (size_t j = 0; j < columns; j += VL) {
        const size_t n = columns - j;
        const V factor = factor_of(&x->by, p->column + c + j, n);
        float *to = x->c + (p->row + r) * x->ldc + p->column + c + j;
        for (size_t i = 0; i < rows; i++, to += x->ldc) {
            const V value = value_of(&x->by, p->row + r + i, s_read(&sums[i][j]));
            store_up_to(to, n, v_fma(value, factor, x->add ? load_up_to(to, n, v_set(0.0F)) : v_set(0.0F)));
        }
    }
}

static void multiply_block(block *p) {
    uint32_t sums[TILE][TILE];
    sum_tiles(p);
    TILE_STORE(0, sums, LINE);
    put_tile(p, sums, 0, 0);
    if (p->columns > TILE) {
        TILE_STORE(1, sums, LINE);
        put_tile(p, sums, 0, TILE);
    }
    if (p->rows <= TILE)
        return;
    TILE_STORE(2, sums, LINE);
    put_tile(p, sums, TILE, 0);
    if (p->columns > TILE) {
        TILE_STORE(3, sums, LINE);
        put_tile(p, sums, TILE, TILE);
    }
}

/* Where column c of b begins. */
static const char *column_at(const attni_panels *b, size_t c) {
    return b->data + c / b->width * b->step * attni_size_of(b->type) + c % b->width * GROUP_BYTES;
}

static void multiply_rows(block *p, size_t columns, const attni_panels *b) {
    const size_t left = p->x->depth % DEEP;
    if (left > 0)
        take_a_rest(p, p->x->depth - left, left);
    for (p->column = 0; p->column < columns; p->column += BLOCK) {
        p->columns = columns - p->column < BLOCK ? columns - p->column : BLOCK;
        p->b[0] = column_at(b, p->column);
        p->b[1] = p->columns > TILE ? column_at(b, p->column + TILE) : p->b[0];
        multiply_block(p);
    }
}

static void multiply_panels(const task *x, size_t columns, const attni_panels *b) {
    attni_tile_shapes shapes;
    block p;
    p.x = x;
    for (p.row = 0; p.row < x->rows; p.row += p.rows) {
        const size_t rows = x->rows - p.row < BLOCK ? x->rows - p.row : BLOCK;
        if (p.row == 0 || rows != p.rows) {
            shapes = shapes_of(rows);
            TILES_USE(&shapes);
        }
        p.rows = rows;
        multiply_rows(&p, columns, b);
    }
    TILES_RELEASE();
}
