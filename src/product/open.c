/* SPDX-License-Identifier: BSD-3-Clause */
/* Which backend a context gets: the one asked for; else the linked BLAS, unless it took kernels older than this CPU. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attn/context.h"

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

static attn_status open_builtin(attn_context *context) {
    attni_blas *blas = attni_allocate(&context->allocator, sizeof *blas);
    if (!blas)
        return attni_fail(context, ATTN_ERROR_MEMORY, "context: no memory for the backend");
    *blas = (attni_blas){.name = "builtin", .threads = ""};
    context->blas = blas;
    say(blas, "builtin, as asked for: libattn's own products in %s", context->kernels->name);
    return ATTN_OK;
}

/* The linked library is left for libattn's own kernels. */
static attn_status leave(attn_context *context) {
    char version[sizeof context->blas->version], core[sizeof context->blas->core];
    memcpy(version, context->blas->version, sizeof version);
    memcpy(core, context->blas->core, sizeof core);
    attni_blas_close(context);
    if (open_builtin(context) != ATTN_OK)
        return ATTN_ERROR_MEMORY;
    say(context->blas,
        "builtin, since the linked openblas %s took kernels older than this CPU (%s, where it has %s); a newer "
        "OpenBLAS, "
        "or OPENBLAS_CORETYPE, would change that",
        version, core, context->kernels->name);
    return ATTN_OK;
}

static void explain(const attn_context *context, bool asked) {
    attni_blas *blas = context->blas;
    const char *why = asked ? "as asked for" : "the default";
    if (!*blas->core)
        say(blas, "%s, %s", blas->name, why);
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

attn_status attni_product_open(attn_context *context, const attn_context_options *options) {
    const char *wish = wish_of(options);
    if (!options->sgemm && wish && strcmp(wish, "builtin") == 0)
        return open_builtin(context);
    const attn_status status = attni_blas_open(context, options, wish ? wish : "linked");
    if (status != ATTN_OK)
        return status;
    const attni_blas *blas = context->blas;
    if (!options->sgemm && !wish && !attni_blas_fits(blas, context->kernels->isa) && !attni_blas_is_wanted(blas))
        return leave(context);
    explain(context, options->sgemm || wish);
    return ATTN_OK;
}
