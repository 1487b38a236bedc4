/* SPDX-License-Identifier: BSD-3-Clause */
/* The score program: which keys a query sees. */
#include "sdpa/engine.h"

static ptrdiff_t clamp(int64_t x, ptrdiff_t low, ptrdiff_t high) {
    return x < low ? low : x > high ? high : (ptrdiff_t)x;
}

/* The last key that query token 0 sees; token i sees i more. */
static ptrdiff_t last_key_of_first(const attni_sdpa *call, size_t b) {
    const ptrdiff_t Tq = (ptrdiff_t)call->Tq, Tk = (ptrdiff_t)call->Tk;
    switch (call->causal) {
    case ATTN_CAUSAL_TOP_LEFT:
        return 0;
    case ATTN_CAUSAL_BOTTOM_RIGHT:
        return Tk - Tq;
    case ATTN_CAUSAL_OFFSET:
        return clamp(call->causal_offset[b], -Tq, Tk);
    case ATTN_CAUSAL_NONE:
        break;
    }
    return Tk;
}

attni_range attni_visible(const attni_sdpa *call, size_t b, size_t i) {
    const ptrdiff_t end = last_key_of_first(call, b) + (ptrdiff_t)i + 1;
    return (attni_range){0, (size_t)clamp(end, 0, (ptrdiff_t)call->Tk)};
}
