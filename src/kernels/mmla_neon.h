/* SPDX-License-Identifier: BSD-3-Clause */
/* What the operations of mmla_body.h have in common in AArch64's Advanced SIMD: each half of a vector is of one row or
 * column, two groups, of which `bytes` count; what is beyond them may be anything. */
#include "kernels/simd_neon.h"

typedef uint8x16_t Q;

static inline Q s_rows(const void *first, const void *second, size_t bytes) {
    uint64_t rows[2] = {0, 0};
    memcpy(&rows[0], first, bytes);
    memcpy(&rows[1], second, bytes);
    return vcombine_u8(vcreate_u8(rows[0]), vcreate_u8(rows[1]));
}

/* Columns 0 and 1, and 2 and 3. */
static inline void s_columns(const char *p, size_t step, size_t bytes, Q columns[2]) {
    const uint64x2_t there = vdupq_n_u64(UINT64_MAX >> (64 - 8 * bytes));
    const uint32x4_t upper = load_integers(p), lower = bytes > 4 ? load_integers(p + step) : upper;
    columns[0] = vreinterpretq_u8_u64(vandq_u64(vreinterpretq_u64_u32(vzip1q_u32(upper, lower)), there));
    columns[1] = vreinterpretq_u8_u64(vandq_u64(vreinterpretq_u64_u32(vzip2q_u32(upper, lower)), there));
}
