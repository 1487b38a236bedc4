/* SPDX-License-Identifier: BSD-3-Clause */
#include "context/context.h"

#include <stdlib.h>

#include "context/crew.h"
#include "context/sizes.h"

static void *default_allocate(void *data, size_t size) {
    (void)data;
    return malloc(size);
}

static void default_release(void *data, void *pointer) {
    (void)data;
    free(pointer);
}

attn_context *attni_context_new(const attn_context_options *options, const attni_kernels *kernels) {
    const attn_allocator malloc_free = {default_allocate, default_release, NULL};
    const attn_allocator allocator = options->allocator.allocate ? options->allocator : malloc_free;
    attn_context *context = attni_allocate(&allocator, sizeof *context);
    if (!context)
        return NULL;
    *context = (attn_context){.allocator = allocator,
                              .kernels = kernels,
                              .precision = options->precision,
                              .threads = options->threads ? options->threads
                                                          : attni_min(attni_count_cpus(""), ATTNI_MOST_THREADS),
                              .parallel_for = options->parallel_for,
                              .parallel_for_data = options->parallel_for_data};
    if (context->threads == 1 || context->parallel_for)
        return context;
    context->crew = attni_crew_new(&allocator, context->threads);
    if (context->crew)
        return context;
    attni_context_delete(context);
    return NULL;
}

void attni_context_delete(attn_context *context) {
    const attn_allocator allocator = context->allocator;
    attni_crew_delete(context->crew, &allocator);
    attni_release(&allocator, context->scratch);
    attni_release(&allocator, context);
}
