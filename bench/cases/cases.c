/* SPDX-License-Identifier: BSD-3-Clause */
#include "cases/cases.h"

#include <stdlib.h>

#include "base/text.h"
#include "cases/models.h"
#include "inside/inside.h"

/* Takes the digit of `rest` in base list->count off, which picks an item. Where the operation does not use the list,
 * `*repeat` tells of all picks but the first. */
static size_t pick(const size_list *list, size_t *rest, bool used, bool *repeat) {
    const size_t digit = *rest % list->count;
    *rest /= list->count;
    *repeat = *repeat || (!used && digit > 0);
    return list->item[digit];
}

/* The same of an axis that is a table, whose first line is then what the operation does. */
static size_t pick_line(const size_list *list, size_t *rest, bool used, bool *repeat) {
    const size_t item = pick(list, rest, used, repeat);
    return used ? item : 0;
}

static bool case_at(const options *o, size_t index, bench_case *c) {
    bool repeat = false;
    size_t inner = index;
    const size_list *const outer[] = {&o->lengths, &o->heads,   &o->variants, &o->caches,    &o->threads,
                                      &o->dims,    &o->batches, &o->dtypes,   &o->precisions};
    for (size_t i = 0; i < sizeof outer / sizeof *outer; i++)
        inner /= outer[i]->count;
    c->op = (bench_op)o->ops.item[inner];
    const unsigned uses = op_table[c->op].uses;
    c->T = pick(&o->lengths, &index, (uses & USES_T) != 0, &repeat);
    c->H = pick(&o->heads, &index, (uses & USES_H) != 0, &repeat);
    c->variant = pick_line(&o->variants, &index, (uses & USES_VARIANT) != 0, &repeat);
    c->cold = pick(&o->caches, &index, true, &repeat) != 0;
    c->threads = pick(&o->threads, &index, (uses & USES_THREADS) != 0, &repeat);
    c->D = pick(&o->dims, &index, true, &repeat);
    c->B = pick(&o->batches, &index, (uses & USES_B) != 0, &repeat);
    c->dtype = pick_line(&o->dtypes, &index, (uses & USES_DTYPE) != 0, &repeat);
    c->precision = pick_line(&o->precisions, &index, (uses & USES_PRECISION) != 0, &repeat);
    c->G = o->kv_heads > 0 && c->H % o->kv_heads == 0 ? o->kv_heads : c->H;
    return !repeat;
}

static size_t combinations(const options *o) {
    return o->lengths.count * o->heads.count * o->variants.count * o->caches.count * o->threads.count * o->dims.count *
           o->batches.count * o->dtypes.count * o->precisions.count * o->ops.count;
}

/* The options of a sweep over what the model does, where the user does not say otherwise. */
static options options_of(const options *o, const model_spec *m) {
    options one = *o;
    one.heads = (size_list){1, {m->H}};
    one.dims = (size_list){1, {m->D}};
    one.kv_heads = m->G;
    if (!o->lengths_given)
        for (one.lengths.count = 0; one.lengths.count < 4 && m->lengths[one.lengths.count] > 0; one.lengths.count++)
            one.lengths.item[one.lengths.count] = m->lengths[one.lengths.count];
    if (!o->variants_given)
        one.variants = (size_list){1, {m->variant}};
    if (!o->ops_given)
        for (one.ops.count = 0; one.ops.count < m->op_count; one.ops.count++)
            one.ops.item[one.ops.count] = m->ops[one.ops.count];
    return one;
}

static void append(const options *o, const char *model, bench_case *cases, size_t *count) {
    for (size_t i = 0; i < combinations(o); i++) {
        bench_case c = {.model = model};
        if (case_at(o, i, &c))
            cases[(*count)++] = c;
    }
}

bench_case *cases_expand(const options *o, size_t *count) {
    size_t room = o->models.count == 0 ? combinations(o) : 0;
    *count = 0;
    for (size_t i = 0; i < o->models.count; i++) {
        const options one = options_of(o, &model_table[o->models.item[i]]);
        room += combinations(&one);
    }
    bench_case *cases = calloc(room + 1, sizeof *cases);
    if (cases != NULL && o->models.count == 0)
        append(o, NULL, cases, count);
    for (size_t i = 0; cases != NULL && i < o->models.count; i++) {
        const model_spec *m = &model_table[o->models.item[i]];
        const options one = options_of(o, m);
        append(&one, m->name, cases, count);
    }
    return cases;
}

bool case_same_section(const bench_case *a, const bench_case *b) {
    return a->op == b->op && a->variant == b->variant && a->dtype == b->dtype && a->precision == b->precision &&
           a->cold == b->cold && a->B == b->B && a->D == b->D && a->threads == b->threads && a->model == b->model;
}

/* Pairs of a query and a key that it sees, of one head. */
static double pairs(const bench_case *c) {
    double sum = 0;
    for (size_t i = 0; i < c->T; i++) {
        const key_range range = variant_table[c->variant].sees(i, c->T);
        sum += (double)(range.high - range.low);
    }
    return sum;
}

/* Of all four weight matrices of a layer. */
static double weights(const bench_case *c) {
    return (double)c->H * (double)c->D * (double)c->D * 2 * ((double)c->H + (double)c->G);
}

peak_type case_roof(const bench_case *c) { return op_table[c->op].roof[c->precision]; }

double case_tolerance(const bench_case *c) {
    const precision_spec *precision = &precision_table[c->precision];
    const double own = c->op == OP_DECODE ? precision->cache_tolerance : precision->tolerance;
    return own > 0 ? own : dtype_table[c->dtype].tolerance;
}

double case_flops(const bench_case *c) {
    const double B = (double)c->B, H = (double)c->H, T = (double)c->T, D = (double)c->D;
    switch (c->op) {
    case OP_SDPA:
        return 4 * B * H * pairs(c) * D;
    case OP_BACKWARD: /* two products forward, five back: the scores are made again */
        return 14 * B * H * pairs(c) * D;
    case OP_LAYER:
        return 4 * B * H * pairs(c) * D + 2 * B * T * weights(c);
    case OP_DECODE:
        return 4 * B * H * T * D;
    case OP_PROJECTIONS:
        return 2 * B * T * weights(c);
    case OP_SOFTMAX: /* maximum, difference, a polynomial of degree 6 by 6 fused operations, sum, product */
        return 16 * B * H * SOFTMAX_ROWS * T;
    case OP_SGEMM:
        break;
    }
    return inside_tile_flops(c->D);
}

double case_bytes(const bench_case *c) {
    const double B = (double)c->B, H = (double)c->H, G = (double)c->G, T = (double)c->T, D = (double)c->D;
    const double size = (double)dtype_size(&dtype_table[c->dtype]);
    const double stored = precision_table[c->precision].stored_size;
    switch (c->op) {
    case OP_SDPA:
        return size * B * T * D * 2 * (H + G);
    case OP_BACKWARD: /* q, out and d_out, k and v are read, dq, dk, dv written; out and lse are written before */
        return size * B * T * D * (5 * H + 4 * G) + 8 * B * H * T;
    case OP_LAYER:
    case OP_PROJECTIONS:
        return 4 * 2 * B * T * H * D + stored * weights(c);
    case OP_DECODE:
        return B * (stored * 2 * G * T * D + 4 * 2 * H * D);
    case OP_SOFTMAX:
        return 8 * B * H * SOFTMAX_ROWS * T;
    case OP_SGEMM:
        break;
    }
    return inside_tile_bytes(c->D);
}

const char *case_unit(const bench_case *c) { return op_table[c->op].by_bytes ? "GB/s" : "GFLOP/s"; }

double case_work(const bench_case *c) { return op_table[c->op].by_bytes ? case_bytes(c) : case_flops(c); }

/* What narrower products than f32's add to a name: `before` and the precision. */
static void precision_text(const bench_case *c, const char *before, char *to, size_t size) {
    text_print(to, size, "%s%s", c->precision > 0 ? before : "",
               c->precision > 0 ? precision_table[c->precision].name : "");
}

void case_name(const bench_case *c, char *to, size_t size) {
    char precision[40];
    precision_text(c, "/precision:", precision, sizeof precision);
    text_print(to, size, "%s%s%s/%s/%s%s%s/B:%zu/H:%zu/G:%zu/T:%zu/D:%zu/threads:%zu", c->model != NULL ? c->model : "",
               c->model != NULL ? "/" : "", op_table[c->op].name, variant_table[c->variant].name,
               dtype_table[c->dtype].name, precision, c->cold ? "/cold" : "", c->B, c->H, c->G, c->T, c->D, c->threads);
}

void case_title(const bench_case *c, char *to, size_t size) {
    char precision[40];
    precision_text(c, ", precision ", precision, sizeof precision);
    text_print(to, size, "%s%s%s, %s, %s%s%s, batch %zu, width %zu, %zu thread%s", c->model != NULL ? c->model : "",
               c->model != NULL ? ": " : "", op_table[c->op].name, variant_table[c->variant].name,
               dtype_table[c->dtype].name, precision, c->cold ? ", cold caches" : "", c->B, c->D, c->threads,
               c->threads == 1 ? "" : "s");
}
