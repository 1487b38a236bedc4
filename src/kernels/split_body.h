/* SPDX-License-Identifier: BSD-3-Clause */
/* Rows of f32 in parts of bf16, which are cut off, not rounded, so that none overflows: each has the next 8 bits of x,
 * and their sum is x. Of Inf only the first is not 0. Over s_upper and s_store_upper of the header included before. */

static void split_row(size_t n, const float *x, element *y, size_t part) {
    for (size_t j = 0; j < n + n % 2; j += VL) {
        V rest = load_up_to(x + j, n - j, v_set(0.0F));
        for (size_t at = 0; at < ATTNI_PARTS; at++) {
            s_store_upper(y + at * part + j, rest);
            rest = v_where_equal(v_abs(rest), INFINITY, v_sub(rest, s_upper(rest)), v_set(0.0F));
        }
    }
}

static void split_bf16(size_t rows, size_t depth, const float *x, size_t ldx, float *y, size_t ldy) {
    for (size_t r = 0; r < rows; r++)
        split_row(depth, x + r * ldx, (element *)(void *)(y + r * ldy), 2 * ldy / ATTNI_PARTS);
}
