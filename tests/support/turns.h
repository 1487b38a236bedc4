/* SPDX-License-Identifier: BSD-3-Clause */
/* QK-norm and rotary embedding: random ones, and what they do to rows in double precision. */
#ifndef ATTN_TESTS_TURNS_H
#define ATTN_TESTS_TURNS_H

#include "support/sdpa_case.h"

enum { TABLE = 400 }; /* positions of random tables */

struct turns {
    attn_rotary rotary;
    attn_qk_norm norm;
};

/* A rotary embedding with the standard tables; positions are those of attn_rotary. */
attn_rotary rotary_of(attn_context *context, attn_rotary_kind kind, size_t width, size_t D, size_t positions);
int64_t *random_positions(size_t n, size_t table);
const float *random_weights(size_t n); /* of about 1 */

/* Gives a case of any sizes either option or both. `turns` must outlive it. */
void set_random_turns(attn_context *context, struct sdpa_case *c, struct turns *turns);

/* Where a token stands: on axis a at positions[a·axis_stride], or, NULL, on each at `position`. */
struct place {
    const int64_t *positions;
    size_t axis_stride, position;
};

/* Row (b, h, t) of x after both, either being NULL; the weights are those of all heads. */
void turn_row(attn_tensor x, size_t b, size_t h, size_t t, const attn_qk_norm *norm, const float *weight,
              const attn_rotary *rotary, const struct place *at, double *row);

/* q, k or v of a case, dense in f32, its live tokens turned; and the case of these for the reference, which does
 * neither. */
enum turned { TURNED_Q, TURNED_K, TURNED_V };
attn_tensor turned(attn_tensor x, const struct sdpa_case *c, enum turned which);
struct sdpa_case turned_case(const struct sdpa_case *c);

#endif
