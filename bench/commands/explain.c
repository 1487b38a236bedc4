/* SPDX-License-Identifier: BSD-3-Clause */
#include "commands/explain.h"

#include <stdlib.h>

#include "base/text.h"
#include "cases/cases.h"
#include "inside/inside.h"
#include "run/backends.h"
#include "work/work.h"

static void print_backend(attn_context *context) {
    attn_context_info info;
    ATTN_INIT(&info);
    attn_context_describe(context, &info);
    printf("  backend      %s\n  kernels      libattn's: %s%s\n", info.blas_choice, info.isa,
           *info.blas_threads != '\0' ? "; the backend, which is threaded, is held at one thread" : "");
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static void print_tiles(const inside_plan *p, const bench_case *c) {
    static const char *const products[] = {
        [INSIDE_OWN] = "libattn's own kernels, which pack nothing: few rows, whose scores stay in the L1",
        [INSIDE_SMALL] = "small-matrix kernels that pack nothing, up to M·N·K = 1,000,000",
        [INSIDE_PACKS] = "a backend that packs each call: larger products"};
    const size_t keys = least(p->keys, c->T), own = p->who == INSIDE_OWN;
    printf("  products     %s\n", products[p->who]);
    printf("  tile rule    up to %zu query rows, keys in blocks of %zu, %zu keys a step, %zu columns of V\n",
           p->rule_rows, p->width, p->keys, p->columns);
    printf("  this shape   tiles of %zu row%s; Q·Kᵀ is %zu×%zu×%zu, P·V is %zu×%zu×%zu\n", p->rows,
           p->rows == 1 ? "" : "s", p->rows, own ? keys : least(p->width, keys), c->D, p->rows,
           own ? c->D : least(p->columns, c->D), keys);
    printf("  super-block  %zu tile%s walk%s the keys together; %zu super-block%s for each key/value head\n", p->tiles,
           p->tiles == 1 ? "" : "s", p->tiles == 1 ? "s" : "", p->supers, p->supers == 1 ? "" : "s");
}

static void print_split(const inside_plan *p, const bench_case *c) {
    const size_t units = c->B * c->G * p->supers * (p->apart ? p->segments : 1);
    printf("  split        %zu unit%s of work over %zu thread%s, the heaviest first; keys in %zu segment%s%s\n", units,
           units == 1 ? "" : "s", c->threads, c->threads == 1 ? "" : "s", p->segments, p->segments == 1 ? "" : "s",
           p->apart          ? ", which the threads share and merge"
           : p->segments > 1 ? ", merged in their order"
                             : "");
    if (c->op == OP_LAYER || c->op == OP_PROJECTIONS)
        printf("  projections  weight panels %zu wide, %zu rows by %zu deep in one product\n", p->panel_width,
               p->panel_rows, p->panel_depth);
}

/* An empty cache is enough: the answer is for a full one. */
static size_t cache_scratch(attn_context *context, const bench_case *c, const attn_tensor *q) {
    size_t bytes = 0;
    attn_cache *cache;
    attn_cache_params params;
    ATTN_INIT(&params);
    params.batch = c->B;
    params.kv_heads = c->G;
    params.head_width = c->D;
    params.capacity = c->T;
    if (attn_cache_create(context, &params, &cache) == ATTN_OK)
        attn_cache_scratch_size(context, cache, q, q, NULL, &bytes);
    attn_cache_destroy(cache);
    return bytes;
}

/* Sizes only: the data are not needed. */
static size_t scratch_of(attn_context *context, const bench_case *c) {
    size_t bytes = 0;
    attn_sdpa_params params;
    const attn_dtype type = dtype_table[c->dtype].type;
    const attn_tensor q = attn_tensor_bhtd(NULL, type, c->B, c->H, c->op == OP_DECODE ? 1 : c->T, c->D),
                      k = attn_tensor_bhtd(NULL, type, c->B, c->G, c->T, c->D);
    if (c->op == OP_DECODE)
        return cache_scratch(context, c, &q);
    ATTN_INIT(&params);
    if (variant_table[c->variant].set != NULL)
        variant_table[c->variant].set(&params);
    attn_sdpa_scratch_size(context, &q, &k, &k, &q, &params, &bytes);
    return bytes;
}

static void print_sizes(attn_context *context, const bench_case *c) {
    char scratch[40], flops[40], bytes[40];
    text_quantity(scratch, sizeof scratch, (double)scratch_of(context, c), "B");
    text_quantity(flops, sizeof flops, case_flops(c), "flop");
    text_quantity(bytes, sizeof bytes, case_bytes(c), "B");
    printf("  scratch      %s of the context's for attention of this shape\n", scratch);
    printf("  work         %s on %s of inputs and outputs\n\n", flops, bytes);
}

static bool explain_case(const bench_case *c, const backend *b) {
    char title[200], error[400];
    attn_context *context = work_context(b->blas, c->threads, ATTN_PRECISION_F32, error, sizeof error);
    case_name(c, title, sizeof title);
    printf("%s on %s\n", title, b->label);
    if (context == NULL) {
        printf("  cannot be used: %s\n", error);
        return false;
    }
    const bool causal = op_table[c->op].uses & USES_VARIANT && variant_table[c->variant].sees(0, 2).high < 2;
    const inside_plan p = inside_plan_of(context, c->B, c->H, c->G, c->op == OP_DECODE ? 1 : c->T, c->T, c->D, causal);
    print_backend(context);
    print_tiles(&p, c);
    print_split(&p, c);
    print_sizes(context, c);
    attn_context_destroy(context);
    return true;
}

int explain_run(const options *o) {
    size_t count;
    bool good = false;
    bench_case *cases = cases_expand(o, &count);
    for (size_t i = 0; cases != NULL && i < count; i++)
        for (size_t b = 0; b < o->blas.count; b++) {
            const backend named = backend_named(o->blas.item[b]);
            good = explain_case(&cases[i], &named) || good;
        }
    free(cases);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
