/* SPDX-License-Identifier: BSD-3-Clause */
/* Residual forms whose sublayers are normed or multiplied before they are added to the stream. */
#include <string.h>

#include "block/block.h"
#include "mha/rows.h"

typedef struct job {
    const attni_kernels *kernels;
    const attni_rim *rim;
    float factor;
    size_t M;
    const attni_matrix *sum, *x, *y;
} job;

static void join_rows(void *arg, size_t begin, size_t end) {
    static const attni_activation identity = {.kind = ATTN_IDENTITY};
    const job *j = arg;
    const ptrdiff_t ld = (ptrdiff_t)j->sum->ld;
    float *sum = j->sum->data + begin * j->sum->ld;
    if (j->rim->output.present)
        j->kernels->norm(&j->rim->output.norm, end - begin, j->M, sum, ld, sum, ld);
    if (j->rim->scale)
        j->kernels->activate(&identity, end - begin, j->M, sum, ld, j->rim->scale, 0, sum, ld);
    for (size_t r = begin; r < end; r++, sum += ld) {
        const float *x = j->x->data + r * j->x->ld;
        float *y = j->y->data + r * j->y->ld;
        if (x != y)
            memcpy(y, x, j->M * sizeof *y);
        j->kernels->mix(j->M, y, 1.0F, sum, j->factor);
    }
}

bool attni_is_joined(const attn_block *block, attni_sublayer sublayer) {
    const attni_rim *rim = &block->rims[sublayer];
    return rim->output.present || rim->scale || block->factor < 1 || block->factor > 1;
}

void attni_join(attn_context *context, const attn_block *block, attni_sublayer sublayer, const attni_matrix *sum,
                const attni_matrix *x, const attni_matrix *y) {
    enum { FLOPS = 24 }; /* as long as an element takes */
    job j = {context->kernels, &block->rims[sublayer], block->factor, block->M, sum, x, y};
    attni_share_rows(context, sum->rows, block->M, FLOPS, join_rows, &j);
}
