/* SPDX-License-Identifier: BSD-3-Clause */
#include "machine/chains_body.h"

/* r = r·½ + ½ tends to 1: no overflow, no denormals. */
typedef float lanes4 __attribute__((vector_size(16)));
static inline lanes4 splat4(float x) { return (lanes4){x, x, x, x}; }
#define VECTOR lanes4
#define BEGIN const lanes4 half = splat4(chain_in)
#define NEW(i) (half + splat4((float)(i)))
#define STEP(r) r = r * half + half
#define ADD(a, b) ((a) + (b))
#define FIRST(v) ((v)[0])
CHAIN_FUNCTION(run_generic, , 8, 12)

/* All types are widened. */
chain chain_of(peak_type type) {
    (void)type;
    return (chain){run_generic, "generic", 4e6};
}
