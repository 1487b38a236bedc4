/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE /* sched_getaffinity */
#include "context/context.h"

#include <sched.h>
#include <stdlib.h>

static void *default_allocate(void *data, size_t size) {
    (void)data;
    return malloc(size);
}

static void default_release(void *data, void *pointer) {
    (void)data;
    free(pointer);
}

static size_t usable_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    return (size_t)CPU_COUNT(&set);
}

attn_context *attni_context_new(const attn_context_options *options, const attni_kernels *kernels) {
    const attn_allocator malloc_free = {default_allocate, default_release, NULL};
    const attn_allocator allocator = options->allocator.allocate ? options->allocator : malloc_free;
    attn_context *context = attni_allocate(&allocator, sizeof *context);
    if (!context)
        return NULL;
    *context = (attn_context){.allocator = allocator,
                              .kernels = kernels,
                              .threads = options->threads ? options->threads : usable_cores(),
                              .parallel_for = options->parallel_for,
                              .parallel_for_data = options->parallel_for_data};
    return context;
}

void attni_context_delete(attn_context *context) {
    const attn_allocator allocator = context->allocator;
    attni_parallel_stop(context);
    attni_release(&allocator, context->scratch);
    attni_release(&allocator, context);
}
