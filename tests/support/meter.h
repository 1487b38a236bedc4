/* SPDX-License-Identifier: BSD-3-Clause */
/* An allocator that counts, and that can fail once. */
#ifndef ATTN_TESTS_METER_H
#define ATTN_TESTS_METER_H

#include "support/support.h"

/* The memory begins `skew` bytes after where malloc's does. `bytes` is what was ever asked for. */
struct meter {
    size_t calls, live, fail_at, skew, bytes;
};

attn_context_options metered(struct meter *m, size_t threads);
attn_context *new_metered(struct meter *m, size_t threads); /* the caller destroys it */

#endif
