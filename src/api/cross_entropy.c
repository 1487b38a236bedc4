/* SPDX-License-Identifier: BSD-3-Clause */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "attn/backward.h"

#include "api/check.h"
#include "context/sizes.h"

/* Rows come in blocks whose size is the shape's: losses are summed in each, and then those sums in their order. */
enum { MOST_BLOCKS = 64, LEAST_ELEMENTS = 16384 };

typedef struct job {
    const attni_kernels *kernels;
    size_t rows, columns, ld, step;
    const float *logits;
    const int64_t *targets;
    int64_t ignored;
    attn_cross_entropy_params params;
    double factor, smoothing;
    double sums[MOST_BLOCKS];
} job;

/* A row with the sums that its loss and gradients are made of. */
typedef struct row {
    const float *x;
    size_t target;
    attni_logits sums;
} row;

/* −∞ at the target is a loss of ∞, and so is a row of nothing else. */
static double loss_of(const job *j, const row *r) {
    const double max = (double)r->sums.max, log_sum = log(r->sums.sum);
    const double hit = max - (double)r->x[r->target] + log_sum;
    if (r->sums.sum == 0)
        return INFINITY;
    if (j->smoothing == 0)
        return hit;
    const double spread = j->smoothing * (max - r->sums.total / r->sums.unmasked + log_sum);
    return j->smoothing < 1 ? (1 - j->smoothing) * hit + spread : spread;
}

/* factor · (softmax − smoothed target); y may be x. */
static void put_gradients(const job *j, const row *r, float *y) {
    const double less = j->smoothing > 0 ? j->factor * j->smoothing / r->sums.unmasked : 0;
    if (r->sums.sum == 0) {
        memset(y, 0, j->columns * sizeof *y);
        return;
    }
    j->kernels->logits_back(j->columns, r->x, r->sums.max, (float)(j->factor / r->sums.sum), (float)less, y);
    y[r->target] -= (float)(j->factor * (1 - j->smoothing));
}

static double run_row(const job *j, size_t n) {
    float *const y = j->params.d_logits ? j->params.d_logits + n * j->params.ldd : NULL;
    if (j->targets[n] == j->ignored) {
        if (y)
            memset(y, 0, j->columns * sizeof *y);
        return 0;
    }
    row r = {.x = j->logits + n * j->ld, .target = (size_t)j->targets[n]};
    r.sums = j->kernels->logits(j->columns, r.x, j->smoothing > 0);
    const double loss = loss_of(j, &r);
    if (y)
        put_gradients(j, &r, y);
    return loss;
}

static void run_block(void *arg, size_t unit, size_t worker) {
    job *j = arg;
    const size_t end = attni_min(j->rows, (unit + 1) * j->step);
    (void)worker;
    j->sums[unit] = 0;
    for (size_t n = unit * j->step; n < end; n++) {
        const double loss = run_row(j, n);
        j->sums[unit] += loss;
        if (j->params.losses)
            j->params.losses[n] = (float)loss;
    }
}

/* Elements of 8 bytes count as two. */
static attn_status check_overlaps(attn_context *context, const job *j, const attn_tensor *logits, double *loss) {
    const attn_tensor targets = attni_rows_tensor((const float *)(const void *)j->targets, j->rows, 2, 2);
    const bool in_place = j->params.d_logits == j->logits && j->params.ldd == j->ld;
    const attn_tensor none = attni_rows_tensor(NULL, 0, 0, 0);
    attni_extras extras = {0};
    attni_add_output(&extras, "params.d_logits",
                     attni_rows_tensor(j->params.d_logits, j->rows, j->columns, j->params.ldd));
    attni_add_output(&extras, "params.losses", attni_rows_tensor(j->params.losses, j->rows, 1, 1));
    attni_add_output(&extras, "loss", attni_rows_tensor((float *)(void *)loss, 1, 2, 2));
    for (int i = 1; i < 3; i++)
        ATTNI_TRY(attni_check_disjoint(context, extras.output_names[i], &extras.outputs[i], "logits", logits));
    return attni_check_outputs(context, &extras, NULL, 2, (const char *const[]){"logits", "targets"},
                               (const attn_tensor *const[]){in_place ? &none : logits, &targets});
}

static attn_status check_matrices(attn_context *context, const job *j, double *loss) {
    const attn_tensor logits = attni_rows_tensor(j->logits, j->rows, j->columns, j->ld);
    ATTNI_TRY(attni_check_ld(context, "ld", j->ld, j->rows, j->columns));
    ATTNI_TRY(attni_check_tensor(context, "logits", &logits, false, true));
    if (j->rows)
        ATTNI_TRY(attni_check_pointer(context, "targets", j->targets));
    if (j->params.d_logits)
        ATTNI_TRY(attni_check_ld(context, "params.ldd", j->params.ldd, j->rows, j->columns));
    return check_overlaps(context, j, &logits, loss);
}

static attn_status check_numbers(attn_context *context, const attn_cross_entropy_params *p) {
    if (!(p->label_smoothing >= 0 && p->label_smoothing <= 1))
        return attni_fail(context, ATTN_ERROR_VALUE, "params.label_smoothing is %g, expected 0 to 1",
                          (double)p->label_smoothing);
    if (!isfinite(p->factor))
        return attni_fail(context, ATTN_ERROR_VALUE, "params.factor is %g, expected a finite number",
                          (double)p->factor);
    return ATTN_OK;
}

/* How many rows count. */
static attn_status check_targets(attn_context *context, const job *j, size_t *count) {
    *count = 0;
    for (size_t n = 0; n < j->rows; n++) {
        const int64_t target = j->targets[n];
        if (target == j->ignored)
            continue;
        if (target < 0 || (uint64_t)target >= j->columns)
            return attni_fail(context, ATTN_ERROR_VALUE,
                              "targets[%zu] is %" PRId64 ", expected less than columns = %zu, or %" PRId64
                              " for a row that does not count",
                              n, target, j->columns, j->ignored);
        ++*count;
    }
    return ATTN_OK;
}

static attn_status check(attn_context *context, job *j, const attn_cross_entropy_params *params, double *loss) {
    const attn_cross_entropy_params *p = &j->params;
    size_t count;
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof j->params, &j->params));
    j->ignored = p->ignored_target ? *p->ignored_target : -100;
    ATTNI_TRY(check_numbers(context, p));
    ATTNI_TRY(check_matrices(context, j, loss));
    ATTNI_TRY(check_targets(context, j, &count));
    j->smoothing = (double)p->label_smoothing;
    j->factor = p->factor != 0 ? (double)p->factor : 1 / (double)attni_max(1, count);
    return ATTN_OK;
}

attn_status attn_cross_entropy(attn_context *context, size_t rows, size_t columns, const float *logits, size_t ld,
                               const int64_t *targets, const attn_cross_entropy_params *params, double *loss) {
    enum { FLOPS = 64 };
    job j = {.rows = rows, .columns = columns, .ld = ld, .logits = logits, .targets = targets};
    double sum = 0;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check(context, &j, params, loss));
    j.kernels = context->kernels;
    j.step = attni_max(1 + LEAST_ELEMENTS / (columns + 1), attni_ceil_div(rows, MOST_BLOCKS));
    const size_t blocks = attni_ceil_div(rows, j.step);
    attni_parallel(context, blocks, FLOPS * (double)rows * (double)columns, run_block, &j);
    for (size_t b = 0; b < blocks; b++)
        sum += j.sums[b];
    if (loss)
        *loss = j.factor * sum;
    return ATTN_OK;
}
