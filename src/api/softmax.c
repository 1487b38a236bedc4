/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/softmax.h"

#include "api/check.h"
#include "context/sizes.h"

typedef struct softmax_job {
    const attni_kernels *kernels;
    size_t rows, columns, rows_per_unit;
    const float *x;
    float *y, *lse;
    size_t ldx, ldy;
} softmax_job;

static void softmax_rows(void *arg, size_t unit, size_t worker) {
    const softmax_job *j = arg;
    const size_t first = unit * j->rows_per_unit;
    const size_t end = attni_min(j->rows, first + j->rows_per_unit);
    (void)worker;
    for (size_t r = first; r < end; r++) {
        const float lse = j->kernels->softmax_row(j->columns, j->x + r * j->ldx, j->y + r * j->ldy);
        if (j->lse)
            j->lse[r] = lse;
    }
}

static attn_status check(attn_context *context, const softmax_job *j) {
    const attn_tensor x = attni_rows_tensor(j->x, j->rows, j->columns, j->ldx),
                      y = attni_rows_tensor(j->y, j->rows, j->columns, j->ldy);
    const attn_tensor lse = attni_rows_tensor(j->lse, j->rows, 1, 1);
    const bool in_place = j->x == j->y && j->ldx == j->ldy;
    ATTNI_TRY(attni_check_ld(context, "ldx", j->ldx, j->rows, j->columns));
    ATTNI_TRY(attni_check_ld(context, "ldy", j->ldy, j->rows, j->columns));
    ATTNI_TRY(attni_check_tensor(context, "x", &x, false, true));
    ATTNI_TRY(attni_check_tensor(context, "y", &y, true, true));
    if (!in_place)
        ATTNI_TRY(attni_check_disjoint(context, "y", &y, "x", &x));
    ATTNI_TRY(attni_check_disjoint(context, "lse", &lse, "x", &x));
    return attni_check_disjoint(context, "lse", &lse, "y", &y);
}

attn_status attn_softmax(attn_context *context, size_t rows, size_t columns, const float *x, size_t ldx, float *y,
                         size_t ldy, float *lse) {
    enum { ELEMENTS_PER_UNIT = 16384, FLOPS = 32 /* as long as an exponential takes */ };
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    softmax_job job = {context->kernels, rows, columns, 1, x, y, lse, ldx, ldy};
    ATTNI_TRY(check(context, &job));
    if (columns == 0 && !lse)
        return ATTN_OK;
    if (columns == 0)
        job.ldx = job.ldy = 0; /* x and y may be NULL */
    job.rows_per_unit += ELEMENTS_PER_UNIT / (columns + 1);
    attni_parallel(context, attni_ceil_div(rows, job.rows_per_unit), FLOPS * (double)rows * (double)columns,
                   softmax_rows, &job);
    return ATTN_OK;
}
