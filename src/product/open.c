/* SPDX-License-Identifier: BSD-3-Clause */
/* Which backend a context gets: the one asked for; else the linked BLAS, unless there is none or it took kernels older
 * than this CPU. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attn/context.h"

#include "kernels/int4.h"
#include "kernels/narrow.h"
#include "product/product.h"

/* NULL: the caller has no wish. */
static const char *wish_of(const attn_context_options *options) {
    const char *variable = getenv("ATTN_BLAS");
    if (options->blas)
        return options->blas;
    return variable && *variable ? variable : NULL;
}

static void say(attni_blas *blas, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(attni_blas *blas, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(blas->choice, sizeof blas->choice, format, args);
    va_end(args);
}

static const attni_blas builtin = {.name = "builtin", .threads = ""};

static void take_builtin(attn_context *context, bool asked) {
    *context->blas = builtin;
    say(context->blas,
        asked ? "builtin, as asked for: libattn's own products in %s"
              : "builtin, the default, as this libattn was built without OpenBLAS: its own products in %s; ATTN_BLAS "
                "would load a BLAS",
        context->kernels->name);
}

/* The linked library is left for libattn's own kernels. */
static void leave(attn_context *context) {
    const attni_blas left = *context->blas;
    *context->blas = builtin;
    say(context->blas,
        "builtin, since the linked openblas %s took kernels older than this CPU (%s, where it has %s); a newer "
        "OpenBLAS, or OPENBLAS_CORETYPE, would change that",
        left.version, left.core, context->kernels->name);
}

static void explain(const attn_context *context, bool asked) {
    attni_blas *blas = context->blas;
    const char *why = asked ? "as asked for" : "the default";
    if (!*blas->core)
        say(blas, "%s%s%s, %s", blas->name, *blas->version ? " " : "", blas->version, why);
    else if (!attni_blas_fits(blas, context->kernels->isa))
        say(blas,
            "%s %s, %s, with kernels older than this CPU (%s, where it has %s): ATTN_BLAS=builtin, or a newer "
            "OpenBLAS, would be faster",
            blas->name, blas->version, why, blas->core, context->kernels->name);
    else if (!blas->no_pack && context->kernels->isa != ATTN_ISA_GENERIC)
        say(blas,
            "%s %s, %s, with kernels that suit this CPU (%s) but pack for each product: ATTN_BLAS=builtin would be "
            "faster",
            blas->name, blas->version, why, blas->core);
    else
        say(blas, "%s %s, %s, with kernels that suit this CPU (%s)", blas->name, blas->version, why, blas->core);
}

static attn_status open_wish(attn_context *context, const attn_context_options *options, const char *wish) {
    const char *name = wish ? wish : attni_blas_default;
    if (!options->sgemm && strcmp(name, "builtin") == 0) {
        take_builtin(context, wish);
        return ATTN_OK;
    }
    const attn_status status = attni_blas_open(context, options, name);
    const attni_blas *blas = context->blas;
    if (status != ATTN_OK)
        return status;
    if (!options->sgemm && !wish && !attni_blas_fits(blas, context->kernels->isa) && !attni_blas_is_wanted(blas))
        leave(context);
    else
        explain(context, options->sgemm || wish);
    return ATTN_OK;
}

attn_status attni_product_open(attn_context *context, const attn_context_options *options) {
    context->bf16 = attni_bf16_select(options->isa);
    context->int8 = attni_int8_select(options->isa);
    context->int4 = attni_int4_select(options->isa, options->precision == ATTN_PRECISION_INT8);
    context->blas = attni_allocate(&context->allocator, sizeof *context->blas);
    if (!context->blas)
        return attni_fail(context, ATTN_ERROR_MEMORY, "context: no memory for the backend");
    return open_wish(context, options, wish_of(options));
}

void attni_product_close(attn_context *context) {
    attni_release(&context->allocator, context->blas);
    context->blas = NULL;
}
