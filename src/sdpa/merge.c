/* SPDX-License-Identifier: BSD-3-Clause */
/* Merging finished results, and the mask of dropout: what is beside the engine. */
#include <math.h>

#include "sdpa/engine.h"

typedef struct merge_job {
    const attni_kernels *kernels;
    const attni_merge *call;
} merge_job;

/* A part that has seen no key is not read. */
static void merge_row(const attni_kernels *kernels, size_t E, float *out, float *lse, const float *part,
                      float part_lse) {
    if (part_lse == -INFINITY)
        return;
    const double max = fmax((double)*lse, (double)part_lse);
    const double old = exp((double)*lse - max), share = exp((double)part_lse - max), sum = old + share;
    if (*lse == -INFINITY)
        kernels->copy(1, E, ATTN_F32, part, 0, ATTN_F32, out, 0);
    else
        kernels->mix(E, out, (float)(old / sum), part, (float)(share / sum));
    *lse = (float)(max + log(sum));
}

static void merge_plane(void *arg, size_t unit, size_t worker) {
    const merge_job *j = arg;
    const attni_merge *m = j->call;
    (void)worker;
    for (size_t t = 0; t < m->T; t++)
        merge_row(j->kernels, m->E, attni_at(&m->out, unit / m->H, unit % m->H, t), &m->lse[unit * m->T + t],
                  attni_at(&m->part, unit / m->H, unit % m->H, t), m->part_lse[unit * m->T + t]);
}

void attni_merge_run(attn_context *context, const attni_merge *call) {
    merge_job job = {context->kernels, call};
    const double rows = (double)call->B * (double)call->H * (double)call->T;
    attni_parallel(context, call->T ? call->B * call->H : 0, rows * (double)(8 * call->E + 64), merge_plane, &job);
}

typedef struct mask_job {
    const attni_kernels *kernels;
    const attni_dropout *dropout;
    const attni_view *mask;
    const size_t *size;
} mask_job;

static void mask_plane(void *arg, size_t unit, size_t worker) {
    enum { PIECE = 256 };
    const mask_job *j = arg;
    const size_t b = unit / j->size[1], h = unit % j->size[1];
    float kept[PIECE], ones[PIECE];
    (void)worker;
    for (size_t n = 0; n < PIECE; n++)
        ones[n] = 1;
    for (size_t i = 0; i < j->size[2]; i++) {
        uint8_t *row = attni_at(j->mask, b, h, i);
        const uint32_t place[3] = {(uint32_t)i, (uint32_t)h, (uint32_t)b};
        for (size_t first = 0; first < j->size[3]; first += PIECE) {
            const size_t left = j->size[3] - first, n = left < PIECE ? left : PIECE;
            j->kernels->dropout(j->dropout, place, first, n, ones, kept);
            for (size_t k = 0; k < n; k++)
                row[first + k] = kept[k] != 0;
        }
    }
}

void attni_dropout_mask_run(attn_context *context, const attni_dropout *dropout, const attni_view *mask,
                            const size_t size[4]) {
    mask_job job = {context->kernels, dropout, mask, size};
    const double elements = (double)size[0] * (double)size[1] * (double)size[2] * (double)size[3];
    attni_parallel(context, size[0] * size[1], 64 * elements, mask_plane, &job);
}
