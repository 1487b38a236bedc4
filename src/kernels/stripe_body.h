/* SPDX-License-Identifier: BSD-3-Clause */
/* What dot_body.h and mmla_body.h share: a product is cut into tiles of rows and vectors whose sums the registers hold.
 * dot_tile(R, N, ...) makes one of R rows, up to MOST_ROWS, and N vectors, vectors_for(R) or one. */

/* R rows by the vectors that fit, N of them or one. */
static inline __attribute__((always_inline)) void dot_rows(size_t R, size_t N, const task *x, size_t row,
                                                           size_t columns) {
    if (N == 1)
        dot_tile(R, 1, x, row, columns);
    else
        dot_tile(R, vectors_for(R), x, row, columns);
}

/* All rows, as evenly cut as can be, by N > 1 or one vector of columns. */
static inline __attribute__((always_inline)) void dot_stripe(size_t N, const task *x, size_t columns) {
    const size_t passes = (x->rows + MOST_ROWS - 1) / MOST_ROWS;
    for (size_t pass = 0, row = 0, some; pass < passes; pass++, row += some) {
        some = (x->rows - 1 - pass) / passes + 1;
        switch (some) {
        case 1:
            dot_rows(1, N, x, row, columns);
            break;
        case 2:
            dot_rows(2, N, x, row, columns);
            break;
        case 3:
            dot_rows(3, N, x, row, columns);
            break;
        case 4:
            dot_rows(4, N, x, row, columns);
            break;
        case 5:
            dot_rows(5, N, x, row, columns);
            break;
        default:
            dot_rows(MOST_ROWS, N, x, row, columns);
            break;
        }
    }
}

/* All columns of a panel, at the columns of c that they are. */
static void multiply_panel(const task *x, size_t columns) {
    const size_t wide = vectors_for(x->rows) * VL;
    task t = *x;
    size_t j = 0;
    for (size_t n; j < columns; j += n) {
        const size_t left = columns - j;
        n = left >= wide ? wide : left < VL ? left : VL;
        t.b = x->b + j * GROUP_BYTES;
        t.column = x->column + j;
        t.c = x->c + j;
        if (n == wide)
            dot_stripe(MOST_VECTORS, &t, n);
        else
            dot_stripe(1, &t, n);
    }
}

static void multiply_panels(const task *x, size_t columns, const attni_panels *b) {
    task t = *x;
    for (size_t j = 0; j < columns; j += b->width) {
        t.b = b->data + j / b->width * b->step * attni_size_of(b->type);
        t.column = j;
        t.c = x->c + j;
        multiply_panel(&t, columns - j < b->width ? columns - j : b->width);
    }
}
