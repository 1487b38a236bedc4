/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/meter.h"

#include <stdlib.h>

static void *meter_allocate(void *data, size_t size) {
    struct meter *m = data;
    if (++m->calls == m->fail_at)
        return NULL;
    m->bytes += size;
    char *p = malloc(size + m->skew);
    m->live += p != NULL;
    return p ? p + m->skew : NULL; /* cppcheck-suppress memleak */
}

static void meter_release(void *data, void *pointer) {
    struct meter *m = data;
    m->live--;
    free((char *)pointer - m->skew);
}

attn_context_options metered(struct meter *m, size_t threads) {
    attn_context_options options;
    ATTN_INIT(&options);
    options.threads = threads;
    options.allocator = (attn_allocator){meter_allocate, meter_release, m};
    return options;
}

attn_context *new_metered(struct meter *m, size_t threads) {
    const attn_context_options options = metered(m, threads);
    attn_context *context = NULL;
    assert_ok(NULL, attn_context_create(&options, &context));
    return context;
}
