/* SPDX-License-Identifier: BSD-3-Clause */
#include "cases.h"

#include <stdlib.h>

#include "text.h"

/* Takes the digit of `rest` in base list->count off, which picks an item. */
static size_t pick(const size_list *list, size_t *rest) {
    size_t item = list->item[*rest % list->count];
    *rest /= list->count;
    return item;
}

static bench_case case_at(const options *o, size_t index) {
    bench_case c;
    c.T = pick(&o->lengths, &index);
    c.H = pick(&o->heads, &index);
    c.causal = pick(&o->causal, &index) != 0;
    c.threads = pick(&o->threads, &index);
    c.D = pick(&o->dims, &index);
    c.B = pick(&o->batches, &index);
    c.op = (bench_op)pick(&o->ops, &index);
    return c;
}

bench_case *cases_expand(const options *o, size_t *count) {
    *count = o->lengths.count * o->heads.count * o->causal.count * o->threads.count * o->dims.count * o->batches.count *
             o->ops.count;
    bench_case *cases = calloc(*count, sizeof *cases);
    for (size_t i = 0; cases != NULL && i < *count; i++)
        cases[i] = case_at(o, i);
    return cases;
}

double case_flops(const bench_case *c) {
    double B = (double)c->B, H = (double)c->H, T = (double)c->T, D = (double)c->D;
    double pairs = c->causal ? T * (T + 1) / 2 : T * T;
    double attention = 4 * B * H * pairs * D;
    return c->op == OP_LAYER ? attention + 8 * B * T * (H * D) * (H * D) : attention;
}

static const char *op_text(const bench_case *c) { return c->op == OP_LAYER ? "layer" : "sdpa"; }

void case_name(const bench_case *c, char *to, size_t size) {
    text_print(to, size, "%s/%s/B:%zu/H:%zu/T:%zu/D:%zu/threads:%zu", op_text(c), c->causal ? "causal" : "full", c->B,
               c->H, c->T, c->D, c->threads);
}

void case_title(const bench_case *c, char *to, size_t size) {
    text_print(to, size, "%s, %scausal, batch %zu, width %zu, %zu thread%s", op_text(c), c->causal ? "" : "not ", c->B,
               c->D, c->threads, c->threads == 1 ? "" : "s");
}
