/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/context.h"

#include "api/check.h"
#include "kernels/narrow.h"
#include "product/product.h"

static attn_status check_options(const attn_context_options *o) {
    if (o->threads > ATTNI_MOST_THREADS)
        return attni_fail(NULL, ATTN_ERROR_VALUE, "options.threads is %zu, expected 0 to %d", o->threads,
                          ATTNI_MOST_THREADS);
    if (o->sgemm && o->blas)
        return attni_fail(NULL, ATTN_ERROR_VALUE, "options.blas and options.sgemm are both set; one must be NULL");
    if (!o->allocator.allocate != !o->allocator.release)
        return attni_fail(NULL, ATTN_ERROR_NULL, "options.allocator needs both allocate and release, or neither");
    if (o->precision < ATTN_PRECISION_F32 || o->precision > ATTN_PRECISION_INT8)
        return attni_fail(NULL, ATTN_ERROR_VALUE,
                          "options.precision is %d, expected ATTN_PRECISION_F32 (0), ATTN_PRECISION_BF16 (1) or "
                          "ATTN_PRECISION_INT8 (2)",
                          (int)o->precision);
    return ATTN_OK;
}

static attn_status open_context(const attn_context_options *options, attn_context **context) {
    const attni_kernels *kernels = attni_kernels_select(options->isa);
    if (!kernels)
        return attni_fail(NULL, ATTN_ERROR_VALUE,
                          "options.isa is 0x%x: this CPU has none of these; ATTN_ISA_GENERIC (0x%x) is always there",
                          options->isa, (unsigned)ATTN_ISA_GENERIC);
    *context = attni_context_new(options, kernels);
    if (!*context)
        return attni_fail(NULL, ATTN_ERROR_MEMORY, "context: no memory");
    return attni_product_open(*context, options);
}

attn_status attn_context_create(const attn_context_options *options, attn_context **context) {
    attn_context_options o;
    attn_context *made = NULL;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    *context = NULL;
    ATTNI_TRY(attni_check_params(NULL, "options", options, sizeof o, &o));
    ATTNI_TRY(check_options(&o));
    const attn_status status = open_context(&o, &made);
    if (status == ATTN_OK) {
        *context = made;
    } else if (made) {
        attni_fail(NULL, status, "%s", made->error);
        attn_context_destroy(made);
    }
    return status;
}

void attn_context_destroy(attn_context *context) {
    if (!context)
        return;
    attni_product_close(context);
    attni_context_delete(context);
}

const char *attn_context_last_error(const attn_context *context) {
    return context ? context->error : attni_thread_error();
}

attn_status attn_context_describe(attn_context *context, attn_context_info *info) {
    attn_context_info known;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "info", info));
    ATTNI_TRY(attni_check_params(context, "info", info, sizeof known, &known));
    const attni_blas *blas = context->blas;
    known = (attn_context_info){.blas = blas->name,
                                .blas_version = blas->version,
                                .blas_core = blas->core,
                                .blas_threads = blas->threads,
                                .blas_path = blas->path,
                                .isa = context->kernels->name,
                                .threads = attni_parallel_threads(context),
                                .scratch_bytes = context->scratch_bytes,
                                .blas_choice = blas->choice,
                                .precision = context->precision,
                                .bf16_isa = context->bf16->name,
                                .int8_isa = context->int8->name};
    attni_give(info, &known, sizeof known);
    return ATTN_OK;
}

attn_status attn_context_reserve(attn_context *context, size_t bytes) {
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    return attni_scratch_reserve(context, bytes);
}
