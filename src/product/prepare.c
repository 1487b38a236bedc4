/* SPDX-License-Identifier: BSD-3-Clause */
/* Left factors in the form that the context's precision asks for. */
#include <string.h>

#include "context/sizes.h"
#include "kernels/int4.h"
#include "kernels/narrow.h"
#include "product/product.h"

/* Rows are made of whole cache lines, or groups. */
static size_t row_bytes(const attn_context *context, attni_form form, size_t depth) {
    if (form == ATTNI_GROUPED)
        return attni_round_up(depth, ATTNI_GROUP) * context->int4->size;
    return form == ATTNI_QUANTIZED ? attni_round_up(depth, ATTNI_LINE) * context->int8->size
                                   : attni_round_up(depth, 16) * sizeof(float);
}

static size_t element_bytes(const attn_context *context, attni_form form) {
    return form == ATTNI_GROUPED     ? context->int4->size
           : form == ATTNI_QUANTIZED ? context->int8->size
                                     : context->bf16->size;
}

static size_t scale_floats(attni_form form, size_t rows) {
    return form == ATTNI_QUANTIZED ? attni_round_up(rows, 16) : 0;
}

size_t attni_left_floats(const attn_context *context, attni_form form, size_t rows, size_t depth) {
    if (form == ATTNI_PLAIN)
        return 0;
    return scale_floats(form, rows) + rows * (row_bytes(context, form, depth) / sizeof(float));
}

attni_left attni_left_at(const attn_context *context, attni_form form, const float *x, size_t ldx) {
    const size_t size = form == ATTNI_ROUNDED ? context->bf16->size : sizeof *x;
    return (attni_left){form, (const char *)x, ldx * sizeof *x, size, NULL};
}

void attni_round(const attn_context *context, size_t rows, size_t depth, float *x, size_t ldx) {
    context->bf16->round(rows, depth, x, ldx, x, ldx);
}

float attni_left_element(const attni_left *left, size_t row, size_t at) {
    const char *from = left->data + row * left->step + at * left->size;
    uint32_t bits = 0;
    float x;
    memcpy((char *)&bits + (sizeof bits - left->size), from, left->size); /* little endian: the upper half */
    memcpy(&x, &bits, sizeof x);
    return x;
}

attni_left attni_left_of(const attn_context *context, attni_form form, size_t rows, size_t depth, const float *x,
                         size_t ldx, float *room) {
    if (form == ATTNI_PLAIN)
        return attni_left_at(context, form, x, ldx);
    return (attni_left){.form = form,
                        .data = (const char *)(room + scale_floats(form, rows)),
                        .step = row_bytes(context, form, depth),
                        .size = element_bytes(context, form),
                        .scale = room};
}

void attni_prepare(const attn_context *context, const attni_left *left, size_t begin, size_t end, size_t depth,
                   const float *x, size_t ldx) {
    char *y = (char *)(uintptr_t)left->data; /* in the room */
    float *scale = (float *)(uintptr_t)left->scale;
    for (size_t r = begin; r < end; r++)
        if (left->form == ATTNI_QUANTIZED)
            scale[r] = context->int8->quantize(depth, x + r * ldx, y + r * left->step);
        else if (left->form == ATTNI_GROUPED)
            context->int4->prepare(depth, x + r * ldx, y + r * left->step);
        else
            context->bf16->round(1, depth, x + r * ldx, ldx, (float *)(void *)(y + r * left->step),
                                 left->step / sizeof(float));
}
